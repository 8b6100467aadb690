/* SPDX-License-Identifier: MIT */
/*
 * Two situations in which the gates differ, staged with three threads each.
 *
 * nested-lock, why Linux did not merge the patch as it was posted. The lock M is the caller's own,
 * say an allocator's; it is taken before start() by one thread and between start and end by
 *another:
 *
 *	A			updater			B
 *	start()
 *				memslot update:
 *				waits for A's end
 *							lock M
 *							start(): with a fair semaphore
 *							it waits behind the updater
 *	lock M: waits for B
 *
 * starve, why its successor is not the last word either: two threads hand over to each other, so
 * that an invalidation is in flight at all times, though none is long. Who waits for a moment
 * without any waits for ever.
 *
 * In both the invalidations overlap the memslot, so that no gate has it easier than another.
 */
#include "torture.h"

#include "clock.h"
#include "torture_watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOT_PAGES 16u
#define ROUNDS 3u
/* How long the updater gets until it must be waiting, if its gate makes it wait. */
#define UPDATER_HEADSTART_NS UINT64_C(100000000)
/* So long an invalidation waits for its successor: a gate that stops it is not to be deadlocked. */
#define HANDOVER_NS UINT64_C(50000000)

/* One s2_mm, one VM, and memory for one memslot. */
struct stage {
	struct s2_mm *mm;
	struct s2_vm *vm;
	uint64_t hva;
};

