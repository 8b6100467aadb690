/* SPDX-License-Identifier: MIT */
/* The slots of slots.h. */
#include "pool/slots.h"

#include <errno.h>
#include <sys/mman.h>

#define NONE UINT64_MAX

/* How many words a search for a run looks at: some 300 ns, and 256 MiB of the file. */
#define WINDOW 1024

static size_t bits_size(const struct s2_slots *slots)
{
	return (slots->count + 63) / 64 * sizeof(*slots->taken);
}

int s2_slots_init(struct s2_slots *slots, uint64_t count)
{
	void *bits;

	*slots = (struct s2_slots){ .count = count };
	bits = mmap(NULL, bits_size(slots), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bits == MAP_FAILED)
		return -ENOMEM;
	slots->taken = bits;
	s2_mutex_init(&slots->lock, S2_RANK_INTERNAL);
	return 0;
}

void s2_slots_destroy(struct s2_slots *slots)
{
	munmap(slots->taken, bits_size(slots));
}

/* Relaxed: who asks about a slot of its own has been told of it, with its contents. */
static uint64_t word_at(const struct s2_slots *slots, uint64_t word)
{
	return atomic_load_explicit(&slots->taken[word], memory_order_relaxed);
}

bool s2_slots_taken(const struct s2_slots *slots, uint64_t slot)
{
	return slot < slots->count && (word_at(slots, slot / 64) >> slot % 64 & 1);
}

static void set_taken(struct s2_slots *slots, uint64_t slot, bool taken)
{
	uint64_t bit = UINT64_C(1) << slot % 64;

	if (taken)
		atomic_fetch_or_explicit(&slots->taken[slot / 64], bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&slots->taken[slot / 64], ~bit, memory_order_relaxed);
	slots->nr_taken += taken ? 1 : -UINT64_C(1);
}

static uint64_t find_free(const struct s2_slots *slots, uint64_t from, uint64_t to)
{
	uint64_t free = UINT64_MAX << from % 64;

	for (uint64_t word = from / 64; word * 64 < to; word++, free = UINT64_MAX) {
		free &= ~word_at(slots, word);
		if (free) {
			uint64_t slot = word * 64 + (unsigned)__builtin_ctzll(free);

			return slot < to ? slot : NONE;
		}
	}
	return NONE;
}

/*
 * A slot that was used before, or @end. Growing only by one slot for each search of
 * the file keeps it small; but it does grow then, past slots that cannot be written.
 */
static uint64_t choose(const struct s2_slots *slots)
{
	uint64_t slot = NONE;

	if (slots->nr_taken < slots->end)
		slot = find_free(slots, slots->hint, slots->end);
	if (slot == NONE && slots->end == slots->count)
		slot = find_free(slots, 0, slots->end);
	return slot == NONE ? slots->end : slot;
}

int s2_slots_take(struct s2_slots *slots, uint64_t *slot)
{
	int ret = -ENOSPC;

	s2_mutex_lock(&slots->lock);
	if (slots->nr_taken < slots->count) {
		*slot = choose(slots);
		if (*slot == slots->end) {
			slots->end++;
			slots->hint = 0;
		} else {
			slots->hint = *slot + 1;
		}
		set_taken(slots, *slot, true);
		ret = 0;
	}
	s2_mutex_unlock(&slots->lock);
	return ret;
}

/* Of the bits of @free, those that begin a run of @n. */
static uint64_t runs_in(uint64_t free, unsigned n)
{
	while (n > 1) {
		free &= free >> n / 2;
		n -= n / 2;
	}
	return free;
}

/*
 * In one word of what was used before. A search that finds nothing leaves the rest to
 * the next ones: it is done with the lock held, and there may be gigabits of them.
 */
static uint64_t find_run(struct s2_slots *slots, unsigned n)
{
	uint64_t words = slots->end / 64;

	if (slots->end - slots->nr_taken < n)
		return NONE;
	for (unsigned i = 0; i < WINDOW && i < words; i++) {
		uint64_t word, run;

		if (slots->run_hint >= words)
			slots->run_hint = 0;
		word = slots->run_hint;
		run = runs_in(~word_at(slots, word), n);
		if (run)
			return word * 64 + (unsigned)__builtin_ctzll(run);
		slots->run_hint++;
	}
	return NONE;
}

bool s2_slots_take_run(struct s2_slots *slots, unsigned n, uint64_t *first)
{
	uint64_t run;

	s2_mutex_lock(&slots->lock);
	run = find_run(slots, n);
	if (run == NONE && n <= slots->count - slots->end) {
		run = slots->end;
		slots->end += n;
	}
	for (unsigned i = 0; run != NONE && i < n; i++)
		set_taken(slots, run + i, true);
	s2_mutex_unlock(&slots->lock);
	*first = run;
	return run != NONE;
}

void s2_slots_give_back(struct s2_slots *slots, uint64_t slot, int error)
{
	s2_mutex_lock(&slots->lock);
	if (s2_slots_taken(slots, slot)) {
		set_taken(slots, slot, false);
		if (error == -ENOSPC && slot + 1 == slots->end) {
			slots->end--;
		} else if (error) {
			slots->hint = slot + 1;
			slots->run_hint = slot / 64 + 1;
		}
	}
	s2_mutex_unlock(&slots->lock);
}
