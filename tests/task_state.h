/* SPDX-License-Identifier: MIT */
/*
 * Has another thread gone to sleep? Tests ask /proc rather than wait a while: a
 * thread that should sleep and does not keeps them here, for the watchdog to end.
 */
#ifndef TESTS_TASK_STATE_H
#define TESTS_TASK_STATE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* One letter, as ps prints it; '?' if the thread is gone. */
static inline char task_state(pid_t tid)
{
	char path[64], line[256], state = '?';
	const char *after_name;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	file = fopen(path, "r");
	if (!file)
		return state;
	if (fgets(line, sizeof(line), file)) {
		after_name = strrchr(line, ')');
		if (after_name && after_name[1])
			state = after_name[2];
	}
	fclose(file);
	return state;
}

static inline uint64_t thread_cpu_ns(pthread_t thread)
{
	struct timespec spent = { 0 };
	clockid_t clock;

	if (!pthread_getcpuclockid(thread, &clock))
		clock_gettime(clock, &spent);
	return (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec;
}

/* Returns when the thread sleeps and stays asleep, which one that spins never does. */
static inline void until_asleep(pthread_t thread, const _Atomic pid_t *tid)
{
	for (;;) {
		uint64_t before = thread_cpu_ns(thread);
		unsigned asleep = 0;

		for (unsigned i = 0; i < 20; i++) {
			pid_t id = atomic_load(tid);

			asleep += id && task_state(id) == 'S';
			sched_yield();
		}
		if (asleep == 20 && thread_cpu_ns(thread) == before)
			return;
	}
}

static inline void until_true(const _Atomic bool *flag)
{
	while (!atomic_load(flag))
		sched_yield();
}

#endif /* TESTS_TASK_STATE_H */
