/* SPDX-License-Identifier: MIT */
/* See run_regular.h. */
#include "run_regular.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not what opening a file to read it fails with. */
#define NOT_REGULAR EMEDIUMTYPE

int run_regular_keep(int fd)
{
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return -NOT_REGULAR;
}

int run_regular_open(const char *path)
{
	return run_regular_keep(open(path, RUN_REGULAR_FLAGS));
}

const char *run_regular_error(int error)
{
	return error == -NOT_REGULAR ? "it is not a regular file" : strerror(-error);
}
