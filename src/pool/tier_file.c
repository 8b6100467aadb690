/* SPDX-License-Identifier: MIT */
/*
 * The tier in a file or block device: slots of a page each, by pread() and pwrite(), and
 * a bit for each slot in memory. What is written goes to the kernel's page cache, which
 * gathers neighbours on the way to the disk and reads them ahead on the way back: so
 * slots are given out in order, a search goes on where the last one ended.
 *
 * The file grows as it is filled, by a slot each time a search has come to its end. An
 * operating system that has no more room is met with the slots that were dropped, which
 * have their room already. That is also why a drop punches no hole: the slot is used
 * again, and each hole would be a system call and a write to the file system's journal.
 */
#include "base/alloc.h"
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stage2/pool.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NONE UINT64_MAX
#define SIZE_MAX_BYTES (UINT64_C(1) << 48)

struct file_tier {
	struct s2_pool_tier tier;
	int fd;
	bool regular;
	uint64_t slots;
	_Atomic uint64_t *taken; /* a bit for each slot; changed with the lock held */

	struct s2_mutex lock;
	uint64_t nr_taken;
	uint64_t end;  /* slots from here on were never used */
	uint64_t hint; /* where the next search begins */
};

static struct file_tier *to_file(struct s2_pool_tier *tier)
{
	return (struct file_tier *)tier;
}

/* Relaxed: who asks about a slot of its own has been told of it, with its contents. */
static bool is_taken(struct file_tier *f, uint64_t slot)
{
	return atomic_load_explicit(&f->taken[slot / 64], memory_order_relaxed) >> slot % 64 & 1;
}

static void set_taken(struct file_tier *f, uint64_t slot, bool taken)
{
	uint64_t bit = UINT64_C(1) << slot % 64;

	if (taken)
		atomic_fetch_or_explicit(&f->taken[slot / 64], bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&f->taken[slot / 64], ~bit, memory_order_relaxed);
	f->nr_taken += taken ? 1 : -UINT64_C(1);
}

static uint64_t find_free(struct file_tier *f, uint64_t from, uint64_t to)
{
	uint64_t free = UINT64_MAX << from % 64;

	for (uint64_t word = from / 64; word * 64 < to; word++, free = UINT64_MAX) {
		free &= ~atomic_load_explicit(&f->taken[word], memory_order_relaxed);
		if (free) {
			uint64_t slot = word * 64 + (unsigned)__builtin_ctzll(free);

			return slot < to ? slot : NONE;
		}
	}
	return NONE;
}

/*
 * A slot that was used before, or f->end. Growing only by one slot for each search of
 * the file keeps it small; but it does grow then, past slots that cannot be written.
 */
static uint64_t choose(struct file_tier *f)
{
	uint64_t slot = NONE;

	if (f->nr_taken < f->end)
		slot = find_free(f, f->hint, f->end);
	if (slot == NONE && f->end == f->slots)
		slot = find_free(f, 0, f->end);
	return slot == NONE ? f->end : slot;
}

static int take_slot(struct file_tier *f, uint64_t *slot)
{
	int ret = -ENOSPC;

	s2_mutex_lock(&f->lock);
	if (f->nr_taken < f->slots) {
		*slot = choose(f);
		if (*slot == f->end) {
			f->end++;
			f->hint = 0;
		} else {
			f->hint = *slot + 1;
		}
		set_taken(f, *slot, true);
		ret = 0;
	}
	s2_mutex_unlock(&f->lock);
	return ret;
}

/*
 * @error: what writing it has ended with, 0 if it was dropped. One for which the operating
 * system has no room was never used; after any other error the next search begins behind it.
 */
static void give_back(struct file_tier *f, uint64_t slot, int error)
{
	s2_mutex_lock(&f->lock);
	if (slot < f->slots && is_taken(f, slot)) {
		set_taken(f, slot, false);
		if (error == -ENOSPC && slot + 1 == f->end)
			f->end--;
		else if (error)
			f->hint = slot + 1;
	}
	s2_mutex_unlock(&f->lock);
}

