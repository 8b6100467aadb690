/* SPDX-License-Identifier: MIT */
/*
 * Which slots of a file or device are taken: a bit for each, in memory.
 *
 * Slots are given out in order: a search goes on where the last one ended, so that
 * neighbours in time are neighbours on the disk. What is beyond the last one that was
 * ever used, @end, is room that the file does not have yet. A slot alone is had there
 * when a search has come to its end, which keeps the file small; a run of them when none
 * is found on the way, since pages that lie apart are read several times slower.
 */
#ifndef S2_POOL_SLOTS_H
#define S2_POOL_SLOTS_H

#include "base/lock.h"

#include <stdbool.h>
#include <stdint.h>

struct s2_slots {
	uint64_t count;
	_Atomic uint64_t *taken; /* a bit for each; changed with the lock held */

	struct s2_mutex lock;
	uint64_t nr_taken;
	uint64_t end;	   /* slots from here on were never used */
	uint64_t hint;	   /* where the next search for one begins */
	uint64_t run_hint; /* and for a run: the number of a word of @taken */
};

#define S2_SLOTS_RUN 64

/* -ENOMEM. */
int s2_slots_init(struct s2_slots *slots, uint64_t count);
void s2_slots_destroy(struct s2_slots *slots);

/* Has it been given out? Any number may be asked about. */
bool s2_slots_taken(const struct s2_slots *slots, uint64_t slot);

/* -ENOSPC. */
int s2_slots_take(struct s2_slots *slots, uint64_t *slot);

/* @n of them, 1 to S2_SLOTS_RUN, from *@first on; false if no such run was found. */
bool s2_slots_take_run(struct s2_slots *slots, unsigned n, uint64_t *first);

/*
 * @error: what writing it has ended with, 0 if it was dropped. One for which the operating
 * system has no room was never used; after any other error the next search begins behind
 * it. One that is not taken stays so.
 */
void s2_slots_give_back(struct s2_slots *slots, uint64_t slot, int error);

#endif /* S2_POOL_SLOTS_H */
