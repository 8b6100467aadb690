/* SPDX-License-Identifier: MIT */
/*
 * Each recorded address space is an s2_mm, each recorded VM an s2_vm. All VMs are created before
 * the first event: under the gates that come from Linux, creating one waits for the invalidations
 * in flight, which is no part of what was recorded. It charges the gate `always` with mmu_lock also
 * for the invalidations before KVM_CREATE_VM.
 *
 * A call that invalidates two ranges (mremap with MREMAP_FIXED) opens a pair inside a pair, for
 * exactly those ranges and for as long as the call lasted. One pair over both and what is between
 * them would be related to memslots that the call did not touch, and one after the other would not
 * keep the first range invalid until the call's end. replay_order.h issues no memslot update
 * before both have started, so that the rwsem gate does not deadlock on it.
 *
 * The library's VMs have one address space. A recorded VM with a second one (SMM) gets a second
 * s2_vm for it: the counts of invalidations stay exact, but it has an mmu_lock of its own there.
 */
#include "replay.h"

#include "arena.h"
#include "clock.h"
#include "replay_order.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stage2/stage2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the model knows; KVM_MEM_GUEST_MEMFD says where memory comes from, which is ours to say. */
#define KNOWN_FLAGS (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

struct replay_process {
	struct s2_mm *mm;
	struct arena *arena;
};

struct replay_vm {
	struct s2_vm *vm[PLAN_ADDRESS_SPACES]; /* the second is NULL if it has no memslots */
	struct guest *guest;		       /* NULL without vCPUs */
};

/* The call that a recorded thread is in. */
struct replay_thread {
	struct s2_invalidation inv[2];
	unsigned int nr_started;
	uint64_t start_ns; /* how long start() took */
};

struct replay {
	const struct replay_plan *plan;
	const struct replay_settings *settings;
	struct replay_process *processes;
	struct replay_vm *vms;
	struct replay_thread *threads;

	pthread_mutex_t lock; /* of all below */
	struct replay_result *result;
	struct trace_error *err;
	int error;  /* the first one, described in *err */
	bool stuck; /* events were left running; only for replay_run()'s thread */
};

/* Describes the first error only; those that follow are mostly its consequences. */
__attribute__((format(printf, 4, 5))) static int fail(struct replay *replay, uint64_t line,
						      int error, const char *format, ...)
{
	char where[32] = "", what[256];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (line)
		snprintf(where, sizeof(where), "%" PRIu64 ":", line);
	pthread_mutex_lock(&replay->lock);
	if (!replay->error) {
		replay->error = error;
		replay->err->line = line;
		snprintf(replay->err->message, sizeof(replay->err->message),
			 "%.200s:%s gate %s: %s", replay->plan->name, where,
			 s2_gate_name(replay->settings->gate), what);
	}
	pthread_mutex_unlock(&replay->lock);
	return error;
}

static const struct trace_event *event_of(const struct replay *replay, size_t event)
{
	return &replay->plan->trace->events[event];
}

static bool drops_pages(const struct trace_call *call)
{
	return call->kind != TRACE_MPROTECT;
}

static bool run_start(struct replay *replay, const struct trace_call *call)
{
	struct replay_process *process = &replay->processes[call->process];
	struct replay_thread *thread = &replay->threads[call->thread];
	uint64_t before = clock_ns();
	int error = 0;

	thread->nr_started = 0;
	for (unsigned int i = 0; i < call->nr_ranges && !error; i++) {
		error = s2_invalidate_range_start(process->mm, &thread->inv[i],
						  call->range[i].start, call->range[i].end, 0);
		thread->nr_started += !error;
	}
	thread->start_ns = clock_ns() - before;
	if (error) {
		fail(replay, call->start_line, error, "s2_invalidate_range_start() refused %s: %s",
		     trace_kind_name(call->kind), strerror(-error));
		return false;
	}
	for (unsigned int i = 0; drops_pages(call) && i < call->nr_ranges; i++)
		arena_drop(process->arena, call->range[i]);
	return true;
}

static void run_end(struct replay *replay, const struct trace_call *call)
{
	struct replay_thread *thread = &replay->threads[call->thread];
	struct s2_mm *mm = replay->processes[call->process].mm;
	uint64_t before = clock_ns(), took;

	for (unsigned int i = thread->nr_started; i-- > 0;)
		s2_invalidate_range_end(mm, &thread->inv[i]);
	took = clock_ns() - before;
	pthread_mutex_lock(&replay->lock);
	latency_add(&replay->result->invalidation_ns, thread->start_ns + took);
	pthread_mutex_unlock(&replay->lock);
}

