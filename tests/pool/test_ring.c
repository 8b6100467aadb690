/* SPDX-License-Identifier: MIT */
/*
 * Reads by io_uring that do not go well. liburing's call that submits is our own here: it
 * spoils what is queued, or answers as a kernel does that is interrupted or has no
 * memory. Whatever it does, @done is true, and nothing is left in flight.
 */
#include "pool/ring.h"
#include "small_vm.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PAGES 256

static struct {
	int answers[4]; /* the first calls' instead of submitting anything; 0: it does */
	unsigned spare; /* of those in the queue, so many stay as they are, */
	unsigned spoil; /* so many ... */
	uint8_t opcode; /* ... become such */
	size_t at_most; /* or read that many bytes */
	int feed;	/* a pipe that the fourth call writes two pages to */
	_Atomic unsigned calls;
} fault;

static int fd;
static struct s2_rings rings;
static char pages[S2_RING_ENTRIES][S2_PAGE_SIZE];
static struct iovec iov[S2_RING_ENTRIES];
static struct s2_ring_read reads[S2_RING_ENTRIES];

static void spoil(struct io_uring_sqe *sqe)
{
	if (!fault.at_most) {
		sqe->opcode = fault.opcode;
		return;
	}
	sqe->opcode = IORING_OP_READ;
	sqe->addr = (uint64_t)(uintptr_t)((const struct iovec *)(uintptr_t)sqe->addr)->iov_base;
	sqe->len = (unsigned)fault.at_most;
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait)
{
	int (*real)(struct io_uring *, unsigned) =
		(int (*)(struct io_uring *, unsigned))dlsym(RTLD_NEXT, __func__);
	unsigned call = fault.calls++;

	if (call < 4 && fault.answers[call])
		return fault.answers[call];
	if (call == 3 && fault.feed)
		assert_int_equal(write(fault.feed, pages, 2 * S2_PAGE_SIZE), 2 * S2_PAGE_SIZE);
	for (unsigned i = ring->sq.sqe_head + fault.spare; fault.spoil && i != ring->sq.sqe_tail;
	     i++) {
		spoil(&ring->sq.sqes[i & *ring->sq.kring_mask]);
		fault.spoil--;
	}
	return real(ring, wait);
}

/* Of a page each, here and there in the file, whose pages hold their number. */
static void read_pages(unsigned n)
{
	memset(pages, 0x5a, sizeof(pages));
	for (unsigned i = 0; i < n; i++) {
		iov[i] = (struct iovec){ pages[i], S2_PAGE_SIZE };
		reads[i] = (struct s2_ring_read){ .offset = i * 37 % PAGES * (off_t)S2_PAGE_SIZE,
						  .iov = &iov[i],
						  .n = 1,
						  .done = 123 };
	}
	s2_rings_read(&rings, fd, reads, n);
}

static void fill_page(uint64_t *page, uint64_t number)
{
	for (unsigned i = 0; i < S2_PAGE_SIZE / sizeof(*page); i++)
		page[i] = number;
}

/* As far as it is said to have been read. */
static bool is_right(unsigned i)
{
	uint64_t expected[S2_PAGE_SIZE / sizeof(uint64_t)];

	fill_page(expected, (uint64_t)reads[i].offset / S2_PAGE_SIZE);
	return reads[i].done <= S2_PAGE_SIZE && !memcmp(pages[i], expected, reads[i].done);
}

static unsigned nr_whole(unsigned n)
{
	unsigned whole = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_true(is_right(i));
		whole += reads[i].done == S2_PAGE_SIZE;
	}
	return whole;
}

static void test_all_is_read(void **state)
{
	for (unsigned n = 1; n <= S2_RING_ENTRIES; n++) {
		read_pages(n);
		assert_int_equal(nr_whole(n), n);
	}
	assert_int_equal(rings.made, 1);
}

static void test_what_fails_has_read_nothing(void **state)
{
	fault.spoil = 5;
	fault.opcode = IORING_OP_LAST;
	read_pages(64);
	assert_int_equal(nr_whole(64), 59);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(reads[i].done, i < 5 ? 0 : S2_PAGE_SIZE);
	read_pages(64);
	assert_int_equal(nr_whole(64), 64);
}

static void test_a_short_read_says_how_short(void **state)
{
	fault.spoil = 64;
	fault.at_most = 1000;
	read_pages(64);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(reads[i].done, 1000);
		assert_true(is_right(i));
	}
}

static void test_what_the_file_does_not_have_is_not_read(void **state)
{
	off_t end = 100 * (off_t)S2_PAGE_SIZE;

	assert_int_equal(ftruncate(fd, end + 100), 0);
	read_pages(64);
	nr_whole(64);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(reads[i].done, reads[i].offset < end	 ? S2_PAGE_SIZE
						: reads[i].offset == end ? 100
									 : 0);
}

static void test_an_interrupted_call_is_made_again(void **state)
{
	fault.answers[0] = fault.answers[1] = -EINTR;
	read_pages(64);
	assert_int_equal(nr_whole(64), 64);
	assert_int_equal(rings.made, 1);
}

