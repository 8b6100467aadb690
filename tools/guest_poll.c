/* SPDX-License-Identifier: MIT */
/*
 * Waiting for several descriptors.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_files.h"
#include "guest_signals.h"
#include "guest_stream.h"
#include "guest_time.h"

#include <errno.h>
#include <stdlib.h>

#define NS_PER_MS UINT64_C(1000000)

/* Of select(): a bit for each descriptor. */
#define BITS 64

/* As the guest's, but for the descriptor. */
struct guest_pollfd {
	int32_t fd;
	int16_t events;
	int16_t revents;
};

/* The host's descriptor, which poll() leaves out if it is negative. */
static int host_of(const struct guest *guest, int32_t fd)
{
	const struct guest_open_file *file = fd < 0 ? NULL : guest_descriptor(guest, (uint64_t)fd);

	return file && !(file->flags & GUEST_O_PATH) ? file->host : -1;
}

/* Returns how many of the descriptors are none. */
static int translate(const struct guest *guest, struct guest_pollfd *from, struct pollfd *to,
		     nfds_t n)
{
	int wrong = 0;

	for (nfds_t i = 0; i < n; i++) {
		to[i] = (struct pollfd){ .fd = host_of(guest, from[i].fd),
					 .events = from[i].events };
		from[i].revents = from[i].fd >= 0 && to[i].fd < 0 ? POLLNVAL : 0;
		wrong += !!from[i].revents;
	}
	return wrong;
}

static int64_t poll_copied(struct guest *guest, struct guest_pollfd *fds, struct pollfd *host,
			   nfds_t n, uint64_t deadline)
{
	int wrong = translate(guest, fds, host, n);
	int ready = guest_stream_poll(guest, host, n, wrong ? 0 : deadline);

	if (ready < 0)
		return ready;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents |= host[i].revents;
	return wrong + ready;
}

static int64_t poll_until(struct guest *guest, uint64_t gpa, uint64_t n, uint64_t deadline)
{
	struct guest_pollfd *fds;
	struct pollfd *host;
	int64_t result;

	n = (uint32_t)n;
	if (n > guest->files->limit)
		return -EINVAL;
	fds = calloc(n + 1, sizeof(*fds));
	host = calloc(n + 1, sizeof(*host));
	result = fds && host ? guest_copy_in(guest, gpa, fds, n * sizeof(*fds)) : -ENOMEM;
	if (!result)
		result = poll_copied(guest, fds, host, n, deadline);
	if (result >= 0) {
		int error = guest_copy_out(guest, gpa, fds, n * sizeof(*fds));

		result = error ? error : result;
	}
	free(fds);
	free(host);
	return result;
}

int64_t guest_sys_poll(struct guest *guest, const uint64_t args[6])
{
	int32_t ms = (int32_t)args[2];

	return poll_until(guest, args[0], args[1],
			  ms < 0 ? UINT64_MAX : guest_time_in((uint64_t)ms * NS_PER_MS));
}

/* A signal that ended the wait is delivered with the call's mask. */
static int64_t unmask_unless_interrupted(struct guest *guest, int64_t result)
{
	if (result != -EINTR)
		guest_signal_unmask(guest);
	return result;
}

int64_t guest_sys_ppoll(struct guest *guest, const uint64_t args[6])
{
	uint64_t deadline;
	int error = guest_time_deadline(guest, args[2], 1, &deadline);

	if (!error)
		error = guest_signal_mask(guest, args[3], args[4]);
	if (error)
		return error;
	return unmask_unless_interrupted(guest, poll_until(guest, args[0], args[1], deadline));
}

/* The three sets of select(), in the order of its arguments, and what each asks poll() for. */
enum { SETS = 3 };

static const short asked[SETS] = { POLLIN, POLLOUT, POLLPRI };
static const short answered[SETS] = {
	POLLIN | POLLHUP | POLLERR,
	POLLOUT | POLLERR,
	POLLPRI,
};

