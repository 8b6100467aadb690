/* SPDX-License-Identifier: MIT */
/* What is known of the room in tiers, see room.h. */
#include "pool/room.h"

#include "pool/page_digest.h"

/* So many pages go past a full tier before one is offered to it. */
#define GO_PAST 1024

/* In a frame's entry: 32 bits of the digest, then 8 for each tier, of the need; 0: not known. */
#define NEED_BITS 8
#define NEED_MAX UINT8_MAX

_Static_assert(32 + S2_POOL_TIERS * NEED_BITS <= 64, "what all tiers have said fits into the word");

static unsigned need_shift(unsigned i)
{
	return 32 + i * NEED_BITS;
}

static bool is_full(struct s2_pool *pool, unsigned i)
{
	struct s2_pool_tier_room *room = &pool->room[i];

	return atomic_load_explicit(&room->full, memory_order_relaxed) ==
	       atomic_load_explicit(&room->drops, memory_order_relaxed) + 1;
}

bool s2_pool_may_fit(struct s2_pool *pool, unsigned i, uint32_t frame, const void *data)
{
	struct s2_pool_tier *tier = pool->tiers[i];
	uint64_t refused =
		atomic_load_explicit(&pool->frames.table[frame].refused, memory_order_relaxed);
	unsigned need = refused >> need_shift(i) & NEED_MAX, room = 0;

	if (tier->ops->room) {
		room = tier->ops->room(tier);
		if (!room)
			return false;
	}
	return need <= room || !need || (uint32_t)refused != (uint32_t)s2_page_digest(data);
}

/*
 * A guest may be writing to it. That is a race, of which no sanitizer need tell; clang has
 * atomic accesses looked at even so, hence volatile ones.
 */
static __attribute__((no_sanitize("thread"))) bool is_zero_while_in_use(const void *data)
{
	const volatile uint64_t *words = data;

	for (unsigned i = 0; i < S2_PAGE_SIZE / sizeof(*words); i++)
		if (words[i])
			return false;
	return true;
}

bool s2_pool_may_go(struct s2_pool *pool, uint32_t frame)
{
	const void *data = s2_pool_frame_addr(&pool->frames, frame);

	for (unsigned i = 0; i < pool->nr_tiers; i++)
		if (!is_full(pool, i) && s2_pool_may_fit(pool, i, frame, data))
			return true;
	return is_zero_while_in_use(data);
}

bool s2_pool_go_past(struct s2_pool *pool, unsigned i, unsigned pages)
{
	uint32_t before;

	if (!is_full(pool, i))
		return false;
	before = atomic_fetch_add_explicit(&pool->room[i].past, pages, memory_order_relaxed);
	return before / GO_PAST == (before + pages) / GO_PAST;
}

/* Acquire pairs with the release in s2_pool_note_drop(): the store finds what these have freed. */
uint64_t s2_pool_drops(struct s2_pool *pool, unsigned i)
{
	return atomic_load_explicit(&pool->room[i].drops, memory_order_acquire);
}

void s2_pool_note_full(struct s2_pool *pool, unsigned i, uint64_t drops)
{
	atomic_store_explicit(&pool->room[i].full, drops + 1, memory_order_relaxed);
}

void s2_pool_note_refusal(struct s2_pool *pool, unsigned i, uint32_t frame, const void *data,
			  uint64_t need)
{
	_Atomic uint64_t *word = &pool->frames.table[frame].refused;
	uint64_t digest = (uint32_t)s2_page_digest(data);
	uint64_t refused = atomic_load_explicit(word, memory_order_relaxed);

	/* Of two threads, one for what was in the frame before, the later word stays, whole. */
	if ((uint32_t)refused != digest)
		refused = digest;
	need = need < 1 ? 1 : need > NEED_MAX ? NEED_MAX : need;
	refused &= ~((uint64_t)NEED_MAX << need_shift(i));
	atomic_store_explicit(word, refused | need << need_shift(i), memory_order_relaxed);
}

void s2_pool_note_drop(struct s2_pool *pool, unsigned i)
{
	atomic_fetch_add_explicit(&pool->room[i].drops, 1, memory_order_release);
}

void s2_pool_ask_again(struct s2_pool *pool)
{
	for (unsigned i = 0; i < pool->nr_tiers; i++)
		atomic_store_explicit(&pool->room[i].full, 0, memory_order_relaxed);
}
