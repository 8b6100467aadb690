/* SPDX-License-Identifier: MIT */
/*
 * See guest_time.h.
 */
#include "guest_time.h"

#include "clock.h"
#include "guest_copy.h"
#include "guest_signals.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

/* The kernel's on x86-64. */
struct guest_timespec {
	int64_t sec;
	int64_t nsec;
};

struct guest_timeval {
	int64_t sec;
	int64_t usec;
};

/* The clocks with numbers of their own. A guest is a process with one thread, the host is not. */
static bool host_clock(uint64_t guest_clock, clockid_t *clock)
{
	if (guest_clock > CLOCK_TAI)
		return false;
	*clock = guest_clock == CLOCK_PROCESS_CPUTIME_ID ? CLOCK_THREAD_CPUTIME_ID
							 : (clockid_t)guest_clock;
	return true;
}

static int copy_time_out(struct guest *guest, uint64_t gpa, const struct timespec *time)
{
	struct guest_timespec out = { time->tv_sec, time->tv_nsec };

	return guest_copy_out(guest, gpa, &out, sizeof(out));
}

/* -EINVAL for what is no time, as anywhere on Linux. */
static int copy_time_in(struct guest *guest, uint64_t gpa, struct timespec *time)
{
	struct guest_timespec in;
	int error = guest_copy_in(guest, gpa, &in, sizeof(in));

	if (error)
		return error;
	if (in.sec < 0 || in.nsec < 0 || in.nsec >= NS_PER_S)
		return -EINVAL;
	time->tv_sec = in.sec;
	time->tv_nsec = in.nsec;
	return 0;
}

uint64_t guest_time_in(uint64_t ns)
{
	uint64_t deadline;

	if (!ns)
		return 0;
	return __builtin_add_overflow(clock_ns(), ns, &deadline) ? UINT64_MAX : deadline;
}

int guest_time_deadline(struct guest *guest, uint64_t gpa, uint64_t unit, uint64_t *deadline)
{
	struct guest_timespec in;
	uint64_t ns;
	int error;

	*deadline = UINT64_MAX;
	if (!gpa)
		return 0;
	error = guest_copy_in(guest, gpa, &in, sizeof(in));
	if (error)
		return error;
	if (in.sec < 0 || in.nsec < 0 || (uint64_t)in.nsec >= NS_PER_S / unit)
		return -EINVAL;
	if (!__builtin_mul_overflow((uint64_t)in.sec, (uint64_t)NS_PER_S, &ns) &&
	    !__builtin_add_overflow(ns, (uint64_t)in.nsec * unit, &ns))
		*deadline = guest_time_in(ns);
	return 0;
}

uint64_t guest_cpu_time_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int64_t guest_sys_clock_gettime(struct guest *guest, const uint64_t args[6])
{
	struct timespec now;
	clockid_t clock;

	if (!host_clock(args[0], &clock) || clock_gettime(clock, &now))
		return -EINVAL;
	return copy_time_out(guest, args[1], &now);
}

int64_t guest_sys_clock_getres(struct guest *guest, const uint64_t args[6])
{
	struct timespec resolution;
	clockid_t clock;

	if (!host_clock(args[0], &clock) || clock_getres(clock, &resolution))
		return -EINVAL;
	return args[1] ? copy_time_out(guest, args[1], &resolution) : 0;
}

int64_t guest_sys_gettimeofday(struct guest *guest, const uint64_t args[6])
{
	static const struct timezone utc;
	struct guest_timeval out;
	struct timespec now;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	out = (struct guest_timeval){ now.tv_sec, now.tv_nsec / 1000 };
	if (args[0])
		error = guest_copy_out(guest, args[0], &out, sizeof(out));
	if (!error && args[1])
		error = guest_copy_out(guest, args[1], &utc, sizeof(utc));
	return error;
}

int64_t guest_sys_time(struct guest *guest, const uint64_t args[6])
{
	int64_t now = time(NULL);
	int error = args[0] ? guest_copy_out(guest, args[0], &now, sizeof(now)) : 0;

	return error ? error : now;
}

