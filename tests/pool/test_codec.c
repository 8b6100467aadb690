/* SPDX-License-Identifier: MIT */
/* The compressors: a page comes back, does not outgrow its room, and damage harms nobody. */
#include "pool/codec.h"

#include "pages.h"
#include "small_vm.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROOM 3500

static const struct s2_codec *codec_or_skip(void **state)
{
	const struct s2_codec *codec = *(const struct s2_codec *const *)*state;

	if (!codec) {
		print_message("this build has no such compressor\n");
		skip();
	}
	return codec;
}

static void test_a_page_comes_back(void **state)
{
	const struct s2_codec *codec = codec_or_skip(state);
	void *context = codec->create();
	uint64_t seed = test_seed();
	char page[S2_PAGE_SIZE], blob[ROOM];

	for (unsigned i = 0; i < 300; i++) {
		enum page_kind kind = (enum page_kind)(i % 3);
		size_t length;

		page_make(kind, seed + i, page);
		length = codec->compress(context, page, blob, ROOM);
		assert_in_range(length, 1, ROOM);
		memset(page, 0x5a, sizeof(page));
		assert_true(codec->decompress(context, blob, length, page));
		assert_true(page_is(kind, seed + i, page));
	}
	codec->destroy(context);
}

/* The buffer ends where the room does, for the sanitizer to see. */
static void test_what_does_not_fit_is_refused(void **state)
{
	const struct s2_codec *codec = codec_or_skip(state);
	void *context = codec->create();
	char page[S2_PAGE_SIZE];

	for (size_t room = 1; room <= ROOM; room += 7) {
		char *blob = malloc(room);

		page_make(PAGE_RANDOM, room, page);
		assert_int_equal(codec->compress(context, page, blob, room), 0);
		page_make(PAGE_TEXT, 1, page);
		assert_in_range(codec->compress(context, page, blob, room), 0, room);
		free(blob);
	}
	codec->destroy(context);
}

/* Flipped bits, cut off, or nothing but noise: an error or any page, but no crash. */
static void test_damaged_input_harms_nobody(void **state)
{
	const struct s2_codec *codec = codec_or_skip(state);
	void *context = codec->create();
	uint64_t seed = test_seed();
	char page[S2_PAGE_SIZE], blob[ROOM];

	for (unsigned i = 0; i < 5000; i++) {
		size_t length;
		char *damaged;

		page_make(i % 2 ? PAGE_TEXT : PAGE_MIXED, seed, page);
		length = codec->compress(context, page, blob, ROOM);
		for (uint64_t flips = test_random(&seed) % 8; flips; flips--)
			blob[test_random(&seed) % length] ^= (char)(1 << test_random(&seed) % 8);
		if (i % 5 == 0)
			length = test_random(&seed) % length;
		/* Of its exact size, for the sanitizer to see. */
		damaged = malloc(length + 1);
		memcpy(damaged + 1, blob, length);
		codec->decompress(context, damaged + 1, length, page);
		free(damaged);
	}
	codec->destroy(context);
}

#define FOR_EACH_CODEC(test)                                                                       \
	{ #test " (LZ4)", test, NULL, NULL, (void *)&s2_codec_lz4 },                               \
	{ #test " (zstd)", test, NULL, NULL, (void *)&s2_codec_zstd }

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOR_EACH_CODEC(test_a_page_comes_back),
		FOR_EACH_CODEC(test_what_does_not_fit_is_refused),
		FOR_EACH_CODEC(test_damaged_input_harms_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
