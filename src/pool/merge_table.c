/* SPDX-License-Identifier: MIT */
/* The tables of merge_table.h. */
#include "pool/merge_table.h"

#include "base/alloc.h"
#include "pool/pool.h"

#include <errno.h>

#define NONE UINT32_MAX

/* How far a search goes: of a chain, and from a candidate's place on. */
#define CHAIN_MAX 64
#define PROBES 64

static uint64_t power_of_two(uint64_t at_least)
{
	uint64_t n = 64;

	while (n < at_least)
		n *= 2;
	return n;
}

/* All bits set: NONE, or a candidate that is S2_POOL_NO_PAGE. */
static void *allocate(struct s2_pool *pool, size_t size)
{
	void *ptr = pool->allocator.alloc(pool->allocator.ctx, size, 64);

	return ptr ? memset(ptr, 0xff, size) : NULL;
}

int s2_merge_table_init(struct s2_pool *pool, struct s2_merge_table *table)
{
	s2_spin_init(&table->lock, S2_RANK_INTERNAL);
	table->nr_buckets = power_of_two(pool->frames.nr / 2);
	/* At least half of them free, or probing would take long. */
	table->nr_candidates = power_of_two(UINT64_C(2) * pool->frames.nr);
	table->buckets = allocate(pool, table->nr_buckets * sizeof(*table->buckets));
	table->candidates = allocate(pool, table->nr_candidates * sizeof(*table->candidates));
	if (table->buckets && table->candidates)
		return 0;
	s2_merge_table_free(pool, table);
	return -ENOMEM;
}

void s2_merge_table_free(struct s2_pool *pool, struct s2_merge_table *table)
{
	s2_free(&pool->allocator, table->buckets);
	s2_free(&pool->allocator, table->candidates);
}

static uint32_t *bucket_of(struct s2_merge_table *table, uint64_t digest)
{
	return &table->buckets[digest & (table->nr_buckets - 1)];
}

unsigned s2_merge_table_find(struct s2_pool *pool, struct s2_merge_table *table, uint64_t digest,
			     uint32_t found[S2_MERGE_FOUND])
{
	unsigned n = 0;

	s2_spin_lock(&table->lock);
	for (uint32_t nr = *bucket_of(table, digest); nr != NONE && n < S2_MERGE_FOUND;) {
		struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);

		if (shared->digest == digest)
			found[n++] = nr;
		nr = shared->chain;
	}
	s2_spin_unlock(&table->lock);
	return n;
}

/* The oldest go; they stay shared by those who share them. */
static void cut(struct s2_pool *pool, uint32_t *link)
{
	for (unsigned i = 0; i < CHAIN_MAX && *link != NONE; i++)
		link = &s2_pool_shared_at(&pool->shared, *link)->chain;
	*link = NONE;
}

void s2_merge_table_add(struct s2_pool *pool, struct s2_merge_table *table, uint32_t nr,
			uint64_t digest)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint32_t *bucket = bucket_of(table, digest);

	S2_ASSERT_HELD_WRITE(&shared->page);
	s2_spin_lock(&table->lock);
	shared->digest = digest;
	shared->merged = true;
	shared->chain = *bucket;
	*bucket = nr;
	cut(pool, bucket);
	s2_spin_unlock(&table->lock);
}

void s2_merge_table_remove(struct s2_pool *pool, struct s2_merge_table *table, uint32_t nr)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint32_t *link = bucket_of(table, shared->digest);

	S2_ASSERT_HELD_WRITE(&shared->page);
	s2_spin_lock(&table->lock);
	while (*link != NONE && *link != nr)
		link = &s2_pool_shared_at(&pool->shared, *link)->chain;
	/* It may have been cut off. */
	if (*link == nr)
		*link = shared->chain;
	s2_spin_unlock(&table->lock);
}

uint32_t s2_merge_candidate_exchange(struct s2_merge_table *table, uint64_t digest, uint32_t nr)
{
	const struct s2_merge_candidate new = { .tag = (uint32_t)(digest >> 32), .nr = nr };
	uint64_t mask = table->nr_candidates - 1;
	uint32_t before;

	for (unsigned i = 0; i < PROBES; i++) {
		struct s2_merge_candidate *candidate = &table->candidates[(digest + i) & mask];

		if (candidate->nr != S2_POOL_NO_PAGE && candidate->tag != new.tag)
			continue;
		before = candidate->nr;
		*candidate = new;
		return before;
	}
	table->candidates[digest & mask] = new;
	return S2_POOL_NO_PAGE;
}

void s2_merge_candidates_forget(struct s2_merge_table *table)
{
	memset(table->candidates, 0xff, table->nr_candidates * sizeof(*table->candidates));
}
