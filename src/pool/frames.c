/* SPDX-License-Identifier: MIT */
/* The frames of frames.h. Locks: a cache's, then the blocks'. */
#include "pool/frames.h"

#include "base/alloc.h"
#include "base/futex.h"
#include "base/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

/* What a sleeper loses at most if what it waits for comes about in another way. */
#define WAIT_NS 1000000

#define BLOCK_SIZE ((size_t)S2_POOL_BLOCK_FRAMES << S2_PAGE_SHIFT)
#define WHOLE_LIST (S2_POOL_BLOCK_LISTS - 1)
#define NO_LIST UINT8_MAX

/* In a smaller pool too many frames would lie in caches, and it is too small for many threads. */
#define CACHED_POOL_FRAMES 4096u

static size_t blocks_size(const struct s2_pool_frames *frames)
{
	return frames->nr_blocks * BLOCK_SIZE;
}

/* Huge pages at once: of those that a cgroup or a NUMA policy refuses later, SIGBUS tells. */
static int allocate_file(int fd, size_t size)
{
	int ret;

	do
		ret = fallocate(fd, 0, 0, (off_t)size);
	while (ret && errno == EINTR);
	return ret;
}

static int create_file(size_t size, bool huge)
{
	int fd = memfd_create("stage2-pool",
			      MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	int ret;

	if (fd < 0)
		return -errno;
	ret = ftruncate(fd, (off_t)size);
	if (!ret && huge)
		ret = allocate_file(fd, size);
	if (!ret)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* Addresses for the zero frame and, aligned, the blocks. */
static int reserve_addresses(struct s2_pool_frames *frames)
{
	size_t size = blocks_size(frames), reserved = size + BLOCK_SIZE;
	char *start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0);
	char *blocks, *end = start + reserved;

	if (start == MAP_FAILED)
		return -errno;
	blocks = start + S2_PAGE_SIZE;
	blocks += -(uintptr_t)blocks & (BLOCK_SIZE - 1);
	frames->memory = blocks - S2_PAGE_SIZE;
	if (frames->memory > start)
		munmap(start, (size_t)(frames->memory - start));
	if (end > blocks + size)
		munmap(blocks + size, (size_t)(end - (blocks + size)));
	return 0;
}

static void unmap_memory(struct s2_pool_frames *frames)
{
	if (frames->fd >= 0)
		close(frames->fd);
	munmap(frames->memory, S2_PAGE_SIZE + blocks_size(frames));
}

/*
 * Huge pages that the host has set apart, if they are enough for all of it; otherwise
 * those that it makes of shared memory as it can, if it is allowed to. @fd is an error if
 * there is none.
 */
static void open_file(struct s2_pool_frames *frames, bool huge_pages)
{
	frames->fd = huge_pages ? create_file(blocks_size(frames), true) : -1;
	frames->whole_blocks = frames->fd >= 0;
	if (frames->fd < 0)
		frames->fd = create_file((size_t)frames->nr << S2_PAGE_SHIFT, false);
}

static int map_file(struct s2_pool_frames *frames, bool huge_pages)
{
	size_t size = blocks_size(frames);
	char *blocks = s2_pool_frame_addr(frames, 1);

	if (frames->fd < 0)
		return frames->fd;
	/* The zero frame is not even ours to write to. */
	if (mprotect(frames->memory, S2_PAGE_SIZE, PROT_READ) ||
	    mmap(blocks, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, frames->fd, 0) ==
		    MAP_FAILED)
		return -errno;
	if (huge_pages)
		madvise(blocks, size, MADV_HUGEPAGE);
	return 0;
}

static int map_memory(struct s2_pool_frames *frames, bool huge_pages)
{
	int ret = reserve_addresses(frames);

	if (ret)
		return ret;
	open_file(frames, huge_pages);
	ret = map_file(frames, huge_pages);
	if (ret)
		unmap_memory(frames);
	return ret;
}

int s2_pool_frames_backing(const struct s2_pool_frames *frames, const void *addr,
			   struct s2_backing *backing)
{
	const char *page = addr;

	if (frames->whole_blocks)
		return -ENOTSUP;
	if (page == frames->memory)
		*backing = (struct s2_backing){ .fd = -1 };
	else
		*backing = (struct s2_backing){
			.fd = frames->fd,
			.offset = (uint64_t)(page - frames->memory) - S2_PAGE_SIZE,
		};
	return 0;
}

/* Of who has the lock that protects the number. */
static void add(_Atomic uint32_t *number, uint32_t n)
{
	/* Release pairs with the acquires in s2_pool_frames_freed(). */
	atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
			      memory_order_release);
}

