/* SPDX-License-Identifier: MIT */
/* The pages of pages.h. */
#include "pages.h"

#include "small_vm.h"

#include <stage2/mm.h>
#include <string.h>

static void make_random(uint64_t *state, char *bytes, size_t size)
{
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t x = test_random(state);

		memcpy(bytes + i, &x, sizeof(x));
	}
}

static void make_text(uint64_t *state, char *bytes, size_t size)
{
	static const char *const words[] = { "the ",   "guest ", "page ", "of ",   "memory ", "is ",
					     "mapped", ", ",     "and ",  "slot ", "\n",      "fault " };
	size_t at = 0;

	while (at < size) {
		const char *word = words[test_random(state) % (sizeof(words) / sizeof(*words))];
		size_t length = strlen(word);

		if (length > size - at)
			length = size - at;
		memcpy(bytes + at, word, length);
		at += length;
	}
}

void page_make(enum page_kind kind, uint64_t number, void *page)
{
	uint64_t state = number;

	memset(page, 0, S2_PAGE_SIZE);
	if (kind == PAGE_TEXT)
		make_text(&state, page, S2_PAGE_SIZE);
	else if (kind == PAGE_MIXED)
		make_random(&state, page, test_random(&state) % 3072);
	else if (kind == PAGE_RANDOM)
		make_random(&state, page, S2_PAGE_SIZE);
}

bool page_is(enum page_kind kind, uint64_t number, const void *page)
{
	char expected[S2_PAGE_SIZE];

	page_make(kind, number, expected);
	return !memcmp(expected, page, S2_PAGE_SIZE);
}
