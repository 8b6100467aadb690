/* SPDX-License-Identifier: MIT */
/*
 * Slot numbers of which none is given out twice, for a tier whose commands may be carried
 * out long after they were given up: a late store never lands on another page's name, and
 * a late removal takes away nothing that is new.
 *
 * A number is taken, then dropped, then free. In between it waits in a queue for what it
 * names to be removed, and counts as taken: the room is not free before the server says so.
 *
 * The table has two entries for each number that may be taken at once. A number's entry is
 * its remainder, so that the search for the next one, which goes round the table, meets as
 * many free entries as taken ones; the quotient in the entry tells whose it is.
 */
#ifndef S2_POOL_FRESH_SLOTS_H
#define S2_POOL_FRESH_SLOTS_H

#include "base/lock.h"

#include <stdbool.h>
#include <stdint.h>

#define S2_FRESH_SLOTS_MAX (UINT64_C(1) << 30)

struct s2_fresh_slot;

struct s2_fresh_slots {
	struct s2_fresh_slot *table;
	uint64_t entries;
	uint64_t limit;

	struct s2_mutex lock;
	uint64_t next; /* the number to try next */
	uint64_t taken;
	uint64_t dropped; /* of these */
	uint32_t first, last; /* of the queue: entry + 1, 0 for none */
};

/* @limit: how many may be taken at once, 1 to S2_FRESH_SLOTS_MAX. -ENOMEM. */
int s2_fresh_slots_init(struct s2_fresh_slots *slots, uint64_t limit);
void s2_fresh_slots_destroy(struct s2_fresh_slots *slots);

/* How many of @n numbers there were. */
unsigned s2_fresh_slots_take(struct s2_fresh_slots *slots, unsigned n, uint64_t numbers[]);

/* Was it taken, and not dropped since? @number may be any. */
bool s2_fresh_slots_taken(struct s2_fresh_slots *slots, uint64_t number);

/* Into the queue, if it is taken. How long that is then, 0 if it was not taken. */
uint64_t s2_fresh_slots_drop(struct s2_fresh_slots *slots, uint64_t number);
void s2_fresh_slots_drop_all(struct s2_fresh_slots *slots);

/* Up to @n numbers out of the queue, which are the caller's to free, or to queue again. */
unsigned s2_fresh_slots_dequeue(struct s2_fresh_slots *slots, unsigned n, uint64_t numbers[]);
void s2_fresh_slots_requeue(struct s2_fresh_slots *slots, uint64_t number);

/* A number that the caller has taken, or had out of the queue. */
void s2_fresh_slots_free(struct s2_fresh_slots *slots, uint64_t number);

#endif /* S2_POOL_FRESH_SLOTS_H */
