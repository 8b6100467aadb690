/* SPDX-License-Identifier: MIT */
/*
 * Linked into each test program: standard output is written line by line also
 * when it is a pipe. A program that crashes then leaves the results it had, and
 * a child process does not write its parent's lines a second time.
 */
#include <stdio.h>

__attribute__((constructor)) static void write_stdout_by_line(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}
