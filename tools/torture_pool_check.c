/* SPDX-License-Identifier: MIT */
/*
 * Looking at pages while others write to them. Each page has one owner, who announces the
 * generation it is about to write, writes, and says that it has: so a page is of the generation
 * that had been written before it was looked at, or of one that had been begun by the time that
 * was over. A write that failed may have been made in part, and leaves it at that.
 */
#include "torture_pool.h"

#include <errno.h>
#include <inttypes.h>

/* A clone's own generations begin here; what it has before is the past. */
#define FIRST_OWN 16u

bool torture_pool_killed(const struct torture_pool_guest *guest)
{
	struct s2_pool_stats stats = { 0 };

	return guest->killable && !s2_memcg_get_stats(guest->memcg, &stats) && stats.killed;
}

bool torture_pool_answered(struct torture_worker *w, const struct torture_pool_guest *guest,
			   const char *what, int error, int may)
{
	bool tier = error == -EIO || error == -EBADMSG || error == -ENOMEM;

	if (!error)
		return true;
	if (tier && w->torture->options.tier_faults)
		count(w, TORTURE_GUEST_ERRORS, 1);
	else if (error == -EFAULT && torture_pool_killed(guest))
		count(w, TORTURE_KILLED_SEEN, 1);
	else if (error != may)
		torture_violation(w, TORTURE_BAD_ERROR, "%s of guest %u failed with %d", what,
				  guest->index, -error);
	return false;
}

/* Acquire: pairs with the release of who has written it. */
uint64_t torture_pool_begin_look(const struct torture_pool_guest *guest, unsigned int page)
{
	return __atomic_load_n(&guest->records[page].done, __ATOMIC_ACQUIRE);
}

/* What a page may be that was of generation @first or later. */
static unsigned int claims_of(const struct torture_pool_guest *guest, unsigned int page,
			      uint64_t first, struct torture_pool_claim claims[])
{
	unsigned int n = 0;
	uint64_t last;

	torture_look_again();
	last = __atomic_load_n(&guest->records[page].begun, __ATOMIC_RELAXED);
	if (guest->pasts && !first) {
		for (; n < guest->pasts[page].n; n++)
			claims[n] = guest->pasts[page].claims[n];
		first = FIRST_OWN;
	}
	if (first <= last)
		claims[n++] = (struct torture_pool_claim){ guest->number, page, first, last };
	return n;
}

void torture_pool_check_seen(struct torture_worker *w, const struct torture_pool_guest *guest,
			     unsigned int page, uint64_t first_generation, const uint64_t *words,
			     unsigned int word, unsigned int nr)
{
	struct torture_pool_claim claims[1 + POOL_PAST_CLAIMS];
	unsigned int n = claims_of(guest, page, first_generation, claims);
	uint64_t wrong = 0;
	enum torture_violation kind =
		torture_pool_check(words, word, nr, claims, n, &wrong);

	count(w, TORTURE_PAGES_CHECKED, 1);
	if (kind != TORTURE_NONE)
		torture_violation(w, kind,
				  "%#" PRIx64 " in page %u of guest %u (%#x), generations %#" PRIx64
				  " to %#" PRIx64 " of %#x",
				  wrong, page, guest->index, guest->number, claims[0].first,
				  claims[0].last, claims[0].guest);
}

void torture_pool_set_past(struct torture_pool_past *past,
			   const struct torture_pool_guest *original, unsigned int page,
			   uint64_t before)
{
	past->n = claims_of(original, page, before, past->claims);
}
