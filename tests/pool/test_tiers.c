/* SPDX-License-Identifier: MIT */
/*
 * What holds of every tier that comes with the library: a page comes back as it was
 * stored, by whichever thread, alone or in a batch; a full tier says so and goes on after
 * drops; no slot that was never handed out does any harm.
 */
#include "batch.h"
#include "pages.h"
#include "small_vm.h"
#include "tier_path.h"

#include <errno.h>
#include <pthread.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TIER_SIZE (512 * 1024)
#define MANY 8192

enum tier_name { LZ4, ZSTD, A_FILE };

static struct s2_pool_tier *tier_begin(void **state, uint64_t size)
{
	enum tier_name name = *(const enum tier_name *)*state;
	struct s2_pool_tier *tier = NULL;
	int ret = name == A_FILE ? s2_pool_tier_file(tier_path, size, &tier)
				 : s2_pool_tier_memory(name == LZ4 ? S2_POOL_LZ4 : S2_POOL_ZSTD,
						       size, &tier);

	if (ret == -ENOTSUP) {
		print_message("this build has no such compressor\n");
		skip();
	}
	assert_int_equal(ret, 0);
	assert_non_null(tier);
	return tier;
}

static int store(struct s2_pool_tier *tier, enum page_kind kind, uint64_t number, uint64_t *slot)
{
	char page[S2_PAGE_SIZE];

	page_make(kind, number, page);
	return tier->ops->store(tier, page, slot);
}

static bool holds(struct s2_pool_tier *tier, enum page_kind kind, uint64_t number, uint64_t slot)
{
	char page[S2_PAGE_SIZE];

	memset(page, 0x5a, sizeof(page));
	return !tier->ops->load(tier, slot, page) && page_is(kind, number, page);
}

/* What it says when it has no room for a page: a compressing one has some for another, maybe. */
static int no_room(void **state)
{
	return *(const enum tier_name *)*state == A_FILE ? -ENOSPC : -E2BIG;
}

/* With pages from @number on; returns how many. */
static unsigned fill(void **state, struct s2_pool_tier *tier, enum page_kind kind, uint64_t number,
		     uint64_t *slots)
{
	unsigned n = 0;
	int ret;

	while (!(ret = store(tier, kind, number + n, &slots[n])))
		assert_in_range(++n, 1, MANY - 1);
	assert_int_equal(ret, no_room(state));
	return n;
}

static void drop_all(struct s2_pool_tier *tier, const uint64_t *slots, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		tier->ops->drop(tier, slots[i]);
}

static void test_pages_come_back(void **state)
{
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t seed = test_seed(), slots[60];

	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(store(tier, (enum page_kind)(i % 3), seed + i, &slots[i]), 0);
		assert_true(slots[i] < UINT64_C(1) << S2_POOL_SLOT_BITS);
	}
	/* Loading is no dropping: twice, and in another order. */
	for (unsigned i = 0; i < 120; i++) {
		unsigned which = i * 7 % 60;

		assert_true(holds(tier, (enum page_kind)(which % 3), seed + which, slots[which]));
	}
	drop_all(tier, slots, 60);
	tier->ops->destroy(tier);
}

static void test_a_page_that_does_not_compress_goes_to_the_next_tier(void **state)
{
	bool compresses = *(const enum tier_name *)*state != A_FILE;
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t slot;

	assert_int_equal(store(tier, PAGE_RANDOM, 1, &slot), compresses ? -E2BIG : 0);
	/* For good: no tier has so much room. */
	if (compresses)
		assert_true(slot > tier->ops->room(tier));
	if (!compresses)
		assert_true(holds(tier, PAGE_RANDOM, 1, slot));
	assert_int_equal(store(tier, PAGE_TEXT, 1, &slot), 0);
	tier->ops->destroy(tier);
}

static void test_a_full_tier_goes_on_after_a_drop(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	unsigned n = fill(state, tier, PAGE_ZERO, 0, slots);

	assert_int_equal(store(tier, PAGE_ZERO, 0, &slots[n]), no_room(state));
	tier->ops->drop(tier, slots[n / 2]);
	assert_int_equal(store(tier, PAGE_ZERO, 0, &slots[n / 2]), 0);
	assert_int_equal(store(tier, PAGE_ZERO, 0, &slots[n]), no_room(state));
	drop_all(tier, slots, n);
	tier->ops->destroy(tier);
}

