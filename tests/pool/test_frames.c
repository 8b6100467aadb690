/* SPDX-License-Identifier: MIT */
/*
 * The pool's frames: that each is somebody's or free and never two people's, that a free
 * one is found wherever it is, and that blocks stay whole as far as they can.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "counting_allocator.h"
#include "pool/frames.h"

#define BLOCK S2_POOL_BLOCK_FRAMES
#define TINY 16u	     /* the smallest pool there may be */
#define SMALL (4 * BLOCK)    /* has blocks, and no caches */
#define CACHED (16 * BLOCK)  /* has caches */
#define THREADS 8u
#define MAILBOXES 4u
#define ROUNDS 20000u
#define MAPPED_BY_A_PAGE (UINT64_C(1) << 44)

struct fixture {
	struct counting_allocator memory;
	struct s2_pool_frames frames;
	uint32_t taken[CACHED];
};

static struct fixture *begin_sized(uint32_t nr, bool huge_pages)
{
	struct fixture *f = aligned_alloc(_Alignof(struct fixture), sizeof(*f));

	assert_non_null(f);
	counting_allocator_init(&f->memory);
	assert_int_equal(s2_pool_frames_init(&f->frames, (uint64_t)nr << S2_PAGE_SHIFT, huge_pages,
					     &f->memory.ops), 0);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), nr);
	return f;
}

static struct fixture *begin(uint32_t nr)
{
	return begin_sized(nr, false);
}

/* Everything has been put back. */
static void end(struct fixture *f)
{
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), f->frames.nr);
	s2_pool_frames_free(&f->frames, &f->memory.ops);
	assert_int_equal(f->memory.blocks, 0);
	free(f);
}

static uint32_t get(struct fixture *f)
{
	uint32_t frame = s2_pool_frame_get(&f->frames);

	assert_int_not_equal(frame, 0);
	assert_in_range(frame, 1, f->frames.nr);
	assert_int_equal(s2_pool_frame_owner(&f->frames, frame), S2_FRAME_IN_TRANSIT);
	return frame;
}

static void put(struct fixture *f, uint32_t frame)
{
	s2_pool_frame_put(&f->frames, frame);
	assert_int_equal(s2_pool_frame_owner(&f->frames, frame), S2_FRAME_FREE);
}

static void take(struct fixture *f, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		f->taken[i] = get(f);
}

static void give_back(struct fixture *f, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		put(f, f->taken[i]);
}

static void assert_exhausted_and_refilled(uint32_t nr)
{
	struct fixture *f = begin(nr);

	for (unsigned round = 0; round < 3; round++) {
		take(f, 0, nr);
		assert_int_equal(s2_pool_frame_get(&f->frames), 0);
		assert_int_equal(s2_pool_frames_nr_free(&f->frames), 0);
		give_back(f, 0, nr);
		assert_int_equal(s2_pool_frames_nr_free(&f->frames), nr);
	}
	end(f);
}

static void test_a_tiny_pool_gives_all_its_frames(void **state)
{
	assert_exhausted_and_refilled(TINY);
}

static void test_a_pool_without_caches_gives_all_its_frames(void **state)
{
	assert_exhausted_and_refilled(SMALL);
}

static void test_a_pool_with_caches_gives_all_its_frames(void **state)
{
	assert_exhausted_and_refilled(CACHED);
}

static void test_each_frame_is_given_once(void **state)
{
	struct fixture *f = begin(CACHED);
	bool *seen = test_calloc(CACHED + 1, sizeof(*seen));

	take(f, 0, CACHED);
	for (uint32_t i = 0; i < CACHED; i++) {
		assert_false(seen[f->taken[i]]);
		seen[f->taken[i]] = true;
	}
	give_back(f, 0, CACHED);
	test_free(seen);
	end(f);
}

static void test_the_count_is_exact(void **state)
{
	struct fixture *f = begin(CACHED);

	for (uint32_t i = 0; i < 1000; i++) {
		f->taken[i] = get(f);
		assert_int_equal(s2_pool_frames_nr_free(&f->frames), CACHED - i - 1);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		put(f, f->taken[i]);
		assert_int_equal(s2_pool_frames_nr_free(&f->frames), CACHED - 1000 + i + 1);
	}
	end(f);
}

