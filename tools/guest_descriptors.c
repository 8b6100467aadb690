/* SPDX-License-Identifier: MIT */
/*
 * See guest_descriptors.h. What a guest sets on stdio stays here: O_NONBLOCK there would be set for
 * the host's terminal, and for the other guests.
 */
#define _GNU_SOURCE
#include "guest_descriptors.h"

#include "guest_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUEST_F_DUPFD 0
#define GUEST_F_GETFD 1
#define GUEST_F_SETFD 2
#define GUEST_F_GETFL 3
#define GUEST_F_SETFL 4
#define GUEST_F_DUPFD_CLOEXEC 1030
#define GUEST_FD_CLOEXEC 1
#define GUEST_CLOSE_RANGE_UNSHARE 2u
#define GUEST_CLOSE_RANGE_CLOEXEC 4u

#define SETTABLE_FLAGS (GUEST_O_APPEND | GUEST_O_NONBLOCK)
#define KEPT_FLAGS (GUEST_O_ACCMODE | SETTABLE_FLAGS | GUEST_O_DIRECTORY | GUEST_O_PATH)

static struct guest_open_file *find(const struct guest_files *files, uint64_t number)
{
	/* As in the kernel's calls, whose descriptors are ints. */
	uint32_t index = (uint32_t)number;

	return index < files->limit ? files->table[index].file : NULL;
}

struct guest_open_file *guest_descriptor(const struct guest *guest, uint64_t number)
{
	return find(guest->files, number);
}

int guest_files_host_fd(const struct guest_files *files, uint64_t number)
{
	const struct guest_open_file *file = find(files, number);

	if (!file || file->kind == GUEST_FILE_PATH)
		return -EBADF;
	if (file->kind != GUEST_FILE_REGULAR)
		return -ENODEV;
	return (file->flags & GUEST_O_ACCMODE) == GUEST_O_WRONLY ? -EACCES : file->host;
}

static struct guest_open_file *open_file(int host, enum guest_file_kind kind, unsigned int flags)
{
	struct guest_open_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->host = host;
	file->kind = kind;
	file->flags = flags & KEPT_FLAGS;
	return file;
}

static int install(struct guest_files *files, uint64_t from, struct guest_open_file *file,
		   bool cloexec)
{
	for (uint64_t i = from; i < files->limit; i++) {
		if (files->table[i].file)
			continue;
		files->table[i] = (struct guest_descriptor){ file, cloexec };
		file->refs++;
		return (int)i;
	}
	return -EMFILE;
}

static void uninstall(struct guest_files *files, uint64_t i)
{
	struct guest_open_file *file = files->table[i].file;

	files->table[i] = (struct guest_descriptor){ NULL, false };
	if (!file || --file->refs)
		return;
	if (!file->outside)
		close(file->host);
	free(file);
}

int guest_descriptor_add(struct guest *guest, int host, enum guest_file_kind kind,
			 unsigned int flags)
{
	struct guest_open_file *file = open_file(host, kind, flags);
	int number = -ENOMEM;

	if (file)
		number = install(guest->files, 0, file, flags & GUEST_O_CLOEXEC);
	if (number < 0) {
		close(host);
		free(file);
	}
	return number;
}

void guest_descriptor_remove(struct guest *guest, int number)
{
	uninstall(guest->files, (uint64_t)number);
}

static unsigned int flags_of_stdio(int host)
{
	int access = fcntl(host, F_GETFL) & O_ACCMODE;

	if (access == O_RDONLY)
		return 0;
	return access == O_WRONLY ? GUEST_O_WRONLY : GUEST_O_RDWR;
}

/* A disk is no stream: what is not in the page cache comes if one reads it, and not if one waits.
 */
static enum guest_file_kind kind_of_stdio(mode_t mode)
{
	return S_ISREG(mode) || S_ISBLK(mode) ? GUEST_FILE_REGULAR : GUEST_FILE_STREAM;
}

int guest_descriptors_take_stdio(struct guest_files *files, const int stdio[3])
{
	for (unsigned int i = 0; i < 3; i++) {
		struct guest_open_file *file;
		struct stat st;

		if (stdio[i] < 0)
			continue;
		if (fstat(stdio[i], &st))
			return -errno;
		file = open_file(stdio[i], kind_of_stdio(st.st_mode), flags_of_stdio(stdio[i]));
		if (!file)
			return -ENOMEM;
		file->outside = true;
		install(files, i, file, false);
	}
	return 0;
}

