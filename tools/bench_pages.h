/* SPDX-License-Identifier: MIT */
/*
 * What guests' pages have in them: how fast they are swapped depends on that. Of ten pages one is
 * zeroes, one is random bytes, which no compressor makes smaller, and the others are something like
 * text, which LZ4 makes a third of. Which one is which, and what is in it, follows from its number.
 */
#ifndef STAGE2_TOOLS_BENCH_PAGES_H
#define STAGE2_TOOLS_BENCH_PAGES_H

#include <stdint.h>

/* A whole page, the same each time. Its last 8 bytes are zero: to write that changes nothing. */
void bench_page_fill(void *page, uint64_t nr);

/* Sets @order to the numbers below @nr in no order. */
void bench_shuffle(uint32_t *order, uint32_t nr, uint64_t seed);

#endif
