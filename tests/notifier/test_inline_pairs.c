/* SPDX-License-Identifier: MIT */
/*
 * Barrier C of the pair that a header inlines, on this processor: a thread that has
 * pairs of one range, and another that adds a memslot there, again and again. Whoever is elided
 * has to be through when the add returns.
 *
 * tests/meson.build compiles this with the header as it is, and with S2_BREAK_INLINE, a
 * copy of it that is broken (break_inline.py): that must show, or what the first one shows is
 * nothing. The mutants of base/mutant.h are of the functions that are called.
 */
/* Inlined without optimization too: otherwise it would be the library's that is tested. */
#undef S2_PAIRS_CALLED
#define S2_INLINE_PAIR extern inline __attribute__((gnu_inline, always_inline))

#ifdef S2_BREAK_INLINE
/* Before the right one, which it keeps out: their guard is the same. */
#include S2_BREAK_INLINE
#define BROKEN true
#else
#define BROKEN false
#endif

#include "notifier/fixture.h"

/* Of the header as it is; of a broken one until it shows. */
#define ADDS 20000

/* How long a bracket is, in looks: for an add that did not wait to come back within. */
#define LOOKS 2000

#define CHUNK (UINT64_C(1) << S2_FILTER_CHUNK_SHIFT)

/*
 * @memory: where the pairs are.
 * @added:  where no pair that was elided is in flight.
 */
struct race {
	struct world *w;
	struct task task;
	void *_Atomic memory;
	void *_Atomic added;
	_Atomic bool violated;
	_Atomic bool stop;
	uint64_t elided;
};

static void bracket(struct race *race, const void *memory)
{
	for (unsigned i = 0; i < LOOKS; i++) {
		if (atomic_load_explicit(&race->added, memory_order_relaxed) != memory)
			continue;
		atomic_store(&race->violated, true);
		return;
	}
}

static void pairs(void *arg)
{
	struct race *race = arg;

	while (!atomic_load_explicit(&race->stop, memory_order_relaxed)) {
		char *memory = atomic_load_explicit(&race->memory, memory_order_relaxed);
		struct s2_invalidation inv;

		if (s2_invalidate_range_start(race->w->mm, &inv, address(memory),
					      address(memory + PAGE), 0))
			abort();
		if (inv.token == ((uintptr_t)race->w->mm | S2_TOKEN_UNSEEN)) {
			race->elided++;
			bracket(race, memory);
		}
		s2_invalidate_range_end(race->w->mm, &inv);
	}
}

static void add_and_delete(struct race *race, void *memory)
{
	struct kvm_userspace_memory_region mem = region(1, ELSEWHERE_GPA, memory, ELSEWHERE_PAGES);

	atomic_store(&race->memory, memory);
	assert_int_equal(set_region(race->w->vm, mem), 0);
	atomic_store(&race->added, memory);
	for (unsigned i = 0; i < 100; i++)
		s2_cpu_relax();
	atomic_store(&race->added, NULL);
	assert_int_equal(delete_region(race->w->vm, 1), 0);
	/* For a pair there to be elided, and not only while this is on its way. */
	for (unsigned i = 0; i < 200; i++)
		s2_cpu_relax();
}

/*
 * In turn where the bits of the filter say that there may be guest memory, so that the index is
 * looked at, and where they say that there is none.
 */
static void no_elided_pair_is_open_when_an_add_returns(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ 0 });
	struct race race = { .w = w, .memory = w->elsewhere };
	char *mapping = mmap(NULL, 2 * CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *places[2] = { w->elsewhere, mapping + (-address(mapping) & (CHUNK - 1)) };

	(void)state;
	assert_ptr_not_equal(mapping, MAP_FAILED);
	task_start(&race.task, pairs, &race);
	for (unsigned i = 0; BROKEN ? !atomic_load(&race.violated) : i < ADDS; i++)
		add_and_delete(&race, places[i / 64 % 2]);
	atomic_store(&race.stop, true);
	task_join(&race.task);
	assert_int_equal(atomic_load(&race.violated), BROKEN);
	assert_int_not_equal(race.elided, 0);
	assert_int_equal(world_destroy(w), 0);
	munmap(mapping, 2 * CHUNK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_elided_pair_is_open_when_an_add_returns),
	};

	if (BROKEN && sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		puts("one processor, on which such a race is too rare to wait for");
		return 77;
	}
	return cmocka_run_group_tests_name("inlined pairs", tests, NULL, NULL);
}
