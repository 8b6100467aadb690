/* SPDX-License-Identifier: MIT */
/*
 * See guest_signals.h. A guest that would have handled a signal ends by it: what static programs
 * handle is what a terminal or a timer sends, of which there is none, and what they send themselves
 * is abort().
 */
#include "guest_signals.h"

#include "guest_copy.h"
#include "guest_process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define NR_SIGNALS 64

/* The kernel's, which is not the C library's. */
struct kernel_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

#define HANDLER_DEFAULT 0
#define HANDLER_IGNORE 1

struct kernel_stack {
	uint64_t sp;
	uint32_t flags;
	uint32_t reserved;
	uint64_t size;
};

#define STACK_DISABLED 2
#define LEAST_STACK 2048

/* @pending: blocked when they came. Bit n - 1 is signal n, as in the kernel's masks. */
struct guest_signals {
	struct kernel_sigaction actions[NR_SIGNALS];
	struct kernel_stack stack;
	uint64_t mask;
	uint64_t pending;
};

static uint64_t bit_of(int signal)
{
	return UINT64_C(1) << (signal - 1);
}

#define NOT_TO_BLOCK (bit_of(SIGKILL) | bit_of(SIGSTOP))

int guest_signals_create(struct guest_signals **signals)
{
	*signals = calloc(1, sizeof(**signals));
	if (!*signals)
		return -ENOMEM;
	(*signals)->stack.flags = STACK_DISABLED;
	return 0;
}

void guest_signals_destroy(struct guest_signals *signals)
{
	free(signals);
}

/* There is nobody who would continue a guest that is stopped: that is ignored as well. */
static bool ends_nobody(int signal)
{
	switch (signal) {
	case SIGCHLD:
	case SIGCONT:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGURG:
	case SIGWINCH:
		return true;
	default:
		return false;
	}
}

static void deliver(struct guest *guest, int signal)
{
	uint64_t handler = guest->signals->actions[signal - 1].handler;

	if (handler == HANDLER_IGNORE || (handler == HANDLER_DEFAULT && ends_nobody(signal)))
		return;
	guest_end(guest, 128 + signal, "it was ended by signal %d, %s", signal, strsignal(signal));
}

void guest_signal(struct guest *guest, int signal)
{
	if (guest->signals->mask & bit_of(signal))
		guest->signals->pending |= bit_of(signal);
	else
		deliver(guest, signal);
}

static void deliver_unblocked(struct guest *guest)
{
	uint64_t now = guest->signals->pending & ~guest->signals->mask;

	guest->signals->pending &= ~now;
	for (int signal = 1; signal <= NR_SIGNALS; signal++)
		if (now & bit_of(signal))
			deliver(guest, signal);
}

int64_t guest_sys_rt_sigaction(struct guest *guest, const uint64_t args[6])
{
	struct kernel_sigaction new;
	struct kernel_sigaction *action;
	int error = 0;

	if (args[3] != sizeof(uint64_t) || !args[0] || args[0] > NR_SIGNALS)
		return -EINVAL;
	if (args[1] && (args[0] == SIGKILL || args[0] == SIGSTOP))
		return -EINVAL;
	action = &guest->signals->actions[args[0] - 1];
	if (args[1])
		error = guest_copy_in(guest, args[1], &new, sizeof(new));
	if (!error && args[2])
		error = guest_copy_out(guest, args[2], action, sizeof(*action));
	if (!error && args[1])
		*action = new;
	return error;
}

static int change_mask(struct guest_signals *signals, uint64_t how, uint64_t set)
{
	switch (how) {
	case SIG_BLOCK:
		signals->mask |= set & ~NOT_TO_BLOCK;
		return 0;
	case SIG_UNBLOCK:
		signals->mask &= ~set;
		return 0;
	case SIG_SETMASK:
		signals->mask = set & ~NOT_TO_BLOCK;
		return 0;
	default:
		return -EINVAL;
	}
}

int64_t guest_sys_rt_sigprocmask(struct guest *guest, const uint64_t args[6])
{
	struct guest_signals *signals = guest->signals;
	uint64_t old = signals->mask;
	uint64_t set;
	int error;

	if (args[3] != sizeof(uint64_t))
		return -EINVAL;
	if (args[1]) {
		error = guest_copy_in(guest, args[1], &set, sizeof(set));
		if (!error)
			error = change_mask(signals, args[0], set);
		if (error)
			return error;
		deliver_unblocked(guest);
	}
	return args[2] ? guest_copy_out(guest, args[2], &old, sizeof(old)) : 0;
}

int64_t guest_sys_rt_sigpending(struct guest *guest, const uint64_t args[6])
{
	if (args[1] > sizeof(uint64_t))
		return -EINVAL;
	return guest_copy_out(guest, args[0], &guest->signals->pending, (size_t)args[1]);
}

int64_t guest_sys_sigaltstack(struct guest *guest, const uint64_t args[6])
{
	struct kernel_stack *stack = &guest->signals->stack;
	struct kernel_stack new;
	int error = 0;

	if (args[0])
		error = guest_copy_in(guest, args[0], &new, sizeof(new));
	if (!error && args[1])
		error = guest_copy_out(guest, args[1], stack, sizeof(*stack));
	if (error || !args[0])
		return error;
	if (new.flags & ~(uint32_t)STACK_DISABLED)
		return -EINVAL;
	if (!(new.flags & STACK_DISABLED) && new.size < LEAST_STACK)
		return -ENOMEM;
	new.reserved = 0;
	*stack = new;
	return 0;
}

static int send(struct guest *guest, uint64_t signal)
{
	if (signal > NR_SIGNALS)
		return -EINVAL;
	if (signal)
		guest_signal(guest, (int)signal);
	return 0;
}

/* 0 and -1 are its process group and everybody it may reach, which is itself. */
int64_t guest_sys_kill(struct guest *guest, const uint64_t args[6])
{
	int32_t pid = (int32_t)args[0];

	if (pid != GUEST_PID && pid != -GUEST_PID && pid != 0 && pid != -1)
		return -ESRCH;
	return send(guest, args[1]);
}

int64_t guest_sys_tkill(struct guest *guest, const uint64_t args[6])
{
	return (int32_t)args[0] == GUEST_PID ? send(guest, args[1]) : -ESRCH;
}

int64_t guest_sys_tgkill(struct guest *guest, const uint64_t args[6])
{
	if ((int32_t)args[0] != GUEST_PID || (int32_t)args[1] != GUEST_PID)
		return -ESRCH;
	return send(guest, args[2]);
}