static int write_page(struct file_tier *f, uint64_t slot, const char *page)
{
	off_t offset = (off_t)(slot * S2_PAGE_SIZE);
	size_t done = 0;

	while (done < S2_PAGE_SIZE) {
		ssize_t n = pwrite(f->fd, page + done, S2_PAGE_SIZE - done, offset + (off_t)done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return -EIO;
		else if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
			return -ENOSPC;
		else if (errno != EINTR)
			return -EIO;
	}
	return 0;
}

static int read_page(struct file_tier *f, uint64_t slot, char *page)
{
	off_t offset = (off_t)(slot * S2_PAGE_SIZE);
	size_t done = 0;

	while (done < S2_PAGE_SIZE) {
		ssize_t n = pread(f->fd, page + done, S2_PAGE_SIZE - done, offset + (off_t)done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return -EIO; /* 0: somebody has cut the file short */
	}
	return 0;
}

static int try_store(struct file_tier *f, const void *page, uint64_t *slot)
{
	uint64_t taken;
	int ret = take_slot(f, &taken);

	if (ret)
		return ret;
	ret = write_page(f, taken, page);
	if (ret)
		give_back(f, taken, ret);
	else
		*slot = taken;
	return ret;
}

static int file_store(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	struct file_tier *f = to_file(tier);
	int ret = try_store(f, page, slot);

	/*
	 * Once more, elsewhere: if the file could not grow, there may be slots that were
	 * dropped, and one that cannot be written is not to be in the way of the others.
	 */
	return ret ? try_store(f, page, slot) : 0;
}

static int file_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	struct file_tier *f = to_file(tier);

	if (slot >= f->slots || !is_taken(f, slot))
		return -EINVAL;
	return read_page(f, slot, page);
}

static void file_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	give_back(to_file(tier), slot, 0);
}

static size_t bits_size(const struct file_tier *f)
{
	return (f->slots + 63) / 64 * sizeof(*f->taken);
}

static void file_destroy(struct s2_pool_tier *tier)
{
	struct file_tier *f = to_file(tier);

	/* Nobody can make use of the contents, and they were a guest's. */
	while (f->regular && ftruncate(f->fd, 0) && errno == EINTR)
		;
	close(f->fd);
	munmap(f->taken, bits_size(f));
	s2_free(&s2_libc_allocator, f);
}

static const struct s2_pool_tier_ops file_ops = {
	.name = "file",
	.store = file_store,
	.load = file_load,
	.drop = file_drop,
	.destroy = file_destroy,
};

/*
 * O_EXCL: not one that is mounted, or swapped to. No O_NOFOLLOW: names of devices are
 * often links. Of a file, a link is what somebody else may have put in a shared directory.
 */
static int open_path(const char *path)
{
	struct stat st;
	int fd;

	if (stat(path, &st)) {
		if (errno != ENOENT)
			return -errno;
		st.st_mode = S_IFREG;
	}
	if (S_ISBLK(st.st_mode))
		fd = open(path, O_RDWR | O_CLOEXEC | O_EXCL);
	else if (S_ISREG(st.st_mode))
		fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_NOFOLLOW | O_NOCTTY, 0600);
	else
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	return fd < 0 ? -errno : fd;
}

/* Two tiers in one file would overwrite each other. */
static int claim_file(int fd, uint64_t size)
{
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return ftruncate(fd, (off_t)size) ? -errno : 0;
}

/* A device may be smaller than it was said to be. */
static int claim_device(int fd, uint64_t *size)
{
	uint64_t bytes;

	if (ioctl(fd, BLKGETSIZE64, &bytes))
		return -errno;
	if (bytes < S2_PAGE_SIZE)
		return -EINVAL;
	if (bytes < *size)
		*size = bytes;
	return 0;
}

static int claim(struct file_tier *f, uint64_t *size)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return -errno;
	f->regular = S_ISREG(st.st_mode);
	if (f->regular)
		return claim_file(f->fd, *size);
	return S_ISBLK(st.st_mode) ? claim_device(f->fd, size) : -EINVAL;
}

static int file_init(struct file_tier *f, const char *path, uint64_t size)
{
	void *bits;
	int ret;

	f->fd = open_path(path);
	if (f->fd < 0)
		return f->fd;
	ret = claim(f, &size);
	if (ret)
		goto out_close;
	f->slots = size / S2_PAGE_SIZE;
	bits = mmap(NULL, bits_size(f), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bits == MAP_FAILED) {
		ret = -ENOMEM;
		goto out_close;
	}
	f->taken = bits;
	s2_mutex_init(&f->lock, S2_RANK_INTERNAL);
	return 0;

out_close:
	close(f->fd);
	return ret;
}

int s2_pool_tier_file(const char *path, uint64_t size, struct s2_pool_tier **tier)
{
	struct file_tier *f;
	int ret;

	if (!path || !tier || size < S2_PAGE_SIZE || size > SIZE_MAX_BYTES)
		return -EINVAL;
	f = s2_zalloc(&s2_libc_allocator, sizeof(*f), _Alignof(struct file_tier));
	if (!f)
		return -ENOMEM;
	f->tier.ops = &file_ops;
	ret = file_init(f, path, size);
	if (ret) {
		s2_free(&s2_libc_allocator, f);
		return ret;
	}
	*tier = &f->tier;
	return 0;
}
