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

/* Opens the bracket if there is a range to bracket. */
static bool begin(struct s2_mm *mm, struct s2_invalidation *inv, bool wanted, const struct range *range)
{
	return wanted && !s2_invalidate_range_start(mm, inv, range->start, range->end, 0);
}

static int finish(struct s2_mm *mm, struct s2_invalidation *inv, bool bracketed, int ret, int saved)
{
	int error = ret ? -errno : 0;

	if (bracketed)
		s2_invalidate_range_end(mm, inv);
	errno = saved;
	return error;
}

int s2_munmap(struct s2_mm *mm, void *addr, size_t length)
{
	struct s2_invalidation inv;
	struct range range;
	int saved = errno;
	bool bracketed;

	if (!mm)
		return -EINVAL;
	bracketed = begin(mm, &inv, range_of(addr, length, &range), &range);
	return finish(mm, &inv, bracketed, munmap(addr, length), saved);
}

int s2_mprotect(struct s2_mm *mm, void *addr, size_t length, int prot)
{
	struct s2_invalidation inv;
	struct range range;
	int saved = errno;
	bool bracketed;

	if (!mm)
		return -EINVAL;
	bracketed = begin(mm, &inv, range_of(addr, length, &range), &range);
	return finish(mm, &inv, bracketed, mprotect(addr, length, prot), saved);
}

static bool drops_pages(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
	       advice == MADV_DONTNEED_LOCKED || advice == MADV_GUARD_INSTALL;
}

int s2_madvise(struct s2_mm *mm, void *addr, size_t length, int advice)
{
	struct s2_invalidation inv;
	struct range range;
	int saved = errno;
	bool bracketed;

	if (!mm)
		return -EINVAL;
	bracketed = begin(mm, &inv, drops_pages(advice) && range_of(addr, length, &range), &range);
	return finish(mm, &inv, bracketed, madvise(addr, length, advice), saved);
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
	struct s2_invalidation inv;
	struct range range;
	int saved = errno, ret;
	bool bracketed;
	void *result;

	if (!mm || !mapped)
		return -EINVAL;
	bracketed = begin(mm, &inv, replaces && range_of(addr, mapped_length(length, flags), &range),
			  &range);
	result = mmap(addr, length, prot, flags, fd, offset);
	ret = finish(mm, &inv, bracketed, result == MAP_FAILED, saved);
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
	struct s2_invalidation inv;
	struct range range;
	int saved = errno, ret;
	bool bracketed;
	void *result;

	if (!mm || !mapped)
		return -EINVAL;
	bracketed = begin(mm, &inv,
			  mremap_range(old_addr, old_size, new_size, flags, new_addr, &range), &range);
	result = mremap(old_addr, old_size, new_size, flags, new_addr);
	ret = finish(mm, &inv, bracketed, result == MAP_FAILED, saved);
	if (!ret)
		*mapped = result;
	return ret;
}
