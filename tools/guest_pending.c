/* SPDX-License-Identifier: MIT */
/*
 * See guest_pending.h. The order is Linux's: the thread's own first, of these what a fault sends,
 * and then the lowest number; of one number the oldest.
 */
#include "guest_pending.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static bool is_of_a_fault(int signal)
{
	switch (signal) {
	case SIGSEGV:
	case SIGBUS:
	case SIGILL:
	case SIGTRAP:
	case SIGFPE:
	case SIGSYS:
		return true;
	default:
		return false;
	}
}

static bool is_there(const struct guest_pending *pending, int signal, bool to_thread)
{
	for (unsigned int i = 0; i < pending->nr; i++)
		if (pending->signals[i].info.signal == signal &&
		    pending->signals[i].to_thread == to_thread)
			return true;
	return false;
}

int guest_pending_add(struct guest_pending *pending, const struct guest_siginfo *info,
		      bool to_thread)
{
	bool queues = info->signal >= GUEST_FIRST_QUEUED;

	if (!queues && is_there(pending, info->signal, to_thread))
		return 0;
	if (queues && pending->queued == GUEST_QUEUED_SIGNALS)
		return -EAGAIN;
	pending->queued += queues;
	pending->signals[pending->nr].to_thread = to_thread;
	pending->signals[pending->nr++].info = *info;
	return 0;
}

uint64_t guest_pending_set(const struct guest_pending *pending)
{
	uint64_t set = 0;

	for (unsigned int i = 0; i < pending->nr; i++)
		set |= guest_signal_bit(pending->signals[i].info.signal);
	return set;
}

static void take_out(struct guest_pending *pending, unsigned int i)
{
	pending->queued -= pending->signals[i].info.signal >= GUEST_FIRST_QUEUED;
	pending->nr--;
	memmove(&pending->signals[i], &pending->signals[i + 1],
		(pending->nr - i) * sizeof(pending->signals[0]));
}

/* The lower, the sooner. */
static int rank(const struct guest_pending *pending, unsigned int i)
{
	int signal = pending->signals[i].info.signal;

	return (pending->signals[i].to_thread ? 0 : 4 * GUEST_SIGNALS) +
	       (is_of_a_fault(signal) ? 0 : 2 * GUEST_SIGNALS) + signal;
}

bool guest_pending_take(struct guest_pending *pending, uint64_t set, struct guest_siginfo *info)
{
	unsigned int best = pending->nr;

	for (unsigned int i = 0; i < pending->nr; i++)
		if (set & guest_signal_bit(pending->signals[i].info.signal) &&
		    (best == pending->nr || rank(pending, i) < rank(pending, best)))
			best = i;
	if (best == pending->nr)
		return false;
	*info = pending->signals[best].info;
	take_out(pending, best);
	return true;
}

void guest_pending_discard(struct guest_pending *pending, uint64_t set)
{
	for (unsigned int i = pending->nr; i-- > 0;)
		if (set & guest_signal_bit(pending->signals[i].info.signal))
			take_out(pending, i);
}
