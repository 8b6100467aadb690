/* SPDX-License-Identifier: MIT */
/*
 * The copy-on-write interval index: what each call promises, and a random test
 * against a flat sorted array that also checks the shape of every version, that
 * an update replaces exactly what the new version no longer holds, and that old
 * versions stay as they were.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/itree.h"

#define VAL(n)	((void *)(uintptr_t)(n))

/* Counts what is out, and fails once @fail_after allocations were granted. */
struct counting {
	struct s2_allocator a;
	long live;
	long fail_after;		/* negative: never */
};

static void *counting_alloc(void *ctx, size_t size, size_t align)
{
	struct counting *c = ctx;

	if (c->fail_after == 0)
		return NULL;
	if (c->fail_after > 0)
		c->fail_after--;
	c->live++;
	return aligned_alloc(align, size);
}

static void counting_free(void *ctx, void *ptr)
{
	struct counting *c = ctx;

	c->live--;
	free(ptr);
}

/* A tree under test, with everything an updater keeps. */
struct fixture {
	struct counting mem;
	struct s2_itree_node *root;
	struct s2_itree_node *replaced;
	struct s2_itree_reserve reserve;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->mem.a.alloc = counting_alloc;
	f->mem.a.free = counting_free;
	f->mem.a.ctx = &f->mem;
	f->mem.fail_after = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	long live;

	s2_itree_free_list(f->replaced, &f->mem.a);
	s2_itree_free_all(f->root, &f->mem.a);
	s2_itree_reserve_drain(&f->reserve, &f->mem.a);
	live = f->mem.live;
	free(f);
	return live ? -1 : 0;
}

static void fill(struct fixture *f, unsigned updates)
{
	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a,
					       s2_itree_nodes_for(f->root, updates)), 0);
}

static void insert(struct fixture *f, uint64_t start, uint64_t end, void *value)
{
	struct s2_itree_iv iv = { start, end, value };

	fill(f, 1);
	f->root = s2_itree_insert(f->root, &iv, &f->reserve, &f->replaced);
	assert_non_null(f->root);
}

static void remove_present(struct fixture *f, uint64_t start, uint64_t end, void *value)
{
	struct s2_itree_node *old = f->root;

	fill(f, 1);
	f->root = s2_itree_remove(f->root, start, end, value, &f->reserve, &f->replaced);
	assert_ptr_not_equal(f->root, old);
}

static void replace_present(struct fixture *f, uint64_t start, uint64_t end, void *value,
			    void *new_value)
{
	struct s2_itree_node *old = f->root;

	fill(f, 2);
	f->root = s2_itree_replace(f->root, start, end, value, new_value, &f->reserve,
				   &f->replaced);
	assert_ptr_not_equal(f->root, old);
}

/* n intervals of 10 every 20: [0, 10), [20, 30), ...; values count from 1. */
static void insert_comb(struct fixture *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		insert(f, i * 20, i * 20 + 10, VAL(i + 1));
}

static unsigned height(const struct s2_itree_node *root)
{
	return root ? root->level + 1 : 0;
}

static int iv_cmp(const void *pa, const void *pb)
{
	const struct s2_itree_iv *a = pa, *b = pb;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->value != b->value)
		return (uintptr_t)a->value < (uintptr_t)b->value ? -1 : 1;
	return 0;
}

/*
 * The structure checker
 */

struct walk {
	struct s2_itree_iv last;	/* the interval before this one */
	size_t intervals;
	size_t nodes;
};

static void check_padding(const struct s2_itree_node *node)
{
	for (unsigned i = node->count; i < S2_ITREE_SLOTS; i++) {
		assert_int_equal(node->start[i], UINT64_MAX);
		assert_int_equal(node->reach[i + 1], UINT64_MAX);
	}
}

static void check_interval(const struct s2_itree_node *leaf, unsigned i, struct walk *w)
{
	struct s2_itree_iv iv = { leaf->start[i], leaf->end[i], leaf->ptr[i] };

	assert_true(iv.start < iv.end);
	assert_non_null(iv.value);
	if (w->intervals > 0)
		assert_true(iv_cmp(&w->last, &iv) < 0);
	w->last = iv;
	w->intervals++;
}

