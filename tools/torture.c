/* SPDX-License-Identifier: MIT */
/*
 * rcutorture for the invalidation protocol, on real memory of this process.
 *
 * The mix. All VMs run on one arena of host memory (torture_arena.h), whose pages certify
 * themselves. Until the time is up,
 *  - vCPU threads (torture_vcpu.c) load and store all over their VM's memslots and beyond, through
 *    the TLB, and now and then invalidate a page from inside guest mode;
 *  - related churn (torture_churn.c) replaces pages of the arena inside start and end, first by
 *    canaries, then by fresh pages; each thread has a part of the arena of its own;
 *  - unrelated churn does the same to memory of its own, mostly without changing anything;
 *  - updaters (torture_slots.c) create, move, re-flag and delete memslots, each its own, and read
 *    dirty logs; a VM comes and goes, and is destroyed between a start and its end.
 * No thread starts a pair inside a pair, takes a lock across start, or updates or creates anything
 * inside its own pair: what every gate allows. With @nest there are pairs inside pairs, pairs that
 * overlap, and pairs that another thread ends.
 *
 * What counts as a violation, and why it is sound. A vCPU looks at its memslot's word
 * (torture_work.h) before an access and after it. If it is the same, and no update was going on,
 * the memslot was where it says from before the access until after it; otherwise only what holds
 * for any window is checked.
 *  stale_read       A load saw a canary, or a page of a generation replaced before it began.
 *                   Canaries are mapped only between start and end.
 *  stale_write      A page changed between start and end, canary or not. The host thread that
 *                   watches it is the only one that writes there then.
 *  wrong_page       A load saw a word of another page or place. Stored words tell only the page's
 *                   place in its window, since a store may race with a move; it is the same in all.
 *  torn             A word that nobody ever wrote: its checksum is wrong.
 *  lost_write       A vCPU did not load what it had stored to a word of its own, in a page that was
 *                   not replaced in between (its generation is raised inside the pair).
 *  dirty_lost       A page is not in the dirty log although a store to it began after the last
 *                   log was read and was complete before this reading began (torture_slot.log).
 *  use_after_delete An access succeeded where no memslot was, from before it until after it.
 *  bad_error        An answer that may not be: an error where a memslot was, a success in a
 *                   read-only one, a failure of start or of a memslot update. When all is over,
 *                   all of slot 0 must still be there: a count that was raised and not dropped
 *                   would keep its pages away for ever, which the watchdog reports.
 *  bad_count        The library counted other invalidations or updates than the threads did.
 */
#include "torture_work.h"

#include "base/schedule.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct torture_options torture_defaults = {
	.vms = 2,
	.vcpus = 2,
	.unrelated = 2,
	.related = 2,
	.updaters = 1,
	.nonblock = 10,
	.rseq = 50,
	.window = 50,
	.tier_faults = 5,
	.pool_size = UINT64_C(8) << 20,
	.seconds = 5,
	.patience_s = 5,
};

