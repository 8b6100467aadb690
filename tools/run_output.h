/* SPDX-License-Identifier: MIT */
/*
 * What guests write. Standard output goes to files without a name, to be compared and printed
 * afterwards; standard error through pipes, and line by line to the user with the guest's number.
 */
#ifndef STAGE2_TOOLS_RUN_OUTPUT_H
#define STAGE2_TOOLS_RUN_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A descriptor of a file that nobody else can open and that is gone with it, or -errno. */
int run_output_file(void);

uint64_t run_output_size(int fd);

/* Do both hold the same bytes? -errno if they cannot be read. */
int run_output_same(int a, int b, bool *same);

/* 0 or -errno. */
int run_output_print(int fd, FILE *stream);

#define RUN_ERRORS_LINE 1024

/* The standard error of one guest. A line longer than the room is cut in pieces. */
struct run_errors {
	int read_fd;  /* does not block; -1 once all has been read */
	int write_fd; /* the guest's; closed by run_errors_close() */
	char name[24];
	size_t len;
	char line[RUN_ERRORS_LINE];
};

int run_errors_open(struct run_errors *errors, unsigned int number);

/* Prints what has come, the last line only if it is whole or nothing follows it. */
void run_errors_pass_on(struct run_errors *errors, FILE *stream);

/* Nobody writes any more: prints what is left. */
void run_errors_close(struct run_errors *errors, FILE *stream);

#endif