static void test_caches_hold_a_16th_at_most(void **state)
{
	struct fixture *f = begin(CACHED);

	assert_int_not_equal(f->frames.capacity, 0);
	assert_true(f->frames.capacity * S2_POOL_CACHES * 16 <= CACHED);
	take(f, 0, 2000);
	give_back(f, 0, 2000);
	assert_true(s2_pool_frames_nr_free_uncached(&f->frames) >= CACHED - f->frames.capacity);
	end(f);
}

static void test_draining_empties_the_caches(void **state)
{
	struct fixture *f = begin(CACHED);

	put(f, get(f));
	assert_int_not_equal(s2_pool_frames_nr_free_uncached(&f->frames), CACHED);
	s2_pool_frames_drain(&f->frames);
	assert_int_equal(s2_pool_frames_nr_free_uncached(&f->frames), CACHED);
	end(f);
}

static void test_frames_are_memory_and_blocks_are_aligned(void **state)
{
	struct fixture *f = begin(SMALL + 3);

	for (uint32_t block = 0; block < s2_pool_frames_nr_blocks(&f->frames); block++) {
		uint32_t first = s2_pool_block_first(block);
		char *addr = s2_pool_frame_addr(&f->frames, first);

		assert_int_equal((uintptr_t)addr % (BLOCK * S2_PAGE_SIZE), 0);
		assert_int_equal(s2_pool_block_of(first), block);
		assert_int_equal(s2_pool_block_of(first + BLOCK - 1), block);
	}
	for (uint32_t frame = 1; frame <= SMALL + 3; frame++)
		memset(s2_pool_frame_addr(&f->frames, frame), (int)frame, S2_PAGE_SIZE);
	for (uint32_t frame = 1; frame <= SMALL + 3; frame++)
		assert_int_equal(*(uint8_t *)s2_pool_frame_addr(&f->frames, frame), frame & 0xff);
	end(f);
}

static void test_the_zero_frame_is_zero(void **state)
{
	struct fixture *f = begin(TINY);
	const char zeroes[S2_PAGE_SIZE] = { 0 };

	assert_memory_equal(s2_pool_frame_addr(&f->frames, 0), zeroes, S2_PAGE_SIZE);
	end(f);
}

static void test_huge_pages_are_not_needed(void **state)
{
	struct fixture *f = begin_sized(SMALL + 1, true);

	for (uint32_t frame = 1; frame <= SMALL + 1; frame++)
		memset(s2_pool_frame_addr(&f->frames, frame), 1, S2_PAGE_SIZE);
	end(f);
}

static void test_creation_without_memory(void **state)
{
	struct counting_allocator memory;
	struct s2_pool_frames *frames;
	int ret = -ENOMEM;

	frames = aligned_alloc(_Alignof(struct s2_pool_frames), sizeof(*frames));
	assert_non_null(frames);
	counting_allocator_init(&memory);
	for (long n = 1; ret; n++) {
		errno = 0;
		counting_allocator_fail_at(&memory, n);
		ret = s2_pool_frames_init(frames, SMALL * S2_PAGE_SIZE, false, &memory.ops);
		assert_true(!ret || ret == -ENOMEM);
		assert_int_equal(errno, 0);
		if (ret)
			assert_int_equal(memory.blocks, 0);
		else
			assert_true(n > 2);
	}
	s2_pool_frames_free(frames, &memory.ops);
	assert_int_equal(memory.blocks, 0);
	free(frames);
}

static void test_singles_come_from_one_block(void **state)
{
	struct fixture *f = begin(SMALL);

	take(f, 0, BLOCK);
	for (uint32_t i = 0; i < BLOCK; i++)
		assert_int_equal(s2_pool_block_of(f->taken[i]), s2_pool_block_of(f->taken[0]));
	give_back(f, 0, BLOCK);
	end(f);
}

static void test_singles_come_from_the_fullest_block(void **state)
{
	struct fixture *f = begin(SMALL);
	uint32_t frame;

	take(f, 0, SMALL);
	give_back(f, 0, 300);
	give_back(f, BLOCK, 100);
	give_back(f, 2 * BLOCK, 200);
	frame = get(f);
	assert_int_equal(s2_pool_block_of(frame), s2_pool_block_of(f->taken[BLOCK]));
	put(f, frame);
	give_back(f, 300, BLOCK - 300);
	give_back(f, BLOCK + 100, BLOCK - 100);
	give_back(f, 2 * BLOCK + 200, BLOCK - 200);
	give_back(f, 3 * BLOCK, BLOCK);
	end(f);
}