static void test_a_page_that_has_no_room_is_told_how_much_it_needs(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t need;
	unsigned n;

	if (!tier->ops->room) {
		tier->ops->destroy(tier);
		print_message("it takes pages of one size\n");
		skip();
	}
	n = fill(state, tier, PAGE_TEXT, 0, slots);
	assert_int_equal(store(tier, PAGE_TEXT, n, &need), -E2BIG);
	assert_true(need > tier->ops->room(tier));
	for (unsigned i = 0; need > tier->ops->room(tier); i++)
		tier->ops->drop(tier, slots[i]);
	assert_int_equal(store(tier, PAGE_TEXT, n, &slots[n]), 0);
	assert_true(holds(tier, PAGE_TEXT, n, slots[n]));
	tier->ops->destroy(tier);
}

/* Were anything lost at a store that failed or at a drop, less would fit the next time. */
static void test_all_room_comes_back(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t seed = test_seed();
	unsigned n = fill(state, tier, PAGE_MIXED, seed, slots);

	for (unsigned round = 0; round < 5; round++) {
		drop_all(tier, slots, n);
		assert_int_equal(fill(state, tier, PAGE_MIXED, seed, slots), n);
	}
	for (unsigned i = 0; i < n; i++)
		assert_true(holds(tier, PAGE_MIXED, seed + i, slots[i]));
	drop_all(tier, slots, n);
	tier->ops->destroy(tier);
}

static void test_a_tier_keeps_to_its_size(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, 10 * S2_PAGE_SIZE + 100);
	unsigned n = fill(state, tier, PAGE_RANDOM, 0, slots);

	if (*(const enum tier_name *)*state == A_FILE)
		assert_int_equal(n, 10);
	drop_all(tier, slots, n);
	/* Zero pages take one granule of 64 bytes each. */
	if (*(const enum tier_name *)*state != A_FILE)
		assert_in_range(fill(state, tier, PAGE_ZERO, 0, slots), 1, 10 * S2_PAGE_SIZE / 64);
	tier->ops->destroy(tier);
}

static int compare_slots(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void test_no_two_pages_have_one_slot(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	unsigned n = fill(state, tier, PAGE_TEXT, 0, slots);

	for (unsigned i = 0; i < n; i += 3)
		tier->ops->drop(tier, slots[i]);
	for (unsigned i = 0; i < n; i += 3)
		assert_int_equal(store(tier, PAGE_ZERO, 0, &slots[i]), 0);
	qsort(slots, n, sizeof(slots[0]), compare_slots);
	for (unsigned i = 1; i < n; i++)
		assert_true(slots[i - 1] < slots[i]);
	tier->ops->destroy(tier);
}

/* What an attacker, or a bug, may come up with: near ends, powers of two, anything. */
static uint64_t hostile_slot(uint64_t *seed)
{
	uint64_t power = UINT64_C(1) << test_random(seed) % 64;

	switch (test_random(seed) % 4) {
	case 0:
		return test_random(seed) % (2 * TIER_SIZE / 64);
	case 1:
		return power - test_random(seed) % 3;
	case 2:
		return power + test_random(seed) % (TIER_SIZE / 64);
	default:
		return test_random(seed);
	}
}

static bool handed_out(const uint64_t *slots, unsigned n, uint64_t slot)
{
	for (unsigned i = 0; i < n; i++)
		if (slots[i] == slot)
			return true;
	return false;
}

static void test_a_slot_that_was_never_handed_out_does_no_harm(void **state)
{
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t seed = test_seed(), slots[50];
	char page[S2_PAGE_SIZE];

	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(store(tier, PAGE_MIXED, i, &slots[i]), 0);
	for (unsigned i = 0; i < 50; i += 2)
		tier->ops->drop(tier, slots[i]);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t slot = hostile_slot(&seed);

		if (handed_out(slots, 50, slot))
			continue;
		assert_int_equal(tier->ops->load(tier, slot, page), -EINVAL);
		tier->ops->drop(tier, slot);
	}
	for (unsigned i = 1; i < 50; i += 2)
		assert_true(holds(tier, PAGE_MIXED, i, slots[i]));
	tier->ops->destroy(tier);
}

