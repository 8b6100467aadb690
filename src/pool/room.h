/* SPDX-License-Identifier: MIT */
/*
 * What is known of the room in tiers. A fault that finds no frame would otherwise offer each
 * resident page to each tier, have it compressed maybe, and in the end get nothing but the error;
 * and several that do so at once would take each other's attempts for hope. So what a
 * tier has answered is remembered, and a page that all of them would refuse is not even locked.
 *
 * Of a tier, that it is full (-ENOSPC), until something is dropped from it:
 *
 *	CPU 0 (store)				CPU 1 (drop)
 *	-------------				------------
 *	seven drops so far
 *	store(): -ENOSPC
 *						drop()
 *						eight
 *	full, as of seven
 *	is it full? as of eight: no
 *
 * Of a page, in the entry of its frame, how much room it would take in each tier that has
 * refused it (-E2BIG), and a digest of its contents: it is offered again when these have
 * changed, or when the tier has so much.
 */
#ifndef S2_POOL_ROOM_H
#define S2_POOL_ROOM_H

#include "pool/pool.h"

/*
 * May the page in @frame be taken away, by a tier or because it is all zeroes? A look without
 * its lock, and so a hint.
 */
bool s2_pool_may_go(struct s2_pool *pool, uint32_t frame);

/* Of a page that is offered to tier @i; @data: its contents, or a copy of them. */
bool s2_pool_may_fit(struct s2_pool *pool, unsigned i, uint32_t frame, const void *data);

/* Are these to go past tier @i, which is full? Of many that do so one is offered all the same. */
bool s2_pool_go_past(struct s2_pool *pool, unsigned i, unsigned pages);

/* How many drops there have been, before a store; and that this one's answer was -ENOSPC. */
uint64_t s2_pool_drops(struct s2_pool *pool, unsigned i);
void s2_pool_note_full(struct s2_pool *pool, unsigned i, uint64_t drops);

/* That the answer was -E2BIG. */
void s2_pool_note_refusal(struct s2_pool *pool, unsigned i, uint32_t frame, const void *data,
			  uint64_t need);

/* After a drop. */
void s2_pool_note_drop(struct s2_pool *pool, unsigned i);

/* A tier may have gained room by itself: before there is said to be none, each is asked. */
void s2_pool_ask_again(struct s2_pool *pool);

#endif /* S2_POOL_ROOM_H */
