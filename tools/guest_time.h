/* SPDX-License-Identifier: MIT */
/*
 * Time for a guest: the host's clocks, which it may read, and sleeps, which end with the guest.
 */
#ifndef STAGE2_TOOLS_GUEST_TIME_H
#define STAGE2_TOOLS_GUEST_TIME_H

#include "guest_internal.h"

/* What the guest has used of the host's processors. */
uint64_t guest_cpu_time_ns(void);

/* The rest of a futex wait that nobody ends: args as of futex(2), with a timeout. */
int64_t guest_futex_timeout(struct guest *guest, const uint64_t args[6]);

guest_handler guest_sys_clock_getres;
guest_handler guest_sys_clock_gettime;
guest_handler guest_sys_clock_nanosleep;
guest_handler guest_sys_gettimeofday;
guest_handler guest_sys_nanosleep;
guest_handler guest_sys_time;
guest_handler guest_sys_times;

#endif
