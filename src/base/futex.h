/* SPDX-License-Identifier: MIT */
/* The futex system call, private to this process. errno is left as it was. */
#ifndef S2_BASE_FUTEX_H
#define S2_BASE_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *@word is @value; may return early, so callers look again. */
static inline void s2_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
	errno = saved;
}

/* The same, for @ns nanoseconds (less than a second) at most. */
static inline void s2_futex_wait_for(_Atomic uint32_t *word, uint32_t value, long ns)
{
	const struct timespec timeout = { .tv_nsec = ns };
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0);
	errno = saved;
}

static inline void s2_futex_wake(_Atomic uint32_t *word, int count)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
	errno = saved;
}

#endif /* S2_BASE_FUTEX_H */
