/* SPDX-License-Identifier: MIT */
/*
 * The table of invalidations in flight, by itself: claiming, waiting, ownership,
 * grace periods, and the states an entry is in for an instant only, which these
 * tests make by hand.
 */
#include "notifier/fixture.h"

#include "base/alloc.h"
#include "mm/inflight.h"

#define ENTRIES 8

static int setup_table(void **state)
{
	struct s2_inflight *table = aligned_alloc(64, (sizeof(*table) + 63) / 64 * 64);

	*state = table;
	return table ? s2_inflight_init(table, &s2_libc_allocator, ENTRIES) : -1;
}

static int teardown_table(void **state)
{
	s2_inflight_free(*state, &s2_libc_allocator);
	free(*state);
	return 0;
}

static void enter(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t page,
		  uint64_t nr)
{
	*inv = (struct s2_invalidation){ 0 };
	s2_inflight_enter(table, inv, page * PAGE, (page + nr) * PAGE);
}

static unsigned occupied(struct s2_inflight *table)
{
	unsigned nr = 0;

	for (unsigned i = 0; i <= table->mask; i++)
		nr += __atomic_load_n(&table->entries[i].word, __ATOMIC_RELAXED) != 0;
	return nr;
}

static void a_pair_takes_one_entry_and_gives_it_back(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv;

	enter(table, &inv, 5, 1);
	assert_non_null(inv.entry);
	assert_int_equal(occupied(table), 1);
	s2_inflight_leave(table, &inv);
	assert_int_equal(occupied(table), 0);
}

/* Whoever looks for ranges looks at as many entries as have ever been used. */
static void nested_pairs_stay_together(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation invs[4];

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 4; i++)
			enter(table, &invs[i], i, 1);
		for (unsigned i = 4; i-- > 0;)
			s2_inflight_leave(table, &invs[i]);
	}
	assert_in_range(atomic_load(&table->used), 4, 5);
}

static void a_thread_comes_back_to_its_entry(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation first, second;

	enter(table, &first, 5, 1);
	s2_inflight_leave(table, &first);
	enter(table, &second, 9, 1);
	assert_ptr_equal(second.entry, first.entry);
	s2_inflight_leave(table, &second);
}

static void a_nested_pair_does_not_move_the_thread(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation outer, inner, again;

	enter(table, &outer, 5, 1);
	enter(table, &inner, 6, 1);
	assert_ptr_not_equal(inner.entry, outer.entry);
	s2_inflight_leave(table, &inner);
	s2_inflight_leave(table, &outer);
	enter(table, &again, 5, 1);
	assert_ptr_equal(again.entry, outer.entry);
	s2_inflight_leave(table, &again);
}

static void what_does_not_fit_overflows(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv[ENTRIES + 2];

	for (unsigned i = 0; i < ENTRIES + 2; i++) {
		enter(table, &inv[i], i, 1);
		assert_int_equal(inv[i].entry == NULL, i >= ENTRIES);
	}
	assert_int_equal(atomic_load(&table->overflow[0]) + atomic_load(&table->overflow[1]), 2);
	for (unsigned i = 0; i < ENTRIES + 2; i++)
		s2_inflight_leave(table, &inv[i]);
	assert_int_equal(atomic_load(&table->overflow[0]) + atomic_load(&table->overflow[1]), 0);
	assert_int_equal(occupied(table), 0);
}

static void a_thread_owns_what_it_started_where_it_overlaps(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv;

	enter(table, &inv, 5, 2);
	assert_true(s2_inflight_owned(table, 6 * PAGE, 9 * PAGE));
	assert_true(s2_inflight_owned(table, 0, UINT64_MAX));
	assert_false(s2_inflight_owned(table, 0, 5 * PAGE));
	assert_false(s2_inflight_owned(table, 7 * PAGE, 9 * PAGE));
	s2_inflight_leave(table, &inv);
	assert_false(s2_inflight_owned(table, 0, UINT64_MAX));
}

