/* SPDX-License-Identifier: MIT */
/*
 * An allocator that knows what it has given out, and fails when it is told to. A
 * block that comes back twice, or that it never gave out, ends the test there.
 */
#ifndef TESTS_COUNTING_ALLOCATOR_H
#define TESTS_COUNTING_ALLOCATOR_H

#include <stage2/allocator.h>
#include <stdatomic.h>
#include <stdbool.h>

struct counting_allocator {
	struct s2_allocator ops; /* for struct s2_mm_config */
	_Atomic unsigned long blocks;
	_Atomic unsigned long bytes;
	_Atomic unsigned long calls;
	_Atomic long countdown; /* to the call that fails; not above 0 for none */
	_Atomic bool failing;	/* all of them */
	_Atomic unsigned long failed;
};

void counting_allocator_init(struct counting_allocator *memory);

/* The @n-th allocation from now on fails, and only that one; 0 for none. */
void counting_allocator_fail_at(struct counting_allocator *memory, long n);

/* Every allocation fails until further notice. */
void counting_allocator_fail_all(struct counting_allocator *memory, bool failing);

#endif /* TESTS_COUNTING_ALLOCATOR_H */
