/* SPDX-License-Identifier: MIT */
/*
 * The timer of a guest that sends it SIGALRM: alarm(2) and ITIMER_REAL, which are one. Nobody waits
 * for it: who waits, or watches the guest compute, looks when it expires.
 */
#ifndef STAGE2_TOOLS_GUEST_TIMER_H
#define STAGE2_TOOLS_GUEST_TIMER_H

#include "guest_internal.h"

/* @next_ns: by clock_ns(); 0: not armed. Of the guest's thread, and others may look at it. */
struct guest_timer {
	_Atomic uint64_t next_ns;
	uint64_t interval_ns;
};

/* UINT64_MAX: never. By any thread. */
uint64_t guest_timer_next(const struct guest *guest);

/* Sends the signal if it has expired. */
void guest_timer_check(struct guest *guest);

guest_handler guest_sys_alarm;
guest_handler guest_sys_getitimer;
guest_handler guest_sys_setitimer;

#endif
