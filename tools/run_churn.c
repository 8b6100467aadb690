/* SPDX-License-Identifier: MIT */
/*
 * See run_churn.h. Four threads, so that pairs, updates and what the pool does meet each other.
 * What fails does so for lack of something (a free block, a tier with room) and is tried again
 * later; guests notice neither.
 */
#include "run_churn.h"

#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <stage2/notifier.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* Behind all of a pool's regions. */
#define NOBODYS_HVA (UINT64_C(1) << 46)
#define NOBODYS_PAGES 4096u

/* Memslots of the churn's own are there, on the guests' VMs too: beyond all of their memory. */
#define SPARE_GPA (UINT64_C(1) << 44)
#define SPARE_SLOT 100
#define SPARE_PAGES 64u
#define SPARE_SIZE (SPARE_PAGES * S2_PAGE_SIZE)

#define IDLE_VMS 2u

/* So many pages are looked at, or taken away, at once. */
#define MERGE_PAGES 1024u
#define RECLAIM_PAGES 128u

enum { UNRELATED, RELATED, UPDATER, HOST, NR_WORKERS };

/* @events is shared with run_churn_take(), under @lock. */
struct worker {
	struct run_churn *churn;
	void (*step)(struct worker *w);
	pthread_t thread;
	bool started;
	uint64_t random;
	pthread_mutex_t lock;
	struct latency events[RUN_NR_EVENTS];
};

struct run_churn {
	struct run_churn_config config;
	struct s2_mm *mm;
	uint64_t spare_hva;
	struct s2_vm *idle[IDLE_VMS];
	_Atomic bool stop;
	struct worker workers[NR_WORKERS];
};

/* Good enough to spread work about, and repeatable. */
static uint64_t pick(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % below;
}

static bool stopped(struct run_churn *churn)
{
	return atomic_load_explicit(&churn->stop, memory_order_relaxed);
}

static void took(struct worker *w, enum run_event event, uint64_t since)
{
	uint64_t ns = clock_ns() - since;

	pthread_mutex_lock(&w->lock);
	latency_add(&w->events[event], ns);
	pthread_mutex_unlock(&w->lock);
}

static void pair(struct worker *w, enum run_event event, uint64_t start, uint64_t pages,
		 unsigned int flags)
{
	struct s2_mm *mm = w->churn->mm;
	struct s2_invalidation inv;
	uint64_t since = clock_ns();

	if (s2_invalidate_range_start(mm, &inv, start, start + pages * S2_PAGE_SIZE, flags))
		return;
	s2_invalidate_range_end(mm, &inv);
	took(w, event, since);
}

/* One in four must not sleep. */
static unsigned int any_flags(struct worker *w)
{
	return pick(w, 4) ? 0 : S2_NONBLOCK;
}

static void unrelated(struct worker *w)
{
	pair(w, RUN_UNRELATED, NOBODYS_HVA + pick(w, NOBODYS_PAGES) * S2_PAGE_SIZE, 1 + pick(w, 16),
	     any_flags(w));
}

static const struct run_churn_target *any_target(struct worker *w)
{
	const struct run_churn_config *config = &w->churn->config;

	return &config->targets[pick(w, config->nr_targets)];
}

/* What the measurement is of is one page; otherwise a few. */
static void related(struct worker *w)
{
	const struct run_churn_target *target = any_target(w);
	uint64_t pages = target->size / S2_PAGE_SIZE;
	uint64_t first = pick(w, pages);
	uint64_t nr = w->churn->config.pairs_only ? 1 : 1 + pick(w, 8);

	nr = nr < pages - first ? nr : pages - first;
	pair(w, RUN_RELATED, target->hva + first * S2_PAGE_SIZE, nr, any_flags(w));
}

static void update(struct worker *w, struct s2_vm *vm,
		   const struct kvm_userspace_memory_region *region)
{
	uint64_t since = clock_ns();

	if (!s2_vm_set_memory_region(vm, region))
		took(w, RUN_UPDATE, since);
}

/* A memslot that comes, moves, and goes again. */
static void update_spare(struct worker *w, struct s2_vm *vm)
{
	struct kvm_userspace_memory_region region = {
		.slot = SPARE_SLOT,
		.guest_phys_addr = SPARE_GPA + pick(w, 1024) * S2_PAGE_SIZE,
		.memory_size = SPARE_SIZE,
		.userspace_addr = w->churn->spare_hva,
	};

	update(w, vm, &region);
	region.guest_phys_addr += SPARE_SIZE;
	update(w, vm, &region);
	region.memory_size = 0;
	update(w, vm, &region);
}

static void read_dirty_log(const struct run_churn_target *target)
{
	struct kvm_dirty_log log = { .slot = target->slot };
	uint64_t words = (target->size / S2_PAGE_SIZE + 63) / 64;

	log.dirty_bitmap = malloc(words * sizeof(uint64_t));
	if (log.dirty_bitmap)
		s2_vm_get_dirty_log(target->vm, &log);
	free(log.dirty_bitmap);
}

/* Of the memslot that a guest runs on: its dirty log is switched on, read twice, and off again. */
static void log_dirty_pages(struct worker *w)
{
	const struct run_churn_target *target = any_target(w);
	struct kvm_userspace_memory_region region = {
		.slot = target->slot,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = target->size,
		.userspace_addr = target->hva,
	};

	update(w, target->vm, &region);
	read_dirty_log(target);
	read_dirty_log(target);
	region.flags = 0;
	update(w, target->vm, &region);
}