static void test_the_partial_block_is_used_first(void **state)
{
	struct fixture *f = begin(SMALL + 5);

	take(f, 0, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(s2_pool_block_of(f->taken[i]), 4);
	give_back(f, 0, 5);
	end(f);
}

static void test_the_partial_block_is_no_block(void **state)
{
	struct fixture *f = begin(SMALL + BLOCK - 1);
	uint32_t first[4];

	assert_int_equal(s2_pool_frames_nr_blocks(&f->frames), 4);
	for (unsigned i = 0; i < 4; i++) {
		first[i] = s2_pool_block_get(&f->frames);
		assert_in_range(first[i], 1, SMALL);
	}
	assert_int_equal(s2_pool_block_get(&f->frames), 0);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), BLOCK - 1);
	for (unsigned i = 0; i < 4; i++)
		s2_pool_block_put(&f->frames, first[i]);
	end(f);
}

static void test_a_pool_of_less_than_a_block_has_none(void **state)
{
	struct fixture *f = begin(TINY);

	assert_int_equal(s2_pool_frames_nr_blocks(&f->frames), 0);
	assert_int_equal(s2_pool_block_get(&f->frames), 0);
	end(f);
}

static void test_a_block_is_all_in_transit(void **state)
{
	struct fixture *f = begin(SMALL);
	uint32_t first = s2_pool_block_get(&f->frames);

	assert_int_equal(first, s2_pool_block_first(s2_pool_block_of(first)));
	for (uint32_t i = 0; i < BLOCK; i++)
		assert_int_equal(s2_pool_frame_owner(&f->frames, first + i), S2_FRAME_IN_TRANSIT);
	assert_int_equal(s2_pool_block_nr_free(&f->frames, s2_pool_block_of(first)), 0);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), SMALL - BLOCK);
	s2_pool_block_put(&f->frames, first);
	for (uint32_t i = 0; i < BLOCK; i++)
		assert_int_equal(s2_pool_frame_owner(&f->frames, first + i), S2_FRAME_FREE);
	end(f);
}

static void test_singles_leave_other_blocks_whole(void **state)
{
	struct fixture *f = begin(SMALL);
	uint32_t first[3];

	take(f, 0, 1);
	for (unsigned i = 0; i < 3; i++) {
		first[i] = s2_pool_block_get(&f->frames);
		assert_int_not_equal(first[i], 0);
	}
	assert_int_equal(s2_pool_block_get(&f->frames), 0);
	for (unsigned i = 0; i < 3; i++)
		s2_pool_block_put(&f->frames, first[i]);
	give_back(f, 0, 1);
	end(f);
}

static void test_a_block_may_come_back_one_by_one(void **state)
{
	struct fixture *f = begin(BLOCK);
	uint32_t first = s2_pool_block_get(&f->frames);

	for (uint32_t i = 0; i < BLOCK; i++) {
		assert_int_equal(s2_pool_block_get(&f->frames), 0);
		put(f, first + i);
	}
	assert_int_equal(s2_pool_block_get(&f->frames), first);
	s2_pool_block_put(&f->frames, first);
	end(f);
}

static void test_a_block_may_go_one_by_one(void **state)
{
	struct fixture *f = begin(BLOCK);

	take(f, 0, BLOCK);
	s2_pool_block_put(&f->frames, 1);
	assert_int_equal(s2_pool_block_get(&f->frames), 1);
	s2_pool_block_put(&f->frames, 1);
	end(f);
}

/* Of each block a frame is in use, but for one, of which one is in the cache. */
static void test_a_block_is_found_whose_frame_is_cached(void **state)
{
	struct fixture *f = begin(CACHED);
	uint32_t blocks = s2_pool_frames_nr_blocks(&f->frames), used = 0, first;

	take(f, 0, CACHED);
	for (uint32_t i = 0; i < CACHED; i++)
		if (f->taken[i] == s2_pool_block_first(s2_pool_block_of(f->taken[i])))
			f->taken[used++] = f->taken[i];
		else
			put(f, f->taken[i]);
	assert_int_equal(used, blocks);
	assert_int_equal(s2_pool_block_get(&f->frames), 0);
	put(f, f->taken[0]);
	first = s2_pool_block_get(&f->frames);
	assert_int_equal(first, f->taken[0]);
	s2_pool_block_put(&f->frames, first);
	give_back(f, 1, used - 1);
	end(f);
}

