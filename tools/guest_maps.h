/* SPDX-License-Identifier: MIT */
/*
 * Which ranges of its addresses, from 64 KiB to the memory's size, a guest has mapped, and what it
 * may do there. It says what pointers a system call takes, where mmap() puts things, and what the
 * processor may access (guest_tlb.h).
 */
#ifndef STAGE2_TOOLS_GUEST_MAPS_H
#define STAGE2_TOOLS_GUEST_MAPS_H

#include <stdbool.h>
#include <stdint.h>

struct guest_maps;
struct guest_memory;

/* Nothing is ever mapped below. */
#define GUEST_FIRST_GPA UINT64_C(0x10000)

#define GUEST_PAGE_SIZE UINT64_C(4096)

/*
 * What may be done with a page. Whatever may be written may be read, as on x86-64; nothing: it is
 * mapped, and any access to it faults.
 */
#define GUEST_READ 1u
#define GUEST_WRITE 2u
#define GUEST_READ_WRITE (GUEST_READ | GUEST_WRITE)

/*
 * @limit: of the number of ranges; neighbours of the same protection are one. -EINVAL: too small a
 * memory; -ENOMEM.
 */
int guest_maps_create(struct guest_memory *memory, unsigned int limit, struct guest_maps **maps);
void guest_maps_destroy(struct guest_maps *maps);

/* Is all of it mapped? An empty range is, wherever it be. */
bool guest_maps_cover(const struct guest_maps *maps, uint64_t gpa, uint64_t size);

/*
 * How many of the @size bytes from @gpa on, which may be anywhere, are mapped without a gap and
 * allow @protection.
 */
uint64_t guest_maps_reach(const struct guest_maps *maps, uint64_t gpa, uint64_t size,
			  unsigned int protection);

/* Do all of them? */
bool guest_maps_allow(const struct guest_maps *maps, uint64_t gpa, uint64_t size,
		      unsigned int protection);

/* The protection of the page that @gpa, which may be anything, is in; -EFAULT: none is mapped. */
int guest_maps_protection(const struct guest_maps *maps, uint64_t gpa);

/*
 * The size of the first stretch of one protection at or after *@gpa, which is set to where it
 * begins, and before @end; 0: nothing is mapped there.
 */
uint64_t guest_maps_next(const struct guest_maps *maps, uint64_t *gpa, uint64_t end);

/* Is it a range that could be mapped? */
bool guest_maps_inside(const struct guest_maps *maps, uint64_t gpa, uint64_t size);

/* Is it one, and none of it mapped? */
bool guest_maps_free(const struct guest_maps *maps, uint64_t gpa, uint64_t size);

/* The highest free range of @size bytes; 0: there is none. */
uint64_t guest_maps_find(const struct guest_maps *maps, uint64_t size);

/*
 * Whole pages are mapped with @protection, or no longer, whether or not some of them were; what
 * they hold is not touched. -ENOMEM: it would be too many ranges, or (add) it is not inside;
 * -EINVAL: (remove) it is not inside.
 */
int guest_maps_add(struct guest_maps *maps, uint64_t gpa, uint64_t size, unsigned int protection);
int guest_maps_remove(struct guest_maps *maps, uint64_t gpa, uint64_t size);

/* May a range that is inside be removed, or would that be a range too many? */
bool guest_maps_removable(const struct guest_maps *maps, uint64_t gpa, uint64_t size);

/* How many bytes are mapped. */
uint64_t guest_maps_mapped(const struct guest_maps *maps);

#endif
