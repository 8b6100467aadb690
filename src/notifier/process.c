/* SPDX-License-Identifier: MIT */
/*
 * The system calls that take this process's memory away, each in its bracket:
 * start(), the call, end(). The kernel does the same inside the calls, for its own
 * secondary MMUs. The bracket is there whether or not the call then fails.
 */
#include <errno.h>
#include <stage2/notifier.h>
#include <stage2/process.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

struct range {
	uint64_t start;
	uint64_t end;
};

/*
 * Rounded out to pages. False for what the kernel will refuse, or do nothing
 * about: empty, misaligned or wrapping; the call is then made without a bracket,
 * for its error.
 */
static bool range_of(const void *addr, size_t length, struct range *range)
{
	uint64_t start = (uintptr_t)addr;

	if (!length || (start & (S2_PAGE_SIZE - 1)) || length > UINT64_MAX - S2_PAGE_SIZE - start)
		return false;
	range->start = start;
	range->end = (start + length + S2_PAGE_SIZE - 1) & ~(S2_PAGE_SIZE - 1);
	return true;
}

static void span(struct range *range, struct range other)
{
	range->start = range->start < other.start ? range->start : other.start;
	range->end = range->end > other.end ? range->end : other.end;
}

/* One system call in its bracket, if it has a range to bracket. errno is the caller's. */
struct bracket {
	struct s2_mm *mm;
	struct s2_invalidation inv;
	bool open;
	int saved_errno;
};

static void begin(struct bracket *bracket, struct s2_mm *mm, bool wanted, const struct range *range)
{
	bracket->mm = mm;
	bracket->saved_errno = errno;
	bracket->open = wanted && !s2_invalidate_range_start(mm, &bracket->inv, range->start,
							     range->end, 0);
}

/* The system call's answer, as the library gives answers. */
static int finish(struct bracket *bracket, bool failed)
{
	int ret = failed ? -errno : 0;

	if (bracket->open)
		s2_invalidate_range_end(bracket->mm, &bracket->inv);
	errno = bracket->saved_errno;
	return ret;
}

int s2_munmap(struct s2_mm *mm, void *addr, size_t length)
{
	struct bracket bracket;
	struct range range;

	if (!mm)
		return -EINVAL;
	begin(&bracket, mm, range_of(addr, length, &range), &range);
	return finish(&bracket, munmap(addr, length));
}

int s2_mprotect(struct s2_mm *mm, void *addr, size_t length, int prot)
{
	struct bracket bracket;
	struct range range;

	if (!mm)
		return -EINVAL;
	begin(&bracket, mm, range_of(addr, length, &range), &range);
	return finish(&bracket, mprotect(addr, length, prot));
}

static bool drops_pages(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
	       advice == MADV_DONTNEED_LOCKED || advice == MADV_GUARD_INSTALL;
}

int s2_madvise(struct s2_mm *mm, void *addr, size_t length, int advice)
{
	struct bracket bracket;
	struct range range;

	if (!mm)
		return -EINVAL;
	begin(&bracket, mm, drops_pages(advice) && range_of(addr, length, &range), &range);
	return finish(&bracket, madvise(addr, length, advice));
}

/* The kernel maps huge pages whole; their size is in the flags, 2 MiB if it is not said. */
static size_t mapped_length(size_t length, int flags)
{
	unsigned shift = ((unsigned)flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
	size_t size = (size_t)1 << (shift ? shift : S2_HUGE_SHIFT);

	if (!(flags & MAP_HUGETLB) || length > SIZE_MAX - size)
		return length;
	return (length + size - 1) & ~(size - 1);
}

int s2_mmap(struct s2_mm *mm, void *addr, size_t length, int prot, int flags, int fd, off_t offset,
	    void **mapped)
{
	bool replaces = (flags & MAP_FIXED) && (flags & MAP_FIXED_NOREPLACE) != MAP_FIXED_NOREPLACE;
	struct bracket bracket;
	struct range range;
	void *result;
	int ret;

	if (!mm || !mapped)
		return -EINVAL;
	begin(&bracket, mm, replaces && range_of(addr, mapped_length(length, flags), &range), &range);
	result = mmap(addr, length, prot, flags, fd, offset);
	ret = finish(&bracket, result == MAP_FAILED);
	if (!ret)
		*mapped = result;
	return ret;
}

/* What an mremap() takes away; all of it as one range, see process.h. */
static bool mremap_range(void *old_addr, size_t old_size, size_t new_size, int flags, void *new_addr,
			 struct range *range)
{
	struct range target;

	/* An old size of 0 duplicates a shared mapping and takes nothing but what is at the target. */
	if (!old_size && (flags & MREMAP_FIXED))
		return range_of(new_addr, new_size, range);
	if (!range_of(old_addr, old_size, range))
		return false;
	if (flags & MREMAP_FIXED) {
		if (range_of(new_addr, new_size, &target))
			span(range, target);
		return true;
	}
	if (new_size >= old_size)
		return flags & MREMAP_MAYMOVE;
	/* It shrinks where it is: the pages that stay are left alone. */
	range->start = (range->start + new_size + S2_PAGE_SIZE - 1) & ~(S2_PAGE_SIZE - 1);
	return range->start < range->end;
}

int s2_mremap(struct s2_mm *mm, void *old_addr, size_t old_size, size_t new_size, int flags,
	      void *new_addr, void **mapped)
{
	struct bracket bracket;
	struct range range;
	void *result;
	int ret;

	if (!mm || !mapped)
		return -EINVAL;
	begin(&bracket, mm, mremap_range(old_addr, old_size, new_size, flags, new_addr, &range),
	      &range);
	result = mremap(old_addr, old_size, new_size, flags, new_addr);
	ret = finish(&bracket, result == MAP_FAILED);
	if (!ret)
		*mapped = result;
	return ret;
}
