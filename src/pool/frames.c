/* SPDX-License-Identifier: MIT */
/* The frames of frames.h. */
#include "pool/frames.h"

#include "base/alloc.h"
#include "base/futex.h"

#include <errno.h>
#include <sys/mman.h>

/* What a sleeper loses at most if what it waits for comes about in another way. */
#define WAIT_NS 1000000

static size_t mapped_size(const struct s2_pool_frames *frames)
{
	return ((size_t)frames->nr + 1) << S2_PAGE_SHIFT;
}

/* The zero frame is not even ours to write to. */
static int map_memory(struct s2_pool_frames *frames)
{
	int fd = memfd_create("stage2-pool", MFD_CLOEXEC);
	void *memory = MAP_FAILED;
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, (off_t)mapped_size(frames)))
		memory = mmap(NULL, mapped_size(frames), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED || mprotect(memory, S2_PAGE_SIZE, PROT_READ))
		ret = -errno;
	close(fd);
	if (ret && memory != MAP_FAILED)
		munmap(memory, mapped_size(frames));
	else
		frames->memory = memory;
	return ret;
}

int s2_pool_frames_init(struct s2_pool_frames *frames, uint64_t size, const struct s2_allocator *a)
{
	int saved = errno, ret;

	frames->nr = (uint32_t)(size >> S2_PAGE_SHIFT);
	frames->table = s2_zalloc(a, ((size_t)frames->nr + 1) * sizeof(*frames->table), 64);
	if (!frames->table)
		return -ENOMEM;
	ret = map_memory(frames);
	errno = saved;
	if (ret) {
		s2_free(a, frames->table);
		return ret;
	}
	s2_spin_init(&frames->lock, S2_RANK_INTERNAL);
	for (uint32_t frame = 1; frame <= frames->nr; frame++)
		frames->table[frame].next = frame < frames->nr ? frame + 1 : 0;
	frames->first = 1;
	atomic_init(&frames->nr_free, frames->nr);
	return 0;
}

void s2_pool_frames_free(struct s2_pool_frames *frames, const struct s2_allocator *a)
{
	int saved = errno;

	munmap(frames->memory, mapped_size(frames));
	errno = saved;
	s2_free(a, frames->table);
}

uint32_t s2_pool_frame_get(struct s2_pool_frames *frames)
{
	uint32_t frame;

	s2_spin_lock(&frames->lock);
	frame = frames->first;
	if (frame) {
		frames->first = frames->table[frame].next;
		atomic_fetch_sub_explicit(&frames->nr_free, 1, memory_order_relaxed);
	}
	s2_spin_unlock(&frames->lock);
	if (frame)
		s2_pool_frame_own(frames, frame, S2_FRAME_IN_TRANSIT);
	return frame;
}

void s2_pool_frame_put(struct s2_pool_frames *frames, uint32_t frame)
{
	s2_pool_frame_own(frames, frame, S2_FRAME_FREE);
	s2_spin_lock(&frames->lock);
	frames->table[frame].next = frames->first;
	frames->first = frame;
	atomic_fetch_add_explicit(&frames->nr_free, 1, memory_order_relaxed);
	s2_spin_unlock(&frames->lock);
	/*
	 * Sequentially consistent, as in s2_pool_frame_wait(): it counts itself, then
	 * compares @freed; we change that, then look for it.
	 */
	atomic_fetch_add_explicit(&frames->freed, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&frames->waiters, memory_order_seq_cst))
		s2_futex_wake(&frames->freed, INT_MAX);
}

uint32_t s2_pool_frames_freed(struct s2_pool_frames *frames)
{
	return atomic_load_explicit(&frames->freed, memory_order_seq_cst);
}

void s2_pool_frame_wait(struct s2_pool_frames *frames, uint32_t freed)
{
	atomic_fetch_add_explicit(&frames->waiters, 1, memory_order_seq_cst);
	/* The kernel compares @freed once more: what was put back before we counted ourselves. */
	s2_futex_wait_for(&frames->freed, freed, WAIT_NS);
	atomic_fetch_sub_explicit(&frames->waiters, 1, memory_order_relaxed);
}
