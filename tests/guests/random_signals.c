/* SPDX-License-Identifier: MIT */
/*
 * Run as a guest by tests/tools/test_guest_signals.c, with a seed: random calls that have to do
 * with signals, handlers that make something else of their frames, and at the end a return from a
 * handler that there never was. How it ends is its own affair.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#define CALLS 300
#define FRAME_WORDS 55
#define WITH_RESTORER 0x04000000u

/* The kernel's. */
struct action {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

static uint64_t seed;
static uint64_t arena[8192] __attribute__((aligned(64)));
static uint64_t frame[FRAME_WORDS + 64];
static sigjmp_buf back;
static unsigned int depth;

static uint64_t next(void)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return seed >> 24;
}

/* Mostly near to something. */
static uint64_t word(void)
{
	switch (next() % 6) {
	case 0:
		return next() % 256;
	case 1:
		return (uint64_t)(uintptr_t)arena + next() % sizeof(arena);
	case 2:
		return UINT64_C(1) << next() % 64;
	case 3:
		return -next() % 8192;
	case 4:
		return (uint64_t)(uintptr_t)word + next() % 4096;
	default:
		return next() << 32 | next();
	}
}

static void plain(int signal, siginfo_t *info, void *context)
{
	(void)info;
	memcpy(frame, (char *)context - 8, FRAME_WORDS * sizeof(frame[0]));
	arena[signal] += 1;
}

static void change_frame(int signal, siginfo_t *info, void *context)
{
	uint64_t *words = context;

	(void)signal;
	(void)info;
	for (uint64_t n = next() % 3; n-- > 0;)
		words[next() % FRAME_WORDS] = word();
}

static void raise_more(int signal, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (depth++ < 20)
		syscall(SYS_tkill, getpid(), signal);
	depth--;
}

static void jump(int signal, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	siglongjmp(back, signal);
}

__attribute__((naked)) static void restore(void)
{
	__asm__ volatile("mov $15, %eax; syscall");
}

static void set_action(int signal)
{
	static void (*const handlers[])(int, siginfo_t *, void *) = {
		plain, plain, change_frame, raise_more, jump,
	};
	struct action action = {
		.handler = (uint64_t)(uintptr_t)handlers[next() % 5],
		.flags = WITH_RESTORER | (next() % 2 ? 0x08000000u : 0) |
			 (next() % 2 ? SA_NODEFER : 0),
		.restorer = (uint64_t)(uintptr_t)restore,
	};

	if (next() % 8 == 0)
		action.mask = word();
	if (next() % 16 == 0)
		((uint64_t *)&action)[next() % 4] = word();
	syscall(SYS_rt_sigaction, signal, &action, NULL, 8);
}

static void set_stack(void)
{
	uint64_t stack[3] = { (uint64_t)(uintptr_t)arena, 0, sizeof(arena) };

	if (next() % 2)
		stack[next() % 3] = word();
	if (next() % 8 == 0)
		stack[1] = UINT64_C(1) << 31;
	syscall(SYS_sigaltstack, stack, next() % 2 ? stack : NULL);
}

static void set_timer(void)
{
	const struct itimerval timer = { { 0, (suseconds_t)(next() % 300) },
					 { 0, (suseconds_t)(next() % 300) } };

	setitimer(ITIMER_REAL, &timer, NULL);
	for (volatile unsigned int i = 0; i < 2000; i++)
		;
}

static void call(void)
{
	const struct timespec now = { 0, 0 }, soon = { 0, 1000 };
	int signal = (int)(1 + next() % 64);
	uint64_t set = word();

	switch (next() % 10) {
	case 0:
		set_action(signal);
		break;
	case 1:
		syscall(SYS_rt_sigprocmask, next() % 4, &set, NULL, 8);
		break;
	case 2:
		syscall(SYS_kill, getpid(), signal == SIGKILL ? 0 : signal);
		break;
	case 3:
		syscall(SYS_tgkill, getpid(), getpid(), signal == SIGKILL ? 0 : signal);
		break;
	case 4:
		syscall(SYS_rt_sigqueueinfo, getpid(), signal == SIGKILL ? 0 : signal,
			arena + next() % 9);
		break;
	case 5:
		set_stack();
		break;
	case 6:
		set_timer();
		break;
	case 7:
		syscall(SYS_rt_sigtimedwait, &set, arena + next() % 9, &now, 8);
		break;
	case 8:
		syscall(SYS_ppoll, NULL, 0, &soon, &set, 8);
		break;
	default:
		syscall(13 + next() % 3, word(), word(), word(), 8);
	}
}

/* The frame of the last handler that was plain, if there was one, or what is left of it. */
static void return_to_nothing(void)
{
	if (next() % 4 == 0)
		for (unsigned int i = 0; i < FRAME_WORDS; i++)
			frame[i] = word();
	for (uint64_t n = next() % 4; n-- > 0;)
		frame[next() % FRAME_WORDS] = word();
	__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2"
			 :
			 : "r"(next() % 8 ? (uint64_t)(uintptr_t)&frame[1] : word())
			 : "memory");
}

int main(int argc, char **argv)
{
	static volatile unsigned int done;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	for (int signal = 1; signal <= 64; signal++)
		set_action(signal);
	sigsetjmp(back, next() % 2);
	while (done++ < CALLS)
		call();
	return_to_nothing();
	return 0;
}
