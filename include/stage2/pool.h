/* SPDX-License-Identifier: MIT */
/*
 * A primary MMU with frames of its own: what a kernel does to a guest's memory, in the
 * library's hands. Guest memory may be larger than the pool; what does not fit is
 * compressed, written to a file, or wherever else a tier keeps pages.
 *
 * A pool has an address space of its own, in which regions are mapped; memslots of VMs
 * on s2_pool_mm() point into it. Its addresses are numbers, not pointers: nothing of
 * this process lies there. A page of a region is absent (reads as zeroes),
 * resident in a frame, or swapped out to a tier; vCPUs' faults bring it in, reclaim
 * takes it away, and every change of a resident page goes through an invalidation.
 *
 * What cannot be brought in is an error that the vCPU's caller gets from its load or
 * store, with the page left as it was: -ENOMEM, no frame could be freed; -EIO, a tier
 * failed; -EBADMSG, a tier returned something else than was stored; -EFAULT, no region
 * is there, or no longer.
 *
 * The pool is part of a library that was built with libxxhash; otherwise these functions
 * are not there. docs/pool.md says how it works.
 */
#ifndef STAGE2_POOL_H
#define STAGE2_POOL_H

#include <stage2/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct s2_pool;

/* What keeps the pages that have no frame. Tiers are tried in the order of the config. */
struct s2_pool_tier;

/*
 * The operations of a tier. They may sleep, but what they do must not wait for the page
 * they are called for, as an access to it would; several threads call them at once.
 * A page is S2_PAGE_SIZE bytes.
 *
 * @store: keeps a copy of @page and sets *@slot, which names it from then on. -ENOSPC:
 *         full, the next tier is asked; after any other error as well, but that counts as
 *         one.
 * @load:  fills @page with what was stored; the slot stays. The pool has its own checksum:
 *         a tier that returns damaged bytes is found out.
 * @drop:  the slot is not needed any more; perhaps it never was.
 * @destroy: no slot is in use.
 * @store_many, @load_many: the same of @n pages at once, 1 to S2_POOL_BATCH; each page's
 *         answer is in @results. NULL: what is as well done one by one.
 */
struct s2_pool_tier_ops {
	const char *name;
	int (*store)(struct s2_pool_tier *tier, const void *page, uint64_t *slot);
	int (*load)(struct s2_pool_tier *tier, uint64_t slot, void *page);
	void (*drop)(struct s2_pool_tier *tier, uint64_t slot);
	void (*destroy)(struct s2_pool_tier *tier);
	void (*store_many)(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			   uint64_t slots[], int results[]);
	void (*load_many)(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			  void *const pages[], int results[]);
};

#define S2_POOL_BATCH 64

/* The beginning of each tier's own structure. @slot is below 2^S2_POOL_SLOT_BITS. */
struct s2_pool_tier {
	const struct s2_pool_tier_ops *ops;
};

#define S2_POOL_SLOT_BITS 48
#define S2_POOL_TIERS 4

/*
 * Zero is the default everywhere but for @size.
 *
 * @size:      bytes of frames, a multiple of 4 KiB, from 64 KiB to 1 TiB.
 * @gate:      of s2_pool_mm().
 * @allocator: NULL for the C library's; for everything but the frames.
 * @tiers:     no gaps, and none twice; taken over when creation succeeds, destroyed with
 *             the pool. None: what does not fit is refused.
 */
struct s2_pool_config {
	uint64_t size;
	enum s2_gate gate;
	const struct s2_allocator *allocator;
	struct s2_pool_tier *tiers[S2_POOL_TIERS];
	uint64_t reserved[8]; /* must be zero */
};

/*
 * -EINVAL: a NULL pointer or a config value that is not allowed; -ENOMEM, or what
 * memfd_create(2), ftruncate(2) and mmap(2) say. Kernel: the boot of a machine with that
 * much memory.
 */
S2_API int s2_pool_create(const struct s2_pool_config *config, struct s2_pool **pool);

/*
 * Destroys the pool, what is still mapped in it, and its tiers; NULL is allowed. No VM is
 * left on s2_pool_mm(). May sleep.
 */
S2_API void s2_pool_destroy(struct s2_pool *pool);

/* The s2_mm to create VMs on; belongs to the pool. NULL for NULL. Does not sleep. */
S2_API struct s2_mm *s2_pool_mm(struct s2_pool *pool);

/*
 * Maps a region of @size bytes, absent throughout, and sets *@hva, for the
 * userspace_addr of memslots. @limit: how many bytes of it may be resident at once, 0
 * for no limit but the pool's; a page more makes one of its own go. Takes 16 bytes of
 * memory for each page. -EINVAL: NULL, or sizes that are no multiple of 4 KiB, or a
 * @size of 0; -ENOMEM. May sleep. Kernel: mmap(MAP_ANONYMOUS), a memory cgroup's
 * memory.max.
 */
