/* SPDX-License-Identifier: MIT */
/* The choice at each step: a generator per thread, so that threads share nothing but the setting. */
#include "base/schedule.h"

#if S2_SCHEDULES

#include "base/arch.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

/* What a spin is at most, in relaxations, and a sleep, in nanoseconds. */
#define SPIN_MOST 4096
#define SLEEP_MOST 200000

/* The setting: no library state, since it decides nothing but when threads run. */
static _Atomic uint64_t run_seed;
static _Atomic uint32_t run_nr; /* changes with each run, so that threads begin anew */
static _Atomic uint32_t run_percent;
static _Atomic uint64_t next_thread;

static _Thread_local uint64_t random_state;
static _Thread_local uint32_t thread_run;

/* splitmix64: any seed will do, and the state is one word that a signal handler may advance too. */
static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t next_random(void)
{
	random_state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(random_state);
}

void s2_schedule_run(uint64_t seed, unsigned percent)
{
	atomic_store_explicit(&run_seed, seed, memory_order_relaxed);
	/* Numbers of threads that come by themselves are above those that are given. */
	atomic_store_explicit(&next_thread, UINT64_C(1) << 32, memory_order_relaxed);
	atomic_store_explicit(&run_percent, percent, memory_order_relaxed);
#ifdef S2_ARCH_HAS_RSEQ
	/* No point can be put into a restartable sequence; all of them wait a little. */
	__atomic_store_n(&s2_rseq_window, percent * 200, __ATOMIC_RELAXED);
#endif
	/* Release pairs with the acquire in s2_schedule_point(): the seed before the run. */
	atomic_fetch_add_explicit(&run_nr, 1, memory_order_release);
}

void s2_schedule_thread(uint64_t number)
{
	thread_run = atomic_load_explicit(&run_nr, memory_order_acquire);
	random_state = mix(atomic_load_explicit(&run_seed, memory_order_relaxed) ^ mix(number));
}

static void hesitate(uint64_t choice)
{
	unsigned amount = (unsigned)(choice >> 32);

	if (choice % 8 < 3) {
		sched_yield();
	} else if (choice % 8 < 7) {
		for (unsigned i = amount % SPIN_MOST; i; i--)
			s2_cpu_relax();
	} else {
		const struct timespec pause = { .tv_nsec = amount % SLEEP_MOST };

		nanosleep(&pause, NULL);
	}
}

void s2_schedule_point(enum s2_step step)
{
	uint32_t percent = atomic_load_explicit(&run_percent, memory_order_relaxed);
	uint64_t choice;
	int saved = errno;

	if (!percent)
		return;
	if (thread_run != atomic_load_explicit(&run_nr, memory_order_acquire))
		s2_schedule_thread(atomic_fetch_add_explicit(&next_thread, 1, memory_order_relaxed));
	choice = next_random() ^ mix((uint64_t)step);
	if ((choice >> 8) % 100 < percent)
		hesitate(choice);
	errno = saved;
}

#else
typedef int s2_schedule_is_left_alone; /* ISO C forbids an empty file */
#endif
