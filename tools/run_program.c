/* SPDX-License-Identifier: MIT */
/* See run_program.h. */
#include "run_program.h"

#include "run_regular.h"

#include <errno.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_below(int root, const char *name)
{
	struct open_how how = {
		.flags = RUN_REGULAR_FLAGS,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return run_regular_keep((int)syscall(SYS_openat2, root, name, &how, sizeof(how)));
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
			fd = run_regular_open(path);
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
		program->fd = is_path ? run_regular_open(name) : open_in_search_path(name);
	if (program->fd < 0)
		ret = program->fd;
	else
		ret = set_path(program);
	if (!ret)
		return 0;
	run_program_close(program);
	snprintf(error, len, "%s: %s, neither below --root nor %s", name, run_regular_error(ret),
		 is_path ? "on the host" : "in the host's PATH");
	return ret;
}

void run_program_close(struct run_program *program)
{
	if (program->fd >= 0)
		close(program->fd);
	program->fd = -1;
}
