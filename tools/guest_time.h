/* SPDX-License-Identifier: MIT */
/*
 * Time for a guest: the host's clocks, which it may read, and sleeps, which end with the guest
 * or by a signal.
 */
#ifndef STAGE2_TOOLS_GUEST_TIME_H
#define STAGE2_TOOLS_GUEST_TIME_H

#include "guest_internal.h"

/* What the guest has used of the host's processors. */
uint64_t guest_cpu_time_ns(void);

/*
 * When a wait is over whose timespec, or timeval, is at @gpa, by clock_ns(): 0 for one that does
 * not wait, UINT64_MAX where @gpa is 0. @unit: nanoseconds of its fraction's unit.
 */
int guest_time_deadline(struct guest *guest, uint64_t gpa, uint64_t unit, uint64_t *deadline);
uint64_t guest_time_in(uint64_t ns);

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