static bool run_update(struct replay *replay, const struct trace_call *call)
{
	struct replay_vm *vm = &replay->vms[call->vm];
	struct kvm_userspace_memory_region region = call->region;
	unsigned int space = region.slot >> 16;
	uint64_t before, took;
	int error = -EINVAL;

	region.flags &= KNOWN_FLAGS;
	region.slot &= 0xffff;
	before = clock_ns();
	if (space < PLAN_ADDRESS_SPACES)
		error = s2_vm_set_memory_region(vm->vm[space], &region);
	took = clock_ns() - before;
	if (error) {
		fail(replay, call->end_line, error,
		     "the library refused a memslot update that the recorded kernel accepted: %s",
		     strerror(-error));
		return false;
	}
	pthread_mutex_lock(&replay->lock);
	latency_add(&replay->result->memslot_update_ns, took);
	pthread_mutex_unlock(&replay->lock);
	if (vm->guest && !space && guest_update(vm->guest, &region)) {
		fail(replay, 0, -ENOMEM, "out of memory");
		return false;
	}
	return true;
}

static void close_vm(struct replay *replay, struct replay_vm *vm)
{
	struct guest_stats *stats = calloc(1, sizeof(*stats));

	guest_destroy(vm->guest, stats);
	for (unsigned int i = 0; i < PLAN_ADDRESS_SPACES; i++)
		s2_vm_put(vm->vm[i]);
	*vm = (struct replay_vm){ 0 };
	if (!stats) {
		fail(replay, 0, -ENOMEM, "out of memory");
		return;
	}
	if (stats->error)
		fail(replay, 0, stats->error,
		     "a vCPU could not use the guest's memory at 0x%" PRIx64 ": %s",
		     stats->error_gpa, strerror(-stats->error));
	pthread_mutex_lock(&replay->lock);
	guest_add_stats(&replay->result->vcpus, stats);
	pthread_mutex_unlock(&replay->lock);
	free(stats);
}

static bool run_event(void *ctx, size_t event)
{
	struct replay *replay = ctx;
	const struct trace_event *e = event_of(replay, event);

	switch (e->type) {
	case TRACE_START:
		return run_start(replay, plan_call(replay->plan, event));
	case TRACE_END:
		run_end(replay, plan_call(replay->plan, event));
		return true;
	case TRACE_UPDATE:
		return run_update(replay, plan_call(replay->plan, event));
	case TRACE_VM_GONE:
		close_vm(replay, &replay->vms[e->index]);
		return true;
	}
	return false;
}

static int create_process(struct replay *replay, size_t index)
{
	const struct plan_process *plan = &replay->plan->processes[index];
	struct replay_process *process = &replay->processes[index];
	struct s2_mm_config config = { .gate = replay->settings->gate,
				       .provider = &arena_provider };
	int error = arena_create(plan->memory, plan->nr_memory, &process->arena);

	if (error)
		return fail(replay, 0, error,
			    "no room for the guests' memory: %s; raise the limit on address space "
			    "(ulimit -v) or record a smaller guest",
			    strerror(-error));
	config.provider_ctx = process->arena;
	error = s2_mm_create(&config, &process->mm);
	return error ? fail(replay, 0, error, "s2_mm_create(): %s", strerror(-error)) : 0;
}

static int create_vm(struct replay *replay, size_t index)
{
	const struct plan_vm *plan = &replay->plan->vms[index];
	struct replay_process *process =
		&replay->processes[replay->plan->trace->vms[index].process];
	struct replay_vm *vm = &replay->vms[index];
	int error = s2_vm_create(process->mm, NULL, &vm->vm[0]);

	if (!error && plan->two_address_spaces)
		error = s2_vm_create(process->mm, NULL, &vm->vm[1]);
	if (error)
		return fail(replay, 0, error, "s2_vm_create(): %s", strerror(-error));
	if (!replay->settings->vcpus || !plan->memslot_updates)
		return 0;
	error = guest_create(vm->vm[0], process->arena, replay->settings->vcpus,
			     replay->settings->seed + index * 64, &vm->guest);
	if (error)
		return fail(replay, 0, error,
			    "could not start the vCPUs of %zu VMs: %s; ask for fewer with --vcpus",
			    replay->plan->trace->nr_vms, strerror(-error));
	return 0;
}

static int create_all(struct replay *replay)
{
	const struct trace *trace = replay->plan->trace;
	int error = 0;

	replay->processes = calloc(trace->nr_processes + 1, sizeof(*replay->processes));
	replay->vms = calloc(trace->nr_vms + 1, sizeof(*replay->vms));
	replay->threads = calloc(replay->plan->nr_threads, sizeof(*replay->threads));
	if (!replay->processes || !replay->vms || !replay->threads)
		return fail(replay, 0, -ENOMEM, "out of memory");
	for (size_t i = 0; i < trace->nr_processes && !error; i++)
		error = create_process(replay, i);
	for (size_t i = 0; i < trace->nr_vms && !error; i++)
		error = create_vm(replay, i);
	return error;
}

