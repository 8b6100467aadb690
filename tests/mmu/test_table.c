/* SPDX-License-Identifier: MIT */
/* The stage-2 table by itself: SPTEs are put there by hand, under mmu_lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counting_allocator.h"
#include "memslot/vm.h"
#include "mm/mm.h"
#include "mmu/table.h"

#include <pthread.h>
#include <stage2/stage2.h>
#include <stdlib.h>

#define LEVEL2_PAGES UINT64_C(512)
#define LEVEL3_PAGES (LEVEL2_PAGES * 512)
#define LEVEL4_PAGES (LEVEL3_PAGES * 512)

struct fixture {
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct s2_table *spare;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(s2_mm_create(NULL, &f->mm), 0);
	assert_int_equal(s2_vm_create(f->mm, NULL, &f->vm), 0);
	s2_write_lock(&f->vm->mmu_lock);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	s2_table_free_list(f->spare, &f->mm->allocator);
	s2_write_unlock(&f->vm->mmu_lock);
	s2_vm_put(f->vm);
	s2_mm_put(f->mm);
	free(f);
	return 0;
}

static void give_spares(struct fixture *f, unsigned nr)
{
	while (nr--) {
		struct s2_table *table = s2_table_alloc(&f->mm->allocator);

		assert_non_null(table);
		table->next = f->spare;
		f->spare = table;
	}
}

static unsigned take_spares(struct fixture *f)
{
	unsigned nr = 0;

	for (struct s2_table *table = f->spare; table; table = table->next)
		nr++;
	s2_table_free_list(f->spare, &f->mm->allocator);
	f->spare = NULL;
	return nr;
}

/* A leaf whose address tells its gfn. */
static uint64_t leaf(uint64_t gfn)
{
	return (gfn << S2_PAGE_SHIFT) | S2_SPTE_PRESENT | S2_SPTE_LEAF;
}

static void put_leaf(struct fixture *f, uint64_t gfn, unsigned level)
{
	_Atomic uint64_t *sptep;

	give_spares(f, 3);
	sptep = s2_table_reach(f->vm, gfn, level, &f->spare);
	assert_non_null(sptep);
	atomic_store(sptep, leaf(gfn));
	take_spares(f);
}

static uint64_t nr_tables(struct fixture *f)
{
	return atomic_load(&f->vm->nr_tables);
}

static void test_a_walk_of_an_empty_table_finds_no_place(void **state)
{
	struct fixture *f = *state;
	struct s2_walk_result found = s2_table_walk(f->vm->mmu_root, 0);

	assert_null(found.sptep);
	assert_int_equal(found.spte, 0);
	found = s2_table_walk(f->vm->mmu_root, S2_GFN_LIMIT - 1);
	assert_null(found.sptep);
}

static void test_reach_makes_the_missing_tables_and_counts_them(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(nr_tables(f), 1);
	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, 5, 1, &f->spare));
	assert_int_equal(take_spares(f), 0);
	assert_int_equal(nr_tables(f), 4);
	/* Those that are there are used again. */
	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, 6, 1, &f->spare));
	assert_int_equal(take_spares(f), 3);
	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, LEVEL2_PAGES, 1, &f->spare));
	assert_int_equal(take_spares(f), 2);
	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, LEVEL3_PAGES, 1, &f->spare));
	assert_int_equal(take_spares(f), 1);
	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, LEVEL4_PAGES, 1, &f->spare));
	assert_int_equal(take_spares(f), 0);
	assert_int_equal(nr_tables(f), 4 + 1 + 2 + 3);
}

static void test_reach_for_a_huge_leaf_makes_one_table_less(void **state)
{
	struct fixture *f = *state;

	give_spares(f, 3);
	assert_non_null(s2_table_reach(f->vm, 0, 2, &f->spare));
	assert_int_equal(take_spares(f), 1);
	assert_int_equal(nr_tables(f), 3);
}

static void test_reach_without_enough_spares_fails_and_loses_none(void **state)
{
	struct fixture *f = *state;

	give_spares(f, 2);
	assert_null(s2_table_reach(f->vm, 0, 1, &f->spare));
	assert_int_equal(take_spares(f), 0);
	/* What was hooked in stays, and is counted. */
	assert_int_equal(nr_tables(f), 3);
	give_spares(f, 1);
	assert_non_null(s2_table_reach(f->vm, 0, 1, &f->spare));
	assert_int_equal(nr_tables(f), 4);
}

static void test_a_huge_leaf_is_in_the_way_of_small_ones(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, LEVEL2_PAGES, 2);
	give_spares(f, 3);
	assert_null(s2_table_reach(f->vm, LEVEL2_PAGES + 7, 1, &f->spare));
	assert_non_null(s2_table_reach(f->vm, 0, 1, &f->spare));
}

