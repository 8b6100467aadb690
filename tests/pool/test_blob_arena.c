/* SPDX-License-Identifier: MIT */
/* The arena: blobs never overlap, what is freed merges, a slot that never was is found out. */
#include "pool/blob_arena.h"

#include "small_vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ARENA_SIZE (256 * 1024)
#define MANY 4096

static bool is_one_free_block(const struct s2_blob_arena *arena)
{
	const struct s2_blob *first = (const void *)arena->granules;

	return !arena->used && arena->not_empty == UINT64_C(1) << (S2_BLOB_SMALL - 1) &&
	       arena->free[S2_BLOB_SMALL - 1] == 0 && first->granules == arena->nr_granules;
}

/* Fills the arena and returns how many blobs it took. */
static unsigned fill(struct s2_blob_arena *arena, size_t length, uint64_t *slots)
{
	unsigned n = 0;

	while (s2_blob_alloc(arena, length, &slots[n]))
		assert_in_range(++n, 1, MANY - 1);
	return n;
}

static void test_a_fresh_arena_is_one_free_block(void **state)
{
	struct s2_blob_arena arena;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	assert_true(is_one_free_block(&arena));
	s2_blob_arena_destroy(&arena);
}

static void test_all_its_memory_is_used_but_for_one_part_in_two_hundred(void **state)
{
	static uint64_t slots[MANY];
	struct s2_blob_arena arena;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	fill(&arena, 1, slots);
	assert_int_equal(arena.used, arena.nr_granules);
	assert_in_range(arena.used, ARENA_SIZE / S2_BLOB_GRANULE * 199 / 200,
			ARENA_SIZE / S2_BLOB_GRANULE);
	s2_blob_arena_destroy(&arena);
}

/* In three orders: upwards, downwards, and every other one first. */
static void test_what_is_freed_merges_to_one_block(void **state)
{
	static uint64_t slots[MANY];
	struct s2_blob_arena arena;
	unsigned n;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	n = fill(&arena, 1000, slots);
	for (unsigned i = 0; i < n; i++)
		s2_blob_free(&arena, slots[i]);
	assert_true(is_one_free_block(&arena));

	n = fill(&arena, S2_BLOB_MAX, slots);
	for (unsigned i = n; i-- > 0;)
		s2_blob_free(&arena, slots[i]);
	assert_true(is_one_free_block(&arena));

	n = fill(&arena, 200, slots);
	for (unsigned odd = 0; odd < 2; odd++)
		for (unsigned i = odd; i < n; i += 2)
			s2_blob_free(&arena, slots[i]);
	assert_true(is_one_free_block(&arena));
	s2_blob_arena_destroy(&arena);
}

static void test_a_hole_is_given_to_the_blob_that_fits_best(void **state)
{
	static uint64_t slots[MANY];
	struct s2_blob_arena arena;
	uint64_t slot;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_non_null(s2_blob_alloc(&arena, i == 2 ? 500 : i == 4 ? 1000 : 3000, &slots[i]));
	s2_blob_free(&arena, slots[0]);
	s2_blob_free(&arena, slots[2]);
	s2_blob_free(&arena, slots[4]);
	assert_non_null(s2_blob_alloc(&arena, 990, &slot));
	assert_int_equal(slot, slots[4]);
	assert_non_null(s2_blob_alloc(&arena, 490, &slot));
	assert_int_equal(slot, slots[2]);
	s2_blob_arena_destroy(&arena);
}

/* Of the largest hole, and no more than there is. */
static void test_it_is_known_how_much_room_there_is(void **state)
{
	static uint64_t slots[MANY];
	struct s2_blob_arena arena;
	unsigned n;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	assert_int_equal(s2_blob_room(&arena), S2_BLOB_SMALL);
	n = fill(&arena, 1, slots);
	assert_int_equal(s2_blob_room(&arena), 0);
	assert_int_equal(s2_blob_granules(1), 1);
	s2_blob_free(&arena, slots[7]);
	assert_int_equal(s2_blob_room(&arena), 1);
	s2_blob_free(&arena, slots[9]);
	assert_int_equal(s2_blob_room(&arena), 1);
	s2_blob_free(&arena, slots[8]);
	assert_int_equal(s2_blob_room(&arena), 3);
	assert_null(s2_blob_alloc(&arena, 3 * S2_BLOB_GRANULE, &slots[n]));
	assert_non_null(s2_blob_alloc(&arena, 2 * S2_BLOB_GRANULE, &slots[n]));
	assert_int_equal(s2_blob_room(&arena), 0);
	s2_blob_arena_destroy(&arena);
}

