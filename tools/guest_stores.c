/* SPDX-License-Identifier: MIT */
/*
 * Unicorn 2.0.1, Debian's, marks each page of its TLB as one whose stores have to look for
 * translated code, and never removes the mark, so that a store costs a balanced tree made and
 * freed: gzip runs fifteen times slower than without. Later versions remove it for memory that is
 * not executable. Here a guest's memory is either executable or writable (guest_cpu.c), so no store
 * ever meets code.
 *
 * The library calls its own functions through the dynamic linker, so a function of the same name in
 * the program comes first: this one lets Unicorn's fill the TLB's entry, and has it remove the mark
 * at once, by the function that is meant for that. Only a guest's code keeps it, since a store
 * without it is not checked for whether it is allowed. Nothing of Unicorn's structures is assumed,
 * only these two functions of this one version.
 */
#include "guest_stores.h"

#include <unicorn/unicorn.h>

#if UC_API_MAJOR == 2 && UC_API_MINOR == 0 && UC_API_PATCH == 1 && defined(__x86_64__)

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>

typedef void tlb_set_page(void *cpu, uint64_t gva, uint64_t gpa, uint32_t attributes,
			  int protection, int mmu_index, uint64_t size);
typedef void tlb_set_dirty(void *cpu, uint64_t gva);

tlb_set_page tlb_set_page_with_attrs_x86_64;

static tlb_set_page *set_page;
static tlb_set_dirty *set_dirty;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static _Thread_local uint64_t code_start;
static _Thread_local uint64_t code_end;

/* With a Unicorn that is another one after all, either this is never called or one is not there. */
void tlb_set_page_with_attrs_x86_64(void *cpu, uint64_t gva, uint64_t gpa, uint32_t attributes,
				    int protection, int mmu_index, uint64_t size)
{
	set_page(cpu, gva, gpa, attributes, protection, mmu_index, size);
	if (set_dirty && (gpa < code_start || gpa >= code_end))
		set_dirty(cpu, gva);
}

static void prepare(void)
{
	set_page = (tlb_set_page *)dlsym(RTLD_NEXT, "tlb_set_page_with_attrs_x86_64");
	set_dirty = (tlb_set_dirty *)dlsym(RTLD_NEXT, "tlb_set_dirty_x86_64");
}

void guest_stores_begin(uint64_t start, uint64_t end)
{
	pthread_once(&prepared, prepare);
	code_start = start;
	code_end = end;
}

#else

void guest_stores_begin(uint64_t start, uint64_t end)
{
	(void)start;
	(void)end;
}

#endif
