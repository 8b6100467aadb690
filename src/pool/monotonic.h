/* SPDX-License-Identifier: MIT */
/* Deadlines by a clock that nobody sets. In nanoseconds. */
#ifndef S2_POOL_MONOTONIC_H
#define S2_POOL_MONOTONIC_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t s2_monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t s2_deadline(unsigned ms)
{
	return s2_monotonic_ns() + (uint64_t)ms * 1000000;
}

static inline bool s2_is_past(uint64_t deadline)
{
	return s2_monotonic_ns() >= deadline;
}

/* For poll(); rounded up. */
static inline int s2_milliseconds_to(uint64_t deadline)
{
	uint64_t now = s2_monotonic_ns();

	return now >= deadline ? 0 : (int)((deadline - now + 999999) / 1000000);
}

#endif /* S2_POOL_MONOTONIC_H */
