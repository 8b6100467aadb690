/* SPDX-License-Identifier: MIT */
/*
 * The tier in a file or block device, a page to each slot, through the kernel's page cache:
 * it gathers neighbours on the way to the disk and reads them ahead on the way back. What
 * a batch stores gets neighbouring slots, if there are such, and neighbours are written
 * and read by one call.
 *
 * Measured on ext4, XFS, btrfs, tmpfs and a loop device, Linux 6.18, thousand pages a second:
 *
 *	one by one      pwrite() 330 to 680; cold pread() in order 160 to 390, at random 13 to 50
 *	64 neighbours   pwritev() 400 to 1450, cold preadv() in order 360 to 990
 *	by io_uring     writes 40 to 440 (most file systems have a worker thread do them); cold
 *	                reads at random, 64 at once, 40 to 110; tmpfs 215, one by one 655
 *	O_DIRECT        ext4: one by one 11 and 9, 64 neighbours 310 and 140
 *
 * So: writes by pwritev(), and reads by io_uring if they lie apart and the file system can
 * tell that it would have to wait. Without the page cache it is slower but for a file
 * that was never written to, and has no reading ahead.
 *
 * An operating system that has no more room is met with the slots that were dropped,
 * which have their room already. That is also why a drop punches no hole: the slot is used
 * again, and each hole would be a system call and a write to the file system's journal.
 */
#include "base/alloc.h"
#include "pool/ring.h"
#include "pool/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stage2/pool.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (UINT64_C(1) << 48)

_Static_assert(S2_SLOTS_RUN >= S2_POOL_BATCH, "a batch fits into one run of slots");
_Static_assert(S2_RING_ENTRIES >= S2_POOL_BATCH, "a batch is one submission");

struct file_tier {
	struct s2_pool_tier tier;
	int fd;
	bool regular;
	bool overlaps; /* reads of several places at once are quicker than one by one */
	struct s2_slots slots;
	struct s2_rings rings;
};

static struct file_tier *to_file(struct s2_pool_tier *tier)
{
	return (struct file_tier *)tier;
}

static off_t offset_of(uint64_t slot)
{
	return (off_t)(slot * S2_PAGE_SIZE);
}

/* What is left of @n pages after @done bytes of them. Returns how many iovecs that is. */
static int rest_of(struct iovec *iov, void *const pages[], unsigned n, size_t done)
{
	unsigned first = (unsigned)(done / S2_PAGE_SIZE);
	size_t within = done % S2_PAGE_SIZE;

	for (unsigned i = first; i < n; i++)
		iov[i - first] = (struct iovec){ pages[i], S2_PAGE_SIZE };
	iov[0].iov_base = (char *)pages[first] + within;
	iov[0].iov_len -= within;
	return (int)(n - first);
}

static int write_error(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? -ENOSPC : -EIO;
}

/* To @n slots from @slot on. Returns how many pages were written whole, and why not all. */
static unsigned write_pages(struct file_tier *f, uint64_t slot, const void *const pages[],
			    unsigned n, int *error)
{
	struct iovec iov[S2_POOL_BATCH];
	size_t done = 0;

	while (done < n * S2_PAGE_SIZE) {
		int count = rest_of(iov, (void *const *)pages, n, done);
		ssize_t written = pwritev(f->fd, iov, count, offset_of(slot) + (off_t)done);

		if (written > 0) {
			done += (size_t)written;
		} else if (written == 0 || errno != EINTR) {
			*error = written == 0 ? -EIO : write_error(errno);
			break;
		}
	}
	return (unsigned)(done / S2_PAGE_SIZE);
}

/* From @n slots from @slot on, of which @done bytes have been read. */
static void read_pages(struct file_tier *f, uint64_t slot, void *const pages[], unsigned n,
		       size_t done, int results[])
{
	struct iovec iov[S2_POOL_BATCH];

	for (unsigned i = 0; i < n; i++)
		results[i] = 0;
	while (done < n * S2_PAGE_SIZE) {
		int count = rest_of(iov, pages, n, done);
		ssize_t got = preadv(f->fd, iov, count, offset_of(slot) + (off_t)done);

		if (got > 0) {
			done += (size_t)got;
		} else if (got == 0 || errno != EINTR) {
			/* 0: somebody has cut the file short. The next page may be whole. */
			results[done / S2_PAGE_SIZE] = -EIO;
			done = (done / S2_PAGE_SIZE + 1) * S2_PAGE_SIZE;
		}
	}
}