/* Of lengths and places that fit in a word and that do not. */
static void a_range_is_published_as_it_is(void **state)
{
	static const struct {
		uint64_t page;
		uint64_t nr;
	} ranges[] = {
		{ 0, 1 }, { 0, 65535 }, { 0, 65536 }, { 5, UINT64_C(1) << 36 },
		{ (UINT64_C(1) << 36) - 1, 1 }, { (UINT64_C(1) << 36) - 1, 2 },
		{ (UINT64_C(1) << 36) - 65535, 65535 }, { UINT64_C(1) << 40, 3 },
		{ 0, (UINT64_C(1) << 52) - 1 },
	};
	struct s2_inflight *table = *state;

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		uint64_t start = ranges[i].page * PAGE, end = start + ranges[i].nr * PAGE;
		uint64_t got_start, got_end;
		struct s2_invalidation inv;

		enter(table, &inv, ranges[i].page, ranges[i].nr);
		s2_inflight_range(&inv, &got_start, &got_end);
		assert_int_equal(got_start, start);
		assert_int_equal(got_end, end);
		assert_true(s2_inflight_covers(table, start, start + PAGE));
		assert_true(s2_inflight_covers(table, end - PAGE, end));
		assert_false(s2_inflight_covers(table, end, end + PAGE));
		assert_false(start && s2_inflight_covers(table, start - PAGE, start));
		s2_inflight_leave(table, &inv);
	}
}

struct ask {
	struct task task;
	struct s2_inflight *table;
	struct s2_inflight_entry *claims; /* an entry that is to look like the asker's */
	struct s2_invalidation *inv;
	bool owned;
};

static void ask_owned(void *arg)
{
	struct ask *ask = arg;

	if (ask->claims)
		__atomic_store_n(&ask->claims->owner, s2_thread_self(), __ATOMIC_RELAXED);
	ask->owned = s2_inflight_owned(ask->table, 0, UINT64_MAX);
}

static void a_thread_does_not_own_what_another_started(void **state)
{
	struct ask ask = { .table = *state };
	struct s2_invalidation inv;

	enter(ask.table, &inv, 5, 2);
	task_start(&ask.task, ask_owned, &ask);
	task_join(&ask.task);
	assert_false(ask.owned);
	s2_inflight_leave(ask.table, &inv);
}

/* Fills the table from another thread and gives back what is at its home. */
struct lodger {
	struct task task;
	struct s2_inflight *table;
	struct s2_inflight_entry *home;
};

static void live_in_all_entries(void *arg)
{
	struct lodger *lodger = arg;
	struct s2_inflight *table = lodger->table;
	struct s2_invalidation inv;

	for (unsigned i = 0; i <= table->mask; i++)
		__atomic_store_n(&table->entries[i].owner, s2_thread_self(), __ATOMIC_RELAXED);
	enter(table, &inv, 9, 1);
	lodger->home = inv.entry;
	s2_inflight_leave(table, &inv);
}

static void what_is_borrowed_is_the_borrowers(void **state)
{
	struct s2_inflight *table = *state;
	struct lodger other = { .table = table };
	struct s2_invalidation inv;
	struct ask ask = { .table = table };
	uintptr_t owner;

	task_start(&other.task, live_in_all_entries, &other);
	task_join(&other.task);
	owner = other.home->owner;
	enter(table, &inv, 5, 2);
	assert_true(((struct s2_inflight_entry *)inv.entry)->word & S2_INFLIGHT_BORROWED);
	assert_true(s2_inflight_owned(table, 5 * PAGE, 6 * PAGE));
	/* Who is at home there, and comes later, does not take it for his. */
	ask.claims = inv.entry;
	task_start(&ask.task, ask_owned, &ask);
	task_join(&ask.task);
	assert_false(ask.owned);
	s2_inflight_leave(table, &inv);
	assert_int_equal(other.home->owner, owner);
}

static void an_entry_keeps_its_owner(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv[ENTRIES];
	struct s2_inflight_entry *home;

	enter(table, &inv[0], 0, 1);
	home = inv[0].entry;
	s2_inflight_leave(table, &inv[0]);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < ENTRIES; i++)
			enter(table, &inv[i], i, 1);
		for (unsigned i = 0; i < ENTRIES; i++)
			s2_inflight_leave(table, &inv[i]);
	}
	for (unsigned i = 0; i <= table->mask; i++)
		assert_int_equal(table->entries[i].owner,
				 &table->entries[i] == home ? s2_thread_self() : 0);
}

