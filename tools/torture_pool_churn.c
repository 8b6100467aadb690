/* SPDX-License-Identifier: MIT */
/*
 * Invalidations of a pool's addresses that the pool knows nothing of, around nothing: of no
 * guest's memory, and of the guests' own, whose vCPUs lose what they have and fault anew.
 */
#include "torture_pool.h"

#include <stage2/notifier.h>

/* Where a pool has its regions last of all. */
#define NOBODYS_HVA (UINT64_C(3) << 43)
#define NOBODYS_PAGES 16u
#define LARGEST_PAIR 1024u

static void pairs(struct torture_worker *w, uint64_t start, unsigned int nr, unsigned int times)
{
	unsigned int flags = percent(w, w->torture->options.nonblock) ? S2_NONBLOCK : 0;
	struct torture_pair pair;

	while (times--) {
		if (!torture_start(w, &pair, start, start + nr * S2_PAGE_SIZE, flags))
			continue;
		if (percent(w, 5))
			torture_spin(w, 20);
		torture_end(w, &pair);
	}
}

void torture_pool_unrelated(struct torture_worker *w)
{
	while (!stopped(w->torture)) {
		unsigned int first = pick(w, NOBODYS_PAGES);

		pairs(w, NOBODYS_HVA + first * S2_PAGE_SIZE, 1 + pick(w, NOBODYS_PAGES),
		      1 + pick(w, 64));
		torture_pause(w);
	}
}

/* Mostly few pages, sometimes many. */
void torture_pool_related(struct torture_worker *w)
{
	struct torture_pool *pool = w->torture->pool;

	while (!stopped(w->torture)) {
		struct torture_pool_guest *guest = &pool->guests[pick(w, pool->nr_guests)];
		unsigned int first = pick(w, guest->nr_pages);
		unsigned int nr = 1 + pick(w, percent(w, 90) ? 8 : LARGEST_PAIR);
		uint64_t start = torture_pool_hva(guest, first);

		nr = nr < guest->nr_pages - first ? nr : guest->nr_pages - first;
		if (percent(w, 80))
			pairs(w, start, nr, 1);
		else if (percent(w, 50))
			s2_clear_flush_young(w->torture->mm, start, start + nr * S2_PAGE_SIZE);
		else
			s2_test_young(w->torture->mm, start);
		torture_pause(w);
	}
}
