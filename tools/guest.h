/* SPDX-License-Identifier: MIT */
/*
 * A guest: one static x86-64 Linux program, run by Unicorn on a memory that somebody else provides.
 * Its system calls are answered here, and it gets nothing but the files beneath a directory.
 */
#ifndef STAGE2_TOOLS_GUEST_H
#define STAGE2_TOOLS_GUEST_H

#include "guest_memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Zero: the default, which for @seconds and @output is no limit.
 *
 * @code: bytes of the host's memory for translations of its code, from GUEST_LEAST_CODE to
 *        GUEST_MOST_CODE.
 */
struct guest_limits {
	uint64_t seconds; /* by the clock on the wall */
	uint64_t output;  /* bytes written, wherever to */
	unsigned int files;
	unsigned int maps; /* ranges of addresses */
	uint64_t code;
};

#define GUEST_LEAST_CODE (UINT64_C(1) << 20)
#define GUEST_DEFAULT_CODE (UINT64_C(64) << 20)
#define GUEST_MOST_CODE (UINT64_C(1) << 30)
#define GUEST_DEFAULT_FILES 64
#define GUEST_DEFAULT_MAPS 1024

/*
 * @root:    directory that its files are beneath; -1: it has none.
 * @program: path of the host's, and of an ELF file for x86-64 without a dynamic linker.
 * @file:    the name by which it is opened, if that is another one, as in /proc/self/fd: guests may
 *           have put something else in the program's place. NULL: @program.
 * @stdio:   the host's descriptors that are the guest's 0, 1 and 2; -1: closed.
 * @stop:    set by another thread ends the guest; NULL: nobody does.
 * @syscalls: how many it has made so far, for others to look at meanwhile; NULL: nobody does.
 */
struct guest_config {
	struct guest_memory *memory;
	int root;
	const char *program;
	const char *file;
	char *const *argv;
	char *const *envp;
	int stdio[3];
	struct guest_limits limits;
	const _Atomic bool *stop;
	_Atomic uint64_t *syscalls;
};

/* A system call that is not in the table, and how often the guest got ENOSYS for it. */
struct guest_unknown_call {
	uint64_t number;
	const char *name; /* NULL: Linux has none of this number either */
	uint64_t calls;
};

#define GUEST_UNKNOWN_CALLS 32

/*
 * @status:  as a shell has it: 128 + the signal for one that was killed.
 * @reason:  one plain sentence about why it ended; "" for one that exited by itself.
 * @translations_dropped: how often limits.code was used up.
 * @unknown: @unknown_calls counts those of numbers that found no place as well.
 */
struct guest_result {
	int status;
	char reason[160];
	uint64_t ns;
	uint64_t syscalls;
	uint64_t translations_dropped;
	uint64_t unknown_calls;
	unsigned int nr_unknown;
	struct guest_unknown_call unknown[GUEST_UNKNOWN_CALLS];
};

/*
 * Runs it on the calling thread to its end. Negative errno: it could not be started, and
 * result->reason says why. The memory must read as zeroes. The process's SIGSEGV handler is
 * replaced by the first guest, by one that passes on what it does not know.
 */
int guest_run(const struct guest_config *config, struct guest_result *result);

#endif