static void a_range_is_covered_while_any_thread_invalidates_it(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv;

	assert_false(s2_inflight_covers(table, 0, UINT64_MAX));
	enter(table, &inv, 5, 2);
	assert_true(s2_inflight_covers(table, 6 * PAGE, 7 * PAGE));
	assert_false(s2_inflight_covers(table, 7 * PAGE, 8 * PAGE));
	s2_inflight_leave(table, &inv);
	assert_false(s2_inflight_covers(table, 0, UINT64_MAX));
}

static void a_grace_period_waits_for_those_in_flight_at_its_beginning(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation before, after;

	enter(table, &before, 5, 1);
	s2_inflight_grace_begin(table);
	enter(table, &after, 6, 1);
	assert_false(s2_inflight_grace_passed(table));
	s2_inflight_leave(table, &before);
	assert_true(s2_inflight_grace_passed(table));
	s2_inflight_leave(table, &after);
}

static void a_grace_period_does_not_wait_for_the_next_occupant(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation before, after;

	enter(table, &before, 5, 1);
	s2_inflight_grace_begin(table);
	s2_inflight_leave(table, &before);
	enter(table, &after, 6, 1);
	assert_ptr_equal(after.entry, before.entry);
	assert_true(s2_inflight_grace_passed(table));
	s2_inflight_leave(table, &after);
}

static void a_grace_period_waits_for_those_beyond_the_table(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv[ENTRIES + 1];

	for (unsigned i = 0; i < ENTRIES + 1; i++)
		enter(table, &inv[i], i, 1);
	s2_inflight_grace_begin(table);
	for (unsigned i = 0; i < ENTRIES; i++)
		s2_inflight_leave(table, &inv[i]);
	assert_false(s2_inflight_grace_passed(table));
	s2_inflight_leave(table, &inv[ENTRIES]);
	assert_true(s2_inflight_grace_passed(table));
}

static void an_empty_table_has_no_grace_period_to_wait_for(void **state)
{
	struct s2_inflight *table = *state;

	s2_inflight_grace_begin(table);
	assert_true(s2_inflight_grace_passed(table));
}

/*
 * Entering takes two steps, but for who is at home: the claim, then the range. Between the
 * two the entry has an occupant without one; who looks then must wait for it, or until
 * the occupant has left, and for no occupant after it.
 */
static void make_unfilled(struct s2_inflight_entry *entry)
{
	__atomic_store_n(&entry->word, S2_INFLIGHT_CLAIMED, __ATOMIC_RELEASE);
}

static void a_grace_period_begun_before_the_range_is_there_passes(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_invalidation inv;

	enter(table, &inv, 5, 1);
	make_unfilled(inv.entry);
	s2_inflight_grace_begin(table);
	assert_false(s2_inflight_grace_passed(table));
	s2_inflight_leave(table, &inv);
	assert_true(s2_inflight_grace_passed(table));
}

static void who_asks_for_owned_before_the_range_is_there_gets_an_answer(void **state)
{
	struct s2_inflight *table = *state;
	struct ask ask = { .table = table };
	struct s2_invalidation inv;

	enter(table, &inv, 5, 1);
	make_unfilled(inv.entry);
	/* The starter asks while another thread ends the pair. */
	ask.claims = inv.entry;
	task_start(&ask.task, ask_owned, &ask);
	grace();
	s2_inflight_leave(table, &inv);
	task_join(&ask.task);
	assert_false(ask.owned);
}

/*
 * Leaving takes two steps as well: the sequence, and the entry is free. After the first, which
 * all that was done in the bracket comes before, nobody waits any more.
 */
static void who_has_raised_the_sequence_has_left(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_inflight_entry *entry;
	struct s2_invalidation inv;

	enter(table, &inv, 5, 1);
	entry = inv.entry;
	s2_inflight_grace_begin(table);
	__atomic_store_n(&entry->seq, entry->seq + 1, __ATOMIC_RELEASE);
	assert_true(s2_inflight_grace_passed(table));
	__atomic_store_n(&entry->word, 0, __ATOMIC_RELEASE);
}