S2_API int s2_pool_map(struct s2_pool *pool, uint64_t size, uint64_t limit, uint64_t *hva);

/*
 * Unmaps the region that begins at @hva. No memslot points into it any more, as far as
 * vCPUs still run: a page used after that is -EFAULT to them. -EINVAL, -ENOENT: no region
 * begins there. May sleep. Kernel: munmap().
 */
S2_API int s2_pool_unmap(struct s2_pool *pool, uint64_t hva);

/*
 * Makes a range of one region absent: it reads as zeroes. -EINVAL: NULL, or no such
 * range. May sleep. Kernel: madvise(MADV_DONTNEED).
 */
S2_API int s2_pool_discard(struct s2_pool *pool, uint64_t hva, uint64_t size);

/*
 * The host's own access, of a device for instance: copies from or to a range of one
 * region, bringing pages in as a guest's access would. Of bytes that a guest is writing
 * at the same time the result is some mixture. On error what precedes the page that
 * failed has been copied. -EINVAL: NULL, or no such range; otherwise as for a guest's
 * access, see above. May sleep. Kernel: access_process_vm().
 */
S2_API int s2_pool_read(struct s2_pool *pool, uint64_t hva, void *data, size_t len);
S2_API int s2_pool_write(struct s2_pool *pool, uint64_t hva, const void *data, size_t len);

/*
 * One step of the clock that ages pages: who has been used since the last step is of age
 * 0, who has not is a step older, up to S2_POOL_AGES - 1. Each VM's TLBs are flushed
 * about once. -EINVAL: NULL. May sleep. Kernel: the aging of lru_gen.
 */
#define S2_POOL_AGES 8
S2_API int s2_pool_age(struct s2_pool *pool);

/*
 * Swaps out resident pages that are @min_age steps old or older, oldest first, until
 * @bytes have been freed or there are no more. Those used since the last step are not old,
 * unless @min_age is 0. Returns how many bytes were freed, or -EINVAL: NULL, or a @min_age
 * from S2_POOL_AGES on. What no tier takes stays. May sleep.
 * Kernel: writing to memory.reclaim, madvise(MADV_PAGEOUT).
 */
S2_API int64_t s2_pool_reclaim(struct s2_pool *pool, uint64_t bytes, unsigned min_age);

/* Each exact once nobody uses the pool any more. */
struct s2_pool_stats {
	uint64_t frames;        /* of the pool; of a region 0, as the next */
	uint64_t free_frames;
	uint64_t resident;      /* pages that have a frame */
	uint64_t swapped;       /* pages that are in a tier */
	uint64_t zero;          /* pages reclaimed that were zeroes, and needed no tier */
	uint64_t swap_outs;
	uint64_t swap_ins;
	uint64_t direct_reclaims; /* faults that had to free a frame by themselves */
	uint64_t tier_errors;
	uint64_t by_age[S2_POOL_AGES]; /* resident pages: a report of the working set */
	uint64_t tier_pages[S2_POOL_TIERS];
};

/* -EINVAL: a NULL argument. Does not sleep. Kernel: /proc/meminfo and /proc/vmstat. */
S2_API int s2_pool_get_stats(struct s2_pool *pool, struct s2_pool_stats *stats);

/* The same of one region. -ENOENT: none begins at @hva. Kernel: a memory cgroup's memory.stat. */
S2_API int s2_pool_get_region_stats(struct s2_pool *pool, uint64_t hva,
				    struct s2_pool_stats *stats);

/*
 * A tier that compresses pages in memory, by LZ4 or zstd. It takes @size bytes at most, from
 * 4 KiB to 128 GiB, and a compressor's context for each thread that is at work in it at
 * once (zstd: some 200 KiB). A page that does not get smaller than 7/8 is for the next
 * tier. -EINVAL, -ENOMEM; -ENOTSUP: this build has no such compressor. Does not sleep
 * beyond allocating. Kernel: zswap.
 */
enum s2_pool_codec { S2_POOL_LZ4, S2_POOL_ZSTD };
S2_API int s2_pool_tier_memory(enum s2_pool_codec codec, uint64_t size, struct s2_pool_tier **tier);

/*
 * A tier in the file or block device @path, which is created or overwritten, of at most
 * @size bytes, from 4 KiB to 256 TiB; a file is empty again when the tier is destroyed.
 * -EINVAL, -ENOMEM; -EBUSY: another tier or the system uses it; -ELOOP: a symbolic link
 * to a file; or what open(2) says. May sleep. Beyond RLIMIT_FSIZE the kernel sends
 * SIGXFSZ, as to any program. Kernel: swapon().
 */
S2_API int s2_pool_tier_file(const char *path, uint64_t size, struct s2_pool_tier **tier);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_POOL_H */