static int stage_create(struct stage *stage, enum s2_gate gate)
{
	const struct s2_mm_config config = { .gate = gate };
	void *memory = mmap(NULL, SLOT_PAGES * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error;

	*stage = (struct stage){ .hva = (uintptr_t)memory };
	if (memory == MAP_FAILED)
		return -errno;
	error = s2_mm_create(&config, &stage->mm);
	return error ? error : s2_vm_create(stage->mm, NULL, &stage->vm);
}

static void stage_destroy(struct stage *stage)
{
	s2_vm_put(stage->vm);
	s2_mm_put(stage->mm);
	munmap((void *)(uintptr_t)stage->hva, SLOT_PAGES * S2_PAGE_SIZE);
}

static int set_slot(const struct stage *stage, bool present)
{
	const struct kvm_userspace_memory_region region = {
		.memory_size = present ? SLOT_PAGES * S2_PAGE_SIZE : 0,
		.userspace_addr = stage->hva,
	};

	return s2_vm_set_memory_region(stage->vm, &region);
}

enum nested_thread { THREAD_A, THREAD_UPDATER, THREAD_B, NR_NESTED_THREADS };

/* @step: which of the threads has its turn, in the order of the enum, then A again. */
struct nested {
	struct stage stage;
	pthread_mutex_t lock;
	struct watch_record records[NR_NESTED_THREADS];
	uint64_t step;
	uint64_t updated;
	uint64_t failures;
};

static void fail(struct nested *nested)
{
	__atomic_store_n(&nested->failures, 1, __ATOMIC_RELAXED);
}

static void await_step(struct nested *nested, struct watch_record *record, uint64_t step)
{
	watch_now(record, WATCH_PEER, 0, 0);
	while (__atomic_load_n(&nested->step, __ATOMIC_ACQUIRE) < step)
		sched_yield();
}

static void next_step(struct nested *nested, uint64_t step)
{
	__atomic_store_n(&nested->step, step, __ATOMIC_RELEASE);
}

static void take_lock(struct nested *nested, struct watch_record *record)
{
	watch_now(record, WATCH_LOCK, 0, 0);
	pthread_mutex_lock(&nested->lock);
	watch_hold(record, WATCH_LOCK, 0, 0);
}

static void drop_lock(struct nested *nested, struct watch_record *record)
{
	pthread_mutex_unlock(&nested->lock);
	watch_release(record, WATCH_LOCK, 0, 0);
}

static bool start_page(struct nested *nested, struct watch_record *record,
		       struct s2_invalidation *inv, unsigned int page)
{
	uint64_t start = nested->stage.hva + page * S2_PAGE_SIZE;

	watch_now(record, WATCH_START, start, start + S2_PAGE_SIZE);
	if (s2_invalidate_range_start(nested->stage.mm, inv, start, start + S2_PAGE_SIZE, 0)) {
		fail(nested);
		return false;
	}
	watch_hold(record, WATCH_START, start, start + S2_PAGE_SIZE);
	return true;
}

static void end_page(struct nested *nested, struct watch_record *record,
		     struct s2_invalidation *inv)
{
	watch_now(record, WATCH_END, inv->start, inv->end);
	watch_release(record, WATCH_START, inv->start, inv->end);
	s2_invalidate_range_end(nested->stage.mm, inv);
}

static void *run_a(void *arg)
{
	struct nested *nested = arg;
	struct watch_record *record = &nested->records[THREAD_A];
	struct s2_invalidation inv;
	bool open = start_page(nested, record, &inv, 0);

	next_step(nested, THREAD_UPDATER);
	await_step(nested, record, NR_NESTED_THREADS);
	take_lock(nested, record);
	drop_lock(nested, record);
	if (open)
		end_page(nested, record, &inv);
	watch_finish(record);
	return NULL;
}

static void *run_updater(void *arg)
{
	struct nested *nested = arg;
	struct watch_record *record = &nested->records[THREAD_UPDATER];

	await_step(nested, record, THREAD_UPDATER);
	watch_now(record, WATCH_UPDATE, 0, 0);
	next_step(nested, THREAD_B);
	if (set_slot(&nested->stage, true))
		fail(nested);
	__atomic_store_n(&nested->updated, 1, __ATOMIC_RELEASE);
	watch_finish(record);
	return NULL;
}

static void *run_b(void *arg)
{
	struct nested *nested = arg;
	struct watch_record *record = &nested->records[THREAD_B];
	struct s2_invalidation inv;
	uint64_t headstart;

	await_step(nested, record, THREAD_B);
	headstart = clock_ns() + UPDATER_HEADSTART_NS;
	while (!__atomic_load_n(&nested->updated, __ATOMIC_ACQUIRE) && clock_ns() < headstart)
		sched_yield();
	take_lock(nested, record);
	next_step(nested, NR_NESTED_THREADS);
	if (start_page(nested, record, &inv, 1))
		end_page(nested, record, &inv);
	drop_lock(nested, record);
	watch_finish(record);
	return NULL;
}

static int play_round(struct nested *nested)
{
	static void *(*const bodies[])(void *) = { run_a, run_updater, run_b };
	pthread_t threads[NR_NESTED_THREADS];

	nested->step = THREAD_A;
	nested->updated = 0;
	for (unsigned int i = 0; i < NR_NESTED_THREADS; i++) {
		__atomic_store_n(&nested->records[i].finished, 0, __ATOMIC_RELAXED);
		watch_now(&nested->records[i], WATCH_NOTHING, 0, 0);
	}
	/* Without all three the play cannot go on; the child just ends. */
	for (unsigned int i = 0; i < NR_NESTED_THREADS; i++)
		if (pthread_create(&threads[i], NULL, bodies[i], nested))
			return -EAGAIN;
	for (unsigned int i = 0; i < NR_NESTED_THREADS; i++)
		pthread_join(threads[i], NULL);
	return set_slot(&nested->stage, false);
}

static void tell_deadlock(void *ctx, const char *threads)
{
	dprintf(*(int *)ctx, "%s", threads);
	_exit(1);
}

/* In the child process; the answer is its exit status. */
static int play_nested(enum s2_gate gate, double patience_s, int report_fd)
{
	struct nested nested = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.records = { { .name = "A" }, { .name = "updater" }, { .name = "B" } },
	};
	struct watch_record *records[] = { &nested.records[0], &nested.records[1],
					   &nested.records[2] };
	const struct watchdog_config config = {
		.records = records,
		.nr_records = NR_NESTED_THREADS,
		.patience_s = patience_s,
		.deadlock = tell_deadlock,
		.ctx = &report_fd,
	};
	struct watchdog *watchdog;

	if (stage_create(&nested.stage, gate))
		return 1;
	watchdog = watchdog_start(&config);
	for (unsigned int i = 0; watchdog && !nested.failures && i < ROUNDS; i++)
		nested.failures = nested.failures || play_round(&nested);
	if (watchdog)
		watchdog_stop(watchdog);
	if (!nested.failures)
		stage_destroy(&nested.stage);
	return !watchdog || nested.failures;
}

static void read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;

	while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
}

static int nested_in_child(enum s2_gate gate, double patience_s, struct torture_nested *result)
{
	uint64_t begin = clock_ns();
	int fds[2], status;
	pid_t child;

	if (pipe(fds))
		return -errno;
	child = fork();
	if (child < 0) {
		int error = -errno;

		close(fds[0]);
		close(fds[1]);
		return error;
	}
	if (!child)
		_exit(play_nested(gate, patience_s, fds[1]));
	close(fds[1]);
	read_all(fds[0], result->threads, sizeof(result->threads));
	close(fds[0]);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	result->seconds = (double)(clock_ns() - begin) / 1e9;
	/* By what the child said, since a sanitizer may have its own idea of the exit status. */
	result->deadlock = result->threads[0] != '\0';
	result->failed = !result->deadlock && status;
	return 0;
}