/* Who begins to look between the two steps may take it for the next occupant, but not for longer. */
static void who_is_seen_leaving_is_waited_for_until_the_entry_is_free(void **state)
{
	struct s2_inflight *table = *state;
	struct s2_inflight_entry *entry;
	struct s2_invalidation inv;

	enter(table, &inv, 5, 1);
	entry = inv.entry;
	__atomic_store_n(&entry->seq, entry->seq + 1, __ATOMIC_RELEASE);
	s2_inflight_grace_begin(table);
	assert_false(s2_inflight_grace_passed(table));
	__atomic_store_n(&entry->word, 0, __ATOMIC_RELEASE);
	assert_true(s2_inflight_grace_passed(table));
}

/* The same as seen by a memslot update, which alone knows how to wait. */
static void an_update_that_looks_before_the_range_is_there_goes_on(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 1 });
	struct s2_inflight_entry *entry;
	struct s2_invalidation inv;
	struct update up = { 0 };

	(void)state;
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	entry = inv.entry;
	make_unfilled(entry);
	update_start(&up, w->vm, elsewhere_region(w));
	/* For it to look; if it comes too late, it has nothing to look at. */
	grace();
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(world_destroy(w), 0);
}

/* Who comes between the claim and the range waits for the second. */
static void an_update_that_looks_while_one_enters_waits_for_it(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 1 });
	struct s2_inflight_entry *entry;
	struct s2_invalidation inv;
	struct update up = { 0 };
	uint64_t word;

	(void)state;
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	entry = inv.entry;
	word = entry->word;
	make_unfilled(entry);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	__atomic_store_n(&entry->word, word, __ATOMIC_RELEASE);
	assert_true(update_blocked(&up));
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(world_destroy(w), 0);
}

/*
 * Who looks between the two steps of leaving takes who leaves for the next one, and does not wait
 * for that if it is about something else: it may itself be waiting for us.
 */
static void an_update_does_not_wait_for_who_comes_next_elsewhere(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 1 });
	struct s2_inflight_entry *entry;
	struct s2_invalidation inv;
	struct update up = { 0 };

	(void)state;
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	entry = inv.entry;
	__atomic_store_n(&entry->seq, entry->seq + 1, __ATOMIC_RELEASE);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	/* Left, and claimed again before the update has seen that it was free. */
	__atomic_store_n(&entry->word, s2_inflight_word(hva_of(w, -1), hva_of(w, 0)),
			 __ATOMIC_RELEASE);
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, &inv);
	assert_int_equal(world_destroy(w), 0);
}

/* What a header inlines is the same protocol: a thread at home claims its range in one step. */
static void a_pair_at_home_is_in_the_table_as_any_other(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ 0 });
	struct s2_inflight *table = &w->mm->inflight;
	uint64_t hva = (uintptr_t)elsewhere_region(w).userspace_addr, start, end;
	struct s2_inflight_entry *home = NULL;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct s2_invalidation inv;

		assert_int_equal(start_elsewhere(w, &inv, 0), 0);
		assert_true(!home || home == inv.entry);
		home = inv.entry;
		s2_inflight_range(&inv, &start, &end);
		assert_int_equal(start, hva);
		assert_int_equal(home->word, s2_inflight_word(start, end));
		assert_true(s2_inflight_owned(table, start, end));
		assert_false(s2_inflight_owned(table, end, end + PAGE));
		end_pair(w, &inv);
		assert_false(s2_inflight_covers(table, 0, UINT64_MAX));
	}
	assert_int_equal(world_destroy(w), 0);
}

#define STRESS_THREADS 4

struct stress {
	struct task task;
	struct s2_inflight *table;
	_Atomic unsigned *inside; /* by entry: how many believe it is theirs */
	unsigned shared;
};

static void enter_and_leave(void *arg)
{
	struct stress *stress = arg;

	for (unsigned i = 0; i < 20000; i++) {
		struct s2_invalidation inv;
		struct s2_inflight_entry *entry;

		enter(stress->table, &inv, i % 100, 1 + i % 3);
		entry = inv.entry;
		if (entry) {
			unsigned at = (unsigned)(entry - stress->table->entries);

			stress->shared += atomic_fetch_add(&stress->inside[at], 1) != 0;
			atomic_fetch_sub(&stress->inside[at], 1);
		}
		s2_inflight_leave(stress->table, &inv);
	}
}

