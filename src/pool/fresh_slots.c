/* SPDX-License-Identifier: MIT */
/* The numbers of fresh_slots.h: a table, and a queue that is threaded through it. */
#include "pool/fresh_slots.h"

#include <errno.h>
#include <stage2/pool.h>
#include <sys/mman.h>

/* So many at least, so that the quotient of any number fits into its entry. */
#define ENTRIES_MIN (UINT64_C(1) << (S2_POOL_SLOT_BITS - 30))
#define DROPPED (UINT32_C(1) << 31)

/*
 * @owner: 0 if it is free, otherwise the quotient of the number that has it, plus 1, and
 *         DROPPED. Changed with the lock held.
 * @next:  in the queue.
 */
struct s2_fresh_slot {
	_Atomic uint32_t owner;
	uint32_t next;
};

static struct s2_fresh_slot *slot_of(struct s2_fresh_slots *slots, uint64_t number)
{
	return &slots->table[number % slots->entries];
}

/* Relaxed: who asks about a number of its own has been told of it. */
static uint32_t owner_of(struct s2_fresh_slots *slots, uint64_t number)
{
	return atomic_load_explicit(&slot_of(slots, number)->owner, memory_order_relaxed);
}

static void set_owner(struct s2_fresh_slots *slots, uint64_t number, uint32_t owner)
{
	atomic_store_explicit(&slot_of(slots, number)->owner, owner, memory_order_relaxed);
}

static uint32_t quotient(struct s2_fresh_slots *slots, uint64_t number)
{
	return (uint32_t)(number / slots->entries) + 1;
}

int s2_fresh_slots_init(struct s2_fresh_slots *slots, uint64_t limit)
{
	void *table;

	slots->limit = limit;
	slots->entries = 2 * limit < ENTRIES_MIN ? ENTRIES_MIN : 2 * limit;
	table = mmap(NULL, slots->entries * sizeof(*slots->table), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED)
		return -ENOMEM;
	slots->table = table;
	s2_mutex_init(&slots->lock, S2_RANK_INTERNAL);
	return 0;
}

void s2_fresh_slots_destroy(struct s2_fresh_slots *slots)
{
	munmap(slots->table, slots->entries * sizeof(*slots->table));
}

/* With 2^48 numbers behind us there is an end; that is a million a second for nine years. */
static bool take(struct s2_fresh_slots *slots, uint64_t *number)
{
	if (slots->taken == slots->limit)
		return false;
	for (; !(slots->next >> S2_POOL_SLOT_BITS); slots->next++) {
		if (owner_of(slots, slots->next))
			continue;
		set_owner(slots, slots->next, quotient(slots, slots->next));
		*number = slots->next++;
		slots->taken++;
		return true;
	}
	return false;
}

unsigned s2_fresh_slots_take(struct s2_fresh_slots *slots, unsigned n, uint64_t numbers[])
{
	unsigned done = 0;

	s2_mutex_lock(&slots->lock);
	while (done < n && take(slots, &numbers[done]))
		done++;
	s2_mutex_unlock(&slots->lock);
	return done;
}

bool s2_fresh_slots_taken(struct s2_fresh_slots *slots, uint64_t number)
{
	return !(number >> S2_POOL_SLOT_BITS) &&
	       owner_of(slots, number) == quotient(slots, number);
}

static void enqueue(struct s2_fresh_slots *slots, uint64_t number)
{
	uint32_t entry = (uint32_t)(number % slots->entries) + 1;

	set_owner(slots, number, quotient(slots, number) | DROPPED);
	slot_of(slots, number)->next = 0;
	if (slots->first)
		slots->table[slots->last - 1].next = entry;
	else
		slots->first = entry;
	slots->last = entry;
	slots->dropped++;
}

uint64_t s2_fresh_slots_drop(struct s2_fresh_slots *slots, uint64_t number)
{
	uint64_t length = 0;

	s2_mutex_lock(&slots->lock);
	if (s2_fresh_slots_taken(slots, number)) {
		enqueue(slots, number);
		length = slots->dropped;
	}
	s2_mutex_unlock(&slots->lock);
	return length;
}

static uint64_t number_of(struct s2_fresh_slots *slots, uint64_t entry)
{
	uint32_t owner = owner_of(slots, entry) & ~DROPPED;

	return (owner - 1) * slots->entries + entry;
}

void s2_fresh_slots_drop_all(struct s2_fresh_slots *slots)
{
	s2_mutex_lock(&slots->lock);
	for (uint64_t i = 0; slots->dropped < slots->taken && i < slots->entries; i++)
		if (owner_of(slots, i) && !(owner_of(slots, i) & DROPPED))
			enqueue(slots, number_of(slots, i));
	s2_mutex_unlock(&slots->lock);
}

unsigned s2_fresh_slots_dequeue(struct s2_fresh_slots *slots, unsigned n, uint64_t numbers[])
{
	unsigned done = 0;

	s2_mutex_lock(&slots->lock);
	while (done < n && slots->first) {
		numbers[done++] = number_of(slots, slots->first - 1);
		slots->first = slots->table[slots->first - 1].next;
		slots->dropped--;
	}
	s2_mutex_unlock(&slots->lock);
	return done;
}

void s2_fresh_slots_requeue(struct s2_fresh_slots *slots, uint64_t number)
{
	s2_mutex_lock(&slots->lock);
	enqueue(slots, number);
	s2_mutex_unlock(&slots->lock);
}

void s2_fresh_slots_free(struct s2_fresh_slots *slots, uint64_t number)
{
	s2_mutex_lock(&slots->lock);
	set_owner(slots, number, 0);
	slots->taken--;
	s2_mutex_unlock(&slots->lock);
}