static bool is_isolated(struct s2_pool_frames *frames, uint32_t block)
{
	return atomic_load_explicit(&frames->isolated, memory_order_relaxed) == block;
}

static void link_block(struct s2_pool_frames *frames, uint32_t block, uint8_t list)
{
	struct s2_pool_block *b = &frames->blocks[block];

	b->next = frames->lists[list];
	b->prev = S2_POOL_NO_BLOCK;
	if (b->next != S2_POOL_NO_BLOCK)
		frames->blocks[b->next].prev = block;
	frames->lists[list] = block;
	frames->nonempty |= 1u << list;
}

static void unlink_block(struct s2_pool_frames *frames, uint32_t block)
{
	struct s2_pool_block *b = &frames->blocks[block];

	if (b->next != S2_POOL_NO_BLOCK)
		frames->blocks[b->next].prev = b->prev;
	if (b->prev != S2_POOL_NO_BLOCK)
		frames->blocks[b->prev].next = b->next;
	else
		frames->lists[b->list] = b->next;
	if (frames->lists[b->list] == S2_POOL_NO_BLOCK)
		frames->nonempty &= ~(1u << b->list);
}

/* The pool's partial block is never whole: the first to be used up, as the fullest. */
static uint8_t list_of(struct s2_pool_frames *frames, uint32_t block)
{
	uint32_t nr_free = s2_pool_block_nr_free(frames, block);

	if (!nr_free || is_isolated(frames, block))
		return NO_LIST;
	if (block >= s2_pool_frames_nr_blocks(frames))
		return 0;
	return (uint8_t)(nr_free * WHOLE_LIST / S2_POOL_BLOCK_FRAMES);
}

/* After what list_of() looks at has changed. */
static void move_to_list(struct s2_pool_frames *frames, uint32_t block)
{
	struct s2_pool_block *b = &frames->blocks[block];
	uint8_t list = list_of(frames, block);

	if (list == b->list)
		return;
	if (b->list != NO_LIST)
		unlink_block(frames, block);
	b->list = list;
	if (list != NO_LIST)
		link_block(frames, block, list);
}

static void count_free(struct s2_pool_frames *frames, uint32_t block, uint32_t n)
{
	_Atomic uint16_t *nr_free = &frames->blocks[block].nr_free;

	atomic_store_explicit(nr_free,
			      (uint16_t)(atomic_load_explicit(nr_free, memory_order_relaxed) + n),
			      memory_order_relaxed);
	if (!is_isolated(frames, block))
		add(&frames->nr_free, n);
	move_to_list(frames, block);
}

/* The fullest block with a free frame that is not @except. */
static uint32_t fullest_block(struct s2_pool_frames *frames, uint32_t except)
{
	for (uint32_t lists = frames->nonempty; lists; lists &= lists - 1) {
		uint32_t block = frames->lists[__builtin_ctz(lists)];

		if (block == except)
			block = frames->blocks[block].next;
		if (block != S2_POOL_NO_BLOCK)
			return block;
	}
	return S2_POOL_NO_BLOCK;
}

/* Up to @n frames of the fullest block that is not @except; the last ones taken come first. */
static uint32_t take_free(struct s2_pool_frames *frames, uint32_t except, uint32_t n,
			  uint32_t *taken)
{
	uint32_t block = fullest_block(frames, except), left = n, word, bit;
	struct s2_pool_block *b;

	S2_ASSERT_HELD_WRITE(&frames->lock);
	if (block == S2_POOL_NO_BLOCK)
		return 0;
	b = &frames->blocks[block];
	while (left && b->words) {
		word = (uint32_t)__builtin_ctz(b->words);
		bit = (uint32_t)__builtin_ctzll(b->free[word]);
		b->free[word] &= b->free[word] - 1;
		if (!b->free[word])
			b->words &= (uint8_t)~(1u << word);
		taken[--left] = s2_pool_block_first(block) + word * 64 + bit;
	}
	if (left)
		memmove(taken, taken + left, (n - left) * sizeof(*taken));
	count_free(frames, block, left - n);
	return n - left;
}

static uint32_t take_one(struct s2_pool_frames *frames, uint32_t except)
{
	uint32_t frame;

	return take_free(frames, except, 1, &frame) ? frame : 0;
}

