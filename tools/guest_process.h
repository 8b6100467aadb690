/* SPDX-License-Identifier: MIT */
/*
 * The system calls by which a guest learns what it is and where it runs, and by which it ends.
 */
#ifndef STAGE2_TOOLS_GUEST_PROCESS_H
#define STAGE2_TOOLS_GUEST_PROCESS_H

#include "guest_internal.h"

/* A guest is one process with one thread, and sees no other. */
#define GUEST_PID 2
#define GUEST_PARENT_PID 1

guest_handler guest_sys_arch_prctl;
guest_handler guest_sys_exit;
guest_handler guest_sys_futex;
guest_handler guest_sys_getegid;
guest_handler guest_sys_geteuid;
guest_handler guest_sys_getgid;
guest_handler guest_sys_getgroups;
guest_handler guest_sys_getpgid;
guest_handler guest_sys_getpid;
guest_handler guest_sys_getppid;
guest_handler guest_sys_getrandom;
guest_handler guest_sys_getrlimit;
guest_handler guest_sys_getrusage;
guest_handler guest_sys_getuid;
guest_handler guest_sys_prctl;
guest_handler guest_sys_prlimit64;
guest_handler guest_sys_rseq;
guest_handler guest_sys_sched_getaffinity;
guest_handler guest_sys_sched_yield;
guest_handler guest_sys_set_robust_list;
guest_handler guest_sys_setrlimit;
guest_handler guest_sys_sysinfo;
guest_handler guest_sys_uname;
guest_handler guest_sys_wait4;

#endif
