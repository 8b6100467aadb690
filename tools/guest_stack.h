/* SPDX-License-Identifier: MIT */
/*
 * What a program finds on its stack when it starts: argc, argv, envp and the auxiliary vector.
 */
#ifndef STAGE2_TOOLS_GUEST_STACK_H
#define STAGE2_TOOLS_GUEST_STACK_H

#include "guest_elf.h"

#include <stdint.h>

/*
 * Maps the stack at the end of the memory and fills it; *@sp is where rsp begins. Otherwise
 * guest_end() has been called, and -errno is returned: -E2BIG for arguments that take more than a
 * quarter of the stack, -ENOMEM where the program leaves no room for one.
 */
int guest_stack_create(struct guest *guest, const struct guest_program *program, uint64_t *sp);

#endif
