/* SPDX-License-Identifier: MIT */
/* Where a descriptor is in its file, how long that is, and what entries a directory has. */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_output.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* SEEK_HOLE, the last of what may be asked for. */
#define LAST_WHENCE 4

int64_t guest_sys_lseek(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);
	uint32_t whence = (uint32_t)args[2];
	off_t position;

	if (!file)
		return -EBADF;
	if (file->kind == GUEST_FILE_STREAM)
		return -ESPIPE;
	if (whence > LAST_WHENCE)
		return -EINVAL;
	position = lseek(file->host, (off_t)args[1], (int)whence);
	return position < 0 ? -errno : position;
}

static int64_t set_length(struct guest *guest, int fd, uint64_t length)
{
	int error = guest_output_length(guest, length);

	if (error)
		return error;
	return ftruncate(fd, (off_t)length) ? -errno : 0;
}

int64_t guest_sys_ftruncate(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);

	if (!file || file->flags & GUEST_O_PATH)
		return -EBADF;
	/* How long the file is that it prints to is the business of whoever started us. */
	if (file->kind != GUEST_FILE_REGULAR || file->outside || (int64_t)args[1] < 0)
		return -EINVAL;
	return set_length(guest, file->host, args[1]);
}

static int64_t truncate_found(struct guest *guest, int found, uint64_t length)
{
	struct stat st;
	int64_t result;
	int fd;

	if (fstat(found, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	fd = guest_path_reopen(guest->files, found, O_WRONLY);
	if (fd < 0)
		return fd;
	result = set_length(guest, fd, length);
	close(fd);
	return result;
}

int64_t guest_sys_truncate(struct guest *guest, const uint64_t args[6])
{
	int64_t result;
	int found;

	if ((int64_t)args[1] < 0)
		return -EINVAL;
	found = guest_path_lookup(guest, (uint64_t)GUEST_AT_FDCWD, args[0], 0);
	if (found < 0)
		return found;
	result = truncate_found(guest, found, args[1]);
	close(found);
	return result;
}

static int64_t sync_with(struct guest *guest, uint64_t number, int (*sync_file)(int))
{
	const struct guest_open_file *file = guest_descriptor(guest, number);

	if (!file || file->flags & GUEST_O_PATH)
		return -EBADF;
	if (file->kind == GUEST_FILE_STREAM)
		return -EINVAL;
	return sync_file(file->host) ? -errno : 0;
}

int64_t guest_sys_fsync(struct guest *guest, const uint64_t args[6])
{
	return sync_with(guest, args[0], fsync);
}

int64_t guest_sys_fdatasync(struct guest *guest, const uint64_t args[6])
{
	return sync_with(guest, args[0], fdatasync);
}

/* Advice, which need not be taken. */
int64_t guest_sys_fadvise64(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);

	if (!file || file->flags & GUEST_O_PATH)
		return -EBADF;
	return file->kind == GUEST_FILE_STREAM ? -ESPIPE : 0;
}

/* The entries have one layout on every architecture. */
int64_t guest_sys_getdents64(struct guest *guest, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);
	void *bounce = guest->files->bounce;
	uint32_t size = (uint32_t)args[2];
	off_t before;
	long len;
	int error;

	if (!file || file->flags & GUEST_O_PATH)
		return -EBADF;
	if (file->kind != GUEST_FILE_DIRECTORY)
		return -ENOTDIR;
	before = lseek(file->host, 0, SEEK_CUR);
	len = syscall(SYS_getdents64, file->host, bounce,
		      size < GUEST_BOUNCE ? size : GUEST_BOUNCE);
	if (len < 0)
		return -errno;
	error = guest_copy_out(guest, args[1], bounce, (size_t)len);
	if (!error)
		return len;
	/* Entries that did not arrive come again. */
	lseek(file->host, before, SEEK_SET);
	return error;
}
