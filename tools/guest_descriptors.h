/* SPDX-License-Identifier: MIT */
/*
 * What a guest has open. Its descriptors are indices of a table of its own, so that no number that
 * it makes up is a descriptor of the host's; as in a kernel, several may share one open file.
 */
#ifndef STAGE2_TOOLS_GUEST_DESCRIPTORS_H
#define STAGE2_TOOLS_GUEST_DESCRIPTORS_H

#include "guest_internal.h"

#include <stddef.h>

/* Flags as x86-64 has them, whatever the host is. */
#define GUEST_O_WRONLY 01u
#define GUEST_O_RDWR 02u
#define GUEST_O_ACCMODE 03u
#define GUEST_O_CREAT 0100u
#define GUEST_O_EXCL 0200u
#define GUEST_O_TRUNC 01000u
#define GUEST_O_APPEND 02000u
#define GUEST_O_NONBLOCK 04000u
#define GUEST_O_DIRECTORY 0200000u
#define GUEST_O_NOFOLLOW 0400000u
#define GUEST_O_CLOEXEC 02000000u
#define GUEST_O_PATH 010000000u
#define GUEST_O_TMPFILE 020000000u

/* What goes between a file and the guest's memory is copied through this many bytes. */
#define GUEST_BOUNCE 65536u

enum guest_file_kind {
	GUEST_FILE_REGULAR,
	GUEST_FILE_DIRECTORY,
	GUEST_FILE_STREAM, /* may have to wait: a pipe, or what stdio is */
	GUEST_FILE_PATH,   /* names something that was not opened */
};

/*
 * @flags:   the guest's, and never the host's: those may be shared with whoever started us.
 * @outside: stdio; it is not closed, and nothing but its contents is the guest's.
 */
struct guest_open_file {
	unsigned int refs;
	int host;
	enum guest_file_kind kind;
	unsigned int flags;
	bool outside;
};

struct guest_descriptor {
	struct guest_open_file *file;
	bool cloexec;
};

/*
 * @links:   the directory of links to our descriptors' files in /proc.
 * @cwd:     -1: the root.
 * @written: counted against limits.output.
 */
struct guest_files {
	int root;
	int links;
	int cwd;
	unsigned int umask;
	uint64_t written;
	unsigned int limit;
	struct guest_descriptor *table;
	unsigned char bounce[GUEST_BOUNCE];
};

/* NULL: the guest has no such descriptor. */
struct guest_open_file *guest_descriptor(const struct guest *guest, uint64_t number);

/*
 * Makes a descriptor, with the lowest number that is free, of the host's descriptor, which then
 * belongs to it; on an error that is closed. @flags: of open(). Returns the number.
 */
int guest_descriptor_add(struct guest *guest, int host, enum guest_file_kind kind,
			 unsigned int flags);

/* The number is one in use. */
void guest_descriptor_remove(struct guest *guest, int number);

/* Takes stdio into a new table. -EBADF: the host has no such descriptor. */
int guest_descriptors_take_stdio(struct guest_files *files, const int stdio[3]);
void guest_descriptors_close_all(struct guest_files *files);

#endif
