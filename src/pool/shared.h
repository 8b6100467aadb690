/* SPDX-License-Identifier: MIT */
/*
 * Pages that several pages of regions share: copies of a clone and its original, or pages
 * that were found to be equal. A shared page is a page itself, in a frame or in a slot, with
 * a lock; its contents never change, so that writing is what ends the sharing (copy on
 * write). Those that share it are linked through their own 8 bytes, so that who takes the
 * frame away finds them all: the anon_vma of a kernel.
 *
 * The lock comes after that of one page that shares it, and before all of the library's.
 */
#ifndef S2_POOL_SHARED_H
#define S2_POOL_SHARED_H

#include "base/lock.h"
#include "pool/page.h"

struct s2_pool;
struct s2_pool_region;

/*
 * @page:   RESIDENT or SWAPPED; ABSENT if this entry of the table is in use for nothing.
 * @first:  of the pages that share it; @sharers: how many.
 * @digest: of the contents, and @chain the next of those in the same bucket: merge.c's,
 *          under its lock. Once @merged is set the page is, or was, in that table.
 * Everything else is protected by the page's lock; the contents of the frame, by never changing.
 */
struct s2_pool_shared {
	struct s2_pool_page page;
	uint32_t first;
	uint32_t sharers;
	uint32_t next_free;
	uint32_t chain;
	uint64_t digest;
	bool merged;
};

#define S2_POOL_SHARED_FIRST 1024u
#define S2_POOL_SHARED_CHUNKS 22

/*
 * A table that only grows, by chunks each twice as large as the one before, so that a
 * number which was read from a page or a frame is always that of an entry that one can
 * lock and look at.
 *
 * @lock: protects the list of free entries, and growing.
 */
struct s2_pool_shared_table {
	struct s2_spinlock lock;
	uint32_t first_free;
	uint32_t nr; /* from here on never used */
	_Atomic(struct s2_pool_shared *) chunks[S2_POOL_SHARED_CHUNKS];
};

static inline unsigned s2_pool_shared_chunk(uint32_t nr)
{
	return 31 - (unsigned)__builtin_clz(nr / S2_POOL_SHARED_FIRST + 1);
}

static inline struct s2_pool_shared *s2_pool_shared_at(struct s2_pool_shared_table *table, uint32_t nr)
{
	unsigned i = s2_pool_shared_chunk(nr);
	/* Acquire pairs with the release in grow(). */
	struct s2_pool_shared *chunk =
		atomic_load_explicit(&table->chunks[i], memory_order_acquire);

	return &chunk[nr - S2_POOL_SHARED_FIRST * ((UINT32_C(1) << i) - 1)];
}

void s2_pool_shared_init(struct s2_pool *pool);
void s2_pool_shared_destroy(struct s2_pool *pool);

/* An entry nobody else knows, locked, with no sharers. -ENOMEM. */
int s2_pool_shared_new(struct s2_pool *pool, uint32_t *nr);

/* The reverse, of one that is locked, without sharers and with nothing in it. */
void s2_pool_shared_free(struct s2_pool *pool, uint32_t nr);

/* With the shared page locked; @hva: of a page that is, or will be, SHARED as this one. */
void s2_pool_shared_link(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t hva,
			 struct s2_pool_page *page);

/*
 * The page's frame or slot is the shared page's from now on, a new one's: with both locked, and
 * nobody who could write to the frame. Returns the word to unlock the shared page with;
 * *@word is the page's.
 */
uint64_t s2_pool_make_shared(struct s2_pool *pool, struct s2_pool_region *region,
			     struct s2_pool_page *page, uint32_t nr, uint64_t *word);

/*
 * The next page that shares it, beginning with *@cursor = S2_POOL_NO_PAGE; false at the end.
 * With the shared page locked, and none unlinked meanwhile.
 */
bool s2_pool_shared_next(struct s2_pool *pool, struct s2_pool_shared *shared, uint32_t *cursor,
			 uint64_t *hva);

/*
 * Ends a page's share in a shared page: with both locked, and no vCPU having the frame any
 * more by this page. Frees, with the last one, what the shared page has; unlocks it.
 * @word: what the shared page is.
 */
void s2_pool_shared_leave(struct s2_pool *pool, uint32_t nr, uint64_t word,
			  struct s2_pool_page *page);

/*
 * If the page is the only one that shares it, and it has a frame: that is the page's from now on, and
 * the shared page is gone. Otherwise nothing happens, and false. Both locked, as above.
 */
bool s2_pool_shared_take_over(struct s2_pool *pool, uint32_t nr, uint64_t word,
			      struct s2_pool_page *page);

/* merge.c: the shared page, which is locked, has no sharers any more. */
void s2_pool_merge_forget(struct s2_pool *pool, uint32_t nr);

/* With the shared page locked: no vCPU has its frame any more when this returns. */
void s2_pool_shared_take_away(struct s2_pool *pool, struct s2_pool_shared *shared);

#endif /* S2_POOL_SHARED_H */