static void assert_an_isolated_block_gives_nothing(uint32_t nr)
{
	struct fixture *f = begin(nr);
	uint32_t block, inside = 0;

	take(f, 0, 2);
	block = s2_pool_block_of(f->taken[0]);
	s2_pool_block_isolate(&f->frames, block, true);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), nr - BLOCK);
	give_back(f, 0, 1);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), nr - BLOCK);
	assert_int_equal(s2_pool_block_nr_free(&f->frames, block), BLOCK - 1);
	for (uint32_t i = 2; i < 2 + nr - BLOCK; i++) {
		f->taken[i] = get(f);
		inside += s2_pool_block_of(f->taken[i]) == block;
	}
	assert_int_equal(inside, 0);
	assert_int_equal(s2_pool_frame_get(&f->frames), 0);
	give_back(f, 2, nr - BLOCK);
	s2_pool_block_isolate(&f->frames, block, false);
	assert_int_equal(s2_pool_frames_nr_free(&f->frames), nr - 1);
	give_back(f, 1, 1);
	end(f);
}

static void test_an_isolated_block_gives_nothing(void **state)
{
	assert_an_isolated_block_gives_nothing(SMALL);
	assert_an_isolated_block_gives_nothing(CACHED);
}

static void test_an_isolated_block_becomes_whole(void **state)
{
	struct fixture *f = begin(BLOCK);

	take(f, 0, 1);
	s2_pool_block_isolate(&f->frames, 0, true);
	give_back(f, 0, 1);
	assert_int_equal(s2_pool_block_nr_free(&f->frames, 0), BLOCK);
	assert_int_equal(s2_pool_block_get(&f->frames), 0);
	s2_pool_block_isolate(&f->frames, 0, false);
	assert_int_equal(s2_pool_block_get(&f->frames), 1);
	s2_pool_block_put(&f->frames, 1);
	end(f);
}

static void test_outside_is_in_another_block(void **state)
{
	struct fixture *f = begin(2 * BLOCK);
	uint32_t first = s2_pool_block_get(&f->frames), block = s2_pool_block_of(first);

	for (uint32_t i = 0; i < BLOCK; i++) {
		f->taken[i] = s2_pool_frame_get_outside(&f->frames, block);
		assert_int_equal(s2_pool_block_of(f->taken[i]), 1 - block);
		assert_int_equal(s2_pool_frame_owner(&f->frames, f->taken[i]), S2_FRAME_IN_TRANSIT);
	}
	put(f, first);
	assert_int_equal(s2_pool_frame_get_outside(&f->frames, block), 0);
	for (uint32_t i = 1; i < BLOCK; i++)
		put(f, first + i);
	give_back(f, 0, BLOCK);
	end(f);
}

static void test_outside_finds_what_is_cached(void **state)
{
	struct fixture *f = begin(CACHED);
	uint32_t frame;

	take(f, 0, CACHED);
	put(f, f->taken[0]);
	frame = s2_pool_frame_get_outside(&f->frames, s2_pool_block_of(f->taken[CACHED - 1]));
	assert_int_equal(frame, f->taken[0]);
	give_back(f, 0, CACHED);
	end(f);
}

static void test_a_shared_pages_index_is_an_owner(void **state)
{
	const uint32_t indices[] = { 0, 1, 12345, UINT32_MAX };

	for (unsigned i = 0; i < 4; i++) {
		uint64_t owner = s2_frame_shared_owner(indices[i]);

		assert_true(s2_frame_is_shared(owner));
		assert_true(owner < MAPPED_BY_A_PAGE);
		assert_int_equal(s2_frame_shared_index(owner), indices[i]);
	}
	assert_false(s2_frame_is_shared(S2_FRAME_FREE));
	assert_false(s2_frame_is_shared(S2_FRAME_IN_TRANSIT));
	assert_false(s2_frame_is_shared(MAPPED_BY_A_PAGE + S2_PAGE_SIZE));
}