static int try_store(struct file_tier *f, const void *page, uint64_t *slot)
{
	uint64_t taken;
	int ret = s2_slots_take(&f->slots, &taken);

	if (ret)
		return ret;
	if (write_pages(f, taken, &page, 1, &ret))
		*slot = taken;
	else
		s2_slots_give_back(&f->slots, taken, ret);
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

/*
 * Into @n slots from @first on. Returns how many were stored: those before the one that
 * cannot be written. The last is given back first, as what has no room shrinks from its end.
 */
static unsigned store_run(struct file_tier *f, uint64_t first, const void *const pages[],
			  unsigned n, uint64_t slots[], int results[])
{
	int error = 0;
	unsigned stored = write_pages(f, first, pages, n, &error);

	for (unsigned i = 0; i < stored; i++) {
		slots[i] = first + i;
		results[i] = 0;
	}
	for (unsigned i = n; i-- > stored;)
		s2_slots_give_back(&f->slots, first + i,
				   i == stored || error == -ENOSPC ? error : 0);
	return stored;
}

/* Where there is no room for one there is none for the next. */
static void store_each(struct file_tier *f, const void *const pages[], unsigned n, uint64_t slots[],
		       int results[])
{
	int ret = 0;

	for (unsigned i = 0; i < n; i++) {
		if (ret != -ENOSPC)
			ret = file_store(&f->tier, pages[i], &slots[i]);
		results[i] = ret;
	}
}

/* In runs as long as they are to be had; a page that none takes goes wherever there is a slot. */
static void file_store_many(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			    uint64_t slots[], int results[])
{
	struct file_tier *f = to_file(tier);
	unsigned done = 0, run = n;
	uint64_t first;

	while (done < n && run > 1) {
		unsigned left = n - done, stored;

		if (run > left)
			run = left;
		if (!s2_slots_take_run(&f->slots, run, &first)) {
			run /= 2;
			continue;
		}
		stored = store_run(f, first, pages + done, run, slots + done, results + done);
		done += stored;
		if (stored < run)
			break;
	}
	store_each(f, pages + done, n - done, slots + done, results + done);
}

static int file_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	struct file_tier *f = to_file(tier);
	int ret;

	if (!s2_slots_taken(&f->slots, slot))
		return -EINVAL;
	read_pages(f, slot, &page, 1, 0, &ret);
	return ret;
}

/* How many of the @n slots, from the first on, are neighbours, and there. */
static unsigned run_length(struct file_tier *f, const uint64_t slots[], unsigned n)
{
	unsigned i = 0;

	while (i < n && s2_slots_taken(&f->slots, slots[i]) && slots[i] == slots[0] + i)
		i++;
	return i;
}

/* Into runs of neighbours, of which @starts tells where each begins. Returns how many there are. */
static unsigned find_runs(struct file_tier *f, unsigned n, const uint64_t slots[],
			  struct s2_ring_read runs[], unsigned starts[], int results[])
{
	unsigned found = 0;

	for (unsigned i = 0, length; i < n; i += length) {
		length = run_length(f, slots + i, n - i);
		if (!length) {
			results[i] = -EINVAL;
			length = 1;
			continue;
		}
		starts[found] = i;
		runs[found++] = (struct s2_ring_read){ .offset = offset_of(slots[i]), .n = length };
	}
	return found;
}

static void file_load_many(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			   void *const pages[], int results[])
{
	struct s2_ring_read runs[S2_POOL_BATCH];
	struct iovec iov[S2_POOL_BATCH];
	struct file_tier *f = to_file(tier);
	unsigned starts[S2_POOL_BATCH];
	unsigned nr_runs = find_runs(f, n, slots, runs, starts, results);

	rest_of(iov, pages, n, 0);
	for (unsigned i = 0; i < nr_runs; i++)
		runs[i].iov = &iov[starts[i]];
	if (f->overlaps && nr_runs > 1)
		s2_rings_read(&f->rings, f->fd, runs, nr_runs);
	for (unsigned i = 0; i < nr_runs; i++) {
		unsigned at = starts[i];

		read_pages(f, slots[at], pages + at, runs[i].n, runs[i].done, results + at);
	}
}

static void file_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	s2_slots_give_back(&to_file(tier)->slots, slot, 0);
}

static void file_destroy(struct s2_pool_tier *tier)
{
	struct file_tier *f = to_file(tier);

	/* Nobody can make use of the contents, and they were a guest's. */
	while (f->regular && ftruncate(f->fd, 0) && errno == EINTR)
		;
	/* A ring may keep the file, and the lock on it, until the kernel gets round to it. */
	flock(f->fd, LOCK_UN);
	s2_rings_destroy(&f->rings);
	close(f->fd);
	s2_slots_destroy(&f->slots);
	s2_free(&s2_libc_allocator, f);
}

static const struct s2_pool_tier_ops file_ops = {
	.name = "file",
	.store = file_store,
	.load = file_load,
	.drop = file_drop,
	.destroy = file_destroy,
	.store_many = file_store_many,
	.load_many = file_load_many,
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

/*
 * tmpfs, for one, cannot say that a read would have to wait. io_uring would then have a
 * thread of its own do each of them.
 */
static bool reads_overlap(int fd)
{
	struct iovec byte = { &(char){ 0 }, 1 };

	return preadv2(fd, &byte, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

static int file_init(struct file_tier *f, const char *path, uint64_t size)
{
	int ret;

	f->fd = open_path(path);
	if (f->fd < 0)
		return f->fd;
	ret = claim(f, &size);
	if (!ret)
		ret = s2_slots_init(&f->slots, size / S2_PAGE_SIZE);
	if (ret) {
		close(f->fd);
		return ret;
	}
	f->overlaps = reads_overlap(f->fd);
	s2_rings_init(&f->rings);
	return 0;
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
