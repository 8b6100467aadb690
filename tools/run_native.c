/* SPDX-License-Identifier: MIT */
/* See run_native.h. */
#include "run_native.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 100
#define NOT_EXECUTED 127

/* In the child; the files that this program has open are closed by execve(). */
static void execute(const struct run_native *native, const sigset_t *mask)
{
	const struct rlimit limit = { native->output, native->output };
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	run_rlimit_restore(native->rlimit);
	if (native->output)
		setrlimit(RLIMIT_FSIZE, &limit);
	if (null >= 0 && !fchdir(native->root) && dup2(native->in, 0) >= 0 &&
	    dup2(native->out, 1) >= 0 && dup2(null, 2) >= 0)
		fexecve(native->program->fd, native->argv, native->envp);
	_exit(NOT_EXECUTED);
}

/* Its end, a time-out or the user's interruption: 0 or an error. */
static int wait_for(const struct run_native *native, int pidfd, struct run_interrupt *interrupt)
{
	struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
				{ .fd = interrupt->fd, .events = POLLIN } };
	uint64_t begin = clock_ns();

	for (;;) {
		poll(fds, 2, WAIT_MS);
		if (fds[0].revents)
			return 0;
		if (run_interrupt_came(interrupt))
			return -ECANCELED;
		if (native->seconds && clock_ns() - begin > native->seconds * UINT64_C(1000000000))
			return -ETIMEDOUT;
	}
}

int run_native(const struct run_native *native, struct run_interrupt *interrupt, int *status,
	       char *error, size_t len)
{
	pid_t pid = fork();
	int ret, pidfd, wstatus = 0;

	if (!pid)
		execute(native, &interrupt->before);
	if (pid < 0) {
		ret = -errno;
		snprintf(error, len, "%s: cannot be run natively: %s", native->argv[0],
			 strerror(-ret));
		return ret;
	}
	pidfd = pidfd_open(pid, 0);
	ret = pidfd < 0 ? -errno : wait_for(native, pidfd, interrupt);
	if (ret)
		kill(pid, SIGKILL);
	waitpid(pid, &wstatus, 0);
	if (pidfd >= 0)
		close(pidfd);
	*status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
	if (ret)
		snprintf(error, len, "%s: its native run did not end: %s", native->argv[0],
			 ret == -ECANCELED ? "stopped by the user" : strerror(-ret));
	return ret;
}
