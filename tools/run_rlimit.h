/* SPDX-License-Identifier: MIT */
/*
 * Limits that the kernel sets on this process, and so on all guests together: what one of them does
 * must neither end it nor be at the others' cost.
 */
#ifndef STAGE2_TOOLS_RUN_RLIMIT_H
#define STAGE2_TOOLS_RUN_RLIMIT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

/* What they were before. */
struct run_rlimit {
	bool changed;
	struct rlimit files;
	struct sigaction too_large;
};

/*
 * Sees to it that each of @guests may have *@files open, and sets that if it is 0, to what there is
 * for each; and that a file that would get too large is an error of who writes, not the end of this
 * process. -EMFILE: the hard limit does not allow for so many; @error says so in one line.
 */
int run_rlimit_change(struct run_rlimit *before, unsigned int guests, unsigned int *files,
		      char *error, size_t len);

/* Also in a child after fork(). */
void run_rlimit_restore(const struct run_rlimit *before);

#endif
