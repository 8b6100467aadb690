/* SPDX-License-Identifier: MIT */
/* See bench_pages.h. */
#include "bench_pages.h"
#include "bench_pairs.h"

#include <string.h>

#define WORDS_IN_PAGE (S2_PAGE_SIZE / sizeof(uint64_t))

/* As many as a page has of its own; few enough that most have been there before. */
#define VOCABULARY 96
#define LONGEST_WORD 12

struct vocabulary {
	char text[VOCABULARY][LONGEST_WORD];
	unsigned int length[VOCABULARY];
};

static void invent_words(struct vocabulary *words, uint64_t *random)
{
	for (unsigned int i = 0; i < VOCABULARY; i++) {
		words->length[i] = 3 + (unsigned int)(bench_random(random) % (LONGEST_WORD - 3));
		for (unsigned int j = 0; j < words->length[i]; j++)
			words->text[i][j] = (char)('a' + bench_random(random) % 26);
		words->text[i][words->length[i] - 1] = ' ';
	}
}

/* The first words come up more often than the last, as a language has it. */
static unsigned int choose_word(uint64_t *random)
{
	uint64_t a = bench_random(random) % VOCABULARY, b = bench_random(random) % VOCABULARY;

	return (unsigned int)(a * b / VOCABULARY);
}

/* One half of the lines is new words, the other one a line of before once more. */
static void fill_text(char *page, uint64_t *random)
{
	struct vocabulary words;
	size_t at = 0;

	invent_words(&words, random);
	while (at < S2_PAGE_SIZE) {
		unsigned int word = choose_word(random);
		size_t from = at ? bench_random(random) % at : 0, length = words.length[word];
		const char *text = words.text[word];

		if (at > 64 && bench_random(random) % 4 == 0) {
			length = 16 + bench_random(random) % 48;
			length = length < at - from ? length : at - from;
			text = page + from;
		}
		length = length < S2_PAGE_SIZE - at ? length : S2_PAGE_SIZE - at;
		memcpy(page + at, text, length);
		at += length;
	}
}

void bench_page_fill(void *page, uint64_t nr)
{
	/* Odd, and so never 0 after the multiplication. */
	uint64_t random = (2 * nr + 1) * UINT64_C(0x9e3779b97f4a7c15), *words = page;

	switch (bench_random(&random) % 10) {
	case 0:
		memset(page, 0, S2_PAGE_SIZE);
		break;
	case 1:
		for (unsigned int i = 0; i < WORDS_IN_PAGE; i++)
			words[i] = bench_random(&random);
		break;
	default:
		fill_text(page, &random);
		break;
	}
	words[WORDS_IN_PAGE - 1] = 0;
}

void bench_shuffle(uint32_t *order, uint32_t nr, uint64_t seed)
{
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t j = (uint32_t)(bench_random(&seed) % (i + 1));

		order[i] = order[j];
		order[j] = i;
	}
}