const char *const torture_count_names[TORTURE_NR_COUNTS] = {
	[TORTURE_ACCESSES] = "accesses",
	[TORTURE_FAULTS] = "faults",
	[TORTURE_RETRIES] = "retries",
	[TORTURE_INVALIDATIONS] = "invalidations",
	[TORTURE_ELIDED] = "elided",
	[TORTURE_MMU_LOCK_ACQUIRED] = "mmu_lock_acquired",
	[TORTURE_NONBLOCK_FAILED] = "nonblock_failed",
	[TORTURE_OVERFLOWS] = "overflows",
	[TORTURE_MEMSLOT_UPDATES] = "memslot_updates",
	[TORTURE_VMS_CREATED] = "vms_created",
	[TORTURE_PAGES_REPLACED] = "pages_replaced",
	[TORTURE_DIRTY_LOGS] = "dirty_logs",
	[TORTURE_PAGES_CHECKED] = "pages_checked",
	[TORTURE_GUEST_ERRORS] = "guest_errors",
	[TORTURE_HOST_ACCESSES] = "host_accesses",
	[TORTURE_DISCARDS] = "discards",
	[TORTURE_CLONES] = "clones",
	[TORTURE_KILLED_SEEN] = "killed_seen",
	[TORTURE_LIMITS_SET] = "limits_set",
	[TORTURE_TIER_FAULTS] = "tier_faults",
	[TORTURE_TIER_FULL] = "tier_full",
	[TORTURE_TIER_DELAYS] = "tier_delays",
	[TORTURE_TIER_ERRORS] = "tier_errors",
	[TORTURE_SWAP_OUTS] = "swap_outs",
	[TORTURE_SWAP_INS] = "swap_ins",
	[TORTURE_ZERO_PAGES] = "zero_pages",
	[TORTURE_READ_AHEAD] = "read_ahead",
	[TORTURE_READ_AHEAD_USED] = "read_ahead_used",
	[TORTURE_DIRECT_RECLAIMS] = "direct_reclaims",
	[TORTURE_BACKGROUND_RECLAIMS] = "background_reclaims",
	[TORTURE_MERGED] = "merged",
	[TORTURE_COW_BREAKS] = "cow_breaks",
	[TORTURE_MIGRATED] = "migrated",
	[TORTURE_COLLAPSED] = "collapsed",
	[TORTURE_SPLIT] = "split",
	[TORTURE_OOM_KILLS] = "oom_kills",
	[TORTURE_WINDOW_ACCESSES] = "window_accesses",
	[TORTURE_WINDOW_FAULTS] = "window_faults",
	[TORTURE_UPDATER_MAX_WAIT_NS] = "updater_max_wait_ns",
};

const char *const torture_violation_names[TORTURE_NR_VIOLATIONS] = {
	[TORTURE_STALE_READ] = "stale_read",
	[TORTURE_STALE_WRITE] = "stale_write",
	[TORTURE_WRONG_PAGE] = "wrong_page",
	[TORTURE_TORN] = "torn",
	[TORTURE_LOST_WRITE] = "lost_write",
	[TORTURE_DIRTY_LOST] = "dirty_lost",
	[TORTURE_USE_AFTER_DELETE] = "use_after_delete",
	[TORTURE_BAD_ERROR] = "bad_error",
	[TORTURE_BAD_COUNT] = "bad_count",
	[TORTURE_LOST] = "lost",
	[TORTURE_MIXED_UP] = "mixed_up",
	[TORTURE_DAMAGED] = "damaged",
};

bool torture_counts(enum torture_provider provider, enum torture_count count)
{
	if (count >= TORTURE_PAGES_REPLACED && count <= TORTURE_DIRTY_LOGS)
		return provider == TORTURE_PROCESS;
	if (count >= TORTURE_PAGES_CHECKED && count <= TORTURE_WINDOW_FAULTS)
		return provider == TORTURE_POOL;
	return true;
}

uint64_t torture_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void torture_violation(struct torture_worker *w, enum torture_violation kind, const char *format,
		       ...)
{
	struct torture *torture = w->torture;
	va_list args;

	__atomic_fetch_add(&torture->violations[kind], 1, __ATOMIC_RELAXED);
	if (torture->options.first)
		__atomic_store_n(&torture->stop, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&torture->examples_lock);
	if (torture->nr_examples < TORTURE_EXAMPLES) {
		char *text = torture->examples[torture->nr_examples++];
		int used = snprintf(text, sizeof(torture->examples[0]), "%s: %s: ", w->watch.name,
				    torture_violation_names[kind]);

		va_start(args, format);
		vsnprintf(text + used, sizeof(torture->examples[0]) - (size_t)used, format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&torture->examples_lock);
}

void torture_give_up(struct torture_worker *w, int error)
{
	int64_t none = 0;

	__atomic_compare_exchange_n(&w->torture->error, &none, error, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
	__atomic_store_n(&w->torture->stop, 1, __ATOMIC_RELAXED);
}

void torture_spin(struct torture_worker *w, unsigned int longest_us)
{
	uint64_t end = clock_ns() + pick(w, longest_us * 1000 + 1);

	while (clock_ns() < end)
		sched_yield();
}

void torture_pause(struct torture_worker *w)
{
	unsigned int kind = pick(w, 10);

	if (kind == 0) {
		const struct timespec nap = { .tv_nsec = pick(w, 200000) };

		nanosleep(&nap, NULL);
	} else if (kind < 5) {
		torture_spin(w, 20);
	} else if (kind < 7) {
		sched_yield();
	}
}

uint64_t torture_nr_violations(const struct torture_report *report)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < TORTURE_NR_VIOLATIONS; i++)
		sum += report->violations[i];
	return sum;
}

