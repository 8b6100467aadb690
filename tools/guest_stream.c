/* SPDX-License-Identifier: MIT */
/*
 * See guest_stream.h. Stdio may be shared with other guests, which may take what poll() saw, and
 * must not be set O_NONBLOCK; RWF_NOWAIT is for one call.
 */
#define _GNU_SOURCE
#include "guest_stream.h"

#include "clock.h"
#include "guest_signals.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000u

/* Until @deadline_ns, but no longer than to when somebody has to look at the guest again. */
static int slice_ms(const struct guest *guest, uint64_t deadline_ns)
{
	uint64_t timer_ns = guest_timer_next(guest), now, left;

	if (!deadline_ns)
		return 0;
	if (timer_ns < deadline_ns)
		deadline_ns = timer_ns;
	now = clock_ns();
	if (now >= deadline_ns)
		return 0;
	left = (deadline_ns - now) / NS_PER_MS + 1;
	return left < GUEST_WAIT_MS ? (int)left : GUEST_WAIT_MS;
}

int guest_stream_poll(struct guest *guest, struct pollfd *fds, nfds_t n, uint64_t deadline_ns)
{
	for (;;) {
		bool last = !deadline_ns || clock_ns() >= deadline_ns;
		int ready = poll(fds, n, last ? 0 : slice_ms(guest, deadline_ns));

		if (ready > 0)
			return ready;
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (guest_must_stop(guest))
			return -EINTR;
		if (last)
			return 0;
		if (guest_signal_interrupts(guest))
			return -EINTR;
	}
}

static int wait_for(struct guest *guest, const struct guest_open_file *file, short events)
{
	struct pollfd fd = { .fd = file->host, .events = events };
	int ready =
		guest_stream_poll(guest, &fd, 1, file->flags & GUEST_O_NONBLOCK ? 0 : UINT64_MAX);

	if (ready < 0)
		return ready;
	return ready ? 0 : -EAGAIN;
}

static int64_t read_now(const struct guest_open_file *file, void *data, size_t len)
{
	const struct iovec iov = { data, len };
	ssize_t n = preadv2(file->host, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		n = read(file->host, data, len);
	return n < 0 ? -errno : n;
}

/* Older kernels: what poll() saw room for is a page, so that no more than that never waits. */
static int64_t write_now(const struct guest_open_file *file, const void *data, size_t len)
{
	const struct iovec iov = { (void *)(uintptr_t)data, len };
	ssize_t n = pwritev2(file->host, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		n = write(file->host, data, len < PIPE_BUF ? len : PIPE_BUF);
	return n < 0 ? -errno : n;
}

/* A read or write that waited for a signal's sake can be made again. */
static int64_t after_waiting(const struct guest *guest, int64_t result)
{
	return result == -EINTR && !guest->ended ? -GUEST_RESTART : result;
}

int64_t guest_stream_read(struct guest *guest, const struct guest_open_file *file, void *data,
			  size_t len)
{
	int64_t result;

	do {
		result = wait_for(guest, file, POLLIN);
		if (result)
			return after_waiting(guest, result);
		result = read_now(file, data, len);
	} while ((result == -EAGAIN || result == -EINTR) && !guest_must_stop(guest));
	return result;
}

/* The host's own SIGPIPE, which a write sends to its thread, must end nothing. */
static int64_t write_without_signal(const struct guest_open_file *file, const void *data,
				    size_t len)
{
	const struct timespec now = { 0 };
	sigset_t pipe, before, pending;
	bool was_pending;
	int64_t result;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	result = write_now(file, data, len);
	if (result == -EPIPE && !was_pending)
		sigtimedwait(&pipe, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

int64_t guest_stream_write(struct guest *guest, const struct guest_open_file *file,
			   const void *data, size_t len)
{
	int64_t result;

	do {
		result = wait_for(guest, file, POLLOUT);
		if (result)
			return after_waiting(guest, result);
		result = write_without_signal(file, data, len);
	} while ((result == -EAGAIN || result == -EINTR) && !guest_must_stop(guest));
	if (result == -EPIPE)
		guest_signal(guest, SIGPIPE);
	return result;
}
