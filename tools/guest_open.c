/* SPDX-License-Identifier: MIT */
/*
 * What makes descriptors. A path is looked up first, and only a regular file or a directory is
 * opened: to open a FIFO may take for ever, and to open a device does what the device does.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_output.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What may be set by open(): neither set-user-ID nor its kin. */
#define MODE_BITS 0777u

struct opening {
	uint64_t directory;
	unsigned int flags;
	mode_t mode;
	char path[PATH_MAX];
};

static bool for_writing(unsigned int flags)
{
	return (flags & GUEST_O_ACCMODE) != 0 || flags & GUEST_O_TRUNC;
}

/* What the host is asked for; the others of the guest's flags are its own matter or ours. */
static int host_flags(unsigned int flags)
{
	int host = flags & GUEST_O_TRUNC ? O_TRUNC : 0;

	if (flags & GUEST_O_APPEND)
		host |= O_APPEND;
	if (flags & GUEST_O_RDWR)
		return host | O_RDWR;
	return host | (flags & GUEST_O_WRONLY ? O_WRONLY : O_RDONLY);
}

/* May a file of this type be opened so? */
static int check_type(mode_t type, unsigned int flags)
{
	if (S_ISLNK(type))
		return flags & GUEST_O_DIRECTORY ? -ENOTDIR : -ELOOP;
	if (S_ISDIR(type))
		return for_writing(flags) || flags & GUEST_O_CREAT ? -EISDIR : 0;
	if (flags & GUEST_O_DIRECTORY)
		return -ENOTDIR;
	return S_ISREG(type) ? 0 : -EACCES;
}

/* Makes a descriptor of what was looked up; @found is closed, or belongs to the descriptor. */
static int64_t open_found(struct guest *guest, unsigned int flags, int found)
{
	struct stat st;
	int fd, error;

	error = fstat(found, &st) ? -errno : 0;
	if (!error && flags & GUEST_O_PATH) {
		enum guest_file_kind kind = S_ISDIR(st.st_mode) ? GUEST_FILE_DIRECTORY
								: GUEST_FILE_PATH;

		return guest_descriptor_add(guest, found, kind, flags);
	}
	if (!error)
		error = check_type(st.st_mode, flags);
	fd = error ? error : guest_path_reopen(guest->files, found, host_flags(flags));
	close(found);
	if (fd < 0)
		return fd;
	return guest_descriptor_add(
		guest, fd, S_ISDIR(st.st_mode) ? GUEST_FILE_DIRECTORY : GUEST_FILE_REGULAR, flags);
}

/*
 * O_NONBLOCK and the look at what was opened are for what somebody else puts there between the
 * lookup, which found nothing, and now.
 */
static int64_t create(struct guest *guest, const struct opening *opening)
{
	int flags = host_flags(opening->flags) | O_CREAT | O_NONBLOCK, fd, error;
	struct stat st;

	error = guest_output_name(guest);
	if (error)
		return error;
	if (opening->flags & GUEST_O_EXCL)
		flags |= O_EXCL;
	if (opening->flags & GUEST_O_NOFOLLOW)
		flags |= O_NOFOLLOW;
	fd = guest_path_open(guest, opening->directory, opening->path, flags,
			     opening->mode & MODE_BITS & ~guest->files->umask);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EACCES;
	}
	return guest_descriptor_add(guest, fd, GUEST_FILE_REGULAR, opening->flags);
}

static int64_t open_path(struct guest *guest, const struct opening *opening)
{
	unsigned int flags = opening->flags;
	int host = O_PATH, found;

	if ((flags & (GUEST_O_CREAT | GUEST_O_EXCL)) == (GUEST_O_CREAT | GUEST_O_EXCL))
		return create(guest, opening);
	if (flags & GUEST_O_NOFOLLOW)
		host |= O_NOFOLLOW;
	if (flags & GUEST_O_DIRECTORY)
		host |= O_DIRECTORY;
	found = guest_path_open(guest, opening->directory, opening->path, host, 0);
	if (found == -ENOENT && flags & GUEST_O_CREAT)
		return create(guest, opening);
	return found < 0 ? found : open_found(guest, flags, found);
}

static int64_t open_copied(struct guest *guest, uint64_t directory, uint64_t path, uint64_t flags,
			   uint64_t mode)
{
	struct opening opening = {
		.directory = directory,
		.flags = (unsigned int)flags,
		.mode = (mode_t)mode,
	};
	int error = guest_path_copy(guest, path, opening.path);

	if (error)
		return error;
	if (flags & GUEST_O_PATH)
		opening.flags &= GUEST_O_PATH | GUEST_O_DIRECTORY | GUEST_O_NOFOLLOW |
				 GUEST_O_CLOEXEC;
	else if (flags & GUEST_O_TMPFILE)
		return -EOPNOTSUPP;
	if ((opening.flags & GUEST_O_ACCMODE) == GUEST_O_ACCMODE ||
	    (opening.flags & GUEST_O_CREAT && opening.flags & GUEST_O_DIRECTORY))
		return -EINVAL;
	return open_path(guest, &opening);
}

int64_t guest_sys_open(struct guest *guest, const uint64_t args[6])
{
	return open_copied(guest, (uint64_t)GUEST_AT_FDCWD, args[0], args[1], args[2]);
}

int64_t guest_sys_openat(struct guest *guest, const uint64_t args[6])
{
	return open_copied(guest, args[0], args[1], args[2], args[3]);
}

int64_t guest_sys_creat(struct guest *guest, const uint64_t args[6])
{
	return open_copied(guest, (uint64_t)GUEST_AT_FDCWD, args[0],
			   GUEST_O_CREAT | GUEST_O_WRONLY | GUEST_O_TRUNC, args[1]);
}

static int64_t make_pipe(struct guest *guest, uint64_t result, uint64_t flags)
{
	int host[2];
	int32_t made[2];
	int error;

	if (flags & ~(uint64_t)(GUEST_O_CLOEXEC | GUEST_O_NONBLOCK))
		return -EINVAL;
	/* To wait is ours: the guest may have to end meanwhile. */
	if (pipe2(host, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	made[0] = guest_descriptor_add(guest, host[0], GUEST_FILE_STREAM, (unsigned int)flags);
	if (made[0] < 0) {
		close(host[1]);
		return made[0];
	}
	made[1] = guest_descriptor_add(guest, host[1], GUEST_FILE_STREAM,
				       (unsigned int)flags | GUEST_O_WRONLY);
	error = made[1] < 0 ? made[1] : guest_copy_out(guest, result, made, sizeof(made));
	if (!error)
		return 0;
	guest_descriptor_remove(guest, made[0]);
	if (made[1] >= 0)
		guest_descriptor_remove(guest, made[1]);
	return error;
}

int64_t guest_sys_pipe(struct guest *guest, const uint64_t args[6])
{
	return make_pipe(guest, args[0], 0);
}

int64_t guest_sys_pipe2(struct guest *guest, const uint64_t args[6])
{
	return make_pipe(guest, args[0], (uint32_t)args[1]);
}