/* The library's decisions against the recording, and into the result. */
static void take_counts(struct replay *replay, size_t index)
{
	const struct plan_process *plan = &replay->plan->processes[index];
	bool elides = replay->settings->gate != S2_GATE_ALWAYS;
	uint64_t expected = elides ? plan->invalidations - plan->related : 0;
	struct s2_mm_stats stats;
	uint64_t invalidations, elided;

	s2_mm_get_stats(replay->processes[index].mm, &stats);
	invalidations = stats.invalidations - plan->extra_invalidations;
	elided = stats.elided - (elides ? plan->extra_elided : 0);
	if (invalidations != plan->invalidations || elided != expected ||
	    stats.memslot_updates != plan->memslot_updates)
		fail(replay, 0, -EPROTO,
		     "counts differ: in process %" PRIu32 " the library elided %" PRId64
		     " of %" PRId64 " invalidations and made %" PRIu64
		     " memslot updates, by the recording it is %" PRIu64 " of %" PRIu64
		     " and %" PRIu64,
		     replay->plan->trace->processes[index].tid, (int64_t)elided,
		     (int64_t)invalidations, stats.memslot_updates, expected, plan->invalidations,
		     plan->memslot_updates);
	replay->result->invalidations += invalidations;
	replay->result->elided += elided;
	replay->result->mmu_lock_acquired += stats.mmu_lock_acquired;
	replay->result->memslot_updates += stats.memslot_updates;
}

static void close_vms(struct replay *replay)
{
	for (size_t i = 0; replay->vms && i < replay->plan->trace->nr_vms; i++)
		close_vm(replay, &replay->vms[i]);
}

static void destroy_all(struct replay *replay)
{
	for (size_t i = 0; replay->processes && i < replay->plan->trace->nr_processes; i++) {
		s2_mm_put(replay->processes[i].mm);
		arena_destroy(replay->processes[i].arena);
	}
	free(replay->processes);
	free(replay->vms);
	free(replay->threads);
	pthread_mutex_destroy(&replay->lock);
	free(replay);
}

static void fail_stuck(struct replay *replay, int error, size_t event)
{
	static const char *const waits[] = {
		[TRACE_START] = "to start",
		[TRACE_END] = "to end",
		[TRACE_UPDATE] = "to return",
		[TRACE_VM_GONE] = "to be closed",
	};
	const struct trace_call *call;

	replay->stuck = true;
	if (error != -ETIMEDOUT || event == ORDER_NO_EVENT) {
		fail(replay, 0, error, "could not start a recorded thread: %s", strerror(-error));
		return;
	}
	call = plan_call(replay->plan, event);
	fail(replay, event_of(replay, event)->line, error,
	     "stuck: nothing moved for %u s; the first to wait for is this %s, %s",
	     replay->settings->stall_s, call ? trace_kind_name(call->kind) : "VM",
	     waits[event_of(replay, event)->type]);
}

static void play(struct replay *replay)
{
	const struct replay_settings *settings = replay->settings;
	const struct order_options options = {
		.speed = settings->speed,
		.starts_wait = settings->gate == S2_GATE_RWSEM,
		.stall_ns = settings->stall_s * UINT64_C(1000000000),
		.progress = settings->progress,
		.progress_ctx = settings->progress_ctx,
	};
	uint64_t before = clock_ns();
	size_t stuck;
	int error = order_play(replay->plan, &options, run_event, replay, &stuck);

	replay->result->wall_ns = clock_ns() - before;
	if (error) {
		fail_stuck(replay, error, stuck);
		return;
	}
	for (size_t i = 0; i < replay->plan->trace->nr_processes; i++)
		take_counts(replay, i);
}

int replay_run(const struct replay_plan *plan, const struct replay_settings *settings,
	       struct replay_result *result, struct trace_error *err)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int error;

	memset(result, 0, sizeof(*result));
	*err = (struct trace_error){ .message = "out of memory" };
	if (!replay)
		return -ENOMEM;
	replay->plan = plan;
	replay->settings = settings;
	replay->result = result;
	replay->err = err;
	pthread_mutex_init(&replay->lock, NULL);
	if (!create_all(replay))
		play(replay);
	/* The threads that are stuck in the library still need all of this. */
	if (replay->stuck)
		return replay->error;
	close_vms(replay);
	error = replay->error;
	destroy_all(replay);
	return error;
}
