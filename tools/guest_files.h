/* SPDX-License-Identifier: MIT */
/*
 * A guest's files: its descriptors, which are numbers of its own, and the files, directories and
 * symbolic links beneath its root, which it sees as "/". Whatever a path says, the kernel resolves
 * it within the root; devices, FIFOs and sockets there cannot be opened.
 */
#ifndef STAGE2_TOOLS_GUEST_FILES_H
#define STAGE2_TOOLS_GUEST_FILES_H

#include "guest_internal.h"

/*
 * With a root of -1 no path is there. -ENOSYS: this kernel has no openat2(), without which nothing
 * keeps a guest in its root; -ENOENT: /proc, by which a directory tells its name, is not mounted;
 * -ENOTDIR: the root is none; -EPERM: it is in /proc; -ENOMEM.
 */
int guest_files_create(const struct guest_config *config, struct guest_files **files);

/* What the guest still has open is closed, but for the descriptors of config->stdio. NULL: nothing.
 */
void guest_files_destroy(struct guest_files *files);

/*
 * The host's descriptor, for pread(), of a file that the guest may map. -EBADF: it has none such
 * open; -EACCES: not for reading; -ENODEV: it is no regular file.
 */
int guest_files_host_fd(const struct guest_files *files, uint64_t number);

/* guest_descriptors.c: the table of descriptors */
guest_handler guest_sys_close;
guest_handler guest_sys_close_range;
guest_handler guest_sys_dup;
guest_handler guest_sys_dup2;
guest_handler guest_sys_dup3;
guest_handler guest_sys_fcntl;
guest_handler guest_sys_ioctl;

/* guest_open.c: what makes descriptors */
guest_handler guest_sys_open;
guest_handler guest_sys_openat;
guest_handler guest_sys_creat;
guest_handler guest_sys_pipe;
guest_handler guest_sys_pipe2;

/* guest_transfer.c: bytes from and to descriptors */
guest_handler guest_sys_read;
guest_handler guest_sys_readv;
guest_handler guest_sys_pread64;
guest_handler guest_sys_preadv;
guest_handler guest_sys_write;
guest_handler guest_sys_writev;
guest_handler guest_sys_pwrite64;
guest_handler guest_sys_pwritev;
guest_handler guest_sys_sendfile;

/* guest_position.c: where in a file, how long it is, whether it is on disk; directories' entries */
guest_handler guest_sys_lseek;
guest_handler guest_sys_ftruncate;
guest_handler guest_sys_truncate;
guest_handler guest_sys_fsync;
guest_handler guest_sys_fdatasync;
guest_handler guest_sys_fadvise64;
guest_handler guest_sys_getdents64;

/* guest_poll.c: waiting for several descriptors */
guest_handler guest_sys_poll;
guest_handler guest_sys_ppoll;
guest_handler guest_sys_select;
guest_handler guest_sys_pselect6;

/* guest_paths.c: the working directory */
guest_handler guest_sys_getcwd;
guest_handler guest_sys_chdir;
guest_handler guest_sys_fchdir;

/* guest_stat.c: what is known of a file */
guest_handler guest_sys_fstat;
guest_handler guest_sys_stat;
guest_handler guest_sys_lstat;
guest_handler guest_sys_newfstatat;
guest_handler guest_sys_statx;
guest_handler guest_sys_statfs;
guest_handler guest_sys_fstatfs;
guest_handler guest_sys_access;
guest_handler guest_sys_faccessat;
guest_handler guest_sys_faccessat2;
guest_handler guest_sys_readlink;
guest_handler guest_sys_readlinkat;

/* guest_names.c: names come, go and move */
guest_handler guest_sys_mkdir;
guest_handler guest_sys_mkdirat;
guest_handler guest_sys_rmdir;
guest_handler guest_sys_unlink;
guest_handler guest_sys_unlinkat;
guest_handler guest_sys_rename;
guest_handler guest_sys_renameat;
guest_handler guest_sys_renameat2;
guest_handler guest_sys_link;
guest_handler guest_sys_linkat;
guest_handler guest_sys_symlink;
guest_handler guest_sys_symlinkat;

/* guest_attributes.c: modes, owners and times */
guest_handler guest_sys_umask;
guest_handler guest_sys_chmod;
guest_handler guest_sys_fchmod;
guest_handler guest_sys_fchmodat;
guest_handler guest_sys_chown;
guest_handler guest_sys_fchown;
guest_handler guest_sys_lchown;
guest_handler guest_sys_fchownat;
guest_handler guest_sys_utimensat;

#endif
