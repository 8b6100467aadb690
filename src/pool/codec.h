/* SPDX-License-Identifier: MIT */
/* The compressors of this build, as the tier in memory uses them: a page at a time. */
#ifndef S2_POOL_CODEC_H
#define S2_POOL_CODEC_H

#include <stage2/pool.h>

/*
 * @create:     what one thread at a time works with; NULL: no memory.
 * @compress:   returns the number of bytes, 0 if @page does not fit into @room bytes.
 * @decompress: fills @page from what compress() made; false: that is damaged.
 */
struct s2_codec {
	void *(*create)(void);
	void (*destroy)(void *context);
	size_t (*compress)(void *context, const void *page, void *blob, size_t room);
	bool (*decompress)(void *context, const void *blob, size_t length, void *page);
};

/* NULL for those that this build does not have. */
extern const struct s2_codec *const s2_codec_lz4;
extern const struct s2_codec *const s2_codec_zstd;

#endif /* S2_POOL_CODEC_H */