static void merge_counts(const struct torture *torture, struct torture_report *report)
{
	for (unsigned int i = 0; i < torture->nr_workers; i++) {
		for (unsigned int c = 0; c < TORTURE_NR_COUNTS; c++) {
			uint64_t value =
				__atomic_load_n(&torture->workers[i].counts[c], __ATOMIC_RELAXED);

			if (c < TORTURE_UPDATER_MAX_WAIT_NS)
				report->counts[c] += value;
			else if (value > report->counts[c])
				report->counts[c] = value;
		}
	}
}

/* Also in a deadlock, so that it must not wait for anybody. */
static void fill_report(struct torture *torture, struct torture_report *report)
{
	struct s2_mm_stats stats;

	*report = (struct torture_report){
		.provider = torture->options.provider,
		.gate = torture->options.gate,
		.seed = torture->options.seed,
	};
	pthread_mutex_lock(&torture->examples_lock);
	report->nr_examples = torture->nr_examples;
	memcpy(report->examples, torture->examples, sizeof(report->examples));
	pthread_mutex_unlock(&torture->examples_lock);
	merge_counts(torture, report);
	for (unsigned int i = 0; i < TORTURE_NR_VIOLATIONS; i++)
		report->violations[i] = __atomic_load_n(&torture->violations[i], __ATOMIC_RELAXED);
	s2_mm_get_stats(torture->mm, &stats);
	report->counts[TORTURE_ELIDED] = stats.elided;
	report->counts[TORTURE_MMU_LOCK_ACQUIRED] = stats.mmu_lock_acquired;
	report->counts[TORTURE_NONBLOCK_FAILED] = stats.nonblock_failed;
	report->counts[TORTURE_OVERFLOWS] = stats.overflows;
	if (torture->kind->fill_counts)
		torture->kind->fill_counts(torture, report->counts);
}

static void deadlocked(void *ctx, const char *threads)
{
	struct torture *torture = ctx;
	struct torture_report report;

	fill_report(torture, &report);
	report.threads = threads;
	torture->options.deadlock(torture->options.ctx, &report);
}

static void check_counts(struct torture_worker *w)
{
	struct torture_report report = { 0 };
	const uint64_t *counts = report.counts;
	struct s2_mm_stats stats;

	merge_counts(w->torture, &report);
	s2_mm_get_stats(w->torture->mm, &stats);
	if (stats.invalidations != counts[TORTURE_INVALIDATIONS] ||
	    stats.memslot_updates != counts[TORTURE_MEMSLOT_UPDATES])
		torture_violation(w, TORTURE_BAD_COUNT,
				  "%" PRIu64 " invalidations, %" PRIu64 " updates, not %" PRIu64
				  ", %" PRIu64,
				  counts[TORTURE_INVALIDATIONS], counts[TORTURE_MEMSLOT_UPDATES],
				  stats.invalidations, stats.memslot_updates);
	if (w->torture->options.gate == S2_GATE_ALWAYS && stats.elided)
		torture_violation(w, TORTURE_BAD_COUNT, "%" PRIu64 " elided", stats.elided);
}