static void check_node(const struct s2_itree_node *node, bool is_root, struct walk *w)
{
	uint64_t reach = 0;

	w->nodes++;
	assert_true(((uintptr_t)node & 63) == 0);
	assert_in_range(node->count, is_root ? (node->level ? 2 : 1) : S2_ITREE_MIN_FILL,
			S2_ITREE_SLOTS);
	assert_int_equal(node->reach[0], 0);
	check_padding(node);
	for (unsigned i = 0; i < node->count; i++) {
		const struct s2_itree_node *child = node->ptr[i];

		if (node->level == 0) {
			check_interval(node, i, w);
		} else {
			assert_int_equal(child->level, node->level - 1);
			assert_int_equal(node->start[i], child->start[0]);
			assert_int_equal(node->end[i], child->reach[child->count]);
			check_node(child, false, w);
		}
		if (node->end[i] > reach)
			reach = node->end[i];
		assert_int_equal(node->reach[i + 1], reach);
	}
}

static struct walk check_tree(const struct s2_itree_node *root)
{
	struct walk w = { .intervals = 0 };

	if (root) {
		assert_true(root->level < S2_ITREE_MAX_HEIGHT);
		check_node(root, true, &w);
	}
	return w;
}

/*
 * One behaviour each
 */

static void empty_tree_holds_nothing(void **state)
{
	struct s2_itree_iter it;

	(void)state;
	assert_false(s2_itree_overlaps(NULL, 0, UINT64_MAX));
	assert_null(s2_itree_lookup(NULL, 0));
	s2_itree_iter_init(&it, NULL, 0, UINT64_MAX);
	assert_null(s2_itree_iter_next(&it));
}

static void overlap_is_half_open(void **state)
{
	struct fixture *f = *state;

	insert(f, 100, 200, VAL(1));
	assert_false(s2_itree_overlaps(f->root, 0, 100));
	assert_true(s2_itree_overlaps(f->root, 0, 101));
	assert_true(s2_itree_overlaps(f->root, 150, 151));
	assert_true(s2_itree_overlaps(f->root, 199, 300));
	assert_false(s2_itree_overlaps(f->root, 200, 300));
}

static void lookup_is_half_open(void **state)
{
	struct fixture *f = *state;

	insert(f, 100, 200, VAL(1));
	assert_null(s2_itree_lookup(f->root, 99));
	assert_ptr_equal(s2_itree_lookup(f->root, 100), VAL(1));
	assert_ptr_equal(s2_itree_lookup(f->root, 199), VAL(1));
	assert_null(s2_itree_lookup(f->root, 200));
}

static void every_comb_tooth_and_gap_is_told_apart(void **state)
{
	struct fixture *f = *state;

	insert_comb(f, 3000);
	for (uint64_t i = 0; i < 3000; i++) {
		assert_true(s2_itree_overlaps(f->root, i * 20 + 9, i * 20 + 10));
		assert_false(s2_itree_overlaps(f->root, i * 20 + 10, i * 20 + 20));
		assert_ptr_equal(s2_itree_lookup(f->root, i * 20 + 9), VAL(i + 1));
		assert_null(s2_itree_lookup(f->root, i * 20 + 10));
	}
}

static void find_gives_the_interval(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iv iv = { 0 };

	insert_comb(f, 500);
	assert_true(s2_itree_find(f->root, 205, &iv));
	assert_int_equal(iv.start, 200);
	assert_int_equal(iv.end, 210);
	assert_ptr_equal(iv.value, VAL(11));
}

static void find_leaves_its_result_alone_on_a_miss(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iv iv = { 1, 2, VAL(3) };

	insert_comb(f, 500);
	assert_false(s2_itree_find(f->root, 215, &iv));
	assert_int_equal(iv.start, 1);
	assert_int_equal(iv.end, 2);
	assert_ptr_equal(iv.value, VAL(3));
}

