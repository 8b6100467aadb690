/* SPDX-License-Identifier: MIT */
/*
 * Modes, owners and times. A guest cannot give a file away, and sets no bit that would let others
 * run it in the name of whoever started us; of stdio it may change nothing at all.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MODE_BITS 01777u
#define CWD ((uint64_t)GUEST_AT_FDCWD)

/* "Leave the owner as it is." */
#define NOBODY UINT32_MAX

/* A change to a file of the host's, which may be open with O_PATH. */
typedef int file_change(struct guest *guest, int fd, const uint64_t args[2]);

static int64_t change_path(struct guest *guest, uint64_t directory, uint64_t path,
			   unsigned int at_flags, file_change *change, const uint64_t args[2])
{
	int fd = guest_path_lookup(guest, directory, path, at_flags & ~GUEST_AT_EMPTY_PATH);
	int error;

	if (fd < 0)
		return fd;
	error = change(guest, fd, args);
	close(fd);
	return error;
}

static int64_t change_descriptor(struct guest *guest, uint64_t number, file_change *change,
				 const uint64_t args[2])
{
	const struct guest_open_file *file = guest_descriptor(guest, number);

	if (!file || file->flags & GUEST_O_PATH)
		return -EBADF;
	return file->outside ? -EPERM : change(guest, file->host, args);
}

int64_t guest_sys_umask(struct guest *guest, const uint64_t args[6])
{
	unsigned int before = guest->files->umask;

	guest->files->umask = (unsigned int)args[0] & 0777;
	return before;
}

/* By its link in /proc, as before Linux 6.6 no call changes the mode of what is open with O_PATH.
 */
static int change_mode(struct guest *guest, int fd, const uint64_t args[2])
{
	struct stat st;
	int error;

	if (fstat(fd, &st))
		return -errno;
	/* Who may use a device is none of a guest's business, wherever its node is. */
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -EPERM;
	error = fchmodat(guest->files->links, guest_link_name(fd).text, (mode_t)args[0] & MODE_BITS,
			 0);
	return error ? -errno : 0;
}

int64_t guest_sys_chmod(struct guest *guest, const uint64_t args[6])
{
	return change_path(guest, CWD, args[0], 0, change_mode, args + 1);
}

int64_t guest_sys_fchmodat(struct guest *guest, const uint64_t args[6])
{
	return change_path(guest, args[0], args[1], 0, change_mode, args + 2);
}

int64_t guest_sys_fchmod(struct guest *guest, const uint64_t args[6])
{
	return change_descriptor(guest, args[0], change_mode, args + 1);
}

/* As for any user: what changes nothing is allowed, to the content of cp -a and tar. */
static int change_owner(struct guest *guest, int fd, const uint64_t args[2])
{
	uint32_t uid = (uint32_t)args[0], gid = (uint32_t)args[1];
	struct stat st;

	(void)guest;
	if (fstat(fd, &st))
		return -errno;
	return (uid == NOBODY || uid == st.st_uid) && (gid == NOBODY || gid == st.st_gid) ? 0
											  : -EPERM;
}

int64_t guest_sys_chown(struct guest *guest, const uint64_t args[6])
{
	return change_path(guest, CWD, args[0], 0, change_owner, args + 1);
}

int64_t guest_sys_lchown(struct guest *guest, const uint64_t args[6])
{
	return change_path(guest, CWD, args[0], GUEST_AT_SYMLINK_NOFOLLOW, change_owner, args + 1);
}

int64_t guest_sys_fchownat(struct guest *guest, const uint64_t args[6])
{
	return change_path(guest, args[0], args[1], (unsigned int)args[4], change_owner, args + 2);
}

int64_t guest_sys_fchown(struct guest *guest, const uint64_t args[6])
{
	return change_descriptor(guest, args[0], change_owner, args + 1);
}

/* Two struct timespec at args[0]; 0: now. */
static int change_times(struct guest *guest, int fd, const uint64_t args[2])
{
	int64_t from[4];
	struct timespec times[2];
	int error;

	if (!args[0])
		return utimensat(fd, "", NULL, AT_EMPTY_PATH) ? -errno : 0;
	error = guest_copy_in(guest, args[0], from, sizeof(from));
	if (error)
		return error;
	for (unsigned int i = 0; i < 2; i++)
		times[i] = (struct timespec){ .tv_sec = from[2 * i], .tv_nsec = from[2 * i + 1] };
	return utimensat(fd, "", times, AT_EMPTY_PATH) ? -errno : 0;
}

int64_t guest_sys_utimensat(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[3];

	if (flags & ~GUEST_AT_SYMLINK_NOFOLLOW)
		return -EINVAL;
	if (!args[1])
		return change_descriptor(guest, args[0], change_times, args + 2);
	return change_path(guest, args[0], args[1], flags, change_times, args + 2);
}
