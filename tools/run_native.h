/* SPDX-License-Identifier: MIT */
/*
 * The same program without any of this: run by the host's kernel, as a child of this process, to
 * tell what a guest's output should be. It has the user's rights, and is in no --root.
 */
#ifndef STAGE2_TOOLS_RUN_NATIVE_H
#define STAGE2_TOOLS_RUN_NATIVE_H

#include "run_interrupt.h"
#include "run_program.h"
#include "run_rlimit.h"

#include <stddef.h>
#include <stdint.h>

/*
 * @root:    its working directory.
 * @in, @out: its standard input and output; its standard error goes nowhere, as the guests' says
 * the same.
 * @rlimit:  what this process has changed, and it does not inherit.
 * @seconds, @output: limits as the guests'; 0: none.
 */
struct run_native {
	const struct run_program *program;
	char *const *argv;
	char *const *envp;
	int root;
	int in;
	int out;
	const struct run_rlimit *rlimit;
	uint64_t seconds;
	uint64_t output;
};

/*
 * Waits for its end; *@status as a shell has it. -ETIMEDOUT, -ECANCELED (the user has interrupted)
 * or what fork(2) says: @error says in one line what went wrong.
 */
int run_native(const struct run_native *native, struct run_interrupt *interrupt, int *status,
	       char *error, size_t len);

#endif
