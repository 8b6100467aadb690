/* SPDX-License-Identifier: MIT */
/*
 * The vCPUs of a replayed VM: threads that read and write random pages of the memory which the
 * recorded memslots give it at the moment, from its first memslot to its end.
 */
#ifndef STAGE2_TOOLS_REPLAY_GUEST_H
#define STAGE2_TOOLS_REPLAY_GUEST_H

#include "arena.h"
#include "latency.h"

#include <stage2/stage2.h>
#include <stdint.h>

struct guest;

struct guest_stats {
	uint64_t accesses;
	uint64_t mmio; /* of them, those that no memslot, or a read-only one, answered */
	uint64_t faults;
	struct latency fault_ns; /* how long an access took that faulted */
	int error;		 /* the first unexpected answer to an access, else 0 */
	uint64_t error_gpa;
};

/* Starts @vcpus threads, which wait for memory. Returns 0 or a negative errno. */
int guest_create(struct s2_vm *vm, const struct arena *arena, unsigned int vcpus, uint64_t seed,
		 struct guest **out);

/* The update has taken effect. Returns 0 or -ENOMEM. */
int guest_update(struct guest *guest, const struct kvm_userspace_memory_region *region);

/*
 * Stops and destroys the vCPUs, adding to *@stats what they saw. May wait for an invalidation in
 * flight, which a vCPU's fault waits for. NULL is allowed.
 */
void guest_destroy(struct guest *guest, struct guest_stats *stats);

void guest_add_stats(struct guest_stats *stats, const struct guest_stats *more);

#endif
