/* SPDX-License-Identifier: MIT */
/*
 * Guests that come and go: clones of those that stay, sometimes cloned once more, and some with
 * memory of their own. Most may be killed when memory runs out.
 */
#include "torture_pool.h"

#include <errno.h>

#define LONGEST_LIFE 2048u

static int begin_visit(struct torture_worker *w, struct torture_pool_guest *guest,
		       const struct torture_pool_guest *original)
{
	unsigned int priority = pick(w, 3);

	guest->owners = 1;
	return original ? torture_pool_clone_guest(w, guest, original, priority) :
			  torture_pool_create_guest(w, guest,
						    w->torture->pool->guests[0].nr_pages / 2,
						    priority);
}

/* Until it ends, or has been killed and has seen that a few times. */
static int use(struct torture_worker *w, unsigned int accesses)
{
	uint64_t seen = w->counts[TORTURE_KILLED_SEEN];
	int error = torture_pool_begin_use(w);

	if (error)
		return error;
	torture_pool_enter(w);
	while ((accesses || torture_pool_is_full(w)) && !stopped(w->torture) &&
	       w->counts[TORTURE_KILLED_SEEN] - seen < 8) {
		accesses -= !!accesses;
		torture_pool_access(w, 0);
		s2_vcpu_poll(w->vcpu);
		watch_progress(&w->watch);
	}
	torture_pool_leave(w);
	torture_pool_end_use(w);
	return 0;
}

/*
 * One life. That the original, or it itself, has been killed ends it early, and so does that
 * its pages cannot be advised for lack of memory.
 */
static int visit(struct torture_worker *w, const struct torture_pool_guest *original,
		 unsigned int clones)
{
	struct torture_pool_guest guest = { .index = w->torture->pool->nr_guests + w->index };
	int error = begin_visit(w, &guest, original);
	bool killed = original && error == -EFAULT && torture_pool_killed(original);

	if (!error) {
		w->guest = &guest;
		count(w, TORTURE_VMS_CREATED, 1);
		error = use(w, pick(w, LONGEST_LIFE));
	}
	if (!error && clones)
		error = visit(w, &guest, clones - 1);
	if (!error) {
		w->guest = &guest;
		error = use(w, pick(w, LONGEST_LIFE / 4));
	}
	torture_pool_destroy_guest(w, &guest);
	return killed ? 0 : error;
}

void torture_pool_visitor(struct torture_worker *w)
{
	struct torture_pool *pool = w->torture->pool;
	int error = 0;

	while (!error && !stopped(w->torture)) {
		error = visit(w, percent(w, 70) ? &pool->guests[pick(w, pool->nr_guests)] : NULL,
			      percent(w, 30));
		torture_pause(w);
	}
	if (error)
		torture_give_up(w, error);
}
