/* SPDX-License-Identifier: MIT */
/*
 * Guests without a vCPU: plain loads, stores and copies in a window of the library's. An access
 * that fails is a SIGSEGV, which the library passes on to the handler here; that leaves the
 * access by a jump. The window shows the updaters' memslots as well.
 */
#include "torture_pool.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* Of the access that the thread is making; volatile as the access is. */
static __thread sigjmp_buf *volatile landing;

static struct sigaction before;

#if TORTURE_THREAD_SANITIZER
/* A fault allocates, in the handler of a signal that comes where the program could as well. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}
#endif

static void land(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (landing && s2_window_error())
		siglongjmp(*landing, 1);
	/* A fault of the program's: it happens again, and is told to who was there before. */
	sigaction(sig, &before, NULL);
}

int torture_plain_begin_signals(void)
{
	const struct sigaction action = { .sa_sigaction = land, .sa_flags = SA_SIGINFO };

	return sigaction(SIGSEGV, &action, &before) ? -errno : s2_window_handle_signals();
}

void torture_plain_end_signals(void)
{
	sigaction(SIGSEGV, &before, NULL);
}

static void copy_now(void *to, const void *from, size_t len)
{
	if (len == sizeof(uint64_t))
		*(volatile uint64_t *)to = *(const volatile uint64_t *)from;
	else
		memcpy(to, from, len);
}

/* 0, or the error that the library says. */
static int copy(void *to, const void *from, size_t len)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		landing = NULL;
		return s2_window_error();
	}
	landing = &here;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	copy_now(to, from, len);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	landing = NULL;
	return 0;
}

static char *plain_addr(struct torture_worker *w, uint64_t gpa)
{
	count(w, TORTURE_WINDOW_ACCESSES, 1);
	return (char *)s2_window_addr(w->window) + gpa;
}

int torture_plain_read(struct torture_worker *w, uint64_t gpa, void *data, size_t len)
{
	return copy(data, plain_addr(w, gpa), len);
}

int torture_plain_write(struct torture_worker *w, uint64_t gpa, const void *data, size_t len)
{
	return copy(plain_addr(w, gpa), data, len);
}

int torture_plain_begin(struct torture_worker *w)
{
	const struct s2_window_config config = {
		.size = torture_pool_window_gpa(w->guest, w->torture->options.updaters, false),
	};

	return s2_window_create(w->guest->vm, &config, &w->window);
}

void torture_plain_end(struct torture_worker *w)
{
	struct s2_window_stats stats = { 0 };

	s2_window_get_stats(w->window, &stats);
	count(w, TORTURE_WINDOW_FAULTS, stats.faults);
	count(w, TORTURE_RETRIES, stats.fault_retries);
	s2_window_destroy(w->window);
	w->window = NULL;
}