static void test_a_slot_dropped_twice_is_dropped_once(void **state)
{
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	char page[S2_PAGE_SIZE];
	uint64_t slots[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(store(tier, PAGE_TEXT, i, &slots[i]), 0);
	tier->ops->drop(tier, slots[1]);
	tier->ops->drop(tier, slots[1]);
	assert_int_equal(tier->ops->load(tier, slots[1], page), -EINVAL);
	assert_true(holds(tier, PAGE_TEXT, 0, slots[0]));
	assert_true(holds(tier, PAGE_TEXT, 2, slots[2]));
	tier->ops->destroy(tier);
}

struct user {
	struct s2_pool_tier *tier;
	uint64_t seed;
	unsigned wrong, refused;
	pthread_t thread;
};

#define PAGES_OF_A_USER 40
#define STEPS 4000

struct user_page {
	bool stored;
	uint64_t slot, number;
	enum page_kind kind;
};

static void use_page(struct user *user, struct user_page *page)
{
	if (page->stored) {
		user->wrong += !holds(user->tier, page->kind, page->number, page->slot);
		if (test_random(&user->seed) % 2)
			return;
		user->tier->ops->drop(user->tier, page->slot);
		page->stored = false;
		return;
	}
	page->kind = (enum page_kind)(test_random(&user->seed) % 4);
	page->number = test_random(&user->seed);
	page->stored = !store(user->tier, page->kind, page->number, &page->slot);
	user->refused += !page->stored;
}

static void *user_main(void *arg)
{
	struct user_page pages[PAGES_OF_A_USER] = { 0 };
	struct user *user = arg;

	for (unsigned i = 0; i < STEPS; i++)
		use_page(user, &pages[test_random(&user->seed) % PAGES_OF_A_USER]);
	for (unsigned i = 0; i < PAGES_OF_A_USER; i++)
		if (pages[i].stored)
			user->tier->ops->drop(user->tier, pages[i].slot);
	return NULL;
}

/* Of a size that is too small for them all at times. */
static void test_threads_find_what_they_stored(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE / 2);
	unsigned before = fill(state, tier, PAGE_TEXT, 0, slots);
	uint64_t seed = test_seed();
	struct user users[6];

	drop_all(tier, slots, before);
	for (unsigned i = 0; i < 6; i++) {
		users[i] = (struct user){ .tier = tier, .seed = seed + i };
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
	}
	assert_int_equal(fill(state, tier, PAGE_TEXT, 0, slots), before);
	drop_all(tier, slots, before);
	tier->ops->destroy(tier);
}

static void test_batches_come_back(void **state)
{
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	uint64_t seed = test_seed();
	static struct batch batch;

	for (unsigned i = 0; i < 50; i++) {
		enum page_kind kind = (enum page_kind)(i % 3);
		unsigned n = 1 + (unsigned)(test_random(&seed) % S2_POOL_BATCH);

		assert_int_equal(batch_store(&batch, tier, kind, seed, n), n);
		assert_int_equal(batch_load(&batch, tier, kind, n), n);
		drop_all(tier, batch.slots, n);
	}
	tier->ops->destroy(tier);
}

static void test_a_full_tier_stores_what_it_can_of_a_batch(void **state)
{
	static uint64_t slots[MANY];
	struct s2_pool_tier *tier = tier_begin(state, TIER_SIZE);
	unsigned n = fill(state, tier, PAGE_ZERO, 0, slots), full = 0;
	static struct batch batch;

	drop_all(tier, slots, 10);
	assert_int_equal(batch_store(&batch, tier, PAGE_ZERO, 0, S2_POOL_BATCH), 10);
	for (unsigned i = 0; i < S2_POOL_BATCH; i++)
		full += batch.results[i] == no_room(state);
	assert_int_equal(full, S2_POOL_BATCH - 10);
	assert_int_equal(batch_load(&batch, tier, PAGE_ZERO, 10), 10);
	drop_all(tier, slots + 10, n - 10);
	drop_all(tier, batch.slots, 10);
	tier->ops->destroy(tier);
}

#define BATCH_STEPS 20

