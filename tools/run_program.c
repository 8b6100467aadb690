/* SPDX-License-Identifier: MIT */
/* See run_program.h. */
#include "run_program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is no regular file may have no end, or wait for somebody. */
static int keep_if_regular(int fd)
{
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return S_ISDIR(st.st_mode) ? -EISDIR : -EACCES;
}

static int open_below(int root, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return keep_if_regular((int)syscall(SYS_openat2, root, name, &how, sizeof(how)));
}

static int open_path(const char *path)
{
	return keep_if_regular(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

static int open_in_search_path(const char *name)
{
	const char *dir = getenv("PATH");
	char path[PATH_MAX];

	while (dir && *dir) {
		size_t len = strcspn(dir, ":");
		int fd = -ENOENT;

		if (len && snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, name) <
				   (int)sizeof(path))
			fd = open_path(path);
		if (fd >= 0)
			return fd;
		dir += len + (dir[len] == ':');
	}
	return -ENOENT;
}

static int set_path(struct run_program *program)
{
	ssize_t len;

	snprintf(program->link, sizeof(program->link), "/proc/self/fd/%d", program->fd);
	len = readlink(program->link, program->path, sizeof(program->path) - 1);
	if (len < 0)
		return -errno;
	program->path[len] = '\0';
	return 0;
}

int run_program_find(const char *name, int root, struct run_program *program, char *error,
		     size_t len)
{
	bool is_path = strchr(name, '/');
	int ret = 0;

	program->fd = open_below(root, name);
	if (program->fd < 0)
		program->fd = is_path ? open_path(name) : open_in_search_path(name);
	if (program->fd < 0)
		ret = program->fd;
	else
		ret = set_path(program);
	if (!ret)
		return 0;
	run_program_close(program);
	snprintf(error, len, "%s: %s, neither below --root nor %s", name, strerror(-ret),
		 is_path ? "on the host" : "in the host's PATH");
	return ret;
}

void run_program_close(struct run_program *program)
{
	if (program->fd >= 0)
		close(program->fd);
	program->fd = -1;
}