/* The kernel's ticks, whatever the host's are. */
int64_t guest_sys_times(struct guest *guest, const uint64_t args[6])
{
	int64_t per_second = sysconf(_SC_CLK_TCK);
	uint64_t used = guest_cpu_time_ns() / (uint64_t)(NS_PER_S / per_second);
	const int64_t times[4] = { (int64_t)used };
	struct timespec now;
	int error = args[0] ? guest_copy_out(guest, args[0], times, sizeof(times)) : 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return error ? error : now.tv_sec * per_second + now.tv_nsec / (NS_PER_S / per_second);
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static struct timespec later(struct timespec time, const struct timespec *by)
{
	if (__builtin_add_overflow(time.tv_sec, by->tv_sec, &time.tv_sec) ||
	    time.tv_sec == INT64_MAX)
		return (struct timespec){ .tv_sec = INT64_MAX };
	time.tv_nsec += by->tv_nsec;
	if (time.tv_nsec >= NS_PER_S) {
		time.tv_nsec -= NS_PER_S;
		time.tv_sec++;
	}
	return time;
}

/* Until somebody has to look at the guest again: its end, or its timer. */
static struct timespec next_step(const struct guest *guest)
{
	uint64_t timer = guest_timer_next(guest), now = clock_ns();
	uint64_t ns = GUEST_WAIT_MS * UINT64_C(1000000);

	if (timer <= now)
		ns = 0;
	else if (timer - now < ns)
		ns = timer - now;
	return (struct timespec){ .tv_nsec = (long)ns };
}

/* Sleeps to @until in steps, between which the guest may have to end or get a signal. */
static int64_t sleep_until(struct guest *guest, clockid_t clock, const struct timespec *until)
{
	struct timespec now;

	for (;;) {
		struct timespec step = next_step(guest), next;

		if (guest_must_stop(guest) || guest_signal_interrupts(guest))
			return -EINTR;
		if (clock_gettime(clock, &now))
			return -EINVAL;
		if (!is_before(&now, until))
			return 0;
		next = later(now, &step);
		if (is_before(until, &next))
			next = *until;
		if (clock_nanosleep(clock, TIMER_ABSTIME, &next, NULL) == ENOTSUP)
			return -ENOTSUP;
	}
}

/* What is left of a sleep, which is the guest's to know. */
static int64_t tell_rest(struct guest *guest, clockid_t clock, const struct timespec *until,
			 uint64_t gpa)
{
	struct timespec now, left = { 0 };
	int error;

	clock_gettime(clock, &now);
	if (is_before(&now, until)) {
		left.tv_sec = until->tv_sec - now.tv_sec;
		left.tv_nsec = until->tv_nsec - now.tv_nsec;
	}
	if (left.tv_nsec < 0) {
		left.tv_nsec += NS_PER_S;
		left.tv_sec--;
	}
	error = copy_time_out(guest, gpa, &left);
	return error ? error : -EINTR;
}

/* @rest: where what is left goes if a signal ends it; 0: nowhere. */
static int64_t sleep_for(struct guest *guest, clockid_t clock, const struct timespec *duration,
			 uint64_t rest)
{
	struct timespec until;
	int64_t answer;

	if (clock_gettime(clock, &until))
		return -EINVAL;
	until = later(until, duration);
	answer = sleep_until(guest, clock, &until);
	return answer == -EINTR && rest ? tell_rest(guest, clock, &until, rest) : answer;
}

int64_t guest_sys_nanosleep(struct guest *guest, const uint64_t args[6])
{
	struct timespec duration;
	int error = copy_time_in(guest, args[0], &duration);

	return error ? error : sleep_for(guest, CLOCK_MONOTONIC, &duration, args[1]);
}

int64_t guest_sys_clock_nanosleep(struct guest *guest, const uint64_t args[6])
{
	struct timespec time;
	int error;

	if (args[0] != CLOCK_REALTIME && args[0] != CLOCK_MONOTONIC && args[0] != CLOCK_BOOTTIME)
		return -EINVAL;
	error = copy_time_in(guest, args[2], &time);
	if (error)
		return error;
	if (args[1] & TIMER_ABSTIME)
		return sleep_until(guest, (clockid_t)args[0], &time);
	return sleep_for(guest, (clockid_t)args[0], &time, args[3]);
}

/* FUTEX_WAIT's is a duration, FUTEX_WAIT_BITSET's a point in time. */
int64_t guest_futex_timeout(struct guest *guest, const uint64_t args[6])
{
	clockid_t clock = args[1] & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	struct timespec time;
	int64_t answer = copy_time_in(guest, args[3], &time);

	if (answer)
		return answer;
	if ((args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
		answer = sleep_for(guest, clock, &time, 0);
	else
		answer = sleep_until(guest, clock, &time);
	return answer ? answer : -ETIMEDOUT;
}
