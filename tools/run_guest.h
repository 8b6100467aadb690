/* SPDX-License-Identifier: MIT */
/* One guest of a pass: its memory, its thread, and what is known of it while it runs. */
#ifndef STAGE2_TOOLS_RUN_GUEST_H
#define STAGE2_TOOLS_RUN_GUEST_H

#include "guest_memory_window.h"
#include "run.h"
#include "run_output.h"

#include <pthread.h>

/* What the guests of a pass share. @ended: an eventfd, which each adds 1 to at its end. */
struct run_guests {
	const struct run_pass *pass;
	_Atomic bool stop;
	int ended;
	int null;
};

/*
 * @window: its memory, if that is in a pool; @memory: whatever it is.
 * @state:  set by the guest's thread; when it is RUN_GUEST_ENDED, with all that follows.
 * @last:   at its end, before its memory went; @cpu_ns: of its thread.
 */
struct run_guest {
	struct run_guests *all;
	unsigned int command;
	struct guest_memory *memory;
	struct guest_memory_window *window;
	bool has_errors;
	struct run_errors errors;
	int out;
	char name[40];
	pthread_t thread;
	bool started;
	_Atomic int state;
	int error;
	struct guest_result result;
	_Atomic uint64_t syscalls; /* while it runs */
	uint64_t cpu_ns;
	struct run_guest_sample last;
};

/* Takes memory from @pool, or plain memory if that is NULL. -errno: run_guest_destroy() is due all
 * the same. */
int run_guest_create(struct run_guest *guest, struct run_guests *all, unsigned int number,
		     struct s2_pool *pool);

int run_guest_start(struct run_guest *guest);

/* Fills in all but the rate. */
void run_guest_measure(struct run_guest *guest, struct run_guest_sample *sample);

/* Waits for its end, which somebody else sees to. */
void run_guest_join(struct run_guest *guest);

/* Its memory goes, and its files; what is known of it stays. */
void run_guest_destroy(struct run_guest *guest);

#endif
