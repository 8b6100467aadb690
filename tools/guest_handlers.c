/* SPDX-License-Identifier: MIT */
/* See guest_handlers.h. Everything is in the order in which Linux does it. */
#include "guest_handlers.h"

#include "guest_cpu.h"
#include "guest_sigframe.h"
#include "guest_signals.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

/* Of the instruction with which a guest makes a system call. */
#define SYSCALL_SIZE 2

int64_t guest_handlers_answer(struct guest *guest, uint64_t number, int64_t answer)
{
	if (answer != -GUEST_RESTART)
		return answer;
	guest->signals->interrupted = true;
	guest->signals->interrupted_call = number;
	return -EINTR;
}

/* The registers it is about are not at hand in the middle of a call. */
int64_t guest_sys_rt_sigreturn(struct guest *guest, const uint64_t args[6])
{
	(void)args;
	guest->signals->returning = true;
	return 0;
}

/*
 * The timer is not looked at on the way back from a handler: a guest whose handler takes longer
 * than its timer's interval would never get anywhere.
 */
bool guest_handlers_due(struct guest *guest)
{
	const struct guest_signals *signals = guest->signals;

	if (signals->returning || signals->interrupted)
		return true;
	guest_timer_check(guest);
	return guest_signal_is_due(guest);
}

/* After the first signal it is settled what becomes of the call that it has interrupted. */
static void settle_call(struct guest_signals *signals, struct guest_registers *registers,
			bool again)
{
	if (signals->interrupted && again) {
		registers->general[GUEST_RAX] = signals->interrupted_call;
		registers->general[GUEST_RIP] -= SYSCALL_SIZE;
	}
	signals->interrupted = false;
}

static int call_handler(struct guest *guest, const struct guest_siginfo *info,
			struct guest_registers *registers)
{
	struct guest_signals *signals = guest->signals;
	struct guest_sigaction *current = &signals->actions[info->signal - 1];
	const struct guest_sigaction action = *current;
	uint64_t before = signals->mask_is_calls ? signals->mask_before : signals->mask;
	uint64_t blocked = signals->mask | action.mask;
	int error;

	settle_call(signals, registers, action.flags & GUEST_SA_RESTART);
	if (action.flags & GUEST_SA_RESETHAND)
		current->handler = GUEST_SIG_DFL;
	error = guest_sigframe_push(guest, &action, info, before, registers);
	if (error)
		return error;
	signals->mask_is_calls = false;
	if (!(action.flags & GUEST_SA_NODEFER))
		blocked |= guest_signal_bit(info->signal);
	guest_signal_set_mask(guest, blocked);
	return 0;
}

/* What it cannot block or ignore. */
static bool handles_sigsegv(struct guest *guest, const struct guest_siginfo *info,
			    struct guest_registers *registers)
{
	const struct guest_signals *signals = guest->signals;
	uint64_t handler = signals->actions[SIGSEGV - 1].handler;

	return handler != GUEST_SIG_DFL && handler != GUEST_SIG_IGN &&
	       !(signals->mask & guest_signal_bit(SIGSEGV)) &&
	       !call_handler(guest, info, registers);
}

static void force_sigsegv(struct guest *guest, struct guest_registers *registers, const char *why)
{
	static const struct guest_siginfo info = { .signal = SIGSEGV, .code = SI_KERNEL };
	uint64_t sp = registers->general[GUEST_RSP];

	if (!handles_sigsegv(guest, &info, registers))
		guest_end(guest, 128 + SIGSEGV, "%s, 0x%" PRIx64, why, sp);
}

bool guest_handlers_fault(struct guest *guest, uint64_t gpa, int code)
{
	struct guest_siginfo info = { .signal = SIGSEGV, .code = code };
	struct guest_registers registers;

	/* It is where others have who sent it. */
	memcpy(&info.pid, &gpa, sizeof(gpa));
	guest_cpu_registers(guest->cpu, &registers);
	if (!handles_sigsegv(guest, &info, &registers))
		return false;
	guest_cpu_set_registers(guest->cpu, &registers);
	return true;
}

static void deliver(struct guest *guest, const struct guest_siginfo *info,
		    struct guest_registers *registers)
{
	if (guest->signals->actions[info->signal - 1].handler == GUEST_SIG_DFL)
		guest_signal_ends(guest, info->signal);
	else if (call_handler(guest, info, registers))
		force_sigsegv(guest, registers,
			      "no signal's frame can be written at its stack pointer");
}

void guest_handlers_run(struct guest *guest)
{
	struct guest_signals *signals = guest->signals;
	struct guest_registers registers;
	struct guest_siginfo info;

	guest_cpu_registers(guest->cpu, &registers);
	if (signals->returning && guest_sigframe_pop(guest, &registers))
		force_sigsegv(guest, &registers,
			      "it returns from no signal's handler with its stack pointer");
	signals->returning = false;
	while (!guest->ended && guest_signal_is_due(guest) &&
	       guest_pending_take(&signals->pending, ~signals->mask, &info))
		deliver(guest, &info, &registers);
	/* None has come after all, for which the call would not have waited in vain. */
	settle_call(signals, &registers, true);
	guest_signal_unmask(guest);
	guest_cpu_set_registers(guest->cpu, &registers);
}
