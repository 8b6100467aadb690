/* SPDX-License-Identifier: MIT */
/* What the kinds of reclaim share: whether a page has been used, and taking it away. */
#ifndef S2_POOL_EVICT_H
#define S2_POOL_EVICT_H

#include "pool/pool.h"

/*
 * EVICTED: the frame is the caller's, in transit, and its memcg not charged for it.
 * BUSY:    somebody is at work on it, and it may come free without us.
 * IN_USE:  no tier would take it, but somebody is at work on it, who may discard it.
 * KEPT:    it is wanted, or no tier would take it.
 */
enum s2_pool_outcome { S2_POOL_EVICTED, S2_POOL_BUSY, S2_POOL_IN_USE, S2_POOL_KEPT };

/*
 * So many rounds find all that is not in use: the first may find that each page was asked
 * for, the second that each was accessed.
 */
#define S2_POOL_MERCIFUL_ROUNDS 3

/* @owner: the frame's, as was read; somebody's. */
enum s2_pool_outcome s2_pool_evict(struct s2_pool *pool, uint32_t frame, uint64_t owner);

/*
 * Has the page been used since the last time? Then it is to be spared, once. What its accessed
 * bits say is kept for aging.
 */
bool s2_pool_second_chance(struct s2_pool *pool, uint32_t frame, uint64_t owner);

/* Is any page of a frame young? All are looked at, and so @look may clear what it finds. */
bool s2_pool_any_young(struct s2_pool *pool, uint64_t owner,
		       bool (*look)(struct s2_mm *mm, uint64_t hva));

/* Was anybody at work on the page just now? */
bool s2_pool_is_locked(struct s2_pool *pool, uint64_t owner);

/* The page that has a frame, locked, if it still is the one at @hva; its region is kept. */
bool s2_pool_lock_victim(struct s2_pool *pool, uint32_t frame, uint64_t hva,
			 struct s2_pool_victim *victim);

/* The reverse; the page is what its @word says then. */
void s2_pool_unlock_victim(struct s2_pool_victim *victim);

/* Unlocks @n of these, and frees the frames of those that a tier takes: how many. */
unsigned s2_pool_evict_victims(struct s2_pool *pool, struct s2_pool_victim victims[], unsigned n,
			       void *copies);

#endif /* S2_POOL_EVICT_H */