static void set_free(struct s2_pool_block *b, uint32_t at)
{
	S2_RULE(!(b->free[at / 64] & UINT64_C(1) << at % 64), "frame freed twice");
	b->free[at / 64] |= UINT64_C(1) << at % 64;
	b->words |= (uint8_t)(1u << at / 64);
}

/* Those of one block that come one after another are counted at once. */
static void add_free(struct s2_pool_frames *frames, const uint32_t *freed, uint32_t n)
{
	S2_ASSERT_HELD_WRITE(&frames->lock);
	for (uint32_t i = 0, same; i < n; i += same) {
		uint32_t block = s2_pool_block_of(freed[i]), first = s2_pool_block_first(block);

		for (same = 0; i + same < n && s2_pool_block_of(freed[i + same]) == block; same++)
			set_free(&frames->blocks[block], freed[i + same] - first);
		count_free(frames, block, same);
	}
}

/* The first blocks are the first to be used. */
static void fill_blocks(struct s2_pool_frames *frames)
{
	for (unsigned i = 0; i < S2_POOL_BLOCK_LISTS; i++)
		frames->lists[i] = S2_POOL_NO_BLOCK;
	for (uint32_t block = frames->nr_blocks; block-- > 0;) {
		struct s2_pool_block *b = &frames->blocks[block];
		uint32_t n = frames->nr - block * S2_POOL_BLOCK_FRAMES;

		n = n < S2_POOL_BLOCK_FRAMES ? n : S2_POOL_BLOCK_FRAMES;
		for (uint32_t at = 0; at < n; at += 64) {
			b->free[at / 64] = UINT64_MAX >> (n - at < 64 ? 64 - (n - at) : 0);
			b->words |= (uint8_t)(1u << at / 64);
		}
		b->list = NO_LIST;
		count_free(frames, block, n);
	}
}

/* A cache takes so much that all of them have a 16th of the pool. */
static void init_caches(struct s2_pool_frames *frames)
{
	uint32_t capacity = frames->nr / (16 * S2_POOL_CACHES);

	if (frames->nr >= CACHED_POOL_FRAMES)
		frames->capacity = capacity < S2_POOL_CACHE_MAX ? capacity : S2_POOL_CACHE_MAX;
	for (unsigned i = 0; i < S2_POOL_CACHES; i++)
		s2_spin_init(&frames->caches[i].lock, S2_RANK_POOL_CACHE);
}

int s2_pool_frames_init(struct s2_pool_frames *frames, uint64_t size, bool huge_pages,
			const struct s2_allocator *a)
{
	int saved = errno, ret = -ENOMEM;

	memset(frames, 0, sizeof(*frames));
	frames->nr = (uint32_t)(size >> S2_PAGE_SHIFT);
	frames->nr_blocks = s2_pool_block_of(frames->nr) + 1;
	atomic_init(&frames->isolated, S2_POOL_NO_BLOCK);
	s2_spin_init(&frames->lock, S2_RANK_INTERNAL);
	frames->table = s2_zalloc(a, ((size_t)frames->nr + 1) * sizeof(*frames->table), 64);
	frames->blocks = s2_zalloc(a, frames->nr_blocks * sizeof(*frames->blocks), 64);
	if (frames->table && frames->blocks)
		ret = map_memory(frames, huge_pages);
	errno = saved;
	if (ret) {
		s2_free(a, frames->blocks);
		s2_free(a, frames->table);
		return ret;
	}
	fill_blocks(frames);
	init_caches(frames);
	return 0;
}

void s2_pool_frames_free(struct s2_pool_frames *frames, const struct s2_allocator *a)
{
	int saved = errno;

	unmap_memory(frames);
	errno = saved;
	s2_free(a, frames->blocks);
	s2_free(a, frames->table);
}

/* The calling thread's cache, the same in every pool; 0 if it has none yet. */
static _Thread_local unsigned home;

/*
 * In turn, so that few threads do not share any. With several pools or many threads some
 * may, which is no more than slow.
 */
static struct s2_pool_cache *own_cache(struct s2_pool_frames *frames)
{
	if (!home)
		home = atomic_fetch_add_explicit(&frames->next_home, 1, memory_order_relaxed) %
			       S2_POOL_CACHES + 1;
	return &frames->caches[home - 1];
}

static uint64_t cached_bit(struct s2_pool_frames *frames, struct s2_pool_cache *cache)
{
	return UINT64_C(1) << (cache - frames->caches);
}

static void push(struct s2_pool_cache *cache, uint32_t frame)
{
	uint32_t count = atomic_load_explicit(&cache->count, memory_order_relaxed);

	cache->frames[count] = frame;
	atomic_store_explicit(&cache->count, count + 1, memory_order_relaxed);
}

