/* SPDX-License-Identifier: MIT */
/*
 * The churn threads of the torture test: invalidations around real changes of this process's
 * mappings, of memory no guest has (unrelated) and of the guests' own (related). Each related
 * thread changes a part of the arena of its own, so that what it finds there is the vCPUs' doing.
 */
#include "torture_work.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#define PRIVATE_PAGES 16u
#define LARGEST_CHANGE 8u

bool torture_start(struct torture_worker *w, struct torture_pair *pair, uint64_t start,
		   uint64_t end, unsigned int flags)
{
	int error;

	watch_now(&w->watch, WATCH_START, start, end);
	error = s2_invalidate_range_start(w->torture->mm, &pair->inv, start, end, flags);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	if (!error) {
		pair->start = start;
		pair->end = end;
		watch_hold(&w->watch, WATCH_START, start, end);
		count(w, TORTURE_INVALIDATIONS, 1);
	} else if (error != -EAGAIN || !(flags & S2_NONBLOCK)) {
		torture_violation(w, TORTURE_BAD_ERROR,
				  "start of [%#" PRIx64 ", %#" PRIx64 ") failed with %d", start,
				  end, -error);
	}
	return !error;
}

void torture_end(struct torture_worker *w, struct torture_pair *pair)
{
	watch_now(&w->watch, WATCH_END, pair->start, pair->end);
	s2_invalidate_range_end(w->torture->mm, &pair->inv);
	watch_release(&w->watch, WATCH_START, pair->start, pair->end);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
}

static unsigned int churn_flags(struct torture_worker *w)
{
	return percent(w, w->torture->options.nonblock) ? S2_NONBLOCK : 0;
}