static void both_ends_of_the_address_space_work(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iter it;

	insert(f, 0, 1, VAL(1));
	insert(f, UINT64_MAX - 1, UINT64_MAX, VAL(2));
	check_tree(f->root);
	assert_ptr_equal(s2_itree_lookup(f->root, 0), VAL(1));
	assert_ptr_equal(s2_itree_lookup(f->root, UINT64_MAX - 1), VAL(2));
	assert_null(s2_itree_lookup(f->root, UINT64_MAX));
	assert_true(s2_itree_overlaps(f->root, UINT64_MAX - 1, UINT64_MAX));
	assert_false(s2_itree_overlaps(f->root, 1, UINT64_MAX - 1));
	s2_itree_iter_init(&it, f->root, 1, UINT64_MAX);
	assert_ptr_equal(s2_itree_iter_next(&it)->value, VAL(2));
	assert_null(s2_itree_iter_next(&it));
}

static void long_interval_far_to_the_left_is_seen(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iter it;

	insert_comb(f, 2000);
	insert(f, 3, 50000, VAL(9999));
	assert_true(s2_itree_overlaps(f->root, 39995, 39999));
	assert_false(s2_itree_overlaps(f->root, 50000, 50001));
	s2_itree_iter_init(&it, f->root, 39995, 39999);
	assert_ptr_equal(s2_itree_iter_next(&it)->value, VAL(9999));
	assert_null(s2_itree_iter_next(&it));
}

static void intervals_that_end_where_the_range_starts_do_not_overlap(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 600; i++)
		insert(f, i, 5000, VAL(i + 1));
	insert(f, 9000, 9001, VAL(1000));
	assert_true(s2_itree_overlaps(f->root, 4999, 5000));
	assert_false(s2_itree_overlaps(f->root, 5000, 9000));
}

static void iteration_is_in_order_of_start(void **state)
{
	struct fixture *f = *state;
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;
	uint64_t want = 200;

	for (unsigned i = 1000; i-- > 0; )
		insert(f, i * 20, i * 20 + 10, VAL(i + 1));
	s2_itree_iter_init(&it, f->root, 209, 8001);
	while ((iv = s2_itree_iter_next(&it))) {
		assert_int_equal(iv->start, want);
		want += 20;
	}
	assert_int_equal(want, 8020);
}

static void finished_iterator_stays_finished(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iter it;

	insert_comb(f, 100);
	s2_itree_iter_init(&it, f->root, 5, 6);
	assert_non_null(s2_itree_iter_next(&it));
	assert_null(s2_itree_iter_next(&it));
	assert_null(s2_itree_iter_next(&it));
}

static void iteration_enters_no_subtree_without_a_match(void **state)
{
	struct fixture *f = *state;
	void *child[S2_ITREE_SLOTS];
	struct s2_itree_iter it;

	insert(f, 0, 1000000, VAL(1));
	for (unsigned i = 1; i < 5000; i++)
		insert(f, i * 20, i * 20 + 10, VAL(i + 1));

	/* every prefix reaches the match in the first child: entering another child traps */
	memcpy(child, f->root->ptr, sizeof(child));
	memset(&f->root->ptr[1], 0, sizeof(child) - sizeof(child[0]));
	s2_itree_iter_init(&it, f->root, 500000, 500001);
	assert_ptr_equal(s2_itree_iter_next(&it)->value, VAL(1));
	assert_null(s2_itree_iter_next(&it));
	memcpy(f->root->ptr, child, sizeof(child));
}

static void equal_intervals_are_told_apart_by_value(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iter it;

	for (uintptr_t i = 1; i <= 3; i++)
		insert(f, 100, 200, VAL(i));
	remove_present(f, 100, 200, VAL(2));
	s2_itree_iter_init(&it, f->root, 0, 1000);
	assert_ptr_equal(s2_itree_iter_next(&it)->value, VAL(1));
	assert_ptr_equal(s2_itree_iter_next(&it)->value, VAL(3));
	assert_null(s2_itree_iter_next(&it));
}

static void many_equal_starts_keep_the_tree_flat(void **state)
{
	struct fixture *f = *state;

	/* 7919 and 10007 are primes: every value once, in no order */
	for (uintptr_t i = 0; i < 10000; i++)
		insert(f, 4096, 8192 + i, VAL(1 + i * 7919 % 10007));
	assert_int_equal(check_tree(f->root).intervals, 10000);
	assert_in_range(height(f->root), 4, 6);
	for (uintptr_t i = 10000; i-- > 0; )
		remove_present(f, 4096, 8192 + i, VAL(1 + i * 7919 % 10007));
	assert_null(f->root);
}

