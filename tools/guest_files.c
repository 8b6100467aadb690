/* SPDX-License-Identifier: MIT */
/*
 * The beginning and the end of a guest's files. That the kernel can keep a guest in its root is
 * tried here, once, rather than found out by a guest that is running.
 */
#define _GNU_SOURCE
#include "guest_files.h"

#include "guest_descriptors.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

static int open_root(struct guest_files *files, int root)
{
	struct statfs st;
	int fd;

	files->root = root;
	if (root < 0)
		return 0;
	/* Memory of ours and of every other process is a regular file there. */
	if (fstatfs(root, &st))
		return -errno;
	if (st.f_type == PROC_SUPER_MAGIC)
		return -EPERM;
	files->links = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (files->links < 0)
		return -errno;
	fd = guest_path_open_beneath(root, "/", O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int guest_files_create(const struct guest_config *config, struct guest_files **out)
{
	struct guest_files *files = calloc(1, sizeof(*files));
	int error;

	if (!files)
		return -ENOMEM;
	files->links = -1;
	files->cwd = -1;
	files->umask = 022;
	files->limit = config->limits.files ? config->limits.files : GUEST_DEFAULT_FILES;
	if (files->limit < 3)
		files->limit = 3;
	files->table = calloc(files->limit, sizeof(*files->table));
	error = files->table ? guest_descriptors_take_stdio(files, config->stdio) : -ENOMEM;
	if (!error)
		error = open_root(files, config->root);
	if (error) {
		guest_files_destroy(files);
		return error;
	}
	*out = files;
	return 0;
}

void guest_files_destroy(struct guest_files *files)
{
	if (!files)
		return;
	if (files->table)
		guest_descriptors_close_all(files);
	free(files->table);
	if (files->cwd >= 0)
		close(files->cwd);
	if (files->links >= 0)
		close(files->links);
	free(files);
}
