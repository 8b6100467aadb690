/* SPDX-License-Identifier: MIT */
/*
 * Names come, go and move. The directory is opened within the root; what is done there concerns one
 * name, which cannot be "..", and never follows a link that stands under it. A link may say
 * whatever it wants: where it leads within the root is decided when somebody follows it.
 */
#define _GNU_SOURCE
#include "guest_copy.h"
#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_output.h"
#include "guest_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* The sticky bit, but neither set-user-ID nor set-group-ID. */
#define DIRECTORY_MODE_BITS 01777u

#define CWD ((uint64_t)GUEST_AT_FDCWD)

/* The flags of renameat2() that stay within what rename() does: NOREPLACE and EXCHANGE. */
#define RENAME_FLAGS 3u

/* A slash behind a name is for directories only. */
static int check_slash(const struct guest_parent *parent)
{
	struct stat st;

	if (!parent->slash)
		return 0;
	if (fstatat(parent->fd, parent->name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int64_t make_directory(struct guest *guest, uint64_t directory, uint64_t path, uint64_t mode)
{
	struct guest_parent parent;
	int error = guest_path_parent(guest, directory, path, -EEXIST, &parent);

	if (error)
		return error;
	error = guest_output_name(guest);
	if (!error && mkdirat(parent.fd, parent.name,
			      (mode_t)mode & DIRECTORY_MODE_BITS & ~guest->files->umask))
		error = -errno;
	close(parent.fd);
	return error;
}

int64_t guest_sys_mkdir(struct guest *guest, const uint64_t args[6])
{
	return make_directory(guest, CWD, args[0], args[1]);
}

int64_t guest_sys_mkdirat(struct guest *guest, const uint64_t args[6])
{
	return make_directory(guest, args[0], args[1], args[2]);
}

static int64_t remove_name(struct guest *guest, uint64_t directory, uint64_t path, uint32_t flags)
{
	bool whole = flags & GUEST_AT_REMOVEDIR;
	struct guest_parent parent;
	int error;

	if (flags & ~GUEST_AT_REMOVEDIR)
		return -EINVAL;
	error = guest_path_parent(guest, directory, path, whole ? -EINVAL : -EISDIR, &parent);
	if (error)
		return error;
	error = check_slash(&parent);
	if (!error && unlinkat(parent.fd, parent.name, whole ? AT_REMOVEDIR : 0))
		error = -errno;
	close(parent.fd);
	return error;
}

int64_t guest_sys_rmdir(struct guest *guest, const uint64_t args[6])
{
	return remove_name(guest, CWD, args[0], GUEST_AT_REMOVEDIR);
}

int64_t guest_sys_unlink(struct guest *guest, const uint64_t args[6])
{
	return remove_name(guest, CWD, args[0], 0);
}

int64_t guest_sys_unlinkat(struct guest *guest, const uint64_t args[6])
{
	return remove_name(guest, args[0], args[1], (uint32_t)args[2]);
}

static int rename_between(const struct guest_parent *from, const struct guest_parent *to,
			  uint32_t flags)
{
	struct stat st;
	int error = check_slash(from);

	if (error)
		return error;
	/* The new name need not be there; what it will stand for is what counts. */
	if (to->slash && fstatat(from->fd, from->name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (to->slash && !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return renameat2(from->fd, from->name, to->fd, to->name, flags) ? -errno : 0;
}

int64_t guest_sys_renameat2(struct guest *guest, const uint64_t args[6])
{
	struct guest_parent from, to;
	uint32_t flags = (uint32_t)args[4];
	int error;

	if (flags & ~RENAME_FLAGS)
		return -EINVAL;
	error = guest_path_parent(guest, args[0], args[1], -EBUSY, &from);
	if (error)
		return error;
	error = guest_path_parent(guest, args[2], args[3], -EBUSY, &to);
	if (!error) {
		error = rename_between(&from, &to, flags);
		close(to.fd);
	}
	close(from.fd);
	return error;
}

int64_t guest_sys_renameat(struct guest *guest, const uint64_t args[6])
{
	const uint64_t at[6] = { args[0], args[1], args[2], args[3] };

	return guest_sys_renameat2(guest, at);
}

int64_t guest_sys_rename(struct guest *guest, const uint64_t args[6])
{
	const uint64_t at[6] = { CWD, args[0], CWD, args[1] };

	return guest_sys_renameat2(guest, at);
}

/* A second name for what was looked up, even if that is a symbolic link. */
static int link_found(struct guest *guest, int found, uint64_t directory, uint64_t path)
{
	struct guest_parent parent;
	int error = guest_path_parent(guest, directory, path, -EEXIST, &parent);

	if (error)
		return error;
	error = parent.slash ? -ENOENT : guest_output_name(guest);
	if (!error && linkat(guest->files->links, guest_link_name(found).text, parent.fd,
			     parent.name, AT_SYMLINK_FOLLOW))
		error = -errno;
	close(parent.fd);
	return error;
}

int64_t guest_sys_linkat(struct guest *guest, const uint64_t args[6])
{
	uint32_t flags = (uint32_t)args[4];
	int found, error;

	if (flags & ~GUEST_AT_SYMLINK_FOLLOW)
		return -EINVAL;
	found = guest_path_lookup(guest, args[0], args[1],
				  flags & GUEST_AT_SYMLINK_FOLLOW ? 0 : GUEST_AT_SYMLINK_NOFOLLOW);
	if (found < 0)
		return found;
	error = link_found(guest, found, args[2], args[3]);
	close(found);
	return error;
}

int64_t guest_sys_link(struct guest *guest, const uint64_t args[6])
{
	const uint64_t at[6] = { CWD, args[0], CWD, args[1] };

	return guest_sys_linkat(guest, at);
}

static int64_t make_symlink(struct guest *guest, uint64_t text, uint64_t directory, uint64_t path)
{
	struct guest_parent parent;
	char target[PATH_MAX];
	int error = guest_path_copy(guest, text, target);

	if (!error)
		error = guest_path_parent(guest, directory, path, -EEXIST, &parent);
	if (error)
		return error;
	error = parent.slash ? -ENOENT : guest_output_name(guest);
	if (!error && symlinkat(target, parent.fd, parent.name))
		error = -errno;
	close(parent.fd);
	return error;
}

int64_t guest_sys_symlink(struct guest *guest, const uint64_t args[6])
{
	return make_symlink(guest, args[0], CWD, args[1]);
}

int64_t guest_sys_symlinkat(struct guest *guest, const uint64_t args[6])
{
	return make_symlink(guest, args[0], args[1], args[2]);
}
