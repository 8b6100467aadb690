/* SPDX-License-Identifier: MIT */
/*
 * The system calls that change what a guest has mapped.
 */
#ifndef STAGE2_TOOLS_GUEST_MMAP_H
#define STAGE2_TOOLS_GUEST_MMAP_H

#include "guest_internal.h"

guest_handler guest_sys_brk;
guest_handler guest_sys_madvise;
guest_handler guest_sys_mmap;
guest_handler guest_sys_mprotect;
guest_handler guest_sys_mremap;
guest_handler guest_sys_munmap;

#endif