static void removing_what_is_not_there_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_node *root, *replaced;
	unsigned reserved;

	insert_comb(f, 300);
	fill(f, 1);
	root = f->root;
	replaced = f->replaced;
	reserved = f->reserve.count;

	assert_ptr_equal(s2_itree_remove(root, 20, 30, VAL(3), &f->reserve, &f->replaced), root);
	assert_ptr_equal(s2_itree_remove(root, 20, 31, VAL(2), &f->reserve, &f->replaced), root);
	assert_ptr_equal(s2_itree_remove(root, 21, 30, VAL(2), &f->reserve, &f->replaced), root);
	assert_ptr_equal(s2_itree_remove(root, 30, 20, VAL(2), &f->reserve, &f->replaced), root);
	assert_null(s2_itree_remove(NULL, 20, 30, VAL(2), &f->reserve, &f->replaced));
	assert_ptr_equal(f->replaced, replaced);
	assert_int_equal(f->reserve.count, reserved);
}

static void removing_everything_shrinks_to_null(void **state)
{
	struct fixture *f = *state;
	unsigned top;

	insert_comb(f, 2003);
	top = height(f->root);
	for (unsigned i = 0; i < 2003; i++) {
		unsigned k = i * 1009 % 2003;

		assert_true(height(f->root) <= top);
		top = height(f->root);
		remove_present(f, k * 20, k * 20 + 10, VAL(k + 1));
		assert_int_equal(check_tree(f->root).intervals, 2002 - i);
	}
	assert_null(f->root);
}

static void ascending_inserts_leave_full_nodes(void **state)
{
	struct fixture *f = *state;
	struct walk w;

	insert_comb(f, 5000);
	w = check_tree(f->root);
	assert_true(w.intervals * 3 >= w.nodes * S2_ITREE_SLOTS * 2);
}

static void replace_swaps_the_value(void **state)
{
	struct fixture *f = *state;

	insert_comb(f, 1000);
	replace_present(f, 200, 210, VAL(11), VAL(77));
	assert_int_equal(check_tree(f->root).intervals, 1000);
	assert_ptr_equal(s2_itree_lookup(f->root, 205), VAL(77));
	assert_ptr_equal(s2_itree_lookup(f->root, 185), VAL(10));
}

static void replace_takes_one_path_when_the_order_stays(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	insert_comb(f, 1000);
	fill(f, 2);
	before = f->reserve.count;
	f->root = s2_itree_replace(f->root, 200, 210, VAL(11), VAL(5000), &f->reserve,
				   &f->replaced);
	assert_int_equal(before - f->reserve.count, height(f->root));
}

static void replace_keeps_equal_starts_in_order(void **state)
{
	struct fixture *f = *state;

	for (uintptr_t i = 1; i <= 200; i++)
		insert(f, 100, 200, VAL(i * 10));
	replace_present(f, 100, 200, VAL(10), VAL(1995));
	replace_present(f, 100, 200, VAL(2000), VAL(5));
	assert_int_equal(check_tree(f->root).intervals, 200);
}

static void replacing_what_is_not_there_changes_nothing(void **state)
{
	struct fixture *f = *state;

	insert_comb(f, 300);
	fill(f, 2);
	assert_ptr_equal(s2_itree_replace(f->root, 20, 30, VAL(9), VAL(1), &f->reserve,
					  &f->replaced), f->root);
}

static void iteration_of_an_old_version_outlives_updates(void **state)
{
	struct fixture *f = *state;
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;
	uint64_t want = 0;

	insert_comb(f, 1000);
	s2_itree_iter_init(&it, f->root, 0, UINT64_MAX);
	while ((iv = s2_itree_iter_next(&it))) {
		unsigned k = want / 20;

		assert_int_equal(iv->start, want);
		remove_present(f, k * 20, k * 20 + 10, VAL(k + 1));
		insert(f, k * 20 + 3, k * 20 + 5, VAL(k + 1));
		want += 20;
	}
	assert_int_equal(want, 20000);
}

