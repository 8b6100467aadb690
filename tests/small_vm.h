/* SPDX-License-Identifier: MIT */
/*
 * What most tests of memslots begin with: an s2_mm on frames that the test can
 * exchange and memory that it counts, one VM, one vCPU. All calls fail the test
 * if something goes wrong that the test is not about.
 */
#ifndef TESTS_SMALL_VM_H
#define TESTS_SMALL_VM_H

#include "counting_allocator.h"
#include "frame_provider.h"

#include <pthread.h>
#include <stage2/stage2.h>

struct small_vm {
	struct counting_allocator memory;
	struct frame_provider host;
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
};

void small_vm_begin(struct small_vm *small, enum s2_gate gate, const struct s2_vm_config *config);

/* Also checks that all memory has come back. */
void small_vm_end(struct small_vm *small);

/* @flags, @gfn, @pages and the page of the frame provider; 0 pages deletes. */
int set_slot(struct s2_vm *vm, uint32_t id, uint64_t gfn, uint64_t pages, unsigned page,
	     uint32_t flags);

/* One access from outside guest mode, at the beginning of a page. */
int guest_load(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t *value);
int guest_store(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t value);
void assert_guest_reads(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t value);

/* Does an invalidation of these pages of the frame provider take a mmu_lock? Not for `always`. */
bool invalidation_is_related(struct s2_mm *mm, unsigned page, unsigned pages);

/* Puts another frame behind a page, inside the invalidation that belongs to it. */
void exchange_frame(struct small_vm *small, unsigned page, uint32_t frame);

struct s2_vm_stats vm_stats(struct s2_vm *vm);
struct s2_mm_stats mm_stats(struct s2_mm *mm);

/* A load or a store in a thread of its own, which may be made to wait. */
struct guest_access {
	struct s2_vcpu *vcpu;
	uint64_t gfn;
	uint64_t value;
	bool store;
	int ret;
	pthread_t thread;
};

void guest_access_begin(struct guest_access *access);
int guest_access_end(struct guest_access *access);

/* $S2_SHOOTDOWN: with "rseq", tests that do not care have their vCPUs shot down that way. */
const struct s2_vcpu_config *test_vcpu_config(void);

/* $S2_SEED or something new each time; printed. */
uint64_t test_seed(void);
uint64_t test_random(uint64_t *state);

#endif /* TESTS_SMALL_VM_H */
