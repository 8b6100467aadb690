/* SPDX-License-Identifier: MIT */
/*
 * Where the scanner for equal pages looks for a page's equal, by a digest of the contents:
 *
 * - among the shared pages it has made before, which do not change (the stable tree of ksmd);
 * - among the pages it came by in this pass, which may have changed since (the unstable one).
 *
 * What is found is a hint: the page has to be locked, looked at and compared. A digest is no
 * proof, since a guest can make pages that are different and have the same. Nor can it make the
 * tables slow: each search has an end, and what is beyond it is forgotten, so that pages which
 * are equal stay apart, and nothing else.
 */
#ifndef S2_POOL_MERGE_TABLE_H
#define S2_POOL_MERGE_TABLE_H

#include "base/lock.h"

#include <stdint.h>

struct s2_pool;

/*
 * Page @nr had a digest of which the upper half is @tag. S2_POOL_NO_PAGE: a free place.
 */
struct s2_merge_candidate {
	uint32_t tag;
	uint32_t nr;
};

/*
 * @lock:       protects the chains that begin in @buckets: who leaves a shared page as the
 *              last one takes it out of them, at any time.
 * @candidates: a table with linear probing, for one pass by one thread.
 */
struct s2_merge_table {
	struct s2_spinlock lock;
	uint32_t *buckets;
	struct s2_merge_candidate *candidates;
	uint64_t nr_buckets;
	uint64_t nr_candidates;
};

/* For a pool of so many frames as @pool has. -ENOMEM. */
int s2_merge_table_init(struct s2_pool *pool, struct s2_merge_table *table);
void s2_merge_table_free(struct s2_pool *pool, struct s2_merge_table *table);

/* Up to S2_MERGE_FOUND shared pages with that digest, the newest first. */
#define S2_MERGE_FOUND 8
unsigned s2_merge_table_find(struct s2_pool *pool, struct s2_merge_table *table, uint64_t digest,
			     uint32_t found[S2_MERGE_FOUND]);

/* With the shared page locked. */
void s2_merge_table_add(struct s2_pool *pool, struct s2_merge_table *table, uint32_t nr,
			uint64_t digest);
void s2_merge_table_remove(struct s2_pool *pool, struct s2_merge_table *table, uint32_t nr);

/*
 * Page @nr is the candidate of this digest from now on. Returns the one before it, or
 * S2_POOL_NO_PAGE.
 */
uint32_t s2_merge_candidate_exchange(struct s2_merge_table *table, uint64_t digest, uint32_t nr);

/* A pass begins. */
void s2_merge_candidates_forget(struct s2_merge_table *table);

#endif /* S2_POOL_MERGE_TABLE_H */
