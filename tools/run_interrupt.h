/* SPDX-License-Identifier: MIT */
/*
 * Ctrl-C, and SIGTERM: not a signal but something to wait for beside other things, so that guests
 * are ended and what was measured is still told. A second one ends this program at once.
 */
#ifndef STAGE2_TOOLS_RUN_INTERRUPT_H
#define STAGE2_TOOLS_RUN_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

/* @fd: readable when it has come; for poll(2). @before: the signals that were blocked before. */
struct run_interrupt {
	int fd;
	bool came;
	sigset_t before;
};

/* Before any thread is started, which would get the signals otherwise. -errno. */
int run_interrupt_open(struct run_interrupt *interrupt);

/* Has it come by now? Does not wait. */
bool run_interrupt_came(struct run_interrupt *interrupt);

void run_interrupt_close(struct run_interrupt *interrupt);

#endif
