/* SPDX-License-Identifier: MIT */
/*
 * A word that tells where it belongs is, from the top: 12 bits of guest, 13 of page, 18 of
 * generation, 9 of word number, 12 of checksum. What is the same in a whole page comes first,
 * so that LZ4 makes it smaller.
 */
#include "torture_pool_page.h"

#include "torture_work.h"

#include <string.h>

#define CHANGES 16u /* generations from one whole page to the next */
#define GENERATION_MASK ((UINT64_C(1) << 18) - 1)
#define EVERYBODY POOL_GUESTS
#define EQUAL_PAGES 4u

enum whole { ZEROES, EQUAL, NOISE, STAMPED };

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t state = a * UINT64_C(0xd1342543de82ef95) + b;

	return torture_random(&state);
}

static uint64_t checksum(uint64_t body)
{
	return (body * UINT64_C(0x9e3779b97f4a7c15)) >> 52;
}

static uint64_t stamp(unsigned int guest, unsigned int page, uint64_t generation, unsigned int word)
{
	uint64_t body = (uint64_t)guest << 40 | (uint64_t)page << 27 |
			(generation & GENERATION_MASK) << 9 | word;

	return body << 12 | checksum(body);
}

/* A guest begins with zeroes. */
static enum whole whole_of(unsigned int page, uint64_t generation)
{
	unsigned int draw = (unsigned int)mix(page, generation / CHANGES) % 16;

	if (generation < CHANGES)
		return ZEROES;
	return draw < 2 ? ZEROES : draw < 7 ? EQUAL : draw < 9 ? NOISE : STAMPED;
}

uint64_t torture_pool_next_whole(uint64_t generation)
{
	return (generation / CHANGES + 1) * CHANGES;
}

uint64_t torture_pool_next_zero(unsigned int page, uint64_t generation)
{
	do
		generation = torture_pool_next_whole(generation);
	while (whole_of(page, generation) != ZEROES);
	return generation;
}

uint64_t torture_pool_next_word(uint64_t generation)
{
	return generation % CHANGES == CHANGES - 1 ? 0 : generation + 1;
}

unsigned int torture_pool_changed_word(unsigned int page, uint64_t generation, unsigned int guest,
				       uint64_t *value)
{
	unsigned int word = (unsigned int)mix(page, ~generation) % PAGE_WORDS;

	*value = stamp(guest, page, generation, word);
	return word;
}

static void fill_whole(uint64_t words[PAGE_WORDS], unsigned int guest, unsigned int page,
		       uint64_t generation)
{
	enum whole whole = whole_of(page, generation);
	unsigned int equal = (unsigned int)mix(generation / CHANGES, page) % EQUAL_PAGES;

	generation -= generation % CHANGES;
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		words[i] = whole == STAMPED ? stamp(guest, page, generation, i) :
			   whole == EQUAL   ? stamp(EVERYBODY, equal, 0, i) :
			   whole == NOISE   ? mix(stamp(guest, page, generation, i), i) :
					      0;
}

static void change_word(uint64_t words[PAGE_WORDS], unsigned int guest, unsigned int page,
			uint64_t generation)
{
	uint64_t value;
	unsigned int word = torture_pool_changed_word(page, generation, guest, &value);

	words[word] = value;
}

void torture_pool_fill(uint64_t words[PAGE_WORDS], unsigned int guest, unsigned int page,
		       uint64_t generation)
{
	uint64_t whole = generation - generation % CHANGES;

	fill_whole(words, guest, page, whole);
	for (uint64_t g = whole + 1; g <= generation; g++)
		change_word(words, guest, page, g);
}

/* Marks the words that are as @claim has them; how many are not yet marked. */
static unsigned int mark_known(const uint64_t *words, unsigned int first, unsigned int nr,
			       const struct torture_pool_claim *claim, bool known[PAGE_WORDS],
			       unsigned int unknown)
{
	uint64_t image[PAGE_WORDS];

	for (uint64_t g = claim->first; unknown && g <= claim->last; g++) {
		if (g == claim->first || g % CHANGES == 0)
			torture_pool_fill(image, claim->guest, claim->page, g);
		else
			change_word(image, claim->guest, claim->page, g);
		if (unknown == nr && !memcmp(words, &image[first], nr * sizeof(*words)))
			return 0;
		for (unsigned int i = 0; i < nr; i++) {
			if (known[i] || words[i] != image[first + i])
				continue;
			known[i] = true;
			unknown--;
		}
	}
	return unknown;
}

static enum torture_violation classify(uint64_t value, unsigned int word,
				       const struct torture_pool_claim *claim)
{
	uint64_t body = value >> 12, generation = body >> 9 & GENERATION_MASK;
	unsigned int page = (unsigned int)(body >> 27) & (POOL_PAGES - 1);
	/* Of those before the first, by a number that wraps. */
	uint64_t age = (claim->first - generation) & GENERATION_MASK;

	if (!value)
		return TORTURE_LOST;
	if ((value & 0xfff) != checksum(body))
		return TORTURE_DAMAGED;
	if (body >> 40 != claim->guest || page != claim->page || (body & 0x1ff) != word ||
	    !age || age > GENERATION_MASK / 2)
		return TORTURE_MIXED_UP;
	return TORTURE_LOST;
}

enum torture_violation torture_pool_check(const uint64_t *words, unsigned int first,
					  unsigned int nr,
					  const struct torture_pool_claim *claims, unsigned int n,
					  uint64_t *wrong)
{
	bool known[PAGE_WORDS] = { false };
	unsigned int unknown = nr, i = 0;

	for (unsigned int c = 0; unknown && c < n; c++)
		unknown = mark_known(words, first, nr, &claims[c], known, unknown);
	if (!unknown)
		return TORTURE_NONE;
	while (known[i])
		i++;
	*wrong = words[i];
	return classify(words[i], first + i, &claims[0]);
}
