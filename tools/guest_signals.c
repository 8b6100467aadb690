/* SPDX-License-Identifier: MIT */
/*
 * See guest_signals.h. There is nobody else who would send a guest a signal: all that it gets are
 * from itself, from its timer and from what it writes to.
 */
#include "guest_signals.h"

#include "guest_copy.h"
#include "guest_process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_TO_BLOCK (guest_signal_bit(SIGKILL) | guest_signal_bit(SIGSTOP))

/* SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO and SA_EXPOSE_TAGBITS change nothing here. */
#define KNOWN_FLAGS                                                                                \
	(UINT64_C(0x807) | GUEST_SA_RESTORER | GUEST_SA_ONSTACK | GUEST_SA_RESTART |               \
	 GUEST_SA_NODEFER | GUEST_SA_RESETHAND)

#define LEAST_STACK 2048

int guest_signals_create(struct guest_signals **signals)
{
	*signals = calloc(1, sizeof(**signals));
	return *signals ? 0 : -ENOMEM;
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

static bool is_ignored(const struct guest_signals *signals, int signal)
{
	uint64_t handler = signals->actions[signal - 1].handler;

	return handler == GUEST_SIG_IGN || (handler == GUEST_SIG_DFL && ends_nobody(signal));
}

void guest_signal_ends(struct guest *guest, int signal)
{
	guest_end(guest, 128 + signal, "it was ended by signal %d, %s", signal, strsignal(signal));
}

int guest_signal_send(struct guest *guest, const struct guest_siginfo *info, bool to_thread)
{
	struct guest_signals *signals = guest->signals;

	if (signals->mask & guest_signal_bit(info->signal) ||
	    signals->actions[info->signal - 1].handler != GUEST_SIG_DFL ||
	    ends_nobody(info->signal))
		return guest_pending_add(&signals->pending, info, to_thread);
	guest_signal_ends(guest, info->signal);
	return 0;
}

static struct guest_siginfo info_from_itself(int signal, int code)
{
	return (struct guest_siginfo){
		.signal = signal,
		.code = code,
		.pid = GUEST_PID,
		.uid = getuid(),
	};
}

void guest_signal(struct guest *guest, int signal)
{
	const struct guest_siginfo info = info_from_itself(signal, SI_USER);

	guest_signal_send(guest, &info, true);
}

bool guest_signal_is_due(struct guest *guest)
{
	struct guest_signals *signals = guest->signals;
	uint64_t due = guest_pending_set(&signals->pending) & ~signals->mask;
	uint64_t ignored = 0;

	for (int signal = 1; due && signal <= GUEST_SIGNALS; signal++)
		if (due & guest_signal_bit(signal) && is_ignored(signals, signal))
			ignored |= guest_signal_bit(signal);
	guest_pending_discard(&signals->pending, ignored);
	return due & ~ignored;
}

bool guest_signal_interrupts(struct guest *guest)
{
	guest_timer_check(guest);
	return guest->ended || guest_signal_is_due(guest);
}

void guest_signal_set_mask(struct guest *guest, uint64_t mask)
{
	guest->signals->mask = mask & ~NOT_TO_BLOCK;
}

int guest_signal_mask(struct guest *guest, uint64_t gpa, uint64_t size)
{
	struct guest_signals *signals = guest->signals;
	uint64_t mask;
	int error;

	if (!gpa)
		return 0;
	if (size != sizeof(mask))
		return -EINVAL;
	error = guest_copy_in(guest, gpa, &mask, sizeof(mask));
	if (error)
		return error;
	signals->mask_before = signals->mask;
	signals->mask_is_calls = true;
	guest_signal_set_mask(guest, mask);
	return 0;
}

void guest_signal_unmask(struct guest *guest)
{
	struct guest_signals *signals = guest->signals;

	if (signals->mask_is_calls)
		signals->mask = signals->mask_before;
	signals->mask_is_calls = false;
}

int64_t guest_sys_rt_sigaction(struct guest *guest, const uint64_t args[6])
{
	struct guest_signals *signals = guest->signals;
	struct guest_sigaction new, *action;
	int error = 0;

	if (args[3] != sizeof(uint64_t) || !args[0] || args[0] > GUEST_SIGNALS)
		return -EINVAL;
	if (args[1] && (args[0] == SIGKILL || args[0] == SIGSTOP))
		return -EINVAL;
	action = &signals->actions[args[0] - 1];
	if (args[1])
		error = guest_copy_in(guest, args[1], &new, sizeof(new));
	if (!error && args[2])
		error = guest_copy_out(guest, args[2], action, sizeof(*action));
	if (error || !args[1])
		return error;
	new.flags &= KNOWN_FLAGS;
	new.mask &= ~NOT_TO_BLOCK;
	*action = new;
	/* Also what is blocked. */
	if (is_ignored(signals, (int)args[0]))
		guest_pending_discard(&signals->pending, guest_signal_bit((int)args[0]));
	return 0;
}

static int change_mask(struct guest *guest, uint64_t how, uint64_t set)
{
	uint64_t mask = guest->signals->mask;

	switch (how) {
	case SIG_BLOCK:
		guest_signal_set_mask(guest, mask | set);
		return 0;
	case SIG_UNBLOCK:
		guest_signal_set_mask(guest, mask & ~set);
		return 0;
	case SIG_SETMASK:
		guest_signal_set_mask(guest, set);
		return 0;
	default:
		return -EINVAL;
	}
}

int64_t guest_sys_rt_sigprocmask(struct guest *guest, const uint64_t args[6])
{
	uint64_t old = guest->signals->mask;
	uint64_t set;
	int error;

	if (args[3] != sizeof(uint64_t))
		return -EINVAL;
	if (args[1]) {
		error = guest_copy_in(guest, args[1], &set, sizeof(set));
		if (!error)
			error = change_mask(guest, args[0], set);
		if (error)
			return error;
	}
	return args[2] ? guest_copy_out(guest, args[2], &old, sizeof(old)) : 0;
}

int64_t guest_sys_rt_sigpending(struct guest *guest, const uint64_t args[6])
{
	uint64_t blocked;

	if (args[1] > sizeof(uint64_t))
		return -EINVAL;
	guest_timer_check(guest);
	blocked = guest_pending_set(&guest->signals->pending) & guest->signals->mask;
	return guest_copy_out(guest, args[0], &blocked, (size_t)args[1]);
}

void guest_sigstack_disable(struct guest_sigstack *stack)
{
	*stack = (struct guest_sigstack){ .flags = GUEST_SS_DISABLE };
}

bool guest_sigstack_holds(const struct guest_sigstack *stack, uint64_t sp)
{
	return sp > stack->sp && sp - stack->sp <= stack->size;
}

/* One that is disabled while a handler is on it can be changed there. */
static bool is_used(const struct guest_sigstack *stack, uint64_t sp)
{
	return !(stack->flags & GUEST_SS_AUTODISARM) && guest_sigstack_holds(stack, sp);
}

int guest_sigstack_set(struct guest_sigstack *stack, const struct guest_sigstack *new, uint64_t sp)
{
	uint32_t mode = new->flags & ~GUEST_SS_AUTODISARM;

	if (is_used(stack, sp))
		return -EPERM;
	if (mode != GUEST_SS_DISABLE && mode != GUEST_SS_ONSTACK && mode)
		return -EINVAL;
	if (mode != GUEST_SS_DISABLE && new->size < LEAST_STACK)
		return -ENOMEM;
	if (mode == GUEST_SS_DISABLE) {
		guest_sigstack_disable(stack);
		return 0;
	}
	*stack = *new;
	stack->flags &= GUEST_SS_AUTODISARM;
	stack->reserved = 0;
	return 0;
}

int64_t guest_sys_sigaltstack(struct guest *guest, const uint64_t args[6])
{
	struct guest_sigstack *stack = &guest->signals->stack;
	struct guest_sigstack new, old = *stack;
	int error = 0;

	if (!old.size)
		old.flags |= GUEST_SS_DISABLE;
	else if (is_used(stack, guest->sp))
		old.flags |= GUEST_SS_ONSTACK;
	if (args[0])
		error = guest_copy_in(guest, args[0], &new, sizeof(new));
	if (!error && args[0])
		error = guest_sigstack_set(stack, &new, guest->sp);
	if (!error && args[1])
		error = guest_copy_out(guest, args[1], &old, sizeof(old));
	return error;
}

static int send(struct guest *guest, uint64_t signal, int code)
{
	struct guest_siginfo info;

	/* As an int, of which the kernel takes the lower half of the register. */
	if ((uint32_t)signal > GUEST_SIGNALS)
		return -EINVAL;
	if (!(uint32_t)signal)
		return 0;
	info = info_from_itself((int)signal, code);
	return guest_signal_send(guest, &info, code == SI_TKILL);
}

/* 0 and -1 are its process group and everybody it may reach, which is itself. */
int64_t guest_sys_kill(struct guest *guest, const uint64_t args[6])
{
	int32_t pid = (int32_t)args[0];

	if (pid != GUEST_PID && pid != -GUEST_PID && pid != 0 && pid != -1)
		return -ESRCH;
	return send(guest, args[1], SI_USER);
}

int64_t guest_sys_tkill(struct guest *guest, const uint64_t args[6])
{
	return (int32_t)args[0] == GUEST_PID ? send(guest, args[1], SI_TKILL) : -ESRCH;
}

int64_t guest_sys_tgkill(struct guest *guest, const uint64_t args[6])
{
	if ((int32_t)args[0] != GUEST_PID || (int32_t)args[1] != GUEST_PID)
		return -ESRCH;
	return send(guest, args[2], SI_TKILL);
}

/* To itself a guest may say that anything is the reason. */
static int64_t queue(struct guest *guest, uint64_t signal, uint64_t gpa, bool to_thread)
{
	struct guest_siginfo info;
	int error = guest_copy_in(guest, gpa, &info, sizeof(info));

	if (error)
		return error;
	if ((uint32_t)signal > GUEST_SIGNALS)
		return -EINVAL;
	info.signal = (int32_t)signal;
	return info.signal ? guest_signal_send(guest, &info, to_thread) : 0;
}

int64_t guest_sys_rt_sigqueueinfo(struct guest *guest, const uint64_t args[6])
{
	return (int32_t)args[0] == GUEST_PID ? queue(guest, args[1], args[2], false) : -ESRCH;
}

int64_t guest_sys_rt_tgsigqueueinfo(struct guest *guest, const uint64_t args[6])
{
	if ((int32_t)args[0] != GUEST_PID || (int32_t)args[1] != GUEST_PID)
		return -ESRCH;
	return queue(guest, args[2], args[3], true);
}