static void test_a_table_is_in_the_way_of_a_huge_leaf(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, 7, 1);
	give_spares(f, 3);
	assert_null(s2_table_reach(f->vm, 0, 2, &f->spare));
	assert_non_null(s2_table_reach(f->vm, LEVEL2_PAGES, 2, &f->spare));
}

static const uint64_t borders[] = {
	0,
	1,
	LEVEL2_PAGES - 1,
	LEVEL2_PAGES,
	LEVEL3_PAGES - 1,
	LEVEL3_PAGES,
	LEVEL4_PAGES - 1,
	LEVEL4_PAGES,
	S2_GFN_LIMIT - LEVEL4_PAGES,
	S2_GFN_LIMIT - 1,
};

#define NR_BORDERS (sizeof(borders) / sizeof(borders[0]))

static void test_each_gfn_has_its_own_place(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < NR_BORDERS; i++)
		put_leaf(f, borders[i], 1);
	for (unsigned i = 0; i < NR_BORDERS; i++) {
		struct s2_walk_result found = s2_table_walk(f->vm->mmu_root, borders[i]);

		assert_non_null(found.sptep);
		assert_int_equal(found.spte, leaf(borders[i]));
		assert_int_equal(found.shift, S2_PAGE_SHIFT);
	}
	/* A neighbour has a place, and nothing in it. */
	assert_non_null(s2_table_walk(f->vm->mmu_root, 2).sptep);
	assert_int_equal(s2_table_walk(f->vm->mmu_root, 2).spte, 0);
}

static void test_a_walk_finds_the_huge_leaf_from_any_of_its_pages(void **state)
{
	struct fixture *f = *state;
	const uint64_t inside[] = { 0, 1, 511 };

	put_leaf(f, LEVEL2_PAGES, 2);
	for (unsigned i = 0; i < 3; i++) {
		struct s2_walk_result found =
			s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES + inside[i]);

		assert_int_equal(found.spte, leaf(LEVEL2_PAGES));
		assert_int_equal(found.shift, S2_HUGE_SHIFT);
	}
	assert_null(s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES - 1).sptep);
	assert_null(s2_table_walk(f->vm->mmu_root, 2 * LEVEL2_PAGES).sptep);
}

struct seen {
	unsigned nr;
	uint64_t gfn[16];   /* of the leaf */
	uint64_t first[16]; /* of what the visit was told of it */
	unsigned shift[16];
};

static bool note(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		 void *arg)
{
	struct seen *seen = arg;

	(void)vm;
	assert_true(seen->nr < 16);
	seen->gfn[seen->nr] = s2_spte_addr(atomic_load(sptep)) >> S2_PAGE_SHIFT;
	seen->first[seen->nr] = gfn;
	seen->shift[seen->nr++] = shift;
	return false;
}

static struct seen visit(struct fixture *f, uint64_t start, uint64_t end)
{
	struct seen seen = { 0 };
	const struct s2_leaf_visit visit = { .visit = note, .arg = &seen };

	assert_false(s2_table_for_each_leaf(f->vm, start, end, &visit));
	return seen;
}

static void test_a_visit_sees_the_leaves_of_its_range_in_order(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = NR_BORDERS; i-- > 0;)
		put_leaf(f, borders[i], 1);
	for (unsigned from = 0; from < NR_BORDERS; from++) {
		for (unsigned to = from; to < NR_BORDERS; to++) {
			struct seen seen = visit(f, borders[from], borders[to]);

			assert_int_equal(seen.nr, to - from);
			for (unsigned i = 0; i < seen.nr; i++) {
				assert_int_equal(seen.gfn[i], borders[from + i]);
				assert_int_equal(seen.first[i], borders[from + i]);
			}
		}
	}
	assert_int_equal(visit(f, 0, UINT64_MAX).nr, NR_BORDERS);
	assert_int_equal(visit(f, S2_GFN_LIMIT, UINT64_MAX).nr, 0);
	assert_int_equal(visit(f, 3, 3).nr, 0);
	assert_int_equal(visit(f, 2, LEVEL2_PAGES - 1).nr, 0);
}