static void failed_reserve_fill_leaves_it_as_it_was(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_reserve before;

	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 3), 0);
	before = f->reserve;
	for (long n = 0; n < 7; n++) {
		f->mem.fail_after = n;
		assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 10), -ENOMEM);
		assert_memory_equal(&f->reserve, &before, sizeof(before));
		assert_int_equal(f->mem.live, 3);
	}
	f->mem.fail_after = 7;
	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 10), 0);
	assert_int_equal(f->reserve.count, 10);
	f->mem.fail_after = -1;
}

static void reserve_fill_only_tops_up(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 5), 0);
	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 5), 0);
	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 2), 0);
	assert_int_equal(f->mem.live, 5);
}

static void drained_reserve_is_empty(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(s2_itree_reserve_fill(&f->reserve, &f->mem.a, 5), 0);
	s2_itree_reserve_drain(&f->reserve, &f->mem.a);
	assert_int_equal(f->mem.live, 0);
	assert_int_equal(f->reserve.count, 0);
	assert_null(f->reserve.head);
}

static void check_reserve(const struct s2_itree_reserve *r, unsigned count)
{
	const struct s2_itree_node *last = NULL;
	unsigned n = 0;

	for (const struct s2_itree_node *node = r->head; node; node = node->next) {
		last = node;
		n++;
	}
	assert_int_equal(r->count, count);
	assert_int_equal(n, count);
	if (last)
		assert_ptr_equal(r->tail, last);
}

static void nodes_move_from_one_reserve_to_another(void **state)
{
	struct fixture *f = *state;

	for (unsigned has = 0; has < 3; has++) {
		for (unsigned other_has = 0; other_has < 4; other_has++) {
			for (unsigned n = 0; n < 5; n++) {
				struct s2_itree_reserve to = { 0 }, from = { 0 };
				unsigned moved = n < other_has ? n : other_has;

				assert_int_equal(s2_itree_reserve_fill(&to, &f->mem.a, has), 0);
				assert_int_equal(s2_itree_reserve_fill(&from, &f->mem.a, other_has),
						 0);
				s2_itree_reserve_move(&to, &from, n);
				check_reserve(&to, has + moved);
				check_reserve(&from, other_has - moved);
				/* And on with what is left, from an end that was moved. */
				s2_itree_reserve_move(&from, &to, has + moved);
				check_reserve(&from, has + other_has);
				check_reserve(&to, 0);
				s2_itree_reserve_drain(&from, &f->mem.a);
			}
		}
	}
	assert_int_equal(f->mem.live, 0);
}

static void replaced_nodes_go_to_a_reserve(void **state)
{
	struct fixture *f = *state;
	unsigned nr = 0;

	insert_comb(f, 100);
	s2_itree_reserve_drain(&f->reserve, &f->mem.a);
	fill(f, 1);
	for (struct s2_itree_node *node = f->replaced; node; node = node->next)
		nr++;
	assert_true(nr > 1);
	nr += f->reserve.count;
	s2_itree_reserve_add_list(&f->reserve, f->replaced);
	f->replaced = NULL;
	check_reserve(&f->reserve, nr);
	s2_itree_reserve_add_list(&f->reserve, NULL);
	check_reserve(&f->reserve, nr);
}

static void updates_allocate_nothing(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_iv iv = { 5, 6, VAL(7) };

	insert_comb(f, 500);
	fill(f, 2);
	f->mem.fail_after = 0;
	f->root = s2_itree_insert(f->root, &iv, &f->reserve, &f->replaced);
	f->root = s2_itree_remove(f->root, 5, 6, VAL(7), &f->reserve, &f->replaced);
	f->mem.fail_after = -1;
	assert_int_equal(check_tree(f->root).intervals, 500);
}

static void node_bound_covers_the_highest_tree(void **state)
{
	struct s2_itree_node root = { .level = S2_ITREE_MAX_HEIGHT - 1 };

	(void)state;
	assert_int_equal(s2_itree_nodes_for(&root, 1), S2_ITREE_UPDATE_NODES);
	assert_int_equal(s2_itree_nodes_for(NULL, 1), 1);
}

static void free_all_gives_back_every_node(void **state)
{
	struct fixture *f = *state;

	insert_comb(f, 3000);
	s2_itree_free_list(f->replaced, &f->mem.a);
	f->replaced = NULL;
	s2_itree_reserve_drain(&f->reserve, &f->mem.a);
	assert_int_equal(f->mem.live, check_tree(f->root).nodes);
	s2_itree_free_all(f->root, &f->mem.a);
	f->root = NULL;
	assert_int_equal(f->mem.live, 0);
}

