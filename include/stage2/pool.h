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
 * is there, or no longer, or its memcg was killed for lack of memory.
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
struct s2_vm;

/* What keeps the pages that have no frame. Tiers are tried in the order of the config. */
struct s2_pool_tier;

/*
 * The operations of a tier. They may sleep, but what they do must not wait for the page
 * they are called for, as an access to it would; several threads call them at once.
 * A page is S2_PAGE_SIZE bytes.
 *
 * @store: keeps a copy of @page and sets *@slot, which names it from then on. After any
 *         error the next tier is asked. -ENOSPC: the tier is full, and seldom asked before
 *         something is dropped from it: now and then, and before an access is -ENOMEM.
 *         -E2BIG: not this page, as it does not compress, or is too large for what room is
 *         left: @room would have to be *@slot, 1 to 255; it is not asked for it again before
 *         that is so, or the page has changed. All others count as errors.
 * @load:  fills @page with what was stored; the slot stays. The pool has its own checksum:
 *         a tier that returns damaged bytes is found out.
 * @drop:  the slot is not needed any more; perhaps it never was.
 * @destroy: no slot is in use.
 * @store_many, @load_many: the same of @n pages at once, 1 to S2_POOL_BATCH; each page's
 *         answer is in @results. NULL: what is as well done one by one.
 * @room:  how much a page may take that is stored now, in the tier's own units; 0: it is not
 *         asked at all. Called often, and with locks held: does not sleep. NULL: -E2BIG is
 *         for as long as the page does not change.
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
	unsigned (*room)(struct s2_pool_tier *tier);
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
 * @size:       bytes of frames, a multiple of 4 KiB, from 64 KiB to 1 TiB.
 * @gate:       of s2_pool_mm().
 * @allocator:  NULL for the C library's; for everything but the frames.
 * @tiers:      no gaps, and none twice; taken over when creation succeeds, destroyed with
 *              the pool. None: what does not fit is refused.
 * @huge_pages: ask the kernel for 2 MiB pages to keep the frames in, as hugetlbfs or
 *              transparent; what it does not have is made of 4 KiB.
 * @low_watermark, @high_watermark: bytes; when fewer are free than the first, a thread of
 *              the pool's reclaims until as many are free as the second. Multiples
 *              of 4 KiB, the first below the second, that below @size; both 0: no thread.
 * @read_ahead: of a guest that reads page after page from a tier, how many pages are brought
 *              in at once at most; up to S2_POOL_BATCH, 1 for never, 0 for 16.
 */
struct s2_pool_config {
	uint64_t size;
	enum s2_gate gate;
	const struct s2_allocator *allocator;
	struct s2_pool_tier *tiers[S2_POOL_TIERS];
	bool huge_pages;
	unsigned read_ahead;
	uint64_t low_watermark;
	uint64_t high_watermark;
	uint64_t reserved[8]; /* must be zero */
};

/*
 * -EINVAL: a NULL pointer or a config value that is not allowed; -ENOMEM, or what
 * memfd_create(2), ftruncate(2), mmap(2) and pthread_create(3) say. Kernel: the boot of a
 * machine with that much memory.
 */
S2_API int s2_pool_create(const struct s2_pool_config *config, struct s2_pool **pool);

/*
 * Destroys the pool, what is still mapped in it, its memcgs and its tiers; NULL is allowed.
 * No VM is left on s2_pool_mm(). May sleep.
 */
S2_API void s2_pool_destroy(struct s2_pool *pool);

/* The s2_mm to create VMs on; belongs to the pool. NULL for NULL. Does not sleep. */
S2_API struct s2_mm *s2_pool_mm(struct s2_pool *pool);

/*
 * Who shares a limit: the regions of one VM, as a rule. Pages that several regions share
 * (s2_pool_clone(), s2_pool_merge()) count for the pool, but for no memcg.
 */
struct s2_memcg;

/*
 * @limit:        bytes that may be resident at once, a multiple of 4 KiB, and two of them at
 *                least, since an access may cross a page; 0 for no limit but the pool's.
 *                A page more makes one of its own go.
 * @oom_priority: when the pool has no memory left, and nothing can be reclaimed, the memcg
 *                of the highest priority loses what it has: its vCPUs' accesses are -EFAULT
 *                from then on, those of all others succeed. 0: never.
 */
struct s2_memcg_config {
	uint64_t limit;
	int oom_priority;
	uint64_t reserved[4]; /* must be zero */
};

/* @config may be NULL. -EINVAL; -ENOMEM. May sleep. Kernel: mkdir() in cgroupfs. */
S2_API int s2_memcg_create(struct s2_pool *pool, const struct s2_memcg_config *config,
			   struct s2_memcg **memcg);