static void an_entry_has_one_occupant_at_a_time(void **state)
{
	struct s2_inflight *table = *state;
	struct stress stress[STRESS_THREADS] = { 0 };
	_Atomic unsigned inside[ENTRIES] = { 0 };

	for (unsigned i = 0; i < STRESS_THREADS; i++) {
		stress[i].table = table;
		stress[i].inside = inside;
		task_start(&stress[i].task, enter_and_leave, &stress[i]);
	}
	for (unsigned i = 0; i < STRESS_THREADS; i++) {
		task_join(&stress[i].task);
		assert_int_equal(stress[i].shared, 0);
	}
	assert_int_equal(occupied(table), 0);
}

#define OWNERS 12

struct owner {
	struct task task;
	struct s2_inflight *tables[2];
	unsigned id;
	unsigned wrong;
};

static bool owns(struct s2_inflight *table, uint64_t page)
{
	return s2_inflight_owned(table, page * PAGE, (page + 1) * PAGE);
}

/* Two pairs, one inside the other and ended in the wrong order; the inner fits in no word. */
static void own_two(struct owner *owner, struct s2_inflight *table)
{
	const uint64_t far = UINT64_C(1) << 40;
	struct s2_invalidation outer, inner;

	enter(table, &outer, owner->id, 1);
	enter(table, &inner, far + owner->id, 1);
	owner->wrong += !owns(table, owner->id) + !owns(table, far + owner->id);
	/* Of those beyond the table nobody knows where they are. */
	if (outer.entry && inner.entry)
		owner->wrong += owns(table, owner->id + 1) + owns(table, far + owner->id + 1);
	s2_inflight_leave(table, &outer);
	owner->wrong += !owns(table, far + owner->id);
	s2_inflight_leave(table, &inner);
	owner->wrong += s2_inflight_owned(table, 0, UINT64_MAX);
}

static void own_in_two_tables(void *arg)
{
	struct owner *owner = arg;

	for (unsigned i = 0; i < 2000; i++)
		own_two(owner, owner->tables[i % 2]);
}

/* More than there are entries, and at home at different places in the two tables. */
static void threads_know_their_own_in_tables_that_differ(void **state)
{
	struct s2_inflight *second = aligned_alloc(64, (sizeof(*second) + 63) / 64 * 64);
	struct owner owners[OWNERS] = { 0 };

	assert_non_null(second);
	assert_int_equal(s2_inflight_init(second, &s2_libc_allocator, 2), 0);
	for (unsigned i = 0; i < OWNERS; i++) {
		owners[i].tables[i % 2] = *state;
		owners[i].tables[(i + 1) % 2] = second;
		owners[i].id = i;
		task_start(&owners[i].task, own_in_two_tables, &owners[i]);
	}
	for (unsigned i = 0; i < OWNERS; i++) {
		task_join(&owners[i].task);
		assert_int_equal(owners[i].wrong, 0);
	}
	assert_int_equal(occupied(*state) + occupied(second), 0);
	s2_inflight_free(second, &s2_libc_allocator);
	free(second);
}

/* Its home is the starter's before and after, whoever takes the range back. */
static void leave_elsewhere(void *arg)
{
	struct ask *ask = arg;

	s2_inflight_leave(ask->table, ask->inv);
	ask->owned = s2_inflight_owned(ask->table, 0, UINT64_MAX);
}

static void what_another_thread_ends_is_nobodys(void **state)
{
	struct ask ask = { .table = *state };
	struct s2_invalidation inv, again;

	enter(ask.table, &inv, 5, 1);
	ask.inv = &inv;
	task_start(&ask.task, leave_elsewhere, &ask);
	task_join(&ask.task);
	assert_false(ask.owned);
	assert_false(s2_inflight_owned(ask.table, 0, UINT64_MAX));
	enter(ask.table, &again, 5, 1);
	assert_ptr_equal(again.entry, inv.entry);
	s2_inflight_leave(ask.table, &again);
}

