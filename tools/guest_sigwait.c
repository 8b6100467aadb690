/* SPDX-License-Identifier: MIT */
/* See guest_sigwait.h. */
#include "guest_sigwait.h"

#include "clock.h"
#include "guest_copy.h"
#include "guest_signals.h"
#include "guest_stream.h"
#include "guest_time.h"

#include <errno.h>
#include <signal.h>

/* Without its timer there is nobody who would send it one. */
static bool waits_in_vain(struct guest *guest)
{
	if (guest_timer_next(guest) != UINT64_MAX)
		return false;
	guest_end(guest, 128 + SIGKILL,
		  "it waits for a signal, or a second thread, and there will be none");
	return true;
}

int guest_sigwait(struct guest *guest)
{
	if (guest_signal_interrupts(guest) || waits_in_vain(guest))
		return -EINTR;
	return guest_stream_poll(guest, NULL, 0, UINT64_MAX);
}

int64_t guest_sys_pause(struct guest *guest, const uint64_t args[6])
{
	(void)args;
	return guest_sigwait(guest);
}

int64_t guest_sys_rt_sigsuspend(struct guest *guest, const uint64_t args[6])
{
	int error = args[0] ? guest_signal_mask(guest, args[0], args[1]) : -EFAULT;

	return error ? error : guest_sigwait(guest);
}

/* @deadline: as guest_stream_poll()'s. Those of @set need not be blocked, but usually are. */
static int64_t wait_for(struct guest *guest, uint64_t set, uint64_t deadline,
			struct guest_siginfo *info)
{
	for (;;) {
		uint64_t next;
		int error;

		guest_timer_check(guest);
		if (guest_pending_take(&guest->signals->pending, set, info))
			return info->signal;
		if (clock_ns() >= deadline)
			return -EAGAIN;
		if (deadline == UINT64_MAX && waits_in_vain(guest))
			return -EINTR;
		next = guest_timer_next(guest);
		error = guest_stream_poll(guest, NULL, 0, next < deadline ? next : deadline);
		if (error)
			return error;
	}
}

int64_t guest_sys_rt_sigtimedwait(struct guest *guest, const uint64_t args[6])
{
	struct guest_siginfo info;
	uint64_t set, deadline;
	int64_t signal;
	int error;

	if (args[3] != sizeof(set))
		return -EINVAL;
	error = guest_copy_in(guest, args[0], &set, sizeof(set));
	if (!error)
		error = guest_time_deadline(guest, args[2], 1, &deadline);
	if (error)
		return error;
	signal = wait_for(guest, set, deadline, &info);
	if (signal > 0 && args[1])
		error = guest_copy_out(guest, args[1], &info, sizeof(info));
	return error ? error : signal;
}
