/* SPDX-License-Identifier: MIT */
/* See native_program.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "native_program.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int native_output(int directory, char *const *argv, char *const *envp, int *status)
{
	int out = memfd_create("native", MFD_CLOEXEC);
	pid_t child = fork();

	if (!child) {
		if (fchdir(directory) || dup2(out, 1) != 1)
			_exit(126);
		execve(argv[0], argv, envp);
		_exit(127);
	}
	assert_int_equal(waitpid(child, status, 0), child);
	*status = WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
	return out;
}