static void retire_all_lists_every_node_once(void **state)
{
	struct fixture *f = *state;
	struct s2_itree_node *list = NULL;
	size_t nodes, listed = 0;

	insert_comb(f, 3000);
	nodes = check_tree(f->root).nodes;
	s2_itree_retire_all(f->root, &list);
	/* listed, but still what readers of that version need */
	assert_int_equal(check_tree(f->root).intervals, 3000);
	f->root = NULL;
	for (struct s2_itree_node *n = list; n; n = n->next)
		listed++;
	assert_int_equal(listed, nodes);
	s2_itree_free_list(list, &f->mem.a);
}

/*
 * Random steps against a flat sorted array
 */

#define MODEL_MAX	700
#define STEPS		6000
#define KEPT		24

struct model {
	unsigned n;
	struct s2_itree_iv iv[MODEL_MAX];
};

struct version {
	const struct s2_itree_node *root;
	struct model model;
};

struct random_test {
	struct fixture *f;
	bool overlapping;
	uint64_t seed;
	uint64_t rnd;
	uintptr_t next_value;
	struct model model;
	struct version kept[KEPT];
	unsigned n_kept;
};

static uint64_t rnd(struct random_test *t, uint64_t below)
{
	t->rnd ^= t->rnd << 13;
	t->rnd ^= t->rnd >> 7;
	t->rnd ^= t->rnd << 17;
	return (t->rnd >> 11) % below;
}

static void seed_from_environment(struct random_test *t)
{
	const char *s = getenv("S2_SEED");

	t->seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
	printf("S2_SEED=%llu\n", (unsigned long long)t->seed);
	/* any seed must start xorshift somewhere other than at its fixed point, zero */
	t->rnd = (t->seed + 1) * 0x9e3779b97f4a7c15ull | 1;
}

static bool iv_overlaps(const struct s2_itree_iv *iv, uint64_t start, uint64_t end)
{
	return iv->start < end && iv->end > start;
}

static bool model_overlaps(const struct model *m, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < m->n; i++) {
		if (iv_overlaps(&m->iv[i], start, end))
			return true;
	}
	return false;
}

static void model_sort(struct model *m)
{
	qsort(m->iv, m->n, sizeof(m->iv[0]), iv_cmp);
}

static void compare_iteration(const struct s2_itree_node *root, const struct model *m,
			      uint64_t start, uint64_t end)
{
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	s2_itree_iter_init(&it, root, start, end);
	for (unsigned i = 0; i < m->n; i++) {
		if (!iv_overlaps(&m->iv[i], start, end))
			continue;
		iv = s2_itree_iter_next(&it);
		assert_non_null(iv);
		assert_int_equal(iv->start, m->iv[i].start);
		assert_int_equal(iv->end, m->iv[i].end);
		assert_ptr_equal(iv->value, m->iv[i].value);
	}
	assert_null(s2_itree_iter_next(&it));
}

static void compare_lookup(const struct s2_itree_node *root, const struct model *m, uint64_t point)
{
	void *want = NULL;

	for (unsigned i = 0; i < m->n; i++) {
		if (iv_overlaps(&m->iv[i], point, point + 1))
			want = m->iv[i].value;
	}
	assert_ptr_equal(s2_itree_lookup(root, point), want);
}

/* Addresses are few, so that equal starts, touching ends and hits are common. */
#define SPAN	3000

static void compare_queries(struct random_test *t)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t start = rnd(t, SPAN);
		uint64_t end = start + 1 + rnd(t, rnd(t, 4) ? 8 : SPAN);

		assert_int_equal(s2_itree_overlaps(t->f->root, start, end),
				 model_overlaps(&t->model, start, end));
		compare_iteration(t->f->root, &t->model, start, end);
		if (!t->overlapping)
			compare_lookup(t->f->root, &t->model, start);
	}
}

/* Every node below a root, or in a list, sorted by address. */
struct node_set {
	size_t n;
	const struct s2_itree_node *node[2 * MODEL_MAX];
};

