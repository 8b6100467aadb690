/* SPDX-License-Identifier: MIT */
/*
 * Two of Unicorn's functions come through here (guest_unicorn.h): the one that is asked for a page
 * that the TLB does not have, which refuses what the guest may not do, and the one that makes the
 * entry, from which the right to write is taken where there is none. So what is in the TLB is
 * always allowed, and an access to it costs nothing.
 *
 * The entry also has a mark that makes stores look for translated code, each time with a balanced
 * tree made and freed, and Unicorn never removes it: gzip runs fifteen times slower than
 * without. Later versions remove it for memory that is not executable. Here a guest's memory is
 * either executable or writable (guest_cpu.c), so no store ever meets code, and it is removed at
 * once by the function that is meant for that.
 */
#include "guest_tlb.h"

#include "guest_maps.h"
#include "guest_unicorn.h"

#if GUEST_UNICORN_KNOWN

#include <pthread.h>
#include <stddef.h>

/* Unicorn's kinds of access, and the bit of a protection that allows to write. */
#define ACCESS_STORE 1
#define ACCESS_FETCH 2
#define PROTECTION_WRITE 2

/* More pages than these are forgotten together with all others. */
#define FEW_PAGES 64

typedef bool tlb_fill(void *cpu, uint64_t gva, int size, int access, int mmu_index, bool probe,
		      uintptr_t return_address);
typedef void tlb_set_page(void *cpu, uint64_t gva, uint64_t gpa, uint32_t attributes,
			  int protection, int mmu_index, uint64_t size);
typedef void tlb_page_function(void *cpu, uint64_t gva);
typedef void tlb_function(void *cpu);
typedef void loop_exit(void *cpu, uintptr_t return_address);

tlb_fill x86_cpu_tlb_fill_x86_64;
tlb_set_page tlb_set_page_with_attrs_x86_64;

static struct {
	tlb_fill *fill;
	tlb_set_page *set_page;
	tlb_page_function *set_dirty;
	tlb_page_function *flush_page;
	tlb_function *flush;
	loop_exit *leave;
	bool complete;
} unicorn;

static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static _Thread_local struct guest_tlb *current;

static void prepare(void)
{
	unicorn.fill = (tlb_fill *)guest_unicorn_function("x86_cpu_tlb_fill_x86_64");
	unicorn.set_page =
		(tlb_set_page *)guest_unicorn_function("tlb_set_page_with_attrs_x86_64");
	unicorn.set_dirty = (tlb_page_function *)guest_unicorn_function("tlb_set_dirty_x86_64");
	unicorn.flush_page = (tlb_page_function *)guest_unicorn_function("tlb_flush_page_x86_64");
	unicorn.flush = (tlb_function *)guest_unicorn_function("tlb_flush_x86_64");
	unicorn.leave = (loop_exit *)guest_unicorn_function("cpu_loop_exit_restore_x86_64");
	unicorn.complete = guest_unicorn_is_known() && unicorn.set_dirty && unicorn.flush_page &&
			   unicorn.flush && unicorn.leave;
}

static bool is_allowed(const struct guest_tlb *tlb, uint64_t gpa, bool writing)
{
	int protection = guest_maps_protection(tlb->maps, gpa);

	return protection > 0 && (!writing || protection & GUEST_WRITE);
}

/*
 * Stops the engine with its registers as they are before the instruction. Does not return: Unicorn
 * jumps from here to its main loop, as it does for an exception.
 */
static void refuse(struct guest_tlb *tlb, uint64_t gpa, bool writing, uintptr_t return_address)
{
	tlb->refused = true;
	tlb->writing = writing;
	tlb->gpa = gpa;
	uc_emu_stop(tlb->engine);
	unicorn.leave(tlb->cpu, return_address);
}

/* What is fetched is left to Unicorn, which knows what is code. */
bool x86_cpu_tlb_fill_x86_64(void *cpu, uint64_t gva, int size, int access, int mmu_index,
			     bool probe, uintptr_t return_address)
{
	struct guest_tlb *tlb = current;
	bool writing = access == ACCESS_STORE;

	if (tlb) {
		tlb->cpu = cpu;
		if (access != ACCESS_FETCH && !is_allowed(tlb, gva, writing)) {
			if (probe)
				return false;
			refuse(tlb, gva, writing, return_address);
		}
	}
	return unicorn.fill(cpu, gva, size, access, mmu_index, probe, return_address);
}

void tlb_set_page_with_attrs_x86_64(void *cpu, uint64_t gva, uint64_t gpa, uint32_t attributes,
				    int protection, int mmu_index, uint64_t size)
{
	const struct guest_tlb *tlb = current;
	bool writable = tlb && is_allowed(tlb, gpa, true);

	if (tlb && !writable)
		protection &= ~PROTECTION_WRITE;
	unicorn.set_page(cpu, gva, gpa, attributes, protection, mmu_index, size);
	if (writable)
		unicorn.set_dirty(cpu, gva);
}

void guest_tlb_use(struct guest_tlb *tlb)
{
	pthread_once(&prepared, prepare);
	current = unicorn.complete ? tlb : NULL;
}

void guest_tlb_forget(struct guest_tlb *tlb, uint64_t gpa, uint64_t size)
{
	if (!tlb->cpu)
		return;
	if (size > FEW_PAGES * GUEST_PAGE_SIZE) {
		unicorn.flush(tlb->cpu);
		return;
	}
	for (uint64_t i = 0; i < size; i += GUEST_PAGE_SIZE)
		unicorn.flush_page(tlb->cpu, gpa + i);
}

#else

void guest_tlb_use(struct guest_tlb *tlb)
{
	(void)tlb;
}

void guest_tlb_forget(struct guest_tlb *tlb, uint64_t gpa, uint64_t size)
{
	(void)tlb;
	(void)gpa;
	(void)size;
}

#endif
