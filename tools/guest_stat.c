/* SPDX-License-Identifier: MIT */
/*
 * What is known of a file. Each path is looked up to a descriptor first, and the question put to
 * that. Results are laid out as x86-64 has them, whatever the host is.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <unistd.h>

struct guest_timespec {
	int64_t seconds;
	int64_t nanoseconds;
};

struct guest_stat {
	uint64_t dev;
	uint64_t ino;
	uint64_t nlink;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t padding;
	uint64_t rdev;
	int64_t size;
	int64_t blksize;
	int64_t blocks;
	struct guest_timespec atime;
	struct guest_timespec mtime;
	struct guest_timespec ctime;
	int64_t unused[3];
};

_Static_assert(sizeof(struct guest_stat) == 144, "x86-64's struct stat");

struct guest_statfs {
	int64_t type;
	int64_t bsize;
	uint64_t blocks;
	uint64_t bfree;
	uint64_t bavail;
	uint64_t files;
	uint64_t ffree;
	int32_t fsid[2];
	int64_t namelen;
	int64_t frsize;
	int64_t flags;
	int64_t spare[4];
};

_Static_assert(sizeof(struct guest_statfs) == 120, "x86-64's struct statfs");

/* A question about a file of the host's; the arguments are those of the system call. */
typedef int64_t stat_question(struct guest *guest, int fd, const uint64_t args[6]);

static int64_t ask_path(struct guest *guest, uint64_t directory, uint64_t path,
			unsigned int at_flags, stat_question *question, const uint64_t args[6])
{
	int fd = guest_path_lookup(guest, directory, path, at_flags);
	int64_t result;

	if (fd < 0)
		return fd;
	result = question(guest, fd, args);
	close(fd);
	return result;
}

static int64_t ask_descriptor(struct guest *guest, stat_question *question, const uint64_t args[6])
{
	const struct guest_open_file *file = guest_descriptor(guest, args[0]);

	return file ? question(guest, file->host, args) : -EBADF;
}

static struct guest_timespec time_of(struct timespec time)
{
	return (struct guest_timespec){ time.tv_sec, time.tv_nsec };
}

static int64_t stat_to(struct guest *guest, int fd, uint64_t result)
{
	struct guest_stat to = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	to.dev = st.st_dev;
	to.ino = st.st_ino;
	to.nlink = st.st_nlink;
	to.mode = st.st_mode;
	to.uid = st.st_uid;
	to.gid = st.st_gid;
	to.rdev = st.st_rdev;
	to.size = st.st_size;
	to.blksize = st.st_blksize;
	to.blocks = st.st_blocks;
	to.atime = time_of(st.st_atim);
	to.mtime = time_of(st.st_mtim);
	to.ctime = time_of(st.st_ctim);
	return guest_copy_out(guest, result, &to, sizeof(to));
}

static int64_t stat_second(struct guest *guest, int fd, const uint64_t args[6])
{
	return stat_to(guest, fd, args[1]);
}

static int64_t stat_third(struct guest *guest, int fd, const uint64_t args[6])
{
	return stat_to(guest, fd, args[2]);
}

int64_t guest_sys_fstat(struct guest *guest, const uint64_t args[6])
{
	return ask_descriptor(guest, stat_second, args);
}

int64_t guest_sys_stat(struct guest *guest, const uint64_t args[6])
{
	return ask_path(guest, (uint64_t)GUEST_AT_FDCWD, args[0], 0, stat_second, args);
}

int64_t guest_sys_lstat(struct guest *guest, const uint64_t args[6])
{
	return ask_path(guest, (uint64_t)GUEST_AT_FDCWD, args[0], GUEST_AT_SYMLINK_NOFOLLOW,
			stat_second, args);
}

int64_t guest_sys_newfstatat(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[3];

	if (flags & ~(GUEST_AT_SYMLINK_NOFOLLOW | GUEST_AT_EMPTY_PATH | GUEST_AT_NO_AUTOMOUNT))
		return -EINVAL;
	return ask_path(guest, args[0], args[1], flags, stat_third, args);
}

