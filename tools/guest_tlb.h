/* SPDX-License-Identifier: MIT */
/*
 * What an engine's TLB says about a guest's pages: only what the guest may do with them. The memory
 * is mapped into the engine as a whole, since with many mappings Unicorn is slow; but each access
 * to a page that the TLB does not have asks here first.
 */
#ifndef STAGE2_TOOLS_GUEST_TLB_H
#define STAGE2_TOOLS_GUEST_TLB_H

#include <stdbool.h>
#include <stdint.h>
#include <unicorn/unicorn.h>

struct guest_maps;

/*
 * @cpu:     what Unicorn calls the engine; NULL as long as its TLB is empty.
 * @refused: the guest's program was stopped before an access that it may not make, to @gpa;
 *           @writing: as a store. The engine can be started again, at the same instruction.
 */
struct guest_tlb {
	uc_engine *engine;
	const struct guest_maps *maps;
	void *cpu;
	bool refused;
	bool writing;
	uint64_t gpa;
};

/*
 * Before the calling thread runs an engine: @tlb is this one's; NULL: it runs no guest. Where
 * Unicorn is not the version that allows it, nothing happens, and a guest accesses all of its
 * memory.
 */
void guest_tlb_use(struct guest_tlb *tlb);

/* After something was forbidden. By the engine's thread, also during a system call. */
void guest_tlb_forget(struct guest_tlb *tlb, uint64_t gpa, uint64_t size);

#endif