/* Takes an open invalidation from a related thread, if one is on offer, and ends it. */
static void end_handover(struct torture_worker *w, struct torture_handover *handover)
{
	uint64_t full = 1;

	if (!__atomic_load_n(&handover->full, __ATOMIC_RELAXED) ||
	    !__atomic_compare_exchange_n(&handover->full, &full, 2, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return;
	torture_end(w, &handover->pair);
	__atomic_store_n(&handover->full, 0, __ATOMIC_RELEASE);
}

void torture_end_handovers(struct torture_worker *w)
{
	for (unsigned int i = 0; i < w->torture->options.related; i++)
		end_handover(w, &w->torture->handovers[i]);
}

/* The process provider's own calls, which bracket themselves. */
static void change_private(struct torture_worker *w, char *memory)
{
	unsigned int first = pick(w, PRIVATE_PAGES / 2), nr = 1 + pick(w, PRIVATE_PAGES / 2);
	char *at = memory + first * S2_PAGE_SIZE;
	size_t size = nr * S2_PAGE_SIZE;
	void *mapped;
	int error = 0;

	watch_now(&w->watch, WATCH_MAPPING, (uintptr_t)at, (uintptr_t)at + size);
	switch (pick(w, 3)) {
	case 0:
		error = s2_madvise(w->torture->mm, at, size, MADV_DONTNEED);
		break;
	case 1:
		error = s2_mprotect(w->torture->mm, at, size, PROT_READ | PROT_WRITE);
		break;
	case 2:
		error = s2_mmap(w->torture->mm, at, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &mapped);
		break;
	}
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	if (error)
		torture_give_up(w, error);
	else
		count(w, TORTURE_INVALIDATIONS, 1);
	*(volatile char *)at = 1; /* so that there is a page to take away */
}

/* Pairs without a system call, which are what races most. */
static void pure_pairs(struct torture_worker *w, const char *memory)
{
	struct torture_pair pair;

	for (unsigned int i = 1 + pick(w, 64); i; i--) {
		uint64_t start = (uintptr_t)memory + pick(w, PRIVATE_PAGES) * S2_PAGE_SIZE;

		if (!torture_start(w, &pair, start, start + S2_PAGE_SIZE, churn_flags(w)))
			continue;
		if (percent(w, 5))
			torture_spin(w, 20);
		torture_end(w, &pair);
	}
}

void torture_unrelated(struct torture_worker *w)
{
	size_t size = PRIVATE_PAGES * S2_PAGE_SIZE;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		torture_give_up(w, -errno);
		return;
	}
	while (!stopped(w->torture)) {
		if (percent(w, 20))
			change_private(w, memory);
		else
			pure_pairs(w, memory);
		if (w->torture->options.nest)
			torture_end_handovers(w);
		torture_pause(w);
	}
	munmap(memory, size);
}

struct span {
	unsigned int first;
	unsigned int nr;
};

static bool start_pages(struct torture_worker *w, struct torture_pair *pair, struct span span)
{
	uint64_t start = torture_arena_hva(&w->torture->arena, span.first);

	if (w->torture->options.breaks & TORTURE_BREAK_BRACKETS)
		return true;
	return torture_start(w, pair, start, start + span.nr * S2_PAGE_SIZE, churn_flags(w));
}

static void end_pages(struct torture_worker *w, struct torture_pair *pair)
{
	if (!(w->torture->options.breaks & TORTURE_BREAK_BRACKETS))
		torture_end(w, pair);
}

/* Between start and end nobody stores to a page, whether it is still the old one or a canary. */
static void replace_pages(struct torture_worker *w, struct span span)
{
	struct torture_arena *arena = &w->torture->arena;
	uint64_t damage, sum;
	int error;

	if (percent(w, 25)) {
		sum = torture_arena_page_sum(arena, span.first);
		torture_spin(w, 10);
		if (torture_arena_page_sum(arena, span.first) != sum)
			torture_violation(w, TORTURE_STALE_WRITE, "page %u changed after start",
					  span.first);
	}
	error = torture_arena_map_canaries(arena, span.first, span.nr);
	if (!error) {
		torture_spin(w, 50);
		damage = torture_arena_canary_damage(arena, span.first, span.nr);
		if (damage)
			torture_violation(w, TORTURE_STALE_WRITE,
					  "%" PRIu64 " words of the canaries at pages %u to %u",
					  damage, span.first, span.first + span.nr - 1);
		error = torture_arena_map_fresh(arena, span.first, span.nr);
	}
	if (error)
		torture_give_up(w, error);
	count(w, TORTURE_PAGES_REPLACED, span.nr);
}

static void change_pages(struct torture_worker *w, struct span span)
{
	struct torture_pair pair;

	if (!start_pages(w, &pair, span))
		return;
	replace_pages(w, span);
	end_pages(w, &pair);
}

/* A random part of @whole. */
static struct span part_of(struct torture_worker *w, struct span whole)
{
	unsigned int largest = whole.nr < LARGEST_CHANGE ? whole.nr : LARGEST_CHANGE;
	struct span part = { .nr = 1 + pick(w, largest) };

	part.first = whole.first + pick(w, whole.nr - part.nr + 1);
	return part;
}

/* A pair, or three, inside one that may reach far into the other threads' parts. */
static void change_nested(struct torture_worker *w, struct span own)
{
	struct span outer = part_of(w, (struct span){ 0, ARENA_PAGES });
	struct torture_pair pair;

	if (!start_pages(w, &pair, outer))
		return;
	for (unsigned int i = 1 + pick(w, 3); i; i--)
		change_pages(w, part_of(w, own));
	end_pages(w, &pair);
}

/* Two that overlap in time and, maybe, in space: the first end must not open the second's pages. */
static void change_overlapping(struct torture_worker *w, struct span own)
{
	struct span span[2] = { part_of(w, own), part_of(w, own) };
	struct torture_pair pair[2];

	if (!start_pages(w, &pair[0], span[0]))
		return;
	if (!start_pages(w, &pair[1], span[1])) {
		end_pages(w, &pair[0]);
		return;
	}
	replace_pages(w, span[0]);
	end_pages(w, &pair[0]);
	replace_pages(w, span[1]);
	end_pages(w, &pair[1]);
}

/* Another thread ends what this one starts. Meanwhile this one may well change the same pages. */
static void change_and_hand_over(struct torture_worker *w, struct span own)
{
	struct torture_handover *handover = &w->torture->handovers[w->index];
	struct span span = part_of(w, own);

	if (__atomic_load_n(&handover->full, __ATOMIC_ACQUIRE) ||
	    !start_pages(w, &handover->pair, span))
		return;
	replace_pages(w, span);
	watch_release(&w->watch, WATCH_START, handover->pair.start, handover->pair.end);
	__atomic_store_n(&handover->full, 1, __ATOMIC_RELEASE);
}

void torture_related(struct torture_worker *w)
{
	const struct torture_options *options = &w->torture->options;
	struct span own = { .nr = ARENA_PAGES / options->related };

	own.first = w->index * own.nr;
	while (!stopped(w->torture)) {
		switch (options->nest ? pick(w, 4) : 0) {
		case 0:
			change_pages(w, part_of(w, own));
			break;
		case 1:
			change_nested(w, own);
			break;
		case 2:
			change_overlapping(w, own);
			break;
		case 3:
			change_and_hand_over(w, own);
			break;
		}
		if (options->nest)
			torture_end_handovers(w);
		torture_pause(w);
	}
}