struct torture_worker *torture_add_worker(struct torture *torture, const char *kind,
					  unsigned int index,
					  void (*body)(struct torture_worker *))
{
	struct torture_worker *w = &torture->workers[torture->nr_workers];
	uint64_t seed = torture->options.seed + torture->nr_workers;

	snprintf(w->watch.name, sizeof(w->watch.name), "%s %u", kind, index);
	w->torture = torture;
	w->index = index;
	w->body = body;
	w->random = torture_random(&seed);
	torture->records[torture->nr_workers++] = &w->watch;
	return w;
}

int torture_alloc_workers(struct torture *torture, unsigned int nr)
{
	torture->workers = calloc(nr, sizeof(*torture->workers));
	torture->records = calloc(nr, sizeof(*torture->records));
	if (!torture->workers || !torture->records)
		return -ENOMEM;
	torture_add_worker(torture, "main", 0, NULL);
	return 0;
}

static int create_vm(struct torture_worker *main_worker, struct torture_vm *vm, unsigned int index)
{
	struct torture *torture = main_worker->torture;
	int error;

	vm->index = index;
	vm->nr_slots = 1 + torture->options.updaters * SLOTS_PER_UPDATER;
	vm->slots = calloc(vm->nr_slots, sizeof(*vm->slots));
	if (!vm->slots)
		return -ENOMEM;
	/* Two VMs have both kinds of each, in one combination or the other. */
	vm->config.manual_dirty_protect = index % 2;
	vm->config.mmu_lock = (index + torture->options.seed) % 2 ? S2_MMU_LOCK_MUTEX
								  : S2_MMU_LOCK_RWLOCK;
	error = s2_vm_create(torture->mm, &vm->config, &vm->vm);
	return error ? error : torture_create_slot(main_worker, vm, 0);
}

static void destroy_vms(struct torture *torture)
{
	for (unsigned int i = 0; torture->vms && i <= torture->options.vms; i++) {
		s2_vm_put(torture->vms[i].vm);
		free(torture->vms[i].slots);
	}
}

/* The last element of vms is the one that comes and goes. */
static int add_workers(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	int error = 0;

	for (unsigned int i = 0; !error && i < o->vms; i++)
		error = create_vm(&torture->workers[0], &torture->vms[i], i);
	for (unsigned int i = 0; i < o->vms * o->vcpus; i++)
		torture_add_worker(torture, "vcpu", i, torture_vcpu)->vm = &torture->vms[i / o->vcpus];
	for (unsigned int i = 0; i < o->unrelated; i++)
		torture_add_worker(torture, "unrelated", i, torture_unrelated)->watch.invalidates = true;
	for (unsigned int i = 0; i < o->related; i++)
		torture_add_worker(torture, "related", i, torture_related)->watch.invalidates = true;
	for (unsigned int i = 0; i < o->updaters; i++)
		torture_add_worker(torture, "updater", i, torture_updater);

	if (!error && o->updaters) {
		struct torture_vm *visitor = &torture->vms[o->vms];

		visitor->index = o->vms;
		visitor->nr_slots = 1;
		visitor->slots = calloc(1, sizeof(*visitor->slots));
		torture_add_worker(torture, "visitor", PAGE_OWNERS, torture_visitor)->vm = visitor;
		error = visitor->slots ? 0 : -ENOMEM;
	}
	return error;
}

static int process_create(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	const struct s2_mm_config config = { .gate = o->gate, .inflight_entries = o->entries };
	int error = torture_arena_create(&torture->arena);

	if (error)
		return error;
	torture->vms = calloc(o->vms + 1, sizeof(*torture->vms));
	torture->handovers = calloc(o->related + 1, sizeof(*torture->handovers));
	if (!torture->vms || !torture->handovers)
		return -ENOMEM;
	error = torture_alloc_workers(torture, 2 + o->vms * o->vcpus + o->unrelated + o->related +
						       o->updaters);
	if (!error)
		error = s2_mm_create(&config, &torture->mm);
	return error ? error : add_workers(torture);
}

static void process_destroy(struct torture *torture)
{
	destroy_vms(torture);
	s2_mm_put(torture->mm);
	if (torture->arena.base)
		torture_arena_destroy(&torture->arena);
	free(torture->vms);
	free(torture->handovers);
}

