/* SPDX-License-Identifier: MIT */
/*
 * What is on the stack of a guest whose handler of a signal runs: Linux's struct rt_sigframe, with
 * the processor as it was in front of it.
 */
#ifndef STAGE2_TOOLS_GUEST_SIGFRAME_H
#define STAGE2_TOOLS_GUEST_SIGFRAME_H

#include "guest_registers.h"
#include "guest_signals.h"

/*
 * Writes the frame of @info for @action, with @mask as what is blocked again afterwards, and makes
 * of @registers those with which the handler begins. -EFAULT: it is not to be written where the
 * guest's stack pointer says, and @registers are as they were.
 */
int guest_sigframe_push(struct guest *guest, const struct guest_sigaction *action,
			const struct guest_siginfo *info, uint64_t mask,
			struct guest_registers *registers);

/*
 * Reads back the frame above which the stack pointer is, which may have become anything: registers,
 * mask and stack of handlers. -EFAULT: there is none, or it is none of a program, and nothing has
 * changed.
 */
int guest_sigframe_pop(struct guest *guest, struct guest_registers *registers);

#endif
