/* SPDX-License-Identifier: MIT */
/*
 * main() of what stage2 is compared with: a program for each peer, measured by the same loop and
 * with the same options and report as stage2 bench. A peer that this machine has not got is told
 * of on stderr, and the exit status is 77.
 */
#include "bench.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	int status = bench_main(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "%s: could not write the report: %m\n", bench_suite.program);
		return status ? status : 1;
	}
	return status;
}