/* The kernel's struct statx is the same on every architecture. */
static int64_t statx_fifth(struct guest *guest, int fd, const uint64_t args[6])
{
	struct statx stx = { 0 };

	if (statx(fd, "", AT_EMPTY_PATH, (unsigned int)args[3], &stx))
		return -errno;
	return guest_copy_out(guest, args[4], &stx, sizeof(stx));
}

int64_t guest_sys_statx(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[2];

	if (flags & ~(GUEST_AT_SYMLINK_NOFOLLOW | GUEST_AT_EMPTY_PATH | GUEST_AT_NO_AUTOMOUNT |
		      GUEST_AT_STATX_SYNC))
		return -EINVAL;
	return ask_path(guest, args[0], args[1], flags, statx_fifth, args);
}

static int64_t statfs_second(struct guest *guest, int fd, const uint64_t args[6])
{
	struct guest_statfs to = { 0 };
	struct statfs st;

	if (fstatfs(fd, &st))
		return -errno;
	to.type = (int64_t)st.f_type;
	to.bsize = (int64_t)st.f_bsize;
	to.blocks = st.f_blocks;
	to.bfree = st.f_bfree;
	to.bavail = st.f_bavail;
	to.files = st.f_files;
	to.ffree = st.f_ffree;
	to.namelen = (int64_t)st.f_namelen;
	to.frsize = (int64_t)st.f_frsize;
	to.flags = (int64_t)st.f_flags;
	return guest_copy_out(guest, args[1], &to, sizeof(to));
}

int64_t guest_sys_statfs(struct guest *guest, const uint64_t args[6])
{
	return ask_path(guest, (uint64_t)GUEST_AT_FDCWD, args[0], 0, statfs_second, args);
}

int64_t guest_sys_fstatfs(struct guest *guest, const uint64_t args[6])
{
	return ask_descriptor(guest, statfs_second, args);
}

static int64_t access_by(struct guest *guest, const uint64_t args[6], uint32_t at_flags)
{
	int fd, error;

	if ((uint32_t)args[2] & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	fd = guest_path_lookup(guest, args[0], args[1], at_flags);
	if (fd < 0)
		return fd;
	error = faccessat(fd, "", (int)args[2],
			  AT_EMPTY_PATH | (at_flags & GUEST_AT_EACCESS ? AT_EACCESS : 0));
	error = error ? -errno : 0;
	close(fd);
	return error;
}

int64_t guest_sys_access(struct guest *guest, const uint64_t args[6])
{
	const uint64_t at[6] = { (uint64_t)GUEST_AT_FDCWD, args[0], args[1] };

	return access_by(guest, at, 0);
}

int64_t guest_sys_faccessat(struct guest *guest, const uint64_t args[6])
{
	return access_by(guest, args, 0);
}

int64_t guest_sys_faccessat2(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[3];

	if (flags & ~(GUEST_AT_SYMLINK_NOFOLLOW | GUEST_AT_EMPTY_PATH | GUEST_AT_EACCESS))
		return -EINVAL;
	return access_by(guest, args, flags);
}

/* Of a link that was looked up, or of a descriptor that is one: an empty path after all. */
static int64_t read_link(struct guest *guest, int fd, const uint64_t args[6])
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t len;
	int error;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	len = readlinkat(fd, "", target, args[3] < sizeof(target) ? args[3] : sizeof(target));
	if (len < 0)
		return -errno;
	error = guest_copy_out(guest, args[2], target, (size_t)len);
	return error ? error : len;
}

int64_t guest_sys_readlinkat(struct guest *guest, const uint64_t args[6])
{
	if ((int32_t)args[3] <= 0)
		return -EINVAL;
	return ask_path(guest, args[0], args[1], GUEST_AT_SYMLINK_NOFOLLOW | GUEST_AT_EMPTY_PATH,
			read_link, args);
}

int64_t guest_sys_readlink(struct guest *guest, const uint64_t args[6])
{
	const uint64_t at[6] = { (uint64_t)GUEST_AT_FDCWD, args[0], args[1], args[2] };

	return guest_sys_readlinkat(guest, at);
}
