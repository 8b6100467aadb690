/* SPDX-License-Identifier: MIT */
/* See guest_timer.h. */
#include "guest_timer.h"

#include "clock.h"
#include "guest_copy.h"
#include "guest_signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_US UINT64_C(1000)
#define US_PER_S INT64_C(1000000)

/* So long that it never comes, and can be added to any time. */
#define NEVER_NS (UINT64_MAX / 4)

/* The kernel's on x86-64. */
struct itimer {
	struct {
		int64_t seconds;
		int64_t us;
	} interval, value;
};

static struct guest_timer *timer_of(const struct guest *guest)
{
	return &guest->signals->timer;
}

static uint64_t next_of(const struct guest *guest)
{
	return atomic_load_explicit(&timer_of(guest)->next_ns, memory_order_relaxed);
}

uint64_t guest_timer_next(const struct guest *guest)
{
	uint64_t next = next_of(guest);

	return next ? next : UINT64_MAX;
}

static void set_next(struct guest *guest, uint64_t ns)
{
	/* Nothing else is to be seen by who reads it. */
	atomic_store_explicit(&timer_of(guest)->next_ns, ns, memory_order_relaxed);
}

/* As in the kernel, times that have passed by are not made up for. */
void guest_timer_check(struct guest *guest)
{
	struct guest_timer *timer = timer_of(guest);
	uint64_t next = next_of(guest), now;

	if (!next)
		return;
	now = clock_ns();
	if (now < next)
		return;
	if (timer->interval_ns)
		next += ((now - next) / timer->interval_ns + 1) * timer->interval_ns;
	else
		next = 0;
	set_next(guest, next);
	guest_signal_send(guest, &(struct guest_siginfo){ .signal = SIGALRM, .code = SI_KERNEL },
			  false);
}

/* Until it expires, at least something. 0: not armed. */
static uint64_t left_ns(struct guest *guest)
{
	uint64_t next, now;

	guest_timer_check(guest);
	next = next_of(guest);
	if (!next)
		return 0;
	now = clock_ns();
	return next > now + NS_PER_US ? next - now : NS_PER_US;
}

static void arm(struct guest *guest, uint64_t value_ns, uint64_t interval_ns)
{
	timer_of(guest)->interval_ns = interval_ns;
	set_next(guest, value_ns ? clock_ns() + value_ns : 0);
}

static uint64_t ns_of(int64_t seconds, int64_t us)
{
	if ((uint64_t)seconds >= NEVER_NS / NS_PER_S)
		return NEVER_NS;
	return (uint64_t)seconds * NS_PER_S + (uint64_t)us * NS_PER_US;
}

/* Rounded, but not to nothing. */
int64_t guest_sys_alarm(struct guest *guest, const uint64_t args[6])
{
	uint64_t left = left_ns(guest);

	arm(guest, (uint32_t)args[0] * NS_PER_S, 0);
	if (left && left < NS_PER_S)
		return 1;
	return (int64_t)((left + NS_PER_S / 2) / NS_PER_S);
}

static int tell(struct guest *guest, uint64_t gpa)
{
	uint64_t left = left_ns(guest), interval = timer_of(guest)->interval_ns;
	const struct itimer out = {
		.interval = { (int64_t)(interval / NS_PER_S),
			      (int64_t)(interval % NS_PER_S / NS_PER_US) },
		.value = { (int64_t)(left / NS_PER_S), (int64_t)(left % NS_PER_S / NS_PER_US) },
	};

	return guest_copy_out(guest, gpa, &out, sizeof(out));
}

/* Those of processor time are not there. */
int64_t guest_sys_getitimer(struct guest *guest, const uint64_t args[6])
{
	return args[0] == ITIMER_REAL ? tell(guest, args[1]) : -EINVAL;
}

static bool is_time(int64_t seconds, int64_t us)
{
	return seconds >= 0 && us >= 0 && us < US_PER_S;
}

int64_t guest_sys_setitimer(struct guest *guest, const uint64_t args[6])
{
	struct itimer new = { 0 };
	int error = 0;

	if (args[0] != ITIMER_REAL)
		return -EINVAL;
	if (args[1])
		error = guest_copy_in(guest, args[1], &new, sizeof(new));
	if (!error && (!is_time(new.interval.seconds, new.interval.us) ||
		       !is_time(new.value.seconds, new.value.us)))
		error = -EINVAL;
	if (!error && args[2])
		error = tell(guest, args[2]);
	if (!error)
		arm(guest, ns_of(new.value.seconds, new.value.us),
		    ns_of(new.interval.seconds, new.interval.us));
	return error;
}
