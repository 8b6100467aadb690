/* SPDX-License-Identifier: MIT */
/*
 * Between two instructions of a guest: signals are delivered, its handlers called, and what they
 * have interrupted is gone back to.
 */
#ifndef STAGE2_TOOLS_GUEST_HANDLERS_H
#define STAGE2_TOOLS_GUEST_HANDLERS_H

#include "guest_internal.h"

/*
 * After a system call, of which @number was answered with @answer: what the guest gets as its
 * answer.
 */
int64_t guest_handlers_answer(struct guest *guest, uint64_t number, int64_t answer);

/* Is there something to do before the guest goes on? Then its processor is to be stopped. */
bool guest_handlers_due(struct guest *guest);

/* Does it, with a processor that is stopped. */
void guest_handlers_run(struct guest *guest);

/*
 * The same for an access of the instruction that it was stopped at, to @gpa, which it may not make:
 * SIGSEGV, with @code (SEGV_MAPERR or SEGV_ACCERR). False: the guest has no handler that can be
 * called.
 */
bool guest_handlers_fault(struct guest *guest, uint64_t gpa, int code);

guest_handler guest_sys_rt_sigreturn;

#endif