static void test_a_visit_of_part_of_a_huge_leaf_sees_it_once(void **state)
{
	struct fixture *f = *state;
	struct seen seen;

	put_leaf(f, LEVEL2_PAGES, 2);
	put_leaf(f, 2 * LEVEL2_PAGES, 1);
	seen = visit(f, LEVEL2_PAGES + 3, LEVEL2_PAGES + 4);
	assert_int_equal(seen.nr, 1);
	assert_int_equal(seen.gfn[0], LEVEL2_PAGES);
	assert_int_equal(seen.first[0], LEVEL2_PAGES + 3);
	assert_int_equal(seen.shift[0], S2_HUGE_SHIFT);
	seen = visit(f, 2 * LEVEL2_PAGES - 1, 2 * LEVEL2_PAGES + 1);
	assert_int_equal(seen.nr, 2);
	assert_int_equal(seen.shift[0], S2_HUGE_SHIFT);
	assert_int_equal(seen.shift[1], S2_PAGE_SHIFT);
	assert_int_equal(visit(f, 0, LEVEL2_PAGES).nr, 0);
}

static bool first_only(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		       void *arg)
{
	unsigned *calls = arg;

	(void)vm;
	(void)sptep;
	(void)gfn;
	(void)shift;
	return (*calls)++ == 0;
}

static void test_one_visit_that_says_yes_is_enough_for_yes(void **state)
{
	struct fixture *f = *state;
	unsigned calls = 0;
	const struct s2_leaf_visit visit = { .visit = first_only, .arg = &calls };

	put_leaf(f, 0, 1);
	put_leaf(f, LEVEL4_PAGES, 1);
	put_leaf(f, LEVEL4_PAGES + 1, 1);
	assert_true(s2_table_for_each_leaf(f->vm, 0, UINT64_MAX, &visit));
	assert_int_equal(calls, 3);
}

static unsigned prune(struct fixture *f, uint64_t start, uint64_t end)
{
	struct s2_table *list = s2_table_prune(f->vm, start, end);
	unsigned nr = 0;

	for (struct s2_table *table = list; table; table = table->next)
		nr++;
	s2_table_free_list(list, &f->mm->allocator);
	return nr;
}

static void remove_leaf(struct fixture *f, uint64_t gfn)
{
	struct s2_walk_result found = s2_table_walk(f->vm->mmu_root, gfn);

	assert_non_null(found.sptep);
	atomic_store(found.sptep, 0);
}

static void test_pruning_leaves_tables_that_are_in_use(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, 3, 1);
	put_leaf(f, LEVEL2_PAGES, 2);
	put_leaf(f, LEVEL4_PAGES + 3, 1);
	assert_int_equal(prune(f, 0, UINT64_MAX), 0);
	/* A range that the remaining leaf is not in: its table stays all the same. */
	assert_int_equal(prune(f, 4, LEVEL2_PAGES), 0);
	assert_int_equal(s2_table_walk(f->vm->mmu_root, 3).spte, leaf(3));
	assert_int_equal(s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES).spte, leaf(LEVEL2_PAGES));
	assert_int_equal(s2_table_walk(f->vm->mmu_root, LEVEL4_PAGES + 3).spte,
			 leaf(LEVEL4_PAGES + 3));
}

static void test_pruning_sees_the_last_spte_of_a_table(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, LEVEL2_PAGES - 1, 1);
	put_leaf(f, LEVEL3_PAGES + LEVEL3_PAGES - 1, 1);
	assert_int_equal(prune(f, 0, 1), 0);
	assert_int_equal(prune(f, LEVEL3_PAGES, LEVEL3_PAGES + 1), 0);
	assert_int_equal(s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES - 1).spte,
			 leaf(LEVEL2_PAGES - 1));
}

static void test_pruning_takes_empty_tables_from_the_bottom_up(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, 3, 1);
	put_leaf(f, LEVEL2_PAGES + 3, 1);
	assert_int_equal(nr_tables(f), 5);
	remove_leaf(f, 3);
	assert_int_equal(prune(f, 3, 4), 1);
	assert_int_equal(nr_tables(f), 4);
	assert_null(s2_table_walk(f->vm->mmu_root, 3).sptep);
	assert_int_equal(s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES + 3).spte,
			 leaf(LEVEL2_PAGES + 3));
	remove_leaf(f, LEVEL2_PAGES + 3);
	assert_int_equal(prune(f, LEVEL2_PAGES, 2 * LEVEL2_PAGES), 3);
	assert_int_equal(nr_tables(f), 1);
}

static void test_pruning_stays_in_its_range(void **state)
{
	struct fixture *f = *state;

	put_leaf(f, 3, 1);
	put_leaf(f, LEVEL2_PAGES, 1);
	remove_leaf(f, 3);
	remove_leaf(f, LEVEL2_PAGES);
	assert_int_equal(prune(f, 0, LEVEL2_PAGES), 1);
	assert_non_null(s2_table_walk(f->vm->mmu_root, LEVEL2_PAGES).sptep);
	assert_int_equal(prune(f, S2_GFN_LIMIT - 1, UINT64_MAX), 0);
	assert_int_equal(prune(f, 0, UINT64_MAX), 3);
}

