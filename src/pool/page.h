/* SPDX-License-Identifier: MIT */
/*
 * What the pool knows of one page of a region, in 16 bytes: a word that says where its
 * contents are, and 8 bytes whose meaning depends on that.
 *
 * One bit of the word is the page's lock. It is held while a tier is at work, which may
 * take milliseconds, so whoever waits for it sleeps, on the word's lower half.
 * Whoever holds it changes nothing in the word until it unlocks, by
 * storing the new one: others see a page before a change or after it.
 */
#ifndef S2_POOL_PAGE_H
#define S2_POOL_PAGE_H

#include "base/debug.h"

#include <stage2/pool.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * ABSENT:   reads as zeroes; no vCPU has it.
 * ZERO:     the same, and vCPUs may have the zero frame for it, read-only.
 * RESIDENT: in a frame, which vCPUs may have.
 * SWAPPED:  in a slot of a tier.
 * SHARED:   one of those that have the contents of a shared page (shared.h), which is in a
 *           frame or in a slot itself; vCPUs may have the frame, read-only.
 */
enum s2_pool_state {
	S2_POOL_ABSENT,
	S2_POOL_ZERO,
	S2_POOL_RESIDENT,
	S2_POOL_SWAPPED,
	S2_POOL_SHARED,
};

/* Bits of the word. The payload is a frame's number, a slot with its tier, or a shared page's number. */
#define S2_POOL_STATE_MASK UINT64_C(7)
#define S2_POOL_LOCKED (UINT64_C(1) << 3)
#define S2_POOL_AWAITED (UINT64_C(1) << 4) /* somebody sleeps until it is unlocked */
#define S2_POOL_TIER_SHIFT 5
#define S2_POOL_TIER_MASK UINT64_C(7)
#define S2_POOL_MERGEABLE (UINT64_C(1) << 8)    /* advice; goes with the page, whatever its state */
#define S2_POOL_READ_AHEAD (UINT64_C(1) << 9) /* RESIDENT by read-ahead, and not asked for yet */
#define S2_POOL_FLAGS (S2_POOL_MERGEABLE | S2_POOL_READ_AHEAD) /* a page's, not its contents' */
#define S2_POOL_PAYLOAD_SHIFT 16

_Static_assert(S2_POOL_PAYLOAD_SHIFT + S2_POOL_SLOT_BITS == 64, "a slot fits into the word");
_Static_assert(S2_POOL_TIERS <= S2_POOL_TIER_MASK + 1, "a tier's number fits into the word");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lock is in the word's first half");

/* Pages are numbered throughout the pool's address space. */
#define S2_POOL_NO_PAGE UINT32_MAX

/*
 * @checksum: of a page that is SWAPPED, or, if it is RESIDENT, what the scanner for equal
 *            pages has seen last; protected by the page's lock.
 * @next, @prev: links a page that is SHARED with the others; protected by the shared
 *            page's lock, not by its own.
 */
struct s2_pool_page {
	_Atomic uint64_t word;
	union {
		uint32_t checksum;
		struct {
			uint32_t next;
			uint32_t prev;
		};
	};
};

_Static_assert(sizeof(struct s2_pool_page) <= 16, "issue 5 allows 16 bytes for a page");

static inline enum s2_pool_state s2_pool_state(uint64_t word)
{
	return word & S2_POOL_STATE_MASK;
}

static inline uint64_t s2_pool_payload(uint64_t word)
{
	return word >> S2_POOL_PAYLOAD_SHIFT;
}

static inline unsigned s2_pool_tier_of(uint64_t word)
{
	return (word >> S2_POOL_TIER_SHIFT) & S2_POOL_TIER_MASK;
}

static inline uint64_t s2_pool_resident_word(uint32_t frame)
{
	return S2_POOL_RESIDENT | (uint64_t)frame << S2_POOL_PAYLOAD_SHIFT;
}

static inline uint64_t s2_pool_shared_word(uint32_t nr)
{
	return S2_POOL_SHARED | (uint64_t)nr << S2_POOL_PAYLOAD_SHIFT;
}

static inline uint64_t s2_pool_swapped_word(unsigned tier, uint64_t slot)
{
	return S2_POOL_SWAPPED | (uint64_t)tier << S2_POOL_TIER_SHIFT |
	       slot << S2_POOL_PAYLOAD_SHIFT;
}

/* The page goes on as @new, with the advice it was given. */
static inline uint64_t s2_pool_become(uint64_t word, uint64_t new)
{
	return (word & S2_POOL_MERGEABLE) | new;
}

static inline bool s2_pool_has_frame(uint64_t word, uint32_t frame)
{
	return s2_pool_state(word) == S2_POOL_RESIDENT && s2_pool_payload(word) == frame;
}

/*
 * Locks, and gives the word without the lock's bits. Before any lock of the library
 * (docs/locking.md); who has one page may take another only by trying.
 */
uint64_t s2_pool_page_lock(struct s2_pool_page *page);
bool s2_pool_page_trylock(struct s2_pool_page *page, uint64_t *word);

/* The same of a shared page: the lock comes after that of one page that shares it. */
uint64_t s2_pool_shared_page_lock(struct s2_pool_page *page);

/* @word: what the page is from now on. */
void s2_pool_page_unlock(struct s2_pool_page *page, uint64_t word);

/*
 * Locks a page, and as many of those that follow it, up to @n, as can be locked without
 * waiting; gives their words, and how many they are. Unlocked all at once.
 */
#define S2_POOL_RUN 512u
unsigned s2_pool_run_lock(struct s2_pool_page *pages, unsigned n, uint64_t words[]);
bool s2_pool_run_trylock(struct s2_pool_page *pages, unsigned n, uint64_t words[]);
void s2_pool_run_unlock(struct s2_pool_page *pages, unsigned n, const uint64_t words[]);

#endif /* S2_POOL_PAGE_H */