static int node_cmp(const void *pa, const void *pb)
{
	uintptr_t a = *(const uintptr_t *)pa, b = *(const uintptr_t *)pb;

	return (a > b) - (a < b);
}

static void collect(struct node_set *set, const struct s2_itree_node *node)
{
	if (!node)
		return;
	assert_true(set->n < 2 * MODEL_MAX);
	set->node[set->n++] = node;
	for (unsigned i = 0; node->level && i < node->count; i++)
		collect(set, node->ptr[i]);
}

static struct node_set set_of_tree(const struct s2_itree_node *root)
{
	struct node_set set = { .n = 0 };

	collect(&set, root);
	qsort(set.node, set.n, sizeof(set.node[0]), node_cmp);
	return set;
}

static struct node_set set_of_list(const struct s2_itree_node *list,
				   const struct s2_itree_node *stop)
{
	struct node_set set = { .n = 0 };

	for (; list != stop; list = list->next) {
		assert_true(set.n < 2 * MODEL_MAX);
		set.node[set.n++] = list;
	}
	qsort(set.node, set.n, sizeof(set.node[0]), node_cmp);
	for (size_t i = 1; i < set.n; i++)
		assert_ptr_not_equal(set.node[i - 1], set.node[i]);
	return set;
}

static bool set_has(const struct node_set *set, const struct s2_itree_node *node)
{
	return bsearch(&node, set->node, set->n, sizeof(node), node_cmp) != NULL;
}

/*
 * Replaced is what the old version has and the new one has not. An update in
 * two steps may have made and replaced nodes that neither has; every node taken
 * from the reserve is in the new version or among those.
 */
static void check_replaced(const struct node_set *old, const struct node_set *new,
			   const struct node_set *replaced, unsigned taken, bool two_steps)
{
	size_t fresh = 0, between = 0;

	for (size_t i = 0; i < old->n; i++)
		assert_int_equal(set_has(replaced, old->node[i]), !set_has(new, old->node[i]));
	for (size_t i = 0; i < replaced->n; i++) {
		assert_false(set_has(new, replaced->node[i]));
		between += !set_has(old, replaced->node[i]);
	}
	for (size_t i = 0; i < new->n; i++)
		fresh += !set_has(old, new->node[i]);
	assert_int_equal(taken, fresh + between);
	if (!two_steps)
		assert_int_equal(between, 0);
}

static bool pick_free_interval(struct random_test *t, struct s2_itree_iv *iv)
{
	for (unsigned tries = 0; tries < 20; tries++) {
		iv->start = rnd(t, SPAN);
		iv->end = iv->start + 1 + rnd(t, 3);
		if (t->overlapping && rnd(t, 10) == 0)
			iv->end = iv->start + 1 + rnd(t, SPAN);
		if (t->overlapping && rnd(t, 4) == 0)
			*iv = (struct s2_itree_iv){ SPAN / 2, SPAN / 2 + 1 + rnd(t, 50), NULL };
		/* large odd multiples: values in no relation to the order of insertion */
		iv->value = VAL(++t->next_value * 0x9e3779b1u % 0xffffffu * 2 + 1);
		if (t->overlapping || !model_overlaps(&t->model, iv->start, iv->end))
			return true;
	}
	return false;
}

static bool value_in_use(const struct model *m, const void *value)
{
	for (unsigned i = 0; i < m->n; i++) {
		if (m->iv[i].value == value)
			return true;
	}
	return false;
}

static void step_insert(struct random_test *t)
{
	struct s2_itree_iv iv;

	if (t->model.n == MODEL_MAX || !pick_free_interval(t, &iv) ||
	    value_in_use(&t->model, iv.value))
		return;
	t->f->root = s2_itree_insert(t->f->root, &iv, &t->f->reserve, &t->f->replaced);
	t->model.iv[t->model.n++] = iv;
}

static void step_remove(struct random_test *t)
{
	struct s2_itree_iv *iv;

	if (t->model.n == 0)
		return;
	iv = &t->model.iv[rnd(t, t->model.n)];
	t->f->root = s2_itree_remove(t->f->root, iv->start, iv->end, iv->value, &t->f->reserve,
				     &t->f->replaced);
	*iv = t->model.iv[--t->model.n];
}

