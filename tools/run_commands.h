/* SPDX-License-Identifier: MIT */
/*
 * What guests run: a command line each, from this program's own arguments or from a file
 * of one a line. Words are as in a shell, without anything but quoting: a b 'c d' "e \"f\"" g\ h.
 */
#ifndef STAGE2_TOOLS_RUN_COMMANDS_H
#define STAGE2_TOOLS_RUN_COMMANDS_H

#include <stddef.h>

#define RUN_MAX_COMMANDS 256
#define RUN_MAX_WORDS 1024
#define RUN_MAX_FILE (1u << 20)

/* @text: for people. @argv ends with NULL. */
struct run_command {
	char *text;
	char **argv;
};

struct run_commands {
	unsigned int nr;
	struct run_command command[RUN_MAX_COMMANDS];
};

/* Each adds; -EINVAL, -ENOMEM or of open(2): @error says in one line what is wrong, and where. */
int run_commands_add_words(struct run_commands *commands, int argc, char **argv, char *error,
			   size_t len);
int run_commands_add_line(struct run_commands *commands, const char *line, char *error, size_t len);
int run_commands_add_file(struct run_commands *commands, const char *path, char *error, size_t len);
void run_commands_clear(struct run_commands *commands);

#endif
