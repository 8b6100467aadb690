/* SPDX-License-Identifier: MIT */
/* The failing system calls of file_faults.h. */
#include "file_faults.h"

#include <errno.h>
#include <stage2/pool.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct file_faults fault;

static bool interrupted(void)
{
	if (!fault.interrupts)
		return false;
	fault.interrupts--;
	return true;
}

static int write_fault(off_t offset)
{
	if (interrupted())
		return EINTR;
	if (fault.bad && offset == fault.bad)
		return EIO;
	return fault.room && offset >= fault.room ? ENOSPC : fault.error;
}

/* How many bytes there are from @offset to a place that is in the way, if it is. */
static size_t up_to(off_t place, off_t offset)
{
	return place > offset ? (size_t)(place - offset) : SIZE_MAX;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The first @size bytes of it; returns how many iovecs that is. */
static int cut(struct iovec *to, const struct iovec *iov, int count, size_t size)
{
	int n = 0;

	for (; n < count && size; n++) {
		to[n] = iov[n];
		to[n].iov_len = least(iov[n].iov_len, size);
		size -= to[n].iov_len;
	}
	return n;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	size_t size = least(up_to(fault.bad, offset), up_to(fault.room, offset));
	struct iovec part[S2_POOL_BATCH];

	errno = write_fault(offset);
	if (errno)
		return -1;
	count = cut(part, iov, count, least(size, fault.at_most ? fault.at_most : SIZE_MAX));
	return syscall(SYS_pwritev, fd, part, count, offset, 0);
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	struct iovec part[S2_POOL_BATCH];

	errno = interrupted() ? EINTR : fault.error;
	if (errno)
		return -1;
	count = cut(part, iov, count, fault.at_most ? fault.at_most : SIZE_MAX);
	return syscall(SYS_preadv, fd, part, count, offset, 0);
}