static void test_a_kernel_that_takes_nothing_leaves_no_ring(void **state)
{
	fault.answers[0] = -EAGAIN;
	read_pages(64);
	assert_int_equal(nr_whole(64), 0);
	assert_int_equal(rings.made, 0);
	/* What was queued there is not submitted later. */
	memset(pages, 0x5a, sizeof(pages));
	read_pages(10);
	assert_int_equal(nr_whole(10), 10);
	assert_int_equal(pages[10][0], 0x5a);
}

/* The kernel stops at a request it does not know: one is in flight, 63 are queued. */
static void test_a_kernel_that_takes_one_and_then_nothing(void **state)
{
	fault.spoil = 1;
	fault.opcode = IORING_OP_LAST;
	fault.answers[1] = -EAGAIN;
	read_pages(64);
	assert_int_equal(nr_whole(64), 0);
	assert_int_equal(rings.made, 0);
}

/* A read of an empty pipe takes until somebody writes, whatever the calls answer meanwhile. */
static void test_what_is_in_flight_is_waited_for(void **state)
{
	int ends[2], file = fd;

	assert_int_equal(pipe(ends), 0);
	fd = ends[0];
	fault.feed = ends[1];
	fault.spare = 1;
	fault.spoil = 1;
	fault.opcode = IORING_OP_LAST;
	fault.answers[1] = -EAGAIN;
	fault.answers[2] = -EINTR;
	read_pages(3);
	fd = file;
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(reads[0].done, S2_PAGE_SIZE);
	assert_int_equal(reads[1].done, 0);
	assert_int_equal(reads[2].done, S2_PAGE_SIZE);
	assert_int_equal(rings.made, 1);
}

static void test_a_program_without_descriptors_has_no_ring(void **state)
{
	int fds[1024], n = 0;
	struct rlimit old, low;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 128;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((fds[n] = dup(fd)) >= 0)
		n++;
	read_pages(64);
	while (n)
		close(fds[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(nr_whole(64), 0);
	/* That may be different the next time. */
	read_pages(64);
	assert_int_equal(nr_whole(64), 64);
}

static void *reader_main(void *arg)
{
	char(*buffers)[S2_PAGE_SIZE] = calloc(32, S2_PAGE_SIZE);
	uint64_t seed = (uint64_t)(uintptr_t)arg, right[S2_PAGE_SIZE / sizeof(uint64_t)];
	struct s2_ring_read mine[32];
	struct iovec vec[32];
	uintptr_t wrong = 0;

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 32; i++) {
			off_t number = (off_t)(test_random(&seed) % PAGES);

			vec[i] = (struct iovec){ buffers[i], S2_PAGE_SIZE };
			mine[i] = (struct s2_ring_read){ number * (off_t)S2_PAGE_SIZE, &vec[i], 1,
							 0 };
		}
		s2_rings_read(&rings, fd, mine, 32);
		for (unsigned i = 0; i < 32; i++) {
			fill_page(right, (uint64_t)mine[i].offset / S2_PAGE_SIZE);
			wrong += mine[i].done && memcmp(buffers[i], right, mine[i].done);
		}
	}
	free(buffers);
	return (void *)wrong;
}

static void test_threads_have_a_ring_each_up_to_a_limit(void **state)
{
	uint64_t seed = test_seed();
	pthread_t threads[24];
	void *wrong;

	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader_main,
						(void *)(uintptr_t)(seed + i)),
				 0);
	for (unsigned i = 0; i < 24; i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	assert_in_range(rings.made, 1, 16);
}

static int make_file(void **state)
{
	const char *parent = getenv("TMPDIR");
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)];
	char path[96];

	snprintf(path, sizeof(path), "%s/stage2-ring-XXXXXX", parent ? parent : "/tmp");
	fd = mkstemp(path);
	if (fd < 0 || unlink(path))
		return -1;
	for (unsigned i = 0; i < PAGES; i++) {
		fill_page(page, i);
		if (write(fd, page, sizeof(page)) != sizeof(page))
			return -1;
	}
	memset(&fault, 0, sizeof(fault));
	s2_rings_init(&rings);
	return 0;
}

static int close_file(void **state)
{
	s2_rings_destroy(&rings);
	return close(fd);
}

/* What these tests spoil has to be there. */
static bool no_rings(void)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(1, &ring, 0);

	if (ret) {
		print_message("the kernel refuses io_uring: %s\n", strerror(-ret));
		return true;
	}
	io_uring_queue_exit(&ring);
	return false;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, make_file, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_is_read),
		TEST(test_what_fails_has_read_nothing),
		TEST(test_a_short_read_says_how_short),
		TEST(test_what_the_file_does_not_have_is_not_read),
		TEST(test_an_interrupted_call_is_made_again),
		TEST(test_a_kernel_that_takes_nothing_leaves_no_ring),
		TEST(test_a_kernel_that_takes_one_and_then_nothing),
		TEST(test_what_is_in_flight_is_waited_for),
		TEST(test_a_program_without_descriptors_has_no_ring),
		TEST(test_threads_have_a_ring_each_up_to_a_limit),
	};

	return no_rings() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
