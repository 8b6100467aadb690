/* SPDX-License-Identifier: MIT */
/*
 * The table of a guest's system calls.
 */
#ifndef STAGE2_TOOLS_GUEST_SYSCALLS_H
#define STAGE2_TOOLS_GUEST_SYSCALLS_H

#include <stdint.h>

struct guest;

/* What the `syscall` instruction answers in rax; one that is not in the table is noted. */
int64_t guest_syscall(struct guest *guest, uint64_t number, const uint64_t args[6]);

#endif
