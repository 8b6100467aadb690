/* SPDX-License-Identifier: MIT */
/* The lock in a page's word. */
#include "pool/page.h"

#include "base/arch.h"
#include "base/futex.h"
#include "base/guest_mode.h"

/* As the mutex of base/lock.c spins; a page that is merely being copied is free by then. */
#define SPINS 1000

static bool try_lock(struct s2_pool_page *page, uint64_t *word)
{
	uint64_t seen = atomic_load_explicit(&page->word, memory_order_relaxed);

	/* Acquire pairs with the release in s2_pool_page_unlock(). */
	if ((seen & S2_POOL_LOCKED) ||
	    !atomic_compare_exchange_strong_explicit(&page->word, &seen, seen | S2_POOL_LOCKED,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	*word = seen;
	return true;
}

/* Sleeps until the page is unlocked, or for no reason at all. */
static void sleep_while_locked(struct s2_pool_page *page)
{
	uint64_t seen = atomic_load_explicit(&page->word, memory_order_relaxed);

	if (!(seen & S2_POOL_LOCKED))
		return;
	/* Only if the bit is there when the holder exchanges the word will it wake us. */
	if (!(seen & S2_POOL_AWAITED) &&
	    !atomic_compare_exchange_strong_explicit(&page->word, &seen, seen | S2_POOL_AWAITED,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	s2_futex_wait((_Atomic uint32_t *)(void *)&page->word, (uint32_t)(seen | S2_POOL_AWAITED));
}

bool s2_pool_page_trylock(struct s2_pool_page *page, uint64_t *word)
{
	if (!try_lock(page, word))
		return false;
	S2_LOCK_ACQUIRED(page, S2_RANK_POOL_PAGE, S2_LOCK_EXCLUSIVE, true);
	return true;
}

static uint64_t lock(struct s2_pool_page *page)
{
	unsigned spins = 0;
	uint64_t word;

	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	while (!try_lock(page, &word)) {
		if (spins++ < SPINS)
			s2_cpu_relax();
		else
			sleep_while_locked(page);
	}
	return word;
}

static void unlock(struct s2_pool_page *page, uint64_t word)
{
	/* Release: what was done to the page comes before the next holder's turn. */
	uint64_t old = atomic_exchange_explicit(&page->word, word, memory_order_release);

	if (old & S2_POOL_AWAITED)
		s2_futex_wake((_Atomic uint32_t *)(void *)&page->word, INT_MAX);
}

uint64_t s2_pool_page_lock(struct s2_pool_page *page)
{
	uint64_t word = lock(page);

	S2_LOCK_ACQUIRED(page, S2_RANK_POOL_PAGE, S2_LOCK_EXCLUSIVE, false);
	return word;
}

uint64_t s2_pool_shared_page_lock(struct s2_pool_page *page)
{
	uint64_t word = lock(page);

	S2_LOCK_ACQUIRED(page, S2_RANK_POOL_SHARED_PAGE, S2_LOCK_EXCLUSIVE, false);
	return word;
}

void s2_pool_page_unlock(struct s2_pool_page *page, uint64_t word)
{
	S2_LOCK_RELEASED(page);
	unlock(page, word);
}

/* Of a run, the debug build's list of held locks has the first page only: it is short. */
static unsigned extend_run(struct s2_pool_page *pages, unsigned n, uint64_t words[])
{
	unsigned locked = 1;

	while (locked < n && try_lock(&pages[locked], &words[locked]))
		locked++;
	return locked;
}

unsigned s2_pool_run_lock(struct s2_pool_page *pages, unsigned n, uint64_t words[])
{
	words[0] = s2_pool_page_lock(pages);
	return extend_run(pages, n, words);
}

bool s2_pool_run_trylock(struct s2_pool_page *pages, unsigned n, uint64_t words[])
{
	unsigned locked;

	if (!s2_pool_page_trylock(pages, &words[0]))
		return false;
	locked = extend_run(pages, n, words);
	if (locked < n)
		s2_pool_run_unlock(pages, locked, words);
	return locked == n;
}

void s2_pool_run_unlock(struct s2_pool_page *pages, unsigned n, const uint64_t words[])
{
	s2_pool_page_unlock(pages, words[0]);
	for (unsigned i = 1; i < n; i++)
		unlock(&pages[i], words[i]);
}