static void *run_worker(void *arg)
{
	struct torture_worker *w = arg;

	s2_schedule_thread((uint64_t)(w - w->torture->workers));
	w->body(w);
	watch_finish(&w->watch);
	return NULL;
}

static void nap(void)
{
	const struct timespec tick = { .tv_nsec = 10000000 };

	nanosleep(&tick, NULL);
}

static void wait_for_the_end(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	uint64_t begin = clock_ns(), end = begin + (uint64_t)(o->seconds * 1e9), told = UINT64_MAX;

	while (!stopped(torture) && clock_ns() < end) {
		watch_progress(&torture->workers[0].watch);
		nap();
		if (o->progress && (clock_ns() - begin) / 1000000000 != told) {
			told = (clock_ns() - begin) / 1000000000;
			fprintf(stderr, "\rstage2 torture: %s: %" PRIu64 " of %.0f s ",
				s2_gate_name(o->gate), told, o->seconds);
		}
	}
	if (o->progress)
		fprintf(stderr, "\r%60s\r", "");
}

/* Joins those that were started, which the watchdog watches until the last is done. */
static void run_threads(struct torture *torture)
{
	struct torture_worker *workers = torture->workers;
	unsigned int started = 1;
	int error = 0;

	while (!error && started < torture->nr_workers) {
		error = pthread_create(&workers[started].thread, NULL, run_worker,
				       &workers[started]);
		started += !error;
	}
	if (error)
		torture_give_up(&workers[0], -error);
	for (unsigned int i = started; i < torture->nr_workers; i++)
		watch_finish(&workers[i].watch);
	wait_for_the_end(torture);
	__atomic_store_n(&torture->stop, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 1; i < started; i++) {
		while (!watch_finished(&workers[i].watch)) {
			watch_progress(&workers[0].watch);
			nap();
		}
		pthread_join(workers[i].thread, NULL);
	}
}

static void process_check_the_end(struct torture *torture)
{
	struct torture_worker *w = &torture->workers[0];

	torture_end_handovers(w);
	for (unsigned int i = 0; i < torture->options.vms; i++) {
		w->vm = &torture->vms[i];
		torture_final_check(w);
	}
	check_counts(w);
}

static const struct torture_kind process_kind = {
	.create = process_create,
	.check_the_end = process_check_the_end,
	.destroy = process_destroy,
};

static int run_watched(struct torture *torture)
{
	const struct watchdog_config config = {
		.records = torture->records,
		.nr_records = torture->nr_workers,
		.patience_s = torture->options.patience_s,
		.updates_starve = torture->options.gate == S2_GATE_COUNT,
		.deadlock = deadlocked,
		.ctx = torture,
	};
	struct watchdog *watchdog = watchdog_start(&config);

	if (!watchdog)
		return -ENOMEM;
	run_threads(torture);
	if (!torture->error)
		torture->kind->check_the_end(torture);
	watchdog_stop(watchdog);
	return (int)torture->error;
}

static const struct torture_kind *kind_of(enum torture_provider provider)
{
#if S2_HAVE_POOL
	if (provider == TORTURE_POOL)
		return &torture_pool_kind;
#endif
	return provider == TORTURE_PROCESS ? &process_kind : NULL;
}

int torture_run(const struct torture_options *options, struct torture_report *report)
{
	struct torture torture = { .options = *options, .kind = kind_of(options->provider) };
	int error;

	if (!torture.kind)
		return -ENOTSUP;
	pthread_mutex_init(&torture.examples_lock, NULL);
	error = torture.kind->create(&torture);
	s2_schedule_run(options->seed, options->schedule);
	if (!error)
		error = run_watched(&torture);
	s2_schedule_run(0, 0);
	if (torture.mm)
		fill_report(&torture, report);
	torture.kind->destroy(&torture);
	pthread_mutex_destroy(&torture.examples_lock);
	free(torture.workers);
	free(torture.records);
	return error;
}
