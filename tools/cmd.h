/* SPDX-License-Identifier: MIT */
/*
 * The subcommands of the program stage2, one file each. argv[0] is the subcommand's own name; the
 * answer is the exit status: 0 all went well, 1 something failed, 2 the options were wrong.
 */
#ifndef STAGE2_TOOLS_CMD_H
#define STAGE2_TOOLS_CMD_H

int cmd_run(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_torture(int argc, char **argv);
int cmd_bench(int argc, char **argv);

#endif
