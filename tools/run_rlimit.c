/* SPDX-License-Identifier: MIT */
/* See run_rlimit.h. */
#include "run_rlimit.h"

#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Beside a guest's own files: its output and standard error, its current directory and the one by
 * which it opens files, what a call that resolves a path has open meanwhile, and its command's
 * program and outputs to compare with.
 */
#define FILES_PER_GUEST 12

/* The pool's, its tiers' with their connections, the terminal's, the report's. */
#define FILES_OF_HOST 128

/* Standard input, output and error, and a few more, without which hardly a program can do. */
#define LEAST_FILES 8

static uint64_t open_now(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t nr = 0;

	while (dir && readdir(dir))
		nr++;
	if (dir)
		closedir(dir);
	return nr;
}

/* Beside what guests open themselves. */
static uint64_t needed_beside(unsigned int guests)
{
	return open_now() + FILES_OF_HOST + (uint64_t)guests * FILES_PER_GUEST;
}

static unsigned int share_of(uint64_t all, uint64_t beside, unsigned int guests)
{
	uint64_t share = all > beside ? (all - beside) / guests : 0;

	return share < GUEST_DEFAULT_FILES ? (unsigned int)share : GUEST_DEFAULT_FILES;
}

static int refuse(uint64_t needed, uint64_t hard, unsigned int guests, unsigned int files,
		  char *error, size_t len)
{
	snprintf(error, len,
		 "--files: %u guests with %u files each need %llu descriptors, and this process "
		 "may have %llu (ulimit -Hn); give them fewer --files, or run fewer guests",
		 guests, files, (unsigned long long)needed, (unsigned long long)hard);
	return -EMFILE;
}

int run_rlimit_change(struct run_rlimit *before, unsigned int guests, unsigned int *files,
		      char *error, size_t len)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	uint64_t beside = needed_beside(guests), needed;
	struct rlimit limit;
	unsigned int each;

	getrlimit(RLIMIT_NOFILE, &limit);
	each = *files ? *files : share_of(limit.rlim_max, beside, guests);
	if (each < LEAST_FILES && !*files)
		each = LEAST_FILES;
	needed = beside + (uint64_t)guests * each;
	if (needed > limit.rlim_max)
		return refuse(needed, limit.rlim_max, guests, each, error, len);
	*before = (struct run_rlimit){ .changed = true, .files = limit };
	if (limit.rlim_cur < needed) {
		limit.rlim_cur = needed;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	sigaction(SIGXFSZ, &ignore, &before->too_large);
	*files = each;
	return 0;
}

void run_rlimit_restore(const struct run_rlimit *before)
{
	if (!before->changed)
		return;
	setrlimit(RLIMIT_NOFILE, &before->files);
	sigaction(SIGXFSZ, &before->too_large, NULL);
}
