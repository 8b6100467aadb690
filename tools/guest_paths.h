/* SPDX-License-Identifier: MIT */
/*
 * From a guest's path to the host's file. Each resolution begins at the root and is the kernel's,
 * by openat2() with RESOLVE_IN_ROOT: to it the root is "/", wherever symbolic links and ".." lead.
 * No string is looked at to decide what is inside. Links in /proc lead nowhere, and what is mounted
 * within the root is not there, lest that be /proc with the host's memory in it.
 */
#ifndef STAGE2_TOOLS_GUEST_PATHS_H
#define STAGE2_TOOLS_GUEST_PATHS_H

#include "guest_internal.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>

#define GUEST_AT_FDCWD (-100)
#define GUEST_AT_SYMLINK_NOFOLLOW 0x100u
#define GUEST_AT_REMOVEDIR 0x200u
#define GUEST_AT_EACCESS 0x200u
#define GUEST_AT_SYMLINK_FOLLOW 0x400u
#define GUEST_AT_NO_AUTOMOUNT 0x800u
#define GUEST_AT_EMPTY_PATH 0x1000u
#define GUEST_AT_STATX_SYNC 0x6000u

/*
 * Each of these returns a descriptor of the host's, which the caller closes, or a negative errno.
 * Flags of open() are the host's; O_CLOEXEC and O_NOCTTY are added. Directories are arguments of
 * the guest's, a descriptor or GUEST_AT_FDCWD.
 */
int guest_path_open_beneath(int root, const char *path, int flags, mode_t mode);
int guest_path_open(struct guest *guest, uint64_t directory, const char *path, int flags,
		    mode_t mode);

/*
 * With O_PATH, so that nothing happens to what it finds. Of @at_flags GUEST_AT_SYMLINK_NOFOLLOW and
 * GUEST_AT_EMPTY_PATH count.
 */
int guest_path_lookup(struct guest *guest, uint64_t directory, uint64_t path,
		      unsigned int at_flags);

/*
 * Opens for reading or writing what lookup() found, which is a regular file or a directory by @st.
 * Links are not followed again: this is the file that was looked at.
 */
int guest_path_reopen(const struct guest_files *files, int found, int flags);

/* The name under which links has the file of a descriptor of ours. */
struct guest_link_name {
	char text[16];
};
struct guest_link_name guest_link_name(int fd);

/*
 * Where a name is about to be made, removed or moved: the directory, and a name in it that is
 * neither empty nor "." nor "..". @slash: it had a slash behind it, as only directories may.
 */
struct guest_parent {
	int fd;
	char name[NAME_MAX + 1];
	bool slash;
};

/* @nameless: the error for a path that ends in no name, as "/" and "a/.." do. */
int guest_path_parent(struct guest *guest, uint64_t directory, uint64_t path, int nameless,
		      struct guest_parent *parent);

/* The path of a string in the guest's memory. -ENOENT: it is empty. */
int guest_path_copy(struct guest *guest, uint64_t path, char buf[PATH_MAX]);

#endif