struct selection {
	nfds_t n;
	size_t words;
	uint64_t *sets[SETS];
	struct pollfd *fds;
};

static int select_read(struct guest *guest, const uint64_t gpas[SETS], struct selection *selection)
{
	for (unsigned int s = 0; s < SETS; s++) {
		int error = 0;

		selection->sets[s] = calloc(selection->words + 1, sizeof(uint64_t));
		if (!selection->sets[s])
			return -ENOMEM;
		if (gpas[s])
			error = guest_copy_in(guest, gpas[s], selection->sets[s],
					      selection->words * sizeof(uint64_t));
		if (error)
			return error;
	}
	selection->fds = calloc(selection->n + 1, sizeof(*selection->fds));
	return selection->fds ? 0 : -ENOMEM;
}

static int select_translate(const struct guest *guest, struct selection *selection)
{
	for (nfds_t i = 0; i < selection->n; i++) {
		struct pollfd *fd = &selection->fds[i];

		fd->fd = -1;
		for (unsigned int s = 0; s < SETS; s++)
			if (selection->sets[s][i / BITS] >> i % BITS & 1)
				fd->events |= asked[s];
		if (!fd->events)
			continue;
		fd->fd = host_of(guest, (int32_t)i);
		if (fd->fd < 0)
			return -EBADF;
	}
	return 0;
}

/* Leaves in the sets what is ready; returns how many bits that is. */
static int64_t select_answer(struct selection *selection)
{
	int64_t ready = 0;

	for (nfds_t i = 0; i < selection->n; i++) {
		for (unsigned int s = 0; s < SETS; s++) {
			uint64_t bit = UINT64_C(1) << i % BITS,
				 *word = &selection->sets[s][i / BITS];

			if (!(*word & bit))
				continue;
			if (selection->fds[i].revents & answered[s])
				ready++;
			else
				*word &= ~bit;
		}
	}
	return ready;
}

static int64_t select_write(struct guest *guest, const uint64_t gpas[SETS],
			    const struct selection *selection)
{
	for (unsigned int s = 0; s < SETS; s++) {
		int error = 0;

		if (gpas[s])
			error = guest_copy_out(guest, gpas[s], selection->sets[s],
					       selection->words * sizeof(uint64_t));
		if (error)
			return error;
	}
	return 0;
}

static int64_t select_until(struct guest *guest, const uint64_t args[6], uint64_t deadline)
{
	struct selection selection = { 0 };
	int64_t result, error;

	if ((int32_t)args[0] < 0)
		return -EINVAL;
	selection.n = (uint32_t)args[0];
	if (selection.n > guest->files->limit)
		selection.n = guest->files->limit;
	selection.words = (selection.n + BITS - 1) / BITS;
	result = select_read(guest, args + 1, &selection);
	if (!result)
		result = select_translate(guest, &selection);
	if (!result)
		result = guest_stream_poll(guest, selection.fds, selection.n, deadline);
	if (result >= 0) {
		result = select_answer(&selection);
		error = select_write(guest, args + 1, &selection);
		result = error ? error : result;
	}
	for (unsigned int s = 0; s < SETS; s++)
		free(selection.sets[s]);
	free(selection.fds);
	return result;
}

int64_t guest_sys_select(struct guest *guest, const uint64_t args[6])
{
	uint64_t deadline;
	int error = guest_time_deadline(guest, args[4], 1000, &deadline);

	return error ? error : select_until(guest, args, deadline);
}

int64_t guest_sys_pselect6(struct guest *guest, const uint64_t args[6])
{
	struct {
		uint64_t gpa;
		uint64_t size;
	} mask = { 0 };
	uint64_t deadline;
	int error = args[5] ? guest_copy_in(guest, args[5], &mask, sizeof(mask)) : 0;

	if (!error)
		error = guest_time_deadline(guest, args[4], 1, &deadline);
	if (!error)
		error = guest_signal_mask(guest, mask.gpa, mask.size);
	if (error)
		return error;
	return unmask_unless_interrupted(guest, select_until(guest, args, deadline));
}
