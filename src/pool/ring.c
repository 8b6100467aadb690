/* SPDX-License-Identifier: MIT */
/*
 * The rings of ring.h.
 *
 * The file is not registered with a ring. That saves a reference for each read, which
 * cannot be measured beside the read (tests of 8 to 64 pages, from the page cache and not);
 * but a ring is gone from the kernel some time after it was closed, and would keep the file
 * until then: a device that is busy, or a file system that cannot be unmounted.
 */
#include "pool/ring.h"

#ifdef S2_HAVE_LIBURING
#include "base/alloc.h"

#include <errno.h>
#include <liburing.h>

/* A program's limit of descriptors is often 1024, and they are not ours to use up. */
#define RINGS_MAX 16

struct s2_ring {
	struct s2_ring *next;
	struct io_uring uring;
};

void s2_rings_init(struct s2_rings *rings)
{
	*rings = (struct s2_rings){ 0 };
	s2_spin_init(&rings->lock, S2_RANK_INTERNAL);
}

static void ring_destroy(struct s2_ring *ring)
{
	io_uring_queue_exit(&ring->uring);
	s2_free(&s2_libc_allocator, ring);
}

void s2_rings_destroy(struct s2_rings *rings)
{
	struct s2_ring *ring;

	while ((ring = rings->idle)) {
		rings->idle = ring->next;
		ring_destroy(ring);
	}
}

static int ring_create(struct s2_ring **ring)
{
	int ret;

	*ring = s2_zalloc(&s2_libc_allocator, sizeof(**ring), _Alignof(struct s2_ring));
	if (!*ring)
		return -ENOMEM;
	ret = io_uring_queue_init(S2_RING_ENTRIES, &(*ring)->uring, 0);
	if (ret) {
		s2_free(&s2_libc_allocator, *ring);
		*ring = NULL;
	}
	return ret;
}

/* Another ring may be made, and is counted as if it had been. */
static bool may_make(struct s2_rings *rings)
{
	if (rings->refused || rings->made == RINGS_MAX)
		return false;
	rings->made++;
	return true;
}

/* What is lacking may be there the next time; what is not allowed is not asked for again. */
static void not_made(struct s2_rings *rings, int error)
{
	s2_spin_lock(&rings->lock);
	rings->made--;
	if (error == -ENOSYS || error == -EPERM || error == -EINVAL)
		rings->refused = true;
	s2_spin_unlock(&rings->lock);
}

static struct s2_ring *ring_get(struct s2_rings *rings)
{
	struct s2_ring *ring;
	bool make;
	int ret;

	s2_spin_lock(&rings->lock);
	ring = rings->idle;
	if (ring)
		rings->idle = ring->next;
	make = !ring && may_make(rings);
	s2_spin_unlock(&rings->lock);
	if (!make)
		return ring;
	ret = ring_create(&ring);
	if (ret)
		not_made(rings, ret);
	return ring;
}

static void ring_put(struct s2_rings *rings, struct s2_ring *ring)
{
	s2_spin_lock(&rings->lock);
	ring->next = rings->idle;
	rings->idle = ring;
	s2_spin_unlock(&rings->lock);
}

static void prepare(struct io_uring *uring, int fd, struct s2_ring_read *reads, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(uring);

		io_uring_prep_readv(sqe, fd, reads[i].iov, reads[i].n, (uint64_t)reads[i].offset);
		io_uring_sqe_set_data(sqe, &reads[i]);
	}
}

/* Returns how many there were. One that failed has read nothing. */
static unsigned reap(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(uring, head, cqe)
	{
		struct s2_ring_read *read = io_uring_cqe_get_data(cqe);

		read->done = cqe->res > 0 ? (size_t)cqe->res : 0;
		n++;
	}
	io_uring_cq_advance(uring, n);
	return n;
}

/*
 * False: the kernel does not take what is queued, and the ring is of no use any more.
 * As long as it is at work with something, there is no giving up, since it writes to the
 * caller's memory: whatever it answers, that comes to an end by itself, and is seen
 * in the ring without its help.
 */
static bool submit_and_wait(struct io_uring *uring, unsigned queued)
{
	unsigned in_flight = 0;

	while (queued || in_flight) {
		int ret = io_uring_submit_and_wait(uring, queued + in_flight);

		if (ret > 0) {
			queued -= (unsigned)ret;
			in_flight += (unsigned)ret;
		} else if (ret < 0 && ret != -EINTR) {
			if (!in_flight)
				return false;
			sched_yield();
		}
		in_flight -= reap(uring);
	}
	return true;
}

void s2_rings_read(struct s2_rings *rings, int fd, struct s2_ring_read *reads, unsigned n)
{
	struct s2_ring *ring = ring_get(rings);

	for (unsigned i = 0; i < n; i++)
		reads[i].done = 0;
	if (!ring)
		return;
	prepare(&ring->uring, fd, reads, n);
	if (submit_and_wait(&ring->uring, n)) {
		ring_put(rings, ring);
		return;
	}
	ring_destroy(ring);
	not_made(rings, 0);
}
#else
void s2_rings_init(struct s2_rings *rings)
{
	*rings = (struct s2_rings){ 0 };
}

void s2_rings_destroy(struct s2_rings *rings)
{
	(void)rings;
}

void s2_rings_read(struct s2_rings *rings, int fd, struct s2_ring_read *reads, unsigned n)
{
	(void)rings;
	(void)fd;
	for (unsigned i = 0; i < n; i++)
		reads[i].done = 0;
}
#endif
