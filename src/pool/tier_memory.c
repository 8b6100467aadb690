/* SPDX-License-Identifier: MIT */
/*
 * The tier that compresses pages in memory. Compressing is done with no lock held, into
 * a buffer that comes with the compressor's context; then room of the right size is
 * taken from the arena, under its lock, and the blob copied there. Contexts are large
 * and slow to make (zstd: some 200 KiB), so that they are kept: there are as many as
 * threads ever were in here at once. They are not counted in the tier's size.
 *
 * What is dropped makes room at once, but the memory stays with the tier until it is
 * destroyed. Room is counted in granules of the arena: one hole for a small page is left as
 * good as always, so that the tier is never simply full. It refuses a page for which the
 * largest hole is too small, and one that does not get smaller than 7/8, for good.
 */
#include "base/alloc.h"
#include "pool/blob_arena.h"
#include "pool/codec.h"

#include <errno.h>

#define FOR_GOOD UINT8_MAX

_Static_assert(FOR_GOOD > S2_BLOB_SMALL, "more than there ever is room for");

struct worker {
	struct worker *next;
	void *context;
	uint8_t blob[S2_BLOB_MAX];
};

struct memory_tier {
	struct s2_pool_tier tier;
	const struct s2_codec *codec;
	struct s2_blob_arena arena;
	struct s2_spinlock lock;
	struct worker *idle;
};

static struct memory_tier *to_memory(struct s2_pool_tier *tier)
{
	return (struct memory_tier *)tier;
}

static struct worker *worker_create(const struct s2_codec *codec)
{
	struct worker *worker =
		s2_zalloc(&s2_libc_allocator, sizeof(*worker), _Alignof(struct worker));

	if (!worker)
		return NULL;
	worker->context = codec->create();
	if (worker->context)
		return worker;
	s2_free(&s2_libc_allocator, worker);
	return NULL;
}

static struct worker *worker_get(struct memory_tier *m)
{
	struct worker *worker;

	s2_spin_lock(&m->lock);
	worker = m->idle;
	if (worker)
		m->idle = worker->next;
	s2_spin_unlock(&m->lock);
	return worker ? worker : worker_create(m->codec);
}

static void worker_put(struct memory_tier *m, struct worker *worker)
{
	s2_spin_lock(&m->lock);
	worker->next = m->idle;
	m->idle = worker;
	s2_spin_unlock(&m->lock);
}

static int memory_store(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	struct memory_tier *m = to_memory(tier);
	struct worker *worker = worker_get(m);
	struct s2_blob *blob = NULL;
	uint32_t need = FOR_GOOD;
	size_t length;

	if (!worker)
		return -ENOMEM;
	length = m->codec->compress(worker->context, page, worker->blob, S2_BLOB_MAX);
	if (length) {
		need = s2_blob_granules(length);
		blob = s2_blob_alloc(&m->arena, length, slot);
	}
	if (blob)
		memcpy(blob->data, worker->blob, length);
	else
		*slot = need;
	worker_put(m, worker);
	return blob ? 0 : -E2BIG;
}

static unsigned memory_room(struct s2_pool_tier *tier)
{
	return s2_blob_room(&to_memory(tier)->arena);
}

static int memory_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	struct memory_tier *m = to_memory(tier);
	struct s2_blob *blob = s2_blob_find(&m->arena, slot);
	struct worker *worker;
	bool whole;

	if (!blob)
		return -EINVAL;
	worker = worker_get(m);
	if (!worker)
		return -ENOMEM;
	whole = m->codec->decompress(worker->context, blob->data, blob->length, page);
	worker_put(m, worker);
	return whole ? 0 : -EIO;
}

static void memory_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	s2_blob_free(&to_memory(tier)->arena, slot);
}

static void memory_destroy(struct s2_pool_tier *tier)
{
	struct memory_tier *m = to_memory(tier);
	struct worker *worker;

	while ((worker = m->idle)) {
		m->idle = worker->next;
		m->codec->destroy(worker->context);
		s2_free(&s2_libc_allocator, worker);
	}
	s2_blob_arena_destroy(&m->arena);
	s2_free(&s2_libc_allocator, m);
}

static const struct s2_pool_tier_ops memory_ops = {
	.name = "memory",
	.store = memory_store,
	.load = memory_load,
	.drop = memory_drop,
	.destroy = memory_destroy,
	.room = memory_room,
};

static int find_codec(enum s2_pool_codec name, const struct s2_codec **codec)
{
	switch (name) {
	case S2_POOL_LZ4:
		*codec = s2_codec_lz4;
		break;
	case S2_POOL_ZSTD:
		*codec = s2_codec_zstd;
		break;
	default:
		return -EINVAL;
	}
	return *codec ? 0 : -ENOTSUP;
}

/* The first context is made here, so that one thread at least never lacks the memory. */
static int memory_init(struct memory_tier *m, uint64_t size)
{
	struct worker *worker = worker_create(m->codec);
	int ret;

	if (!worker)
		return -ENOMEM;
	s2_spin_init(&m->lock, S2_RANK_INTERNAL);
	m->idle = worker;
	ret = s2_blob_arena_init(&m->arena, size);
	if (!ret)
		return 0;
	m->codec->destroy(worker->context);
	s2_free(&s2_libc_allocator, worker);
	return ret;
}

int s2_pool_tier_memory(enum s2_pool_codec name, uint64_t size, struct s2_pool_tier **tier)
{
	const struct s2_codec *codec;
	struct memory_tier *m;
	int ret;

	if (!tier || size < S2_BLOB_ARENA_MIN || size > S2_BLOB_ARENA_MAX)
		return -EINVAL;
	ret = find_codec(name, &codec);
	if (ret)
		return ret;
	m = s2_zalloc(&s2_libc_allocator, sizeof(*m), _Alignof(struct memory_tier));
	if (!m)
		return -ENOMEM;
	m->tier.ops = &memory_ops;
	m->codec = codec;
	ret = memory_init(m, size);
	if (ret) {
		s2_free(&s2_libc_allocator, m);
		return ret;
	}
	*tier = &m->tier;
	return 0;
}