static void test_all_lists_every_table_once(void **state)
{
	struct fixture *f = *state;
	unsigned nr = 0;

	for (unsigned i = 0; i < NR_BORDERS; i++)
		put_leaf(f, borders[i], 1);
	put_leaf(f, 9 * LEVEL2_PAGES, 2);
	for (struct s2_table *table = s2_table_all(f->vm->mmu_root); table; table = table->next)
		nr++;
	assert_int_equal(nr, nr_tables(f));
}

#define RACERS 4
#define RACE_GFNS 2000u

struct racer {
	struct fixture *f;
	pthread_barrier_t *start;
	struct s2_brlock_reader reader;
	struct s2_table *spare;
	unsigned missed;
	unsigned left;
	pthread_t thread;
};

/* Everyone reaches for the same places; each of them needs two tables of its own. */
static void *race(void *arg)
{
	struct racer *racer = arg;
	const struct s2_allocator *a = &racer->f->mm->allocator;

	pthread_barrier_wait(racer->start);
	for (unsigned i = 0; i < RACE_GFNS; i++) {
		while (racer->left < 3) {
			struct s2_table *table = s2_table_alloc(a);

			table->next = racer->spare;
			racer->spare = table;
			racer->left++;
		}
		s2_read_lock(&racer->f->vm->mmu_lock, &racer->reader);
		racer->missed += !s2_table_reach(racer->f->vm, i * LEVEL3_PAGES, 1, &racer->spare);
		s2_read_unlock(&racer->f->vm->mmu_lock, &racer->reader);
		racer->left = 0;
		for (struct s2_table *table = racer->spare; table; table = table->next)
			racer->left++;
	}
	s2_table_free_list(racer->spare, a);
	return NULL;
}

/* That none of the losers' tables is lost is for the allocator's count to show. */
static void test_those_who_lose_a_race_keep_their_table(void **state)
{
	struct counting_allocator memory;
	struct racer racers[RACERS];
	pthread_barrier_t start;
	struct s2_mm_config config = { 0 };
	struct fixture f = { 0 };

	(void)state;
	counting_allocator_init(&memory);
	config.allocator = &memory.ops;
	assert_int_equal(s2_mm_create(&config, &f.mm), 0);
	assert_int_equal(s2_vm_create(f.mm, NULL, &f.vm), 0);
	pthread_barrier_init(&start, NULL, RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){ .f = &f, .start = &start };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < RACERS; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].missed, 0);
	}
	pthread_barrier_destroy(&start);
	/* Root, one of level 3 for each 512 gfns, two of each gfn's own. */
	assert_int_equal(nr_tables(&f), 1 + (RACE_GFNS + 511) / 512 + 2 * RACE_GFNS);
	s2_vm_put(f.vm);
	s2_mm_put(f.mm);
	assert_int_equal(memory.blocks, 0);
}

#define TABLE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(test_a_walk_of_an_empty_table_finds_no_place),
		TABLE_TEST(test_reach_makes_the_missing_tables_and_counts_them),
		TABLE_TEST(test_reach_for_a_huge_leaf_makes_one_table_less),
		TABLE_TEST(test_reach_without_enough_spares_fails_and_loses_none),
		TABLE_TEST(test_a_huge_leaf_is_in_the_way_of_small_ones),
		TABLE_TEST(test_a_table_is_in_the_way_of_a_huge_leaf),
		TABLE_TEST(test_each_gfn_has_its_own_place),
		TABLE_TEST(test_a_walk_finds_the_huge_leaf_from_any_of_its_pages),
		TABLE_TEST(test_a_visit_sees_the_leaves_of_its_range_in_order),
		TABLE_TEST(test_a_visit_of_part_of_a_huge_leaf_sees_it_once),
		TABLE_TEST(test_one_visit_that_says_yes_is_enough_for_yes),
		TABLE_TEST(test_pruning_leaves_tables_that_are_in_use),
		TABLE_TEST(test_pruning_sees_the_last_spte_of_a_table),
		TABLE_TEST(test_pruning_takes_empty_tables_from_the_bottom_up),
		TABLE_TEST(test_pruning_stays_in_its_range),
		TABLE_TEST(test_all_lists_every_table_once),
		cmocka_unit_test(test_those_who_lose_a_race_keep_their_table),
	};

	return cmocka_run_group_tests_name("stage-2 table", tests, NULL, NULL);
}