static void assert_puts_are_noticed(uint32_t nr)
{
	struct fixture *f = begin(nr);
	uint32_t frame = get(f), before = s2_pool_frames_freed(&f->frames), first;

	put(f, frame);
	assert_int_not_equal(s2_pool_frames_freed(&f->frames), before);
	first = s2_pool_block_get(&f->frames);
	before = s2_pool_frames_freed(&f->frames);
	s2_pool_block_put(&f->frames, first);
	assert_int_not_equal(s2_pool_frames_freed(&f->frames), before);
	end(f);
}

static void test_puts_are_noticed(void **state)
{
	assert_puts_are_noticed(SMALL);
	assert_puts_are_noticed(CACHED);
}

static void test_only_who_waits_is_woken(void **state)
{
	struct fixture *f = begin(CACHED);

	put(f, get(f));
	assert_int_equal(f->frames.wakeups, 0);
	atomic_fetch_add(&f->frames.waiters, 1);
	put(f, get(f));
	assert_int_equal(f->frames.wakeups, 1);
	s2_pool_block_put(&f->frames, s2_pool_block_get(&f->frames));
	assert_int_equal(f->frames.wakeups, 2);
	atomic_fetch_sub(&f->frames.waiters, 1);
	end(f);
}

struct team {
	struct fixture *f;
	_Atomic uint64_t *holders; /* of each frame; who has it writes its own number */
	_Atomic uint32_t next;
	_Atomic uint32_t mailboxes[MAILBOXES];
	uint32_t most; /* frames in one thread's hands */
	bool waits;
	_Atomic bool stop;
	_Atomic uint32_t failed;
	_Atomic uint32_t mixed_up;
};

static void hold(struct team *team, uint32_t frame, uint64_t who)
{
	if (atomic_exchange(&team->holders[frame], who))
		atomic_fetch_add(&team->mixed_up, 1);
}

static void let_go(struct team *team, uint32_t frame, uint64_t who)
{
	if (atomic_exchange(&team->holders[frame], 0) != who)
		atomic_fetch_add(&team->mixed_up, 1);
	s2_pool_frame_put(&team->f->frames, frame);
}

static uint32_t get_or_wait(struct team *team)
{
	struct s2_pool_frames *frames = &team->f->frames;

	for (;;) {
		uint32_t freed = s2_pool_frames_freed(frames), frame = s2_pool_frame_get(frames);

		if (frame || !team->waits)
			return frame;
		s2_pool_frame_wait(frames, freed);
	}
}

/* Takes up to @most frames and puts them back, over and over. */
static void *play(void *arg)
{
	struct team *team = arg;
	uint64_t who = atomic_fetch_add(&team->next, 1) + 1;
	uint32_t mine[64], n;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t wanted = 1 + (round * 7 + (uint32_t)who) % team->most;

		for (n = 0; n < wanted && (mine[n] = get_or_wait(team)); n++)
			hold(team, mine[n], who);
		if (n < wanted)
			atomic_fetch_add(&team->failed, 1);
		while (n > 0)
			let_go(team, mine[--n], who);
	}
	return NULL;
}

static void team_begin(struct team *team, struct fixture *f, uint32_t most, bool waits)
{
	memset(team, 0, sizeof(*team));
	team->f = f;
	team->most = most;
	team->waits = waits;
	team->holders = test_calloc(f->frames.nr + 1, sizeof(*team->holders));
}

static void team_play(struct team *team, unsigned threads, void *(*player)(void *),
		      void *(*another)(void *))
{
	pthread_t players[THREADS], other;

	for (unsigned i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&players[i], NULL, player, team), 0);
	if (another)
		assert_int_equal(pthread_create(&other, NULL, another, team), 0);
	for (unsigned i = 0; i < threads; i++)
		assert_int_equal(pthread_join(players[i], NULL), 0);
	atomic_store(&team->stop, true);
	if (another)
		assert_int_equal(pthread_join(other, NULL), 0);
	assert_int_equal(team->mixed_up, 0);
	test_free(team->holders);
}

static void test_no_frame_is_given_twice(void **state)
{
	struct fixture *f = begin(CACHED);
	struct team team;

	team_begin(&team, f, 64, false);
	team_play(&team, THREADS, play, NULL);
	assert_int_equal(team.failed, 0);
	end(f);
}

