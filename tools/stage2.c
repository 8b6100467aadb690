/* SPDX-License-Identifier: MIT */
/*
 * stage2: the program that shows the library at work. This file finds the subcommand; each has a
 * file of its own, cmd_*.c.
 */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *about;
} commands[] = {
	{ "run", cmd_run, "run real programs as guests on a pool of memory" },
	{ "replay", cmd_replay, "replay a VMM's recorded mapping changes through the gates" },
	{ "torture", cmd_torture, "search for races and deadlocks on real memory" },
	{ "bench", cmd_bench, "measure gates, guest accesses, faults and memslot updates" },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *stream)
{
	fprintf(stream, "Usage: stage2 COMMAND [OPTION...]\n\nCommands:\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(stream, "  %-9s %s\n", commands[i].name, commands[i].about);
	fprintf(stream, "\n'stage2 COMMAND --help' tells a command's options.\n");
}

/*
 * A descriptor that is closed would be given to the next file that is opened, and what is meant for
 * the user end up there. Each is opened the wrong way round, so that using it fails as before.
 */
static int reserve_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode) != fd)
			return -1;
	}
	return 0;
}

/*
 * Help or a report that did not reach its reader (a full disk, say) is a failure; argp's --help ends
 * the program by itself.
 */
static void check_output(int status, void *unused)
{
	(void)unused;
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return;
	fprintf(stderr, "stage2: could not write to standard output%s%s\n", errno ? ": " : "",
		errno ? strerror(errno) : "");
	_exit(status ? status : 1);
}

int main(int argc, char **argv)
{
	if (reserve_standard_files() || on_exit(check_output, NULL))
		return 1;
	if (argc < 2) {
		print_usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return 0;
	}
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "stage2: '%s' is not a command; 'stage2 --help' lists them\n", argv[1]);
	return 2;
}