void guest_descriptors_close_all(struct guest_files *files)
{
	for (unsigned int i = 0; i < files->limit; i++)
		uninstall(files, i);
}

int64_t guest_sys_close(struct guest *guest, const uint64_t args[6])
{
	if (!guest_descriptor(guest, args[0]))
		return -EBADF;
	uninstall(guest->files, (uint32_t)args[0]);
	return 0;
}

int64_t guest_sys_close_range(struct guest *guest, const uint64_t args[6])
{
	struct guest_files *files = guest->files;
	uint64_t first = (uint32_t)args[0], last = (uint32_t)args[1];
	uint32_t flags = (uint32_t)args[2];

	if (first > last || flags & ~(GUEST_CLOSE_RANGE_UNSHARE | GUEST_CLOSE_RANGE_CLOEXEC))
		return -EINVAL;
	for (uint64_t i = first; i <= last && i < files->limit; i++) {
		if (flags & GUEST_CLOSE_RANGE_CLOEXEC)
			files->table[i].cloexec = true;
		else
			uninstall(files, i);
	}
	return 0;
}

int64_t guest_sys_dup(struct guest *guest, const uint64_t args[6])
{
	struct guest_open_file *file = guest_descriptor(guest, args[0]);

	return file ? install(guest->files, 0, file, false) : -EBADF;
}

static int64_t dup_onto(struct guest *guest, uint32_t to, struct guest_open_file *file,
			bool cloexec)
{
	struct guest_files *files = guest->files;

	if (!file || to >= files->limit)
		return -EBADF;
	/* First, as the place may hold the file's last reference. */
	file->refs++;
	uninstall(files, to);
	files->table[to] = (struct guest_descriptor){ file, cloexec };
	return to;
}

int64_t guest_sys_dup2(struct guest *guest, const uint64_t args[6])
{
	struct guest_open_file *file = guest_descriptor(guest, args[0]);

	if (file && (uint32_t)args[0] == (uint32_t)args[1])
		return (uint32_t)args[1];
	return dup_onto(guest, (uint32_t)args[1], file, false);
}

int64_t guest_sys_dup3(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[2];

	if (flags & ~GUEST_O_CLOEXEC || (uint32_t)args[0] == (uint32_t)args[1])
		return -EINVAL;
	return dup_onto(guest, (uint32_t)args[1], guest_descriptor(guest, args[0]), flags);
}

static int64_t set_flags(struct guest_open_file *file, uint64_t flags)
{
	if (file->kind == GUEST_FILE_PATH)
		return -EBADF;
	/* Where the host's file ends is known to the host only. */
	if (file->kind == GUEST_FILE_REGULAR && !file->outside &&
	    fcntl(file->host, F_SETFL, flags & GUEST_O_APPEND ? O_APPEND : 0))
		return -errno;
	file->flags = (file->flags & ~SETTABLE_FLAGS) | ((unsigned int)flags & SETTABLE_FLAGS);
	return 0;
}

int64_t guest_sys_fcntl(struct guest *guest, const uint64_t args[6])
{
	struct guest_open_file *file = guest_descriptor(guest, args[0]);
	struct guest_descriptor *descriptor;
	uint32_t command = (uint32_t)args[1];

	if (!file)
		return -EBADF;
	descriptor = &guest->files->table[(uint32_t)args[0]];
	switch (command) {
	case GUEST_F_DUPFD:
	case GUEST_F_DUPFD_CLOEXEC:
		if (args[2] >= guest->files->limit)
			return -EINVAL;
		return install(guest->files, args[2], file, command == GUEST_F_DUPFD_CLOEXEC);
	case GUEST_F_GETFD:
		return descriptor->cloexec ? GUEST_FD_CLOEXEC : 0;
	case GUEST_F_SETFD:
		descriptor->cloexec = args[2] & GUEST_FD_CLOEXEC;
		return 0;
	case GUEST_F_GETFL:
		return file->flags;
	case GUEST_F_SETFL:
		return set_flags(file, args[2]);
	default:
		return -EINVAL;
	}
}

/* No guest has a terminal: what it would set there is set for whoever started us. */
int64_t guest_sys_ioctl(struct guest *guest, const uint64_t args[6])
{
	return guest_descriptor(guest, args[0]) ? -ENOTTY : -EBADF;
}