/*
 * Has a frame at most, which it leaves for another thread and puts back what it finds there.
 * So frames wander from cache to cache.
 */
static void *pass_on(void *arg)
{
	struct team *team = arg;
	uint64_t who = atomic_fetch_add(&team->next, 1) + 1;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t frame = s2_pool_frame_get(&team->f->frames);

		if (!frame) {
			atomic_fetch_add(&team->failed, 1);
			continue;
		}
		hold(team, frame, 1);
		frame = atomic_exchange(&team->mailboxes[round * who % MAILBOXES], frame);
		if (frame)
			let_go(team, frame, 1);
	}
	return NULL;
}

/* There is one for each mailbox and each thread, though perhaps in another's cache. */
static void assert_the_last_one_is_found(uint32_t nr, void *(*another)(void *))
{
	struct fixture *f = begin(nr);
	uint32_t others = nr - MAILBOXES - THREADS;
	struct team team;

	take(f, 0, others);
	team_begin(&team, f, 1, false);
	team_play(&team, THREADS, pass_on, another);
	assert_int_equal(team.failed, 0);
	for (unsigned i = 0; i < MAILBOXES; i++)
		if (team.mailboxes[i])
			put(f, team.mailboxes[i]);
	give_back(f, 0, others);
	end(f);
}

static void test_the_last_frame_is_found_in_a_cache(void **state)
{
	assert_the_last_one_is_found(CACHED, NULL);
}

static void test_the_last_frame_of_a_tiny_pool_is_found(void **state)
{
	assert_the_last_one_is_found(TINY, NULL);
}

struct request {
	struct fixture *f;
	uint32_t frame;
};

static void *put_it(void *arg)
{
	struct request *request = arg;

	s2_pool_frame_put(&request->f->frames, request->frame);
	return NULL;
}

static void *get_it(void *arg)
{
	struct request *request = arg;

	request->frame = s2_pool_frame_get(&request->f->frames);
	return NULL;
}

/*
 * The two columns at get_anywhere(): CPU 0 is held up by the lock of the second cache, until
 * there is a frame in the first, where it has been, and none in the second any more. The
 * lock is not taken as others are, or a debug build would find put() out of order.
 */
