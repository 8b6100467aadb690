/* SPDX-License-Identifier: MIT */
/*
 * A tier that does what it is told: keeps pages in an array, is full, has no room for some, fails,
 * returns damaged bytes, or does one of these now and then.
 */
#ifndef TESTS_POOL_FAULTY_TIER_H
#define TESTS_POOL_FAULTY_TIER_H

#include <pthread.h>
#include <stage2/pool.h>
#include <stdatomic.h>

#define FAULTY_TIER_SLOTS 1024

/*
 * @store_error, @load_error: what the call returns, without doing anything.
 * @need:      how much room a page takes, of @room; NULL: all have room, as far as there are slots.
 * @stores:    how often it was asked to keep a page.
 * @damage:    load() flips a bit; @mix_up: it returns slot 0.
 * @slot_base: added to each slot's number.
 * @meanwhile: called once, in the middle of the next store(); @in_load: of the next load().
 * @one_in:    one call of so many fails, or damages; 0 for none.
 */
struct faulty_tier {
	struct s2_pool_tier tier;
	pthread_mutex_t lock;
	unsigned capacity;
	unsigned used;
	uint32_t free[FAULTY_TIER_SLOTS];
	char (*pages)[S2_PAGE_SIZE];
	uint64_t slot_base;
	unsigned (*need)(const void *page);
	_Atomic unsigned room;
	_Atomic unsigned stores;
	_Atomic int store_error;
	_Atomic int load_error;
	_Atomic bool damage;
	_Atomic bool mix_up;
	void (*meanwhile)(void *arg);
	void (*in_load)(void *arg);
	void *arg;
	_Atomic unsigned one_in;
	_Atomic uint64_t random;
	_Atomic unsigned destroyed;
};

/* It is destroyed with its pool; free() is for what the test owns. */
void faulty_tier_init(struct faulty_tier *tier, unsigned capacity);
void faulty_tier_free(struct faulty_tier *tier);
unsigned faulty_tier_used(struct faulty_tier *tier);

#endif /* TESTS_POOL_FAULTY_TIER_H */
