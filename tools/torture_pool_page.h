/* SPDX-License-Identifier: MIT */
/*
 * What torture has guests write to pages of a pool. A page's contents follow from who wrote it,
 * which page it is, and its generation, so that whoever reads it can tell what has become of it.
 *
 * Generations come sixteen at a time: the first, a multiple of 16, is a page written as a
 * whole, and each of those after it changes one word. What a whole page is, chance decides by
 * its number: words that each tell where they belong; zeroes, which need no frame; one of a few
 * pages that are the same in all guests, for the scanner for equal pages; or noise, which does
 * not get smaller.
 */
#ifndef STAGE2_TOOLS_TORTURE_POOL_PAGE_H
#define STAGE2_TOOLS_TORTURE_POOL_PAGE_H

#include "torture_arena.h"

#define POOL_GUESTS 4095u /* their numbers in contents; one more is everybody's */
#define POOL_PAGES 8192u  /* a guest has at most */

/* The next generation that is a whole page; one that is all zeroes; and one that changes one
 * word, or 0 if there is none left. */
uint64_t torture_pool_next_whole(uint64_t generation);
uint64_t torture_pool_next_zero(unsigned int page, uint64_t generation);
uint64_t torture_pool_next_word(uint64_t generation);

/* What a page of @generation is. */
void torture_pool_fill(uint64_t words[PAGE_WORDS], unsigned int guest, unsigned int page,
		       uint64_t generation);

/* Which word it is that @generation has changed, and to what. */
unsigned int torture_pool_changed_word(unsigned int page, uint64_t generation, unsigned int guest,
				       uint64_t *value);

/* A page that may be seen: any from generation @first to @last. */
struct torture_pool_claim {
	unsigned int guest;
	unsigned int page;
	uint64_t first;
	uint64_t last;
};

/*
 * @words: @nr words of a page from @first on. Each must be that of one of the claims, whose first
 * is the one that a wrong word is compared with:
 *  lost     zeroes, or a generation that had been overwritten
 *  mixed_up what belongs elsewhere: another page's or guest's, or a generation that cannot be
 *  here
 *  damaged  what nobody has written
 */
enum torture_violation torture_pool_check(const uint64_t *words, unsigned int first,
					  unsigned int nr,
					  const struct torture_pool_claim *claims, unsigned int n,
					  uint64_t *wrong);

#endif
