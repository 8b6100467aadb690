/* SPDX-License-Identifier: MIT */
/* See run_interrupt.h. */
#include "run_interrupt.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

int run_interrupt_open(struct run_interrupt *interrupt)
{
	sigset_t set;

	*interrupt = (struct run_interrupt){ .fd = -1 };
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	interrupt->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (interrupt->fd < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &set, &interrupt->before);
	return 0;
}

bool run_interrupt_came(struct run_interrupt *interrupt)
{
	struct signalfd_siginfo info;

	if (!interrupt->came && read(interrupt->fd, &info, sizeof(info)) == sizeof(info)) {
		interrupt->came = true;
		sigprocmask(SIG_SETMASK, &interrupt->before, NULL);
	}
	return interrupt->came;
}

void run_interrupt_close(struct run_interrupt *interrupt)
{
	if (interrupt->fd < 0)
		return;
	close(interrupt->fd);
	interrupt->fd = -1;
	sigprocmask(SIG_SETMASK, &interrupt->before, NULL);
}