static void test_a_frame_put_where_one_has_looked_is_found(void **state)
{
	struct fixture *f = begin(CACHED);
	struct request put_second = { .f = f }, looks = { .f = f };
	struct s2_pool_cache *second;
	unsigned first;
	pthread_t thread;

	take(f, 0, CACHED);
	put(f, f->taken[0]);
	first = (unsigned)__builtin_ctzll(f->frames.cached);
	assert_int_equal(get(f), f->taken[0]);
	atomic_store(&f->frames.next_home, first + 1);
	second = &f->frames.caches[first + 1];
	put_second.frame = f->taken[1];
	assert_int_equal(pthread_create(&thread, NULL, put_it, &put_second), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(second->count, 1);

	atomic_store(&second->lock.locked, 1);
	assert_int_equal(pthread_create(&thread, NULL, get_it, &looks), 0);
	while (atomic_load(&f->frames.cached) & UINT64_C(1) << first)
		sched_yield();
	put(f, f->taken[0]);
	s2_pool_frame_own(&f->frames, f->taken[1], S2_FRAME_IN_TRANSIT);
	atomic_store(&second->count, 0);
	atomic_store(&second->lock.locked, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(looks.frame, f->taken[0]);
	give_back(f, 0, CACHED);
	end(f);
}

static void *drain_over_and_over(void *arg)
{
	struct team *team = arg;

	while (!atomic_load(&team->stop))
		s2_pool_frames_drain(&team->f->frames);
	return NULL;
}

static void test_draining_hides_no_frame(void **state)
{
	assert_the_last_one_is_found(CACHED, drain_over_and_over);
}

/* Two frames for all of them: that they come to an end shows that no wakeup is needed and lost. */
static void assert_waiters_get_frames(uint32_t nr)
{
	struct fixture *f = begin(nr);
	struct team team;

	take(f, 0, nr - 2);
	team_begin(&team, f, 1, true);
	team_play(&team, THREADS, play, NULL);
	assert_int_equal(team.failed, 0);
	assert_int_equal(f->frames.waiters, 0);
	give_back(f, 0, nr - 2);
	end(f);
}

static void test_waiters_get_frames(void **state)
{
	assert_waiters_get_frames(TINY);
	assert_waiters_get_frames(CACHED);
}

/* What a compactor does, but for moving pages. */
static void compact(struct team *team, uint32_t block)
{
	struct s2_pool_frames *frames = &team->f->frames;
	uint32_t first = s2_pool_block_get(frames), outside;

	for (uint32_t i = 0; first && i < BLOCK; i++)
		hold(team, first + i, THREADS + 1);
	for (uint32_t i = 0; first && i < BLOCK; i++)
		atomic_store(&team->holders[first + i], 0);
	if (first)
		s2_pool_block_put(frames, first);
	s2_pool_block_isolate(frames, block, true);
	outside = s2_pool_frame_get_outside(frames, block);
	if (outside && s2_pool_block_of(outside) == block)
		atomic_fetch_add(&team->mixed_up, 1);
	if (outside) {
		hold(team, outside, THREADS + 1);
		let_go(team, outside, THREADS + 1);
	}
	s2_pool_block_isolate(frames, block, false);
}

static void *compact_over_and_over(void *arg)
{
	struct team *team = arg;

	for (uint32_t i = 0; !atomic_load(&team->stop); i++)
		compact(team, i % s2_pool_frames_nr_blocks(&team->f->frames));
	return NULL;
}

static void test_compaction_mixes_nothing_up(void **state)
{
	struct fixture *f = begin(CACHED);
	struct team team;

	team_begin(&team, f, 64, false);
	team_play(&team, 4, play, compact_over_and_over);
	assert_int_equal(team.failed, 0);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_tiny_pool_gives_all_its_frames),
		cmocka_unit_test(test_a_pool_without_caches_gives_all_its_frames),
		cmocka_unit_test(test_a_pool_with_caches_gives_all_its_frames),
		cmocka_unit_test(test_each_frame_is_given_once),
		cmocka_unit_test(test_the_count_is_exact),
		cmocka_unit_test(test_caches_hold_a_16th_at_most),
		cmocka_unit_test(test_draining_empties_the_caches),
		cmocka_unit_test(test_frames_are_memory_and_blocks_are_aligned),
		cmocka_unit_test(test_the_zero_frame_is_zero),
		cmocka_unit_test(test_huge_pages_are_not_needed),
		cmocka_unit_test(test_creation_without_memory),
		cmocka_unit_test(test_singles_come_from_one_block),
		cmocka_unit_test(test_singles_come_from_the_fullest_block),
		cmocka_unit_test(test_the_partial_block_is_used_first),
		cmocka_unit_test(test_the_partial_block_is_no_block),
		cmocka_unit_test(test_a_pool_of_less_than_a_block_has_none),
		cmocka_unit_test(test_a_block_is_all_in_transit),
		cmocka_unit_test(test_singles_leave_other_blocks_whole),
		cmocka_unit_test(test_a_block_may_come_back_one_by_one),
		cmocka_unit_test(test_a_block_may_go_one_by_one),
		cmocka_unit_test(test_a_block_is_found_whose_frame_is_cached),
		cmocka_unit_test(test_an_isolated_block_gives_nothing),
		cmocka_unit_test(test_an_isolated_block_becomes_whole),
		cmocka_unit_test(test_outside_is_in_another_block),
		cmocka_unit_test(test_outside_finds_what_is_cached),
		cmocka_unit_test(test_a_shared_pages_index_is_an_owner),
		cmocka_unit_test(test_puts_are_noticed),
		cmocka_unit_test(test_only_who_waits_is_woken),
		cmocka_unit_test(test_no_frame_is_given_twice),
		cmocka_unit_test(test_the_last_frame_is_found_in_a_cache),
		cmocka_unit_test(test_the_last_frame_of_a_tiny_pool_is_found),
		cmocka_unit_test(test_a_frame_put_where_one_has_looked_is_found),
		cmocka_unit_test(test_draining_hides_no_frame),
		cmocka_unit_test(test_waiters_get_frames),
		cmocka_unit_test(test_compaction_mixes_nothing_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
