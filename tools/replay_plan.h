/* SPDX-License-Identifier: MIT */
/*
 * What a replay has to know before it begins, worked out once per recording and the same for every
 * gate: which host memory the guests will have, what each memslot update takes away, and which
 * events must not overtake each other.
 */
#ifndef STAGE2_TOOLS_REPLAY_PLAN_H
#define STAGE2_TOOLS_REPLAY_PLAN_H

#include "trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a memslot update touches; "old" is what was in its slot before, empty for a new memslot. */
struct plan_update {
	struct trace_range old_hva;
	struct trace_range new_hva;
	struct trace_range old_gpa;
	struct trace_range new_gpa;
};

struct plan_process {
	/* Where its memslots ever are: sorted, apart from each other. */
	struct trace_range *memory;
	size_t nr_memory;
	size_t room_memory;

	uint64_t invalidations;
	uint64_t related;
	uint64_t memslot_updates;

	/*
	 * A call with two ranges is one invalidation but two brackets in the library. By so much do
	 * the library's two counts exceed those of calls.
	 */
	uint64_t extra_invalidations;
	uint64_t extra_elided;
};

/* The address space is in the upper half of a slot number; x86 has two, the second for SMM. */
#define PLAN_ADDRESS_SPACES 2

struct plan_vm {
	uint64_t memslot_updates;
	bool two_address_spaces;
};

struct replay_plan {
	const char *name; /* of the recording, for errors */
	const struct trace *trace;
	struct plan_process *processes;
	struct plan_vm *vms;
	uint32_t *update_of_call; /* index in updates, for calls that are one */
	struct plan_update *updates;

	/* Events of each thread; the last element is of the one that closes VMs, see plan_thread().
	 */
	size_t *thread_events;
	size_t nr_threads;
};

/* @name and @trace must outlive the plan. Returns 0 or -ENOMEM. */
int replay_plan_create(const char *name, const struct trace *trace, struct replay_plan **out);
void replay_plan_destroy(struct replay_plan *plan);

/*
 * The thread that issues the event. The recording does not tell who closed a VM, and the wait for
 * its vCPUs must hold up no recorded thread: one more thread does it.
 */
uint32_t plan_thread(const struct replay_plan *plan, size_t event);

uint32_t plan_process(const struct replay_plan *plan, size_t event);

/* The call of a start, end or update event; NULL for a VM that is closed. */
const struct trace_call *plan_call(const struct replay_plan *plan, size_t event);

/*
 * Must @later not begin before @earlier, which is before it in the recording, has returned? So
 * that no count depends on the gate or on chance:
 *  - a thread does one thing at a time;
 *  - an invalidation that starts waits for updates of the memslots it overlaps, and they for it:
 *    which memslots were there at its start decides whether it is related;
 *  - updates of one VM wait for each other if they touch the same slot or guest range: the second
 *    may be refused before the first;
 *  - the start of a call with two ranges and updates wait for each other: it opens a pair inside a
 *    pair, which under the rwsem gate deadlocks if an update comes in between.
 * An end waits for nothing but its own start. So what updates wait for always happens, and waiting
 * for updates cannot stop the replay.
 */
bool plan_conflicts(const struct replay_plan *plan, size_t earlier, size_t later);

#endif
