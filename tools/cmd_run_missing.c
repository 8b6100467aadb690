/* SPDX-License-Identifier: MIT */
/* stage2 run in a build that has no processor for guests, or no memory. */
#include "cmd.h"

#include <stdio.h>

int cmd_run(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("stage2 run: this build cannot run guests; install Unicorn (libunicorn-dev) and "
	      "libxxhash, and build anew\n",
	      stderr);
	return 1;
}
