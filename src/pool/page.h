/* SPDX-License-Identifier: MIT */
/*
 * What the pool knows of one page of a region, in 16 bytes: a word that says where its
 * contents are, and a checksum of them while they are in a tier.
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
 */
enum s2_pool_state {
	S2_POOL_ABSENT,
	S2_POOL_ZERO,
	S2_POOL_RESIDENT,
	S2_POOL_SWAPPED,
};

/* Bits of the word. The payload is a frame's number, or a slot with its tier. */
#define S2_POOL_STATE_MASK UINT64_C(3)
#define S2_POOL_LOCKED (UINT64_C(1) << 2)
#define S2_POOL_AWAITED (UINT64_C(1) << 3) /* somebody sleeps until it is unlocked */
#define S2_POOL_TIER_SHIFT 4
#define S2_POOL_TIER_MASK UINT64_C(0xf)
#define S2_POOL_PAYLOAD_SHIFT 16

_Static_assert(S2_POOL_PAYLOAD_SHIFT + S2_POOL_SLOT_BITS == 64, "a slot fits into the word");
_Static_assert(S2_POOL_TIERS <= S2_POOL_TIER_MASK + 1, "a tier's number fits into the word");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lock is in the word's first half");

/* @checksum: of a page that is SWAPPED; protected by the page's lock. */
struct s2_pool_page {
	_Atomic uint64_t word;
	uint32_t checksum;
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

static inline uint64_t s2_pool_swapped_word(unsigned tier, uint64_t slot)
{
	return S2_POOL_SWAPPED | (uint64_t)tier << S2_POOL_TIER_SHIFT |
	       slot << S2_POOL_PAYLOAD_SHIFT;
}

/*
 * Locks, and gives the word without the lock's bits. Before any lock of the library
 * (docs/locking.md); who has one page may take another only by trying.
 */
uint64_t s2_pool_page_lock(struct s2_pool_page *page);
bool s2_pool_page_trylock(struct s2_pool_page *page, uint64_t *word);

/* @word: what the page is from now on. */
void s2_pool_page_unlock(struct s2_pool_page *page, uint64_t word);

#endif /* S2_POOL_PAGE_H */
