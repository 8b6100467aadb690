/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a guest share. All of it belongs to the thread that runs the guest.
 */
#ifndef STAGE2_TOOLS_GUEST_INTERNAL_H
#define STAGE2_TOOLS_GUEST_INTERNAL_H

#include "guest.h"

#include <stdbool.h>
#include <stdint.h>

struct guest_cpu;
struct guest_files;
struct guest_maps;
struct guest_signals;

/*
 * @limits:      those of the config with the defaults filled in.
 * @deadline_ns: by clock_ns(); UINT64_MAX: none.
 * @text_start:  from here to @text_end the program's code is, and nothing but that stays there.
 * @brk_start:   where the program's data end; @brk is as the guest has it, not always whole pages.
 * @stack_size:  of what is mapped at the end of the memory.
 * @sp:          its stack pointer, for the system call that is being answered.
 * @ended:       result->status and reason are final; the processor stops after this system call.
 */
struct guest {
	const struct guest_config *config;
	struct guest_limits limits;
	struct guest_memory *memory;
	struct guest_maps *maps;
	struct guest_files *files;
	struct guest_signals *signals;
	struct guest_cpu *cpu;
	struct guest_result *result;
	uint64_t start_ns;
	uint64_t deadline_ns;
	uint64_t text_start;
	uint64_t text_end;
	uint64_t brk_start;
	uint64_t brk;
	uint64_t stack_size;
	uint64_t sp;
	bool ended;
};

/*
 * Ends the guest: @status as a shell has it, and why, in a plain sentence without full stop (NULL:
 * it exited). Only the first call counts. A handler returns as usual afterwards.
 */
void guest_end(struct guest *guest, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The status of a program that cannot be run, as a shell has it. */
#define GUEST_NOT_RUN 126

/*
 * For handlers that wait, between waits of GUEST_WAIT_MS at most: true if the guest is to end now,
 * for which guest_end() has been called.
 */
bool guest_must_stop(struct guest *guest);

#define GUEST_WAIT_MS 50

/* What a system call does: returns its value or a negative errno, as the kernel's do. */
typedef int64_t guest_handler(struct guest *guest, const uint64_t args[6]);

#endif
