/* SPDX-License-Identifier: MIT */
/*
 * System calls that wait for signals.
 */
#ifndef STAGE2_TOOLS_GUEST_SIGWAIT_H
#define STAGE2_TOOLS_GUEST_SIGWAIT_H

#include "guest_internal.h"

/*
 * Waits for one that is not blocked, and returns -EINTR. A guest without a timer, which nobody will
 * send one, ends.
 */
int guest_sigwait(struct guest *guest);

guest_handler guest_sys_pause;
guest_handler guest_sys_rt_sigsuspend;
guest_handler guest_sys_rt_sigtimedwait;

#endif