int torture_nested_lock(double patience_s, struct torture_nested results[S2_NR_GATES])
{
	int error = 0;

	for (unsigned int gate = 0; !error && gate < S2_NR_GATES; gate++)
		error = nested_in_child((enum s2_gate)gate, patience_s, &results[gate]);
	return error;
}

bool torture_nested_as_known(const struct torture_nested results[S2_NR_GATES])
{
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
		if (results[gate].failed || results[gate].deadlock != (gate == S2_GATE_RWSEM))
			return false;
	return true;
}

/*
 * @step:    the number of the invalidation to be started next; the two threads take turns.
 * @waiting: when the update began that is under way, or 0.
 */
struct starve {
	struct stage stage;
	uint64_t step;
	uint64_t stop;
	uint64_t waiting;
	int64_t error;
	struct torture_starve *result;
};

struct starve_churn {
	struct starve *starve;
	uint64_t first;
};

static bool starve_stopped(const struct starve *starve)
{
	return __atomic_load_n(&starve->stop, __ATOMIC_RELAXED);
}

static bool reached(const struct starve *starve, uint64_t step)
{
	return __atomic_load_n(&starve->step, __ATOMIC_ACQUIRE) >= step;
}

/* Invalidation @step, which ends once its successor, the other thread's, has begun. */
static int hand_over(struct starve *starve, uint64_t step)
{
	struct s2_invalidation inv;
	uint64_t start = starve->stage.hva + step % SLOT_PAGES * S2_PAGE_SIZE;
	uint64_t give_up;
	int error;

	error = s2_invalidate_range_start(starve->stage.mm, &inv, start, start + S2_PAGE_SIZE, 0);
	if (error)
		return error;
	__atomic_store_n(&starve->step, step + 1, __ATOMIC_RELEASE);
	give_up = clock_ns() + HANDOVER_NS;
	while (!reached(starve, step + 2) && !starve_stopped(starve) && clock_ns() < give_up)
		sched_yield();
	s2_invalidate_range_end(starve->stage.mm, &inv);
	return 0;
}

static void note_error(struct starve *starve, int error)
{
	if (!error)
		return;
	__atomic_store_n(&starve->error, error, __ATOMIC_RELAXED);
	__atomic_store_n(&starve->stop, 1, __ATOMIC_RELAXED);
}

static void *run_churn(void *arg)
{
	const struct starve_churn *churn = arg;
	struct starve *starve = churn->starve;

	for (uint64_t step = churn->first; !starve_stopped(starve);) {
		if (!reached(starve, step)) {
			sched_yield();
			continue;
		}
		note_error(starve, hand_over(starve, step));
		step += 2;
	}
	return NULL;
}

static void *run_starving_updater(void *arg)
{
	struct starve *starve = arg;
	struct torture_starve *result = starve->result;

	for (bool present = true; !starve_stopped(starve); present = !present) {
		uint64_t begin = clock_ns(), ns;

		__atomic_store_n(&starve->waiting, begin, __ATOMIC_RELAXED);
		note_error(starve, set_slot(&starve->stage, present));
		__atomic_store_n(&starve->waiting, 0, __ATOMIC_RELAXED);
		ns = clock_ns() - begin;
		if (ns > result->max_wait_ns)
			result->max_wait_ns = ns;
		result->updates++;
	}
	return NULL;
}

static int play_starve(struct starve *starve, double seconds)
{
	struct starve_churn churn[2] = { { starve, 0 }, { starve, 1 } };
	const struct timespec nap = { .tv_nsec = 10000000 };
	uint64_t length = (uint64_t)(seconds * 1e9), end = clock_ns() + length, waiting;
	unsigned int started = 0;
	pthread_t threads[3];
	int error = 0;

	for (; !error && started < 3; started += !error)
		error = -pthread_create(&threads[started], NULL,
					started < 2 ? run_churn : run_starving_updater,
					started < 2 ? (void *)&churn[started] : (void *)starve);
	note_error(starve, error);
	while (!starve_stopped(starve) && clock_ns() < end)
		nanosleep(&nap, NULL);
	waiting = __atomic_load_n(&starve->waiting, __ATOMIC_RELAXED);
	starve->result->starved = waiting && clock_ns() - waiting >= length / 2;
	__atomic_store_n(&starve->stop, 1, __ATOMIC_RELAXED);
	while (started)
		pthread_join(threads[--started], NULL);
	return (int)starve->error;
}

int torture_starve(enum s2_gate gate, double seconds, struct torture_starve *result)
{
	struct starve starve = { .result = result };
	int error = stage_create(&starve.stage, gate);

	*result = (struct torture_starve){ 0 };
	if (!error)
		error = play_starve(&starve, seconds);
	if (starve.stage.hva != (uintptr_t)MAP_FAILED)
		stage_destroy(&starve.stage);
	return error;
}
