/* SPDX-License-Identifier: MIT */
/*
 * See bench_pool_limits.h. As in the tiers a page of zeroes is not kept by a compressor's, and one
 * that does not get smaller is copied. Here each page has its place where it is kept: what finding
 * and giving back one costs is the tiers' own.
 */
#include "bench_pool_limits.h"
#include "bench_pages.h"
#include "pool/codec.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More than 7/8 of a page is not worth it. */
#define MOST_BYTES (S2_PAGE_SIZE / 8 * 7)

static const char zeroes[S2_PAGE_SIZE];

/* @length: of what is kept; 0: zeroes, and nothing is. */
struct kept {
	uint32_t length;
	char data[S2_PAGE_SIZE];
};

/* One thread's. @context: its compressor's. */
struct part {
	char *memory;
	struct kept *kept;
	void *context;
};

struct bench_limit {
	const struct s2_codec *codec; /* NULL: memcpy */
	uint64_t pages;
	unsigned int threads;
	struct part parts[BENCH_MAX_CPUS];
};

const char *bench_limit_name(unsigned int which)
{
	static const char *const names[BENCH_NR_LIMITS] = { "memcpy", "LZ4 by itself",
							    "zstd by itself" };

	return names[which];
}

static int create_part(struct bench_limit *limit, unsigned int index)
{
	struct part *part = &limit->parts[index];

	part->memory = aligned_alloc(S2_PAGE_SIZE, limit->pages * S2_PAGE_SIZE);
	part->kept = calloc(limit->pages, sizeof(*part->kept));
	part->context = limit->codec ? limit->codec->create() : NULL;
	if (!part->memory || !part->kept || (limit->codec && !part->context))
		return -ENOMEM;
	for (uint64_t i = 0; i < limit->pages; i++)
		bench_page_fill(part->memory + i * S2_PAGE_SIZE, index * limit->pages + i);
	return 0;
}

int bench_limit_create(unsigned int which, unsigned int threads, uint64_t pages,
		       struct bench_limit **limit)
{
	const struct s2_codec *const codecs[BENCH_NR_LIMITS] = { NULL, s2_codec_lz4,
								 s2_codec_zstd };
	int error = 0;

	if (which && !codecs[which])
		return -ENOTSUP;
	*limit = calloc(1, sizeof(**limit));
	if (!*limit)
		return -ENOMEM;
	(*limit)->codec = codecs[which];
	(*limit)->pages = pages;
	(*limit)->threads = threads;
	for (unsigned int i = 0; !error && i < threads; i++)
		error = create_part(*limit, i);
	return error;
}

void bench_limit_destroy(struct bench_limit *limit)
{
	for (unsigned int i = 0; limit && i < limit->threads; i++) {
		if (limit->parts[i].context)
			limit->codec->destroy(limit->parts[i].context);
		free(limit->parts[i].kept);
		free(limit->parts[i].memory);
	}
	free(limit);
}

static void keep(const struct s2_codec *codec, void *context, const char *page, struct kept *kept)
{
	size_t length = 0;

	if (codec && !memcmp(page, zeroes, S2_PAGE_SIZE)) {
		kept->length = 0;
		return;
	}
	if (codec)
		length = codec->compress(context, page, kept->data, MOST_BYTES);
	if (!length)
		memcpy(kept->data, page, S2_PAGE_SIZE);
	kept->length = length ? (uint32_t)length : S2_PAGE_SIZE;
}

int bench_limit_out(struct bench_limit *limit, unsigned int index, uint64_t *sink)
{
	struct part *part = &limit->parts[index];

	for (uint64_t i = 0; i < limit->pages; i++)
		keep(limit->codec, part->context, part->memory + i * S2_PAGE_SIZE, &part->kept[i]);
	*sink += part->kept[limit->pages - 1].length;
	return 0;
}

/* What was damaged would be an error, here as in the tiers. */
static bool bring(const struct s2_codec *codec, void *context, const struct kept *kept, char *page)
{
	if (kept->length == S2_PAGE_SIZE)
		memcpy(page, kept->data, S2_PAGE_SIZE);
	return !kept->length || kept->length == S2_PAGE_SIZE ||
	       codec->decompress(context, kept->data, kept->length, page);
}

int bench_limit_in(struct bench_limit *limit, unsigned int index, const uint32_t *order,
		   uint64_t *sink)
{
	struct part *part = &limit->parts[index];

	for (uint64_t i = 0; i < limit->pages; i++) {
		uint64_t nr = order ? order[i] : i;

		if (!bring(limit->codec, part->context, &part->kept[nr],
			   part->memory + nr * S2_PAGE_SIZE))
			return -EIO;
	}
	*sink += (uint64_t)part->memory[0];
	return 0;
}

int bench_limit_add_ratio(const json_t *results, json_t *row, const char *key, json_t *labels)
{
	double limit = bench_value(results, key, labels);
	double value = json_number_value(json_object_get(row, key));
	double ratio = limit > 0 ? round(value / limit * 1000) / 1000 : 0;

	return json_object_set_new(row, "of_limit", json_real(ratio)) ? -ENOMEM : 0;
}