static void update_memslots(struct worker *w)
{
	unsigned int kind = (unsigned int)pick(w, 4);

	if (!kind && !w->churn->config.pairs_only)
		log_dirty_pages(w);
	else if (kind == 1)
		update_spare(w, w->churn->idle[pick(w, IDLE_VMS)]);
	else
		update_spare(w, any_target(w)->vm);
}

static void reclaim(struct worker *w)
{
	struct s2_pool *pool = w->churn->config.pool;

	if (!pick(w, 4))
		s2_pool_age(pool);
	s2_pool_reclaim(pool, (1 + pick(w, RECLAIM_PAGES)) * S2_PAGE_SIZE,
			(unsigned int)pick(w, S2_POOL_AGES));
}

/* One thing at a time, as the threads of a kernel that share a processor. */
static void host(struct worker *w)
{
	const struct run_churn_config *config = &w->churn->config;
	unsigned int kind = config->level ? (unsigned int)pick(w, 3) : 0;

	if (!kind && config->merge)
		s2_pool_merge(config->pool, MERGE_PAGES);
	else if (kind == 1)
		s2_pool_compact(config->pool);
	else
		reclaim(w);
}

static void rest(const struct run_churn *churn)
{
	static const struct timespec naps[] = {
		{ .tv_nsec = 20000000 },
		{ .tv_nsec = 100000000 },
		{ .tv_nsec = 1000000 },
	};

	if (churn->config.level < RUN_MAX_CHURN)
		nanosleep(&naps[churn->config.level], NULL);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!stopped(w->churn)) {
		w->step(w);
		rest(w->churn);
	}
	return NULL;
}

static int start_worker(struct run_churn *churn, unsigned int kind)
{
	static void (*const steps[NR_WORKERS])(struct worker *) = {
		[UNRELATED] = unrelated,
		[RELATED] = related,
		[UPDATER] = update_memslots,
		[HOST] = host,
	};
	struct worker *w = &churn->workers[kind];
	int error;

	w->step = steps[kind];
	error = pthread_create(&w->thread, NULL, work, w);
	w->started = !error;
	return -error;
}

static bool wanted(const struct run_churn_config *config, unsigned int kind)
{
	if (kind == HOST)
		return !config->pairs_only && (config->level || config->merge);
	return config->level;
}

static int start_workers(struct run_churn *churn)
{
	int error = 0;

	for (unsigned int i = 0; i < NR_WORKERS && !error; i++)
		if (wanted(&churn->config, i))
			error = start_worker(churn, i);
	return error;
}

static int create_spares(struct run_churn *churn)
{
	int error = s2_pool_map(churn->config.pool, NULL, SPARE_SIZE, &churn->spare_hva);

	for (unsigned int i = 0; i < IDLE_VMS && !error; i++)
		error = s2_vm_create(churn->mm, NULL, &churn->idle[i]);
	return error;
}

static int advise(const struct run_churn_config *config)
{
	int error = 0;

	for (unsigned int i = 0; i < config->nr_targets && config->merge && !error; i++)
		error = s2_pool_advise(config->pool, config->targets[i].hva,
				       config->targets[i].size, S2_POOL_MERGE);
	return error;
}

int run_churn_start(const struct run_churn_config *config, struct run_churn **out)
{
	struct run_churn *churn = calloc(1, sizeof(*churn));
	int error;

	if (!churn)
		return -ENOMEM;
	churn->config = *config;
	churn->mm = s2_pool_mm(config->pool);
	for (unsigned int i = 0; i < NR_WORKERS; i++) {
		churn->workers[i].churn = churn;
		churn->workers[i].random = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
		pthread_mutex_init(&churn->workers[i].lock, NULL);
	}
	error = create_spares(churn);
	if (!error)
		error = advise(config);
	if (!error)
		error = start_workers(churn);
	if (error) {
		run_churn_stop(churn);
		return error;
	}
	*out = churn;
	return 0;
}

void run_churn_take(struct run_churn *churn, struct latency events[RUN_NR_EVENTS])
{
	for (unsigned int i = 0; i < NR_WORKERS; i++) {
		struct worker *w = &churn->workers[i];

		pthread_mutex_lock(&w->lock);
		for (unsigned int e = 0; e < RUN_NR_EVENTS; e++) {
			if (!w->events[e].count)
				continue;
			latency_merge(&events[e], &w->events[e]);
			w->events[e] = (struct latency){ 0 };
		}
		pthread_mutex_unlock(&w->lock);
	}
}

void run_churn_stop(struct run_churn *churn)
{
	if (!churn)
		return;
	atomic_store_explicit(&churn->stop, true, memory_order_relaxed);
	for (unsigned int i = 0; i < NR_WORKERS; i++) {
		if (churn->workers[i].started)
			pthread_join(churn->workers[i].thread, NULL);
		pthread_mutex_destroy(&churn->workers[i].lock);
	}
	for (unsigned int i = 0; i < IDLE_VMS; i++)
		s2_vm_put(churn->idle[i]);
	if (churn->spare_hva)
		s2_pool_unmap(churn->config.pool, churn->spare_hva);
	free(churn);
}