/* -EBUSY: a region is left in it, and nothing happened. NULL is allowed. May sleep. */
S2_API int s2_memcg_destroy(struct s2_memcg *memcg);

/*
 * Sets the limit, and reclaims until it is kept. -EINVAL; -ENOMEM: it is set, but no tier
 * takes what is too much. May sleep. Kernel: writing to memory.max.
 */
S2_API int s2_memcg_set_limit(struct s2_memcg *memcg, uint64_t limit);

/*
 * Maps a region of @size bytes, absent throughout, and sets *@hva, for the
 * userspace_addr of memslots. @memcg: may be NULL, for one without limit that is never
 * killed. Takes 16 bytes of memory for each page. -EINVAL: NULL, or sizes that are no
 * multiple of 4 KiB, or a @size of 0, or a memcg of another pool; -ENOMEM, also when the
 * pool's 16 TiB of addresses are in use. May sleep. Kernel: mmap(MAP_ANONYMOUS).
 */
S2_API int s2_pool_map(struct s2_pool *pool, struct s2_memcg *memcg, uint64_t size, uint64_t *hva);

/*
 * Maps a copy of the region that begins at @hva, as another of the same size; pages are
 * shared until one of the two writes. Takes time and 16 bytes for each page, whether
 * resident or swapped; none is brought in. vCPUs may use the region meanwhile: then the
 * copy has each page as it was at some moment of the call. Who wants all of one moment
 * stops them.
 * -EINVAL, -ENOENT: no region begins there; -ENOMEM, -EFAULT: its memcg was killed. May sleep.
 * Kernel: fork(), dup_mmap().
 */
S2_API int s2_pool_clone(struct s2_pool *pool, struct s2_memcg *memcg, uint64_t hva,
			 uint64_t *clone);

/*
 * A VM on s2_pool_mm() as @vm: with its config, its memslots, and clones of the regions that they
 * point into, in @memcg, which may be NULL. It has no vCPU; dirty logs begin anew. The regions
 * are the caller's, who unmaps them when the VM is gone: s2_vm_gfn_to_hva() of the clone
 * is as far into one as that of @vm is into its original. Of what s2_pool_clone(), s2_vm_create()
 * and s2_vm_set_memory_region() return; -EINVAL also for a VM of another pool; -EFAULT: a memslot
 * points into no region. May sleep. Kernel: fork() of a VMM.
 */
S2_API int s2_pool_clone_vm(struct s2_pool *pool, struct s2_memcg *memcg, struct s2_vm *vm,
			    struct s2_vm **clone);

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

/* The same of one memcg's pages. */
S2_API int64_t s2_memcg_reclaim(struct s2_memcg *memcg, uint64_t bytes, unsigned min_age);

/*
 * Whether s2_pool_merge() may look at a range of one region; clones have the advice of
 * their original. S2_POOL_UNMERGEABLE gives each page that shares one a frame of its own.
 * -EINVAL: NULL, or no such range or advice; -ENOMEM, -EIO, -EBADMSG as for an access. May
 * sleep. Kernel: madvise(MADV_MERGEABLE, MADV_UNMERGEABLE).
 */
enum s2_pool_advice { S2_POOL_MERGE, S2_POOL_DO_NOT_MERGE };
S2_API int s2_pool_advise(struct s2_pool *pool, uint64_t hva, uint64_t size,
			  enum s2_pool_advice advice);

/*
 * Looks at up to @pages resident pages that may be merged, going on where the last call
 * ended, and at none twice. Those that have not changed since the last time share one
 * frame with all that are equal; those that are zero give up theirs. Returns how many
 * frames came free. -EINVAL: NULL; -ENOMEM, if none had by then. May sleep.
 * Kernel: ksmd, pages_to_scan.
 */
S2_API int64_t s2_pool_merge(struct s2_pool *pool, uint64_t pages);

/*
 * Moves pages, under running guests, so that as many blocks of 2 MiB come free as can. Returns how
 * many are free then, or -EINVAL. May sleep. Kernel: /proc/sys/vm/compact_memory.
 */
S2_API int64_t s2_pool_compact(struct s2_pool *pool);

/*
 * Brings the pages of a range of one region in, and each 2 MiB of them into one block of
 * frames, which vCPUs then have by one leaf, until one of its pages is taken away again or
 * shared. Blocks that the region's ends do not hold whole are let alone. -EINVAL: NULL, or
 * no such range; -EAGAIN: pages are in use by others, or changed meanwhile; -ENOMEM: no
 * block could be made free; -EIO, -EBADMSG. May sleep. Kernel: madvise(MADV_COLLAPSE).
 */
S2_API int s2_pool_collapse(struct s2_pool *pool, uint64_t hva, uint64_t size);

