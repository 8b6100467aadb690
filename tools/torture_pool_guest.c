/* SPDX-License-Identifier: MIT */
/* How a guest on a pool begins and ends: memcg, region, VM, and what is known of its pages. */
#include "torture_pool.h"

#include <errno.h>
#include <stdlib.h>

/* Those that stay have the first numbers for themselves. */
static unsigned int new_number(struct torture_pool *pool)
{
	uint64_t n = __atomic_fetch_add(&pool->next_number, 1, __ATOMIC_RELAXED);

	return n < pool->nr_guests ?
		       (unsigned int)n :
		       pool->nr_guests + (unsigned int)(n % (POOL_GUESTS - pool->nr_guests));
}

/* All but its memory, and @pasts if @clone. */
static int begin(struct torture_worker *w, struct torture_pool_guest *guest, unsigned int nr_pages,
		 unsigned int oom_priority, bool clone)
{
	struct torture *torture = w->torture;
	bool limited = percent(w, 30);
	const struct s2_memcg_config memcg = {
		.limit = limited ? (POOL_WINDOW_PAGES + pick(w, nr_pages)) * S2_PAGE_SIZE : 0,
		.oom_priority = (int)oom_priority,
	};
	const struct s2_vm_config vm = {
		.mmu_lock = percent(w, 50) ? S2_MMU_LOCK_MUTEX : S2_MMU_LOCK_RWLOCK,
	};
	int error;

	guest->number = new_number(torture->pool);
	guest->nr_pages = nr_pages;
	guest->killable = oom_priority;
	guest->records = calloc(nr_pages, sizeof(*guest->records));
	guest->windows = calloc(torture->options.updaters + 1, sizeof(*guest->windows));
	guest->pasts = clone ? calloc(nr_pages, sizeof(*guest->pasts)) : NULL;
	if (!guest->records || !guest->windows || (clone && !guest->pasts))
		return -ENOMEM;
	error = s2_memcg_create(torture->pool->pool, &memcg, &guest->memcg);
	if (error)
		return error;
	watch_now(&w->watch, WATCH_VM_CREATE, 0, 0);
	error = s2_vm_create(torture->mm, &vm, &guest->vm);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	return error;
}

int torture_pool_create_guest(struct torture_worker *w, struct torture_pool_guest *guest,
			      unsigned int nr_pages, unsigned int oom_priority)
{
	struct s2_pool *pool = w->torture->pool->pool;
	uint64_t size = nr_pages * S2_PAGE_SIZE;
	int error = begin(w, guest, nr_pages, oom_priority, false);

	if (!error)
		error = s2_pool_map(pool, guest->memcg, size, &guest->hva);
	if (!error)
		error = s2_pool_advise(pool, guest->hva, size, S2_POOL_MERGE);
	return error ? error : torture_pool_map_guest(w, guest, false);
}

static void note_pasts(const struct torture_worker *w, struct torture_pool_guest *guest,
		       const struct torture_pool_guest *original, const uint64_t before[])
{
	unsigned int other = w->torture->options.breaks & TORTURE_BREAK_CLONES ? 1 : 0;

	for (unsigned int page = 0; page < guest->nr_pages; page++)
		torture_pool_set_past(&guest->pasts[page], original, page ^ other,
				      before[page ^ other]);
}

int torture_pool_clone_guest(struct torture_worker *w, struct torture_pool_guest *guest,
			     const struct torture_pool_guest *original, unsigned int oom_priority)
{
	unsigned int nr_pages = original->nr_pages;
	uint64_t *before = calloc(nr_pages, sizeof(*before));
	int error = before ? begin(w, guest, nr_pages, oom_priority, true) : -ENOMEM;

	for (unsigned int page = 0; !error && page < nr_pages; page++)
		before[page] = torture_pool_begin_look(original, page);
	if (!error) {
		watch_now(&w->watch, WATCH_CLONE, original->hva, 0);
		error = s2_pool_clone(w->torture->pool->pool, guest->memcg, original->hva,
				      &guest->hva);
		watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	}
	if (!error) {
		note_pasts(w, guest, original, before);
		count(w, TORTURE_CLONES, 1);
		error = torture_pool_map_guest(w, guest, false);
	}
	free(before);
	return error;
}

void torture_pool_destroy_guest(struct torture_worker *w, struct torture_pool_guest *guest)
{
	int error = 0;

	watch_now(&w->watch, WATCH_UNMAP, guest->hva, 0);
	if (percent(w, 50)) {
		s2_vm_put(guest->vm);
		guest->vm = NULL;
	}
	if (guest->hva)
		error = s2_pool_unmap(w->torture->pool->pool, guest->hva);
	s2_vm_put(guest->vm);
	if (!error)
		error = s2_memcg_destroy(guest->memcg);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	if (error)
		torture_violation(w, TORTURE_BAD_ERROR, "unmapping guest %u failed with %d",
				  guest->index, -error);
	free(guest->records);
	free(guest->pasts);
	free(guest->windows);
	*guest = (struct torture_pool_guest){ .index = guest->index };
}
