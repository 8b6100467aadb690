/* SPDX-License-Identifier: MIT */
/*
 * The same program run by the host, to compare with.
 */
#ifndef TESTS_TOOLS_NATIVE_PROGRAM_H
#define TESTS_TOOLS_NATIVE_PROGRAM_H

/*
 * Runs it in @directory to its end. Returns a descriptor of what it printed, and its status as a
 * shell has it.
 */
int native_output(int directory, char *const *argv, char *const *envp, int *status);

#endif
