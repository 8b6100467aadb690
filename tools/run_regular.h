/* SPDX-License-Identifier: MIT */
/*
 * Files that a user names for this program to read. What is no regular file may have no end, wait
 * for somebody, or become this process's terminal.
 */
#ifndef STAGE2_TOOLS_RUN_REGULAR_H
#define STAGE2_TOOLS_RUN_REGULAR_H

#include <fcntl.h>

/* For open(2): none of these waits for anybody. */
#define RUN_REGULAR_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* @fd as open(2) returned it, if it is a regular file's; else -errno, and it is closed. */
int run_regular_keep(int fd);

int run_regular_open(const char *path);

/* What is wrong, as either of them returned it. */
const char *run_regular_error(int error);

#endif
