/* SPDX-License-Identifier: MIT */
/* LZ4 and zstd behind struct s2_codec, each if the build has it. */
#include "pool/codec.h"

#include "base/alloc.h"

#ifdef S2_HAVE_LZ4
#include <lz4.h>

/* A state of our own: LZ4_compress_default() has its 16 KiB on the stack. */
static void *lz4_create(void)
{
	return s2_zalloc(&s2_libc_allocator, (size_t)LZ4_sizeofState(), _Alignof(LZ4_stream_t));
}

static void lz4_destroy(void *context)
{
	s2_free(&s2_libc_allocator, context);
}

static size_t lz4_compress(void *context, const void *page, void *blob, size_t room)
{
	int length = LZ4_compress_fast_extState(context, page, blob, S2_PAGE_SIZE, (int)room, 1);

	return length > 0 ? (size_t)length : 0;
}

static bool lz4_decompress(void *context, const void *blob, size_t length, void *page)
{
	(void)context;
	return LZ4_decompress_safe(blob, page, (int)length, S2_PAGE_SIZE) == (int)S2_PAGE_SIZE;
}

static const struct s2_codec lz4 = { lz4_create, lz4_destroy, lz4_compress, lz4_decompress };
const struct s2_codec *const s2_codec_lz4 = &lz4;
#else
const struct s2_codec *const s2_codec_lz4;
#endif

#ifdef S2_HAVE_ZSTD
#include <zstd.h>

/* As fast as level 1 and within 1% of the size that level 3 reaches, for pages of 4 KiB. */
#define ZSTD_LEVEL 2

struct zstd {
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
};

static void zstd_destroy(void *context)
{
	struct zstd *zstd = context;

	ZSTD_freeCCtx(zstd->compress);
	ZSTD_freeDCtx(zstd->decompress);
	s2_free(&s2_libc_allocator, zstd);
}

static void *zstd_create(void)
{
	struct zstd *zstd = s2_zalloc(&s2_libc_allocator, sizeof(*zstd), _Alignof(struct zstd));

	if (!zstd)
		return NULL;
	zstd->compress = ZSTD_createCCtx();
	zstd->decompress = ZSTD_createDCtx();
	if (zstd->compress && zstd->decompress)
		return zstd;
	zstd_destroy(zstd);
	return NULL;
}

static size_t zstd_compress(void *context, const void *page, void *blob, size_t room)
{
	struct zstd *zstd = context;
	size_t length =
		ZSTD_compressCCtx(zstd->compress, blob, room, page, S2_PAGE_SIZE, ZSTD_LEVEL);

	return ZSTD_isError(length) ? 0 : length;
}

static bool zstd_decompress(void *context, const void *blob, size_t length, void *page)
{
	struct zstd *zstd = context;

	return ZSTD_decompressDCtx(zstd->decompress, page, S2_PAGE_SIZE, blob, length) ==
	       S2_PAGE_SIZE;
}

static const struct s2_codec zstd = { zstd_create, zstd_destroy, zstd_compress, zstd_decompress };
const struct s2_codec *const s2_codec_zstd = &zstd;
#else
const struct s2_codec *const s2_codec_zstd;
#endif
