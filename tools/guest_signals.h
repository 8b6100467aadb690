/* SPDX-License-Identifier: MIT */
/*
 * A guest's signals, as far as programs without threads and children need them: dispositions and
 * masks are kept and answered, a signal that is not ignored or blocked ends the guest, and no
 * handler is ever called.
 */
#ifndef STAGE2_TOOLS_GUEST_SIGNALS_H
#define STAGE2_TOOLS_GUEST_SIGNALS_H

#include "guest_internal.h"

int guest_signals_create(struct guest_signals **signals);
void guest_signals_destroy(struct guest_signals *signals);

/*
 * The guest gets @signal: it ends with 128 + @signal unless it ignores or blocks it, or it is one
 * that by default ends nobody. What writes to a pipe without reader calls it with SIGPIPE and
 * returns -EPIPE.
 */
void guest_signal(struct guest *guest, int signal);

guest_handler guest_sys_kill;
guest_handler guest_sys_rt_sigaction;
guest_handler guest_sys_rt_sigpending;
guest_handler guest_sys_rt_sigprocmask;
guest_handler guest_sys_sigaltstack;
guest_handler guest_sys_tgkill;
guest_handler guest_sys_tkill;

#endif
