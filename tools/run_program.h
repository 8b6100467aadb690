/* SPDX-License-Identifier: MIT */
/*
 * The file of a guest's program. The host reads it, and the guest gets its bytes: so it need not
 * lie below the guest's root, as busybox of the host's does not.
 */
#ifndef STAGE2_TOOLS_RUN_PROGRAM_H
#define STAGE2_TOOLS_RUN_PROGRAM_H

#include <limits.h>
#include <stddef.h>

/*
 * @fd:   open for reading.
 * @path: where that file was when it was found; by now a guest may have put another one there.
 * @link: the name, in /proc, by which it is still the same one.
 */
struct run_program {
	int fd;
	char path[PATH_MAX];
	char link[32];
};

/*
 * Looks for @name below the directory @root, from which no symbolic link leads out; then on
 * the host: as a path, if there is a slash in it, or in PATH. -errno: @error says in one line what
 * is wrong.
 */
int run_program_find(const char *name, int root, struct run_program *program, char *error,
		     size_t len);

void run_program_close(struct run_program *program);

#endif