/* A few of its pages each time, so that the slots of the others lie here and there. */
static void renew(struct user *user, struct batch *batch, struct batch *fresh)
{
	for (unsigned i = 0; i < S2_POOL_BATCH; i++) {
		unsigned which = (unsigned)(test_random(&user->seed) % S2_POOL_BATCH);
		unsigned n = 1 + (unsigned)(test_random(&user->seed) % 4);

		if (which + n > S2_POOL_BATCH)
			continue;
		drop_all(user->tier, batch->slots + which, n);
		user->wrong +=
			batch_store(fresh, user->tier, PAGE_TEXT, test_random(&user->seed), n) != n;
		memcpy(batch->slots + which, fresh->slots, n * sizeof(*fresh->slots));
		memcpy(batch->numbers + which, fresh->numbers, n * sizeof(*fresh->numbers));
	}
}

static void *batch_user_main(void *arg)
{
	struct batch *batch = calloc(2, sizeof(*batch));
	struct user *user = arg;

	user->wrong += batch_store(batch, user->tier, PAGE_TEXT, user->seed, S2_POOL_BATCH) !=
		       S2_POOL_BATCH;
	for (unsigned i = 0; !user->wrong && i < BATCH_STEPS; i++) {
		renew(user, batch, batch + 1);
		user->wrong += batch_load(batch, user->tier, PAGE_TEXT, S2_POOL_BATCH) !=
			       S2_POOL_BATCH;
	}
	free(batch);
	return NULL;
}

static void test_threads_find_their_batches(void **state)
{
	struct s2_pool_tier *tier = tier_begin(state, 4 * 8 * S2_POOL_BATCH * S2_PAGE_SIZE);
	uint64_t seed = test_seed();
	struct user users[8];

	for (unsigned i = 0; i < 8; i++) {
		users[i] = (struct user){ .tier = tier, .seed = seed + i };
		assert_int_equal(pthread_create(&users[i].thread, NULL, batch_user_main, &users[i]),
				 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
	}
	tier->ops->destroy(tier);
}

static void test_arguments_are_checked(void **state)
{
	struct s2_pool_tier *tier;

	assert_int_equal(s2_pool_tier_memory(S2_POOL_LZ4, TIER_SIZE, NULL), -EINVAL);
	assert_int_equal(s2_pool_tier_memory(S2_POOL_LZ4, 0, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_memory(S2_POOL_LZ4, 4095, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_memory(S2_POOL_LZ4, UINT64_MAX, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_memory((enum s2_pool_codec)7, TIER_SIZE, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_file(NULL, TIER_SIZE, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, NULL), -EINVAL);
	assert_int_equal(s2_pool_tier_file(tier_path, 0, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_file(tier_path, 4095, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_file(tier_path, UINT64_MAX, &tier), -EINVAL);
	assert_int_equal(access(tier_path, F_OK), -1);
}

static int remove_file(void **state)
{
	return unlink(tier_path) && errno != ENOENT;
}

static enum tier_name lz4 = LZ4, zstd = ZSTD, a_file = A_FILE;

#define FOR_EACH_TIER(test)                                                                        \
	{ #test " (LZ4)", test, NULL, remove_file, &lz4 },                                         \
		{ #test " (zstd)", test, NULL, remove_file, &zstd },                               \
	{                                                                                          \
#test " (file)", test, NULL, remove_file, &a_file                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOR_EACH_TIER(test_pages_come_back),
		FOR_EACH_TIER(test_a_page_that_does_not_compress_goes_to_the_next_tier),
		FOR_EACH_TIER(test_a_full_tier_goes_on_after_a_drop),
		FOR_EACH_TIER(test_a_page_that_has_no_room_is_told_how_much_it_needs),
		FOR_EACH_TIER(test_all_room_comes_back),
		FOR_EACH_TIER(test_a_tier_keeps_to_its_size),
		FOR_EACH_TIER(test_no_two_pages_have_one_slot),
		FOR_EACH_TIER(test_a_slot_that_was_never_handed_out_does_no_harm),
		FOR_EACH_TIER(test_a_slot_dropped_twice_is_dropped_once),
		FOR_EACH_TIER(test_threads_find_what_they_stored),
		FOR_EACH_TIER(test_batches_come_back),
		FOR_EACH_TIER(test_a_full_tier_stores_what_it_can_of_a_batch),
		FOR_EACH_TIER(test_threads_find_their_batches),
		cmocka_unit_test(test_arguments_are_checked),
	};

	return cmocka_run_group_tests(tests, make_tier_directory, remove_tier_directory);
}
