/* SPDX-License-Identifier: MIT */
/*
 * See guest_paths.h. openat2() knows one directory, which is both where a path begins and where
 * ".." ends, but a guest's working directory is below its root. So its name goes in front of the
 * path, as /proc tells it at this moment. That name may be wrong by the time the kernel has
 * resolved it; the file is then another one, beneath the root all the same. A directory that was
 * moved out of the root, or removed, has no name there, and nothing in it is found.
 */
#define _GNU_SOURCE
#include "guest_paths.h"

#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ".." gives EAGAIN where something was renamed at the same time, wherever on the host. */
#define TRIES 1000

int guest_path_open_beneath(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(uint32_t)(flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY)),
		.mode = mode,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	long fd = -1;

	for (unsigned int i = 0; i < TRIES; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

struct guest_link_name guest_link_name(int fd)
{
	struct guest_link_name name;

	snprintf(name.text, sizeof(name.text), "%d", fd);
	return name;
}

/* What the host calls a directory of ours. */
static int host_name(const struct guest_files *files, int fd, char buf[PATH_MAX])
{
	struct stat st;
	ssize_t len;

	if (fstat(fd, &st))
		return -errno;
	/* Its name would be that of another directory, with a note behind it. */
	if (!st.st_nlink)
		return -ENOENT;
	len = readlinkat(files->links, guest_link_name(fd).text, buf, PATH_MAX);
	if (len < 0)
		return -errno;
	if (len == PATH_MAX)
		return -ENAMETOOLONG;
	buf[len] = '\0';
	return 0;
}

/* What the guest calls a directory of ours: "" is the root, and others begin with a slash. */
static int guest_name(const struct guest_files *files, int fd, char buf[PATH_MAX])
{
	char root[PATH_MAX], name[PATH_MAX];
	size_t len;
	int error;

	buf[0] = '\0';
	if (fd < 0)
		return 0;
	error = host_name(files, files->root, root);
	if (!error)
		error = host_name(files, fd, name);
	if (error)
		return error;
	/* The host's root has a slash at its end, which names within it must keep. */
	len = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(name, root, len) || (name[len] && name[len] != '/'))
		return -ENOENT;
	if (strcmp(name + len, "/"))
		strcpy(buf, name + len);
	return 0;
}

/* The host's descriptor of the directory at which a path begins that is not absolute. */
static int beginning(struct guest *guest, uint64_t directory, int *fd)
{
	const struct guest_open_file *file;

	*fd = guest->files->cwd;
	if ((int32_t)directory == GUEST_AT_FDCWD)
		return 0;
	file = guest_descriptor(guest, directory);
	if (!file)
		return -EBADF;
	*fd = file->host;
	return file->kind == GUEST_FILE_DIRECTORY ? 0 : -ENOTDIR;
}

int guest_path_open(struct guest *guest, uint64_t directory, const char *path, int flags,
		    mode_t mode)
{
	char whole[2 * PATH_MAX];
	int fd, error;

	if (guest->files->root < 0)
		return -ENOENT;
	if (path[0] == '/')
		return guest_path_open_beneath(guest->files->root, path, flags, mode);
	error = beginning(guest, directory, &fd);
	if (error)
		return error;
	error = guest_name(guest->files, fd, whole);
	if (error)
		return error;
	strcat(whole, "/");
	strcat(whole, path);
	return guest_path_open_beneath(guest->files->root, whole, flags, mode);
}

int guest_path_copy(struct guest *guest, uint64_t path, char buf[PATH_MAX])
{
	int error = guest_copy_string(guest, path, buf, PATH_MAX);

	if (error)
		return error;
	return buf[0] ? 0 : -ENOENT;
}

/* What AT_EMPTY_PATH is about: a descriptor itself, or the working directory. */
static int lookup_descriptor(struct guest *guest, uint64_t directory)
{
	const struct guest_open_file *file;
	int fd;

	if ((int32_t)directory == GUEST_AT_FDCWD)
		return guest_path_open(guest, directory, ".", O_PATH, 0);
	file = guest_descriptor(guest, directory);
	if (!file)
		return -EBADF;
	fd = fcntl(file->host, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int guest_path_lookup(struct guest *guest, uint64_t directory, uint64_t path, unsigned int at_flags)
{
	char buf[PATH_MAX];
	int error = guest_path_copy(guest, path, buf);

	if (error == -ENOENT && at_flags & GUEST_AT_EMPTY_PATH)
		return lookup_descriptor(guest, directory);
	if (error)
		return error;
	return guest_path_open(guest, directory, buf,
			       O_PATH | (at_flags & GUEST_AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0), 0);
}

int guest_path_reopen(const struct guest_files *files, int found, int flags)
{
	int fd = openat(files->links, guest_link_name(found).text,
			flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Cuts the last name off @path, which is left with what is before it. */
static int cut_name(char path[PATH_MAX], int nameless, struct guest_parent *parent)
{
	size_t end = strlen(path), start;

	parent->slash = path[end - 1] == '/';
	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/'; start--)
		;
	if (end - start > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(parent->name, path + start, end - start);
	parent->name[end - start] = '\0';
	if (!parent->name[0] || !strcmp(parent->name, ".") || !strcmp(parent->name, ".."))
		return nameless;
	strcpy(path + start, start ? "" : ".");
	return 0;
}

int guest_path_parent(struct guest *guest, uint64_t directory, uint64_t path, int nameless,
		      struct guest_parent *parent)
{
	char buf[PATH_MAX];
	int error = guest_path_copy(guest, path, buf);

	if (!error)
		error = cut_name(buf, nameless, parent);
	if (error)
		return error;
	parent->fd = guest_path_open(guest, directory, buf, O_PATH | O_DIRECTORY, 0);
	return parent->fd < 0 ? parent->fd : 0;
}

int64_t guest_sys_getcwd(struct guest *guest, const uint64_t args[6])
{
	char name[PATH_MAX];
	size_t len;
	int error = guest_name(guest->files, guest->files->cwd, name);

	if (error)
		return error;
	if (!name[0])
		strcpy(name, "/");
	len = strlen(name) + 1;
	if (len > args[1])
		return -ERANGE;
	error = guest_copy_out(guest, args[0], name, len);
	return error ? error : (int64_t)len;
}

/* @fd, a directory, is the working directory from now on and belongs to it, or is closed. */
static int64_t change_to(struct guest_files *files, int fd)
{
	if (faccessat(fd, ".", X_OK, AT_EACCESS)) {
		int error = -errno;

		close(fd);
		return error;
	}
	if (files->cwd >= 0)
		close(files->cwd);
	files->cwd = fd;
	return 0;
}

int64_t guest_sys_chdir(struct guest *guest, const uint64_t args[6])
{
	char path[PATH_MAX];
	int fd = guest_path_copy(guest, args[0], path);

	if (!fd)
		fd = guest_path_open(guest, (uint64_t)GUEST_AT_FDCWD, path, O_PATH | O_DIRECTORY,
				     0);
	return fd < 0 ? fd : change_to(guest->files, fd);
}

int64_t guest_sys_fchdir(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);
	int fd;

	if (!file)
		return -EBADF;
	if (file->kind != GUEST_FILE_DIRECTORY)
		return -ENOTDIR;
	fd = fcntl(file->host, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : change_to(guest->files, fd);
}
