/* SPDX-License-Identifier: MIT */
/*
 * Reads of several places of a file at once, by io_uring: the disk has them all before it
 * as it would have them of as many threads. A ring serves one thread at a time; there are as
 * many as threads ever were in here at once, up to a limit, since each is a file descriptor
 * of the program's.
 *
 * It is nothing to rely on: where the build or the kernel has no io_uring, where it is
 * not allowed, or anything goes wrong, less is read than was asked for, or nothing.
 * The caller reads the rest in the ordinary way, and is told by that what is wrong.
 */
#ifndef S2_POOL_RING_H
#define S2_POOL_RING_H

#include "base/lock.h"

#include <sys/uio.h>

/* How many reads fit into one call of s2_rings_read(). */
#define S2_RING_ENTRIES 64

struct s2_ring;

struct s2_rings {
	struct s2_spinlock lock;
	struct s2_ring *idle;
	unsigned made;
	bool refused;
};

/* @done: how many bytes were read, from @offset on. */
struct s2_ring_read {
	off_t offset;
	const struct iovec *iov;
	unsigned n;
	size_t done;
};

void s2_rings_init(struct s2_rings *rings);
void s2_rings_destroy(struct s2_rings *rings);

/* Sets each one's @done. Nothing is in flight any more when it returns. */
void s2_rings_read(struct s2_rings *rings, int fd, struct s2_ring_read *reads, unsigned n);

#endif /* S2_POOL_RING_H */
