/* SPDX-License-Identifier: MIT */
/*
 * An allocator that counts, for what the library takes: exact, and without what malloc adds to each
 * piece.
 */
#ifndef STAGE2_TOOLS_BENCH_ALLOCATOR_H
#define STAGE2_TOOLS_BENCH_ALLOCATOR_H

#include <stage2/allocator.h>
#include <stdatomic.h>
#include <stdint.h>

/* @bytes has what is allocated from then on and not freed. */
struct s2_allocator bench_counting_allocator(_Atomic uint64_t *bytes);

#endif