/* Each exact once nobody uses the pool any more. Of a memcg only those are set that are marked. */
struct s2_pool_stats {
	uint64_t frames;
	uint64_t free_frames;
	uint64_t free_blocks;     /* of 2 MiB */
	uint64_t resident;        /* * pages that have a frame of their own */
	uint64_t shared;          /* * pages that share one, which has a frame or a slot */
	uint64_t shared_frames;   /* frames that are shared */
	uint64_t swapped;         /* * pages that are in a tier; of the pool, shared ones once */
	uint64_t zero;            /* * pages taken away that were zeroes, and needed no tier */
	uint64_t swap_outs;       /* * */
	uint64_t swap_ins;        /* * of which by read-ahead: */
	uint64_t read_ahead;      /* * */
	uint64_t read_ahead_used; /* * ... and were asked for after that */
	uint64_t direct_reclaims; /* * faults that had to free a frame by themselves */
	uint64_t background_reclaims; /* pages that the pool's thread has taken away */
	uint64_t tier_errors;     /* * */
	uint64_t merged;          /* * pages that gave up a frame because another is equal */
	uint64_t cow_breaks;      /* * pages that got a frame of their own to be written to */
	uint64_t migrated;        /* * pages moved to another frame */
	uint64_t collapsed;       /* * blocks of 2 MiB made into one leaf, and */
	uint64_t split;           /* * split again */
	uint64_t oom_kills;
	uint64_t killed;          /* * 1: by the lack of memory */
	uint64_t by_age[S2_POOL_AGES]; /* * resident pages: a report of the working set */
	uint64_t tier_pages[S2_POOL_TIERS];
};

/* -EINVAL: a NULL argument. Does not sleep. Kernel: /proc/meminfo and /proc/vmstat. */
S2_API int s2_pool_get_stats(struct s2_pool *pool, struct s2_pool_stats *stats);

/* The same of one memcg. Takes time for each of its pages. Kernel: memory.stat of a memory cgroup. */
S2_API int s2_memcg_get_stats(struct s2_memcg *memcg, struct s2_pool_stats *stats);

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

/*
 * Zero is the default everywhere but for @host and @size.
 *
 * @host:        a name or address, looked up once; or, beginning with '/', the path of a
 *               Unix socket.
 * @port:        0: 6379. Of no meaning for a Unix socket.
 * @user:        NULL: the server's default user. Up to 512 bytes, as @password.
 * @password:    NULL: none; a user has one. It is sent to the server as it is, so that a
 *               network in between has to be trusted with that, and with the pages.
 * @prefix:      keys begin with it; up to 64 bytes, NULL: "stage2:". A number chosen at
 *               random for each tier follows, so that two tiers never meet.
 * @size:        bytes of pages at most, from 4 KiB to 4 TiB. Takes 16 bytes of memory for
 *               each page of these that was ever used.
 * @timeout_ms:  of connecting, of sending and of each answer, up to 60,000; 0: 1000.
 * @connections: to one server at most, up to 64; 0: 4. Each is for one thread at a time.
 * @cluster:     @host is one server of a Redis Cluster, of which the others are learnt. They
 *               go by address, not by name, and have the same user and password.
 */
struct s2_pool_redis_config {
	const char *host;
	const char *user;
	const char *password;
	const char *prefix;
	uint64_t size;
	uint32_t timeout_ms;
	uint32_t connections;
	uint16_t port;
	bool cluster;
	uint64_t reserved[8]; /* must be zero */
};

/*
 * A tier in the memory of a Redis server (4.0 or later), or of a Redis Cluster. The server
 * should have maxmemory-policy noeviction: a page that it has evicted is lost, as with a
 * server that was restarted, and -EIO to who wants it. A server without memory is a full
 * tier. One that does not answer in time is down: all that needs it is -EIO at once, for a
 * while that grows up to 30 s, before it is tried again. Pages that are dropped are removed
 * by the 64, the last of them when the tier is destroyed; those of a server that cannot be
 * reached then, or of a program that was killed, stay there.
 *
 * -EINVAL, -ENOMEM; -ENOTSUP: this build has no hiredis; -ENOENT: no such host or socket;
 * -EACCES: the server wants another password, or its user must not SET, GET and UNLINK such
 * keys; -EROFS: a replica; -EPROTO: it is no Redis server, or not of the kind that @cluster
 * says; -EIO: it refuses us for another reason; -ETIMEDOUT, or what connect(2) says. The
 * config need not live on. May sleep, as do the tier's operations. Kernel: a swap device
 * across the network.
 */
S2_API int s2_pool_tier_redis(const struct s2_pool_redis_config *config,
			      struct s2_pool_tier **tier);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_POOL_H */
