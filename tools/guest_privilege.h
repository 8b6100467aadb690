/* SPDX-License-Identifier: MIT */
/*
 * Takes an engine to the privilege that programs have. Unicorn begins with that of a kernel, in
 * which a guest would reach control, debug and model-specific registers: what Unicorn makes of some
 * of those crashes it, and with it this process.
 */
#ifndef STAGE2_TOOLS_GUEST_PRIVILEGE_H
#define STAGE2_TOOLS_GUEST_PRIVILEGE_H

#include <unicorn/unicorn.h>

/* Linux's segments of a program, each with the privilege of one, 3. */
#define GUEST_CODE_SELECTOR (6 << 3 | 3)
#define GUEST_DATA_SELECTOR (5 << 3 | 3)

/*
 * Before anything is mapped, and before it has hooks. -EINVAL: the engine kept its privilege;
 * -ENOMEM.
 */
int guest_privilege_drop(uc_engine *engine);

#endif