static uint32_t pop(struct s2_pool_cache *cache)
{
	uint32_t count = atomic_load_explicit(&cache->count, memory_order_relaxed);

	if (!count)
		return 0;
	atomic_store_explicit(&cache->count, count - 1, memory_order_relaxed);
	return cache->frames[count - 1];
}

static bool is_empty(struct s2_pool_cache *cache)
{
	return !atomic_load_explicit(&cache->count, memory_order_relaxed);
}

/*
 * The bit stays when its owner takes the last frame, so that a line that all threads
 * read does not change as often as one cache does.
 */
static void set_cached(struct s2_pool_frames *frames, struct s2_pool_cache *cache)
{
	uint64_t bit = cached_bit(frames, cache);

	S2_ASSERT_HELD_WRITE(&cache->lock);
	if (!(atomic_load_explicit(&frames->cached, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(&frames->cached, bit, memory_order_relaxed);
}

static void clear_cached(struct s2_pool_frames *frames, struct s2_pool_cache *cache)
{
	S2_ASSERT_HELD_WRITE(&cache->lock);
	atomic_fetch_and_explicit(&frames->cached, ~cached_bit(frames, cache),
				  memory_order_relaxed);
}

/* With the cache's lock held, as the next one: no frame is out of sight between the two. */
static void refill(struct s2_pool_frames *frames, struct s2_pool_cache *cache)
{
	uint32_t n;

	if (!s2_pool_frames_nr_free_uncached(frames))
		return;
	s2_spin_lock(&frames->lock);
	set_cached(frames, cache);
	n = take_free(frames, S2_POOL_NO_BLOCK, frames->capacity / 2, cache->frames);
	atomic_store_explicit(&cache->count, n, memory_order_relaxed);
	s2_spin_unlock(&frames->lock);
}

/* Gives all but @keep of its frames back to their blocks, those first that came first. */
static void spill(struct s2_pool_frames *frames, struct s2_pool_cache *cache, uint32_t keep)
{
	uint32_t count = atomic_load_explicit(&cache->count, memory_order_relaxed);

	s2_spin_lock(&frames->lock);
	add_free(frames, cache->frames, count - keep);
	memmove(cache->frames, cache->frames + count - keep, keep * sizeof(*cache->frames));
	atomic_store_explicit(&cache->count, keep, memory_order_relaxed);
	s2_spin_unlock(&frames->lock);
}

void s2_pool_frames_drain(struct s2_pool_frames *frames)
{
	/* All of them, whatever @cached says: s2_pool_block_isolate() needs their locks. */
	for (unsigned i = 0; frames->capacity && i < S2_POOL_CACHES; i++) {
		struct s2_pool_cache *cache = &frames->caches[i];

		s2_spin_lock(&cache->lock);
		if (!is_empty(cache))
			spill(frames, cache, 0);
		clear_cached(frames, cache);
		s2_spin_unlock(&cache->lock);
	}
}

static uint32_t get_cached(struct s2_pool_frames *frames)
{
	struct s2_pool_cache *cache;
	uint32_t frame;

	if (!frames->capacity)
		return 0;
	cache = own_cache(frames);
	s2_spin_lock(&cache->lock);
	if (is_empty(cache))
		refill(frames, cache);
	frame = pop(cache);
	s2_spin_unlock(&cache->lock);
	return frame;
}

static uint32_t steal(struct s2_pool_frames *frames, struct s2_pool_cache *cache)
{
	uint32_t frame;

	s2_spin_lock(&cache->lock);
	frame = pop(cache);
	if (is_empty(cache))
		clear_cached(frames, cache);
	s2_spin_unlock(&cache->lock);
	return frame;
}

/*
 * From other threads' caches or the blocks, and 0 only if all were empty at once. Looking at
 * them one after another would not tell:
 *
 *	CPU 0				CPU 1
 *	-----				-----
 *	cache 1 is empty
 *					puts a frame into cache 1
 *					gets one from cache 2
 *	cache 2 is empty
 *
 * But a cache whose bit in @cached is clear is empty, and the whole word is one load. While
 * we have the lock the blocks stay empty, and what leaves a cache or goes to one otherwise
 * than by a get or a put needs it.
 */
static uint32_t get_anywhere(struct s2_pool_frames *frames)
{
	uint64_t cached = atomic_load_explicit(&frames->cached, memory_order_relaxed);
	uint32_t frame;

	for (;;) {
		for (; cached; cached &= cached - 1) {
			frame = steal(frames, &frames->caches[__builtin_ctzll(cached)]);
			if (frame)
				return frame;
		}
		s2_spin_lock(&frames->lock);
		frame = take_one(frames, S2_POOL_NO_BLOCK);
		cached = S2_MUTANT(FREE_FRAME_OVERLOOKED) ? 0 :
			 atomic_load_explicit(&frames->cached, memory_order_relaxed);
		s2_spin_unlock(&frames->lock);
		if (frame || !cached)
			return frame;
	}
}

uint32_t s2_pool_frame_get(struct s2_pool_frames *frames)
{
	uint32_t frame = get_cached(frames);

	if (!frame)
		frame = get_anywhere(frames);
	if (frame)
		s2_pool_frame_own(frames, frame, S2_FRAME_IN_TRANSIT);
	return frame;
}

/* Not one of the isolated block: see s2_pool_block_isolate(). */
static bool put_cached(struct s2_pool_frames *frames, uint32_t frame)
{
	struct s2_pool_cache *cache;
	bool isolated;

	if (!frames->capacity)
		return false;
	cache = own_cache(frames);
	s2_spin_lock(&cache->lock);
	isolated = is_isolated(frames, s2_pool_block_of(frame));
	if (!isolated) {
		if (atomic_load_explicit(&cache->count, memory_order_relaxed) == frames->capacity)
			spill(frames, cache, frames->capacity - frames->capacity / 2);
		set_cached(frames, cache);
		push(cache, frame);
		add(&cache->puts, 1);
	}
	s2_spin_unlock(&cache->lock);
	return !isolated;
}

/*
 * After the lock under which @puts was changed has been taken. Nothing is written for who
 * waits until somebody does, and no barrier is needed to find out, since it takes the
 * same lock:
 *
 *	CPU 0 (puts)			CPU 1 (waits)
 *	------------			-------------
 *	lock				waiters++
 *	puts++				lock
 *	unlock				has @puts changed?
 *	waiters?			unlock
 *
 * If CPU 0 has the lock first, CPU 1 sees that @puts has changed and does not sleep.
 * Otherwise CPU 0 sees that CPU 1 waits, and changes @wakeups, which that has read
 * before: it does not fall asleep, or is woken.
 */
static void wake_waiters(struct s2_pool_frames *frames)
{
	if (!atomic_load_explicit(&frames->waiters, memory_order_relaxed))
		return;
	atomic_fetch_add_explicit(&frames->wakeups, 1, memory_order_relaxed);
	s2_futex_wake(&frames->wakeups, INT_MAX);
}

void s2_pool_frame_put(struct s2_pool_frames *frames, uint32_t frame)
{
	S2_RULE(s2_pool_frame_owner(frames, frame) != S2_FRAME_FREE, "frame freed twice");
	s2_pool_frame_own(frames, frame, S2_FRAME_FREE);
	if (!put_cached(frames, frame)) {
		s2_spin_lock(&frames->lock);
		add_free(frames, &frame, 1);
		add(&frames->puts, 1);
		s2_spin_unlock(&frames->lock);
	}
	wake_waiters(frames);
}

uint32_t s2_pool_frames_nr_free(struct s2_pool_frames *frames)
{
	uint32_t nr_free = s2_pool_frames_nr_free_uncached(frames);

	for (unsigned i = 0; frames->capacity && i < S2_POOL_CACHES; i++)
		nr_free += atomic_load_explicit(&frames->caches[i].count, memory_order_relaxed);
	return nr_free;
}

/*
 * If the numbers are old, s2_pool_frame_wait() returns at once, which does no harm. Acquire: the
 * caller then looks for frames, and finds those that are in the numbers.
 */
uint32_t s2_pool_frames_freed(struct s2_pool_frames *frames)
{
	uint32_t freed = atomic_load_explicit(&frames->puts, memory_order_acquire);

	for (unsigned i = 0; frames->capacity && i < S2_POOL_CACHES; i++)
		freed += atomic_load_explicit(&frames->caches[i].puts, memory_order_acquire);
	return freed;
}

/* With each lock in turn, see wake_waiters(). */
static uint32_t freed_locked(struct s2_pool_frames *frames)
{
	uint32_t freed;

	s2_spin_lock(&frames->lock);
	freed = atomic_load_explicit(&frames->puts, memory_order_relaxed);
	s2_spin_unlock(&frames->lock);
	for (unsigned i = 0; frames->capacity && i < S2_POOL_CACHES; i++) {
		struct s2_pool_cache *cache = &frames->caches[i];

		s2_spin_lock(&cache->lock);
		freed += atomic_load_explicit(&cache->puts, memory_order_relaxed);
		s2_spin_unlock(&cache->lock);
	}
	return freed;
}

void s2_pool_frame_wait(struct s2_pool_frames *frames, uint32_t freed)
{
	uint32_t wakeups = atomic_load_explicit(&frames->wakeups, memory_order_relaxed);

	atomic_fetch_add_explicit(&frames->waiters, 1, memory_order_relaxed);
	if (freed_locked(frames) == freed)
		s2_futex_wait_for(&frames->wakeups, wakeups, WAIT_NS);
	atomic_fetch_sub_explicit(&frames->waiters, 1, memory_order_relaxed);
}

static void own_block(struct s2_pool_frames *frames, uint32_t first, uint64_t owner)
{
	for (uint32_t i = 0; i < S2_POOL_BLOCK_FRAMES; i++)
		s2_pool_frame_own(frames, first + i, owner);
}

/* All of the block's frames are free, or none is. */
static void change_block(struct s2_pool_frames *frames, uint32_t block, bool free)
{
	struct s2_pool_block *b = &frames->blocks[block];

	S2_ASSERT_HELD_WRITE(&frames->lock);
	memset(b->free, free ? 0xff : 0, sizeof(b->free));
	b->words = free ? 0xff : 0;
	count_free(frames, block, free ? S2_POOL_BLOCK_FRAMES : -S2_POOL_BLOCK_FRAMES);
}

static uint32_t take_block(struct s2_pool_frames *frames)
{
	uint32_t block;

	s2_spin_lock(&frames->lock);
	block = frames->lists[WHOLE_LIST];
	if (block != S2_POOL_NO_BLOCK)
		change_block(frames, block, false);
	s2_spin_unlock(&frames->lock);
	return block;
}

uint32_t s2_pool_block_get(struct s2_pool_frames *frames)
{
	uint32_t block = take_block(frames);

	if (block == S2_POOL_NO_BLOCK &&
	    atomic_load_explicit(&frames->cached, memory_order_relaxed)) {
		s2_pool_frames_drain(frames);
		block = take_block(frames);
	}
	if (block == S2_POOL_NO_BLOCK)
		return 0;
	own_block(frames, s2_pool_block_first(block), S2_FRAME_IN_TRANSIT);
	return s2_pool_block_first(block);
}

void s2_pool_block_put(struct s2_pool_frames *frames, uint32_t first)
{
	uint32_t block = s2_pool_block_of(first);

	own_block(frames, first, S2_FRAME_FREE);
	s2_spin_lock(&frames->lock);
	S2_RULE(!s2_pool_block_nr_free(frames, block), "frame freed twice");
	change_block(frames, block, true);
	add(&frames->puts, S2_POOL_BLOCK_FRAMES);
	s2_spin_unlock(&frames->lock);
	wake_waiters(frames);
}

/*
 * Who puts a frame into a cache looks for @isolated with the cache's lock held. Either it
 * finds it, or what it put there is drained.
 */
void s2_pool_block_isolate(struct s2_pool_frames *frames, uint32_t block, bool isolate)
{
	uint32_t nr_free;

	s2_spin_lock(&frames->lock);
	S2_RULE(is_isolated(frames, isolate ? S2_POOL_NO_BLOCK : block), "isolation of one block");
	nr_free = s2_pool_block_nr_free(frames, block);
	atomic_store_explicit(&frames->isolated, isolate ? block : S2_POOL_NO_BLOCK,
			      memory_order_relaxed);
	add(&frames->nr_free, isolate ? -nr_free : nr_free);
	add(&frames->puts, isolate ? 0 : nr_free);
	move_to_list(frames, block);
	s2_spin_unlock(&frames->lock);
	if (isolate)
		s2_pool_frames_drain(frames);
	else
		wake_waiters(frames);
}

uint32_t s2_pool_frame_get_outside(struct s2_pool_frames *frames, uint32_t block)
{
	uint32_t frame = 0;

	for (unsigned i = 0; i < 2 && !frame; i++) {
		if (i)
			s2_pool_frames_drain(frames);
		s2_spin_lock(&frames->lock);
		frame = take_one(frames, block);
		s2_spin_unlock(&frames->lock);
	}
	if (frame)
		s2_pool_frame_own(frames, frame, S2_FRAME_IN_TRANSIT);
	return frame;
}
