/* SPDX-License-Identifier: MIT */
/* A batch of pages to store in a tier and to load again, each made from a number. */
#ifndef TESTS_POOL_BATCH_H
#define TESTS_POOL_BATCH_H

#include "pages.h"

#include <stage2/pool.h>

struct batch {
	uint64_t numbers[S2_POOL_BATCH];
	uint64_t slots[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];
	char pages[S2_POOL_BATCH][S2_PAGE_SIZE];
};

/* Pages made from @number on. Returns how many were stored; the rest has its result. */
unsigned batch_store(struct batch *batch, struct s2_pool_tier *tier, enum page_kind kind,
		     uint64_t number, unsigned n);

/* By the slots and numbers that are in there. Returns how many came back as they were. */
unsigned batch_load(struct batch *batch, struct s2_pool_tier *tier, enum page_kind kind,
		    unsigned n);

#endif /* TESTS_POOL_BATCH_H */