static void step_replace(struct random_test *t)
{
	void *value = VAL(1 + rnd(t, 0x2000000));
	struct s2_itree_iv *iv;

	if (t->model.n == 0 || value_in_use(&t->model, value))
		return;
	iv = &t->model.iv[rnd(t, t->model.n)];
	t->f->root = s2_itree_replace(t->f->root, iv->start, iv->end, iv->value, value,
				      &t->f->reserve, &t->f->replaced);
	iv->value = value;
}

static void step(struct random_test *t, unsigned percent_insert)
{
	struct fixture *f = t->f;
	struct s2_itree_node *list = f->replaced;
	struct node_set old = set_of_tree(f->root), new, replaced;
	bool replace = rnd(t, 8) == 0;
	unsigned had;

	/* exactly as many as one update is said to need: one more would trip over NULL */
	s2_itree_reserve_drain(&f->reserve, &f->mem.a);
	fill(f, replace ? 2 : 1);
	had = f->reserve.count;
	if (replace)
		step_replace(t);
	else if (rnd(t, 100) < percent_insert)
		step_insert(t);
	else
		step_remove(t);

	model_sort(&t->model);
	assert_int_equal(check_tree(f->root).intervals, t->model.n);
	new = set_of_tree(f->root);
	replaced = set_of_list(f->replaced, list);
	check_replaced(&old, &new, &replaced, had - f->reserve.count, replace);
	compare_queries(t);
}

static void keep_version(struct random_test *t)
{
	struct version *v = &t->kept[t->n_kept++];

	v->root = t->f->root;
	v->model = t->model;
}

static void check_kept(const struct random_test *t)
{
	for (unsigned i = 0; i < t->n_kept; i++) {
		const struct version *v = &t->kept[i];

		assert_int_equal(check_tree(v->root).intervals, v->model.n);
		compare_iteration(v->root, &v->model, 0, UINT64_MAX);
	}
}

static void random_steps(struct fixture *f, bool overlapping)
{
	struct random_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->f = f;
	t->overlapping = overlapping;
	seed_from_environment(t);
	for (unsigned i = 0; i < STEPS; i++) {
		/* long stretches of growing and of shrinking, down to nothing */
		step(t, i / 1000 % 2 ? 15 : 85);
		if (i % (STEPS / KEPT) == 0) {
			check_kept(t);
			keep_version(t);
		}
	}
	check_kept(t);
	free(t);
}

static void random_steps_without_overlap_match_a_flat_array(void **state)
{
	random_steps(*state, false);
}

static void random_steps_with_overlap_match_a_flat_array(void **state)
{
	random_steps(*state, true);
}

#define T(name)	cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(empty_tree_holds_nothing),
		T(overlap_is_half_open),
		T(lookup_is_half_open),
		T(every_comb_tooth_and_gap_is_told_apart),
		T(find_gives_the_interval),
		T(find_leaves_its_result_alone_on_a_miss),
		T(both_ends_of_the_address_space_work),
		T(long_interval_far_to_the_left_is_seen),
		T(intervals_that_end_where_the_range_starts_do_not_overlap),
		T(iteration_is_in_order_of_start),
		T(finished_iterator_stays_finished),
		T(iteration_enters_no_subtree_without_a_match),
		T(equal_intervals_are_told_apart_by_value),
		T(many_equal_starts_keep_the_tree_flat),
		T(removing_what_is_not_there_changes_nothing),
		T(removing_everything_shrinks_to_null),
		T(ascending_inserts_leave_full_nodes),
		T(replace_swaps_the_value),
		T(replace_takes_one_path_when_the_order_stays),
		T(replace_keeps_equal_starts_in_order),
		T(replacing_what_is_not_there_changes_nothing),
		T(iteration_of_an_old_version_outlives_updates),
		T(failed_reserve_fill_leaves_it_as_it_was),
		T(reserve_fill_only_tops_up),
		T(drained_reserve_is_empty),
		T(nodes_move_from_one_reserve_to_another),
		T(replaced_nodes_go_to_a_reserve),
		T(updates_allocate_nothing),
		T(node_bound_covers_the_highest_tree),
		T(free_all_gives_back_every_node),
		T(retire_all_lists_every_node_once),
		T(random_steps_without_overlap_match_a_flat_array),
		T(random_steps_with_overlap_match_a_flat_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