static void test_only_the_beginning_of_a_blob_is_a_slot(void **state)
{
	struct s2_blob_arena arena;
	struct s2_blob *blob;
	uint64_t slot;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	assert_null(s2_blob_find(&arena, 0));
	blob = s2_blob_alloc(&arena, 3000, &slot);
	assert_non_null(blob);
	memset(blob->data, 0xff, 3000);
	for (uint64_t i = 0; i < 2 * arena.nr_granules; i++) {
		assert_ptr_equal(s2_blob_find(&arena, i), i == slot ? blob : NULL);
		if (i != slot)
			s2_blob_free(&arena, i);
	}
	assert_null(s2_blob_find(&arena, UINT64_MAX));
	assert_null(s2_blob_find(&arena, (UINT64_C(1) << 32) + slot));
	s2_blob_free(&arena, slot);
	s2_blob_free(&arena, slot);
	assert_true(is_one_free_block(&arena));
	s2_blob_arena_destroy(&arena);
}

struct model_blob {
	bool live;
	uint64_t slot;
	size_t length;
	uint8_t mark;
};

static void check_blob(struct s2_blob_arena *arena, const struct model_blob *m)
{
	const struct s2_blob *blob = s2_blob_find(arena, m->slot);

	assert_non_null(blob);
	assert_int_equal(blob->length, m->length);
	for (size_t i = 0; i < m->length; i++)
		assert_int_equal(blob->data[i], m->mark);
}

/* A blob that overlapped another, or a header, would have damaged it. */
static void test_blobs_that_come_and_go_at_random_stay_whole(void **state)
{
	static struct model_blob model[512];
	uint64_t seed = test_seed();
	struct s2_blob_arena arena;

	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE + 100), 0);
	for (unsigned step = 0; step < 100000; step++) {
		struct model_blob *m = &model[test_random(&seed) % 512];

		if (m->live) {
			check_blob(&arena, m);
			s2_blob_free(&arena, m->slot);
			m->live = false;
		} else {
			struct s2_blob *blob;

			m->length = 1 + test_random(&seed) % S2_BLOB_MAX;
			m->mark = (uint8_t)test_random(&seed);
			blob = s2_blob_alloc(&arena, m->length, &m->slot);
			m->live = blob;
			if (blob)
				memset(blob->data, m->mark, m->length);
		}
	}
	for (unsigned i = 0; i < 512; i++) {
		if (!model[i].live)
			continue;
		check_blob(&arena, &model[i]);
		s2_blob_free(&arena, model[i].slot);
	}
	assert_true(is_one_free_block(&arena));
	s2_blob_arena_destroy(&arena);
}

/* More blobs than fit come and go in an arena that is full all the time. */
static void test_a_full_arena_wastes_little(void **state)
{
	enum { BLOBS = 512 };
	static struct model_blob model[BLOBS];
	uint64_t seed = test_seed();
	struct s2_blob_arena arena;

	memset(model, 0, sizeof(model));
	assert_int_equal(s2_blob_arena_init(&arena, ARENA_SIZE), 0);
	for (unsigned step = 0; step < 100000; step++) {
		struct model_blob *m = &model[test_random(&seed) % BLOBS];

		m->length = m->length ? m->length : 200 + test_random(&seed) % 3000;
		if (m->live && test_random(&seed) % 8 == 0) {
			s2_blob_free(&arena, m->slot);
			m->live = false;
		} else if (!m->live) {
			m->live = s2_blob_alloc(&arena, m->length, &m->slot);
		}
	}
	assert_in_range(arena.used, arena.nr_granules * 4 / 5, arena.nr_granules);
	s2_blob_arena_destroy(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fresh_arena_is_one_free_block),
		cmocka_unit_test(test_all_its_memory_is_used_but_for_one_part_in_two_hundred),
		cmocka_unit_test(test_what_is_freed_merges_to_one_block),
		cmocka_unit_test(test_a_hole_is_given_to_the_blob_that_fits_best),
		cmocka_unit_test(test_it_is_known_how_much_room_there_is),
		cmocka_unit_test(test_only_the_beginning_of_a_blob_is_a_slot),
		cmocka_unit_test(test_blobs_that_come_and_go_at_random_stay_whole),
		cmocka_unit_test(test_a_full_arena_wastes_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