/* All entries but the last are somebody else's; that is ours, or nobody's. */
struct newcomer {
	struct task task;
	struct s2_inflight *table;
	bool knows_last;
	struct s2_inflight_entry *home;
};

static void come(void *arg)
{
	struct newcomer *newcomer = arg;
	struct s2_inflight *table = newcomer->table;
	struct s2_invalidation inv;

	for (unsigned i = 0; i < table->mask; i++)
		__atomic_store_n(&table->entries[i].owner, 1, __ATOMIC_RELAXED);
	if (newcomer->knows_last)
		__atomic_store_n(&table->entries[table->mask].owner, s2_thread_self(), __ATOMIC_RELAXED);
	atomic_store(&table->used, table->mask + newcomer->knows_last);
	enter(table, &inv, 5, 1);
	newcomer->home = inv.entry;
	s2_inflight_leave(table, &inv);
}

/* Threads that come and go would leave no entry to be at home in. */
static void a_thread_is_at_home_where_one_before_it_was(void **state)
{
	struct newcomer newcomer = { .table = *state, .knows_last = true };

	task_start(&newcomer.task, come, &newcomer);
	task_join(&newcomer.task);
	assert_ptr_equal(newcomer.home, &newcomer.table->entries[ENTRIES - 1]);
}

static void a_thread_that_finds_no_home_goes_where_nobody_was(void **state)
{
	struct newcomer newcomer = { .table = *state };

	task_start(&newcomer.task, come, &newcomer);
	task_join(&newcomer.task);
	assert_ptr_equal(newcomer.home, &newcomer.table->entries[ENTRIES - 1]);
	assert_int_not_equal(newcomer.home->owner, 0);
}

#define ON_TABLE(test) cmocka_unit_test_setup_teardown(test, setup_table, teardown_table)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_TABLE(a_pair_takes_one_entry_and_gives_it_back),
		ON_TABLE(nested_pairs_stay_together),
		ON_TABLE(a_thread_comes_back_to_its_entry),
		ON_TABLE(a_nested_pair_does_not_move_the_thread),
		ON_TABLE(what_does_not_fit_overflows),
		ON_TABLE(a_thread_owns_what_it_started_where_it_overlaps),
		ON_TABLE(a_range_is_published_as_it_is),
		ON_TABLE(a_thread_does_not_own_what_another_started),
		ON_TABLE(what_is_borrowed_is_the_borrowers),
		ON_TABLE(an_entry_keeps_its_owner),
		ON_TABLE(a_range_is_covered_while_any_thread_invalidates_it),
		ON_TABLE(a_grace_period_waits_for_those_in_flight_at_its_beginning),
		ON_TABLE(a_grace_period_does_not_wait_for_the_next_occupant),
		ON_TABLE(a_grace_period_waits_for_those_beyond_the_table),
		ON_TABLE(an_empty_table_has_no_grace_period_to_wait_for),
		ON_TABLE(a_grace_period_begun_before_the_range_is_there_passes),
		ON_TABLE(who_asks_for_owned_before_the_range_is_there_gets_an_answer),
		ON_TABLE(who_has_raised_the_sequence_has_left),
		ON_TABLE(who_is_seen_leaving_is_waited_for_until_the_entry_is_free),
		cmocka_unit_test(an_update_that_looks_before_the_range_is_there_goes_on),
		cmocka_unit_test(an_update_that_looks_while_one_enters_waits_for_it),
		cmocka_unit_test(an_update_does_not_wait_for_who_comes_next_elsewhere),
		cmocka_unit_test(a_pair_at_home_is_in_the_table_as_any_other),
		ON_TABLE(an_entry_has_one_occupant_at_a_time),
		ON_TABLE(threads_know_their_own_in_tables_that_differ),
		ON_TABLE(what_another_thread_ends_is_nobodys),
		ON_TABLE(a_thread_is_at_home_where_one_before_it_was),
		ON_TABLE(a_thread_that_finds_no_home_goes_where_nobody_was),
	};

	return cmocka_run_group_tests_name("invalidations in flight", tests, NULL, NULL);
}
