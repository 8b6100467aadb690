/* SPDX-License-Identifier: MIT */
/* See run_process.h. */
#include "run_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As src/pool/frames.c calls it, and /proc shows it. */
#define POOL_FILE "/memfd:stage2-pool"

struct run_process run_process_memory(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	struct run_process process = { 0 };
	unsigned long long kib;
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			process.hwm = kib << 10;
		else if (sscanf(line, "RssAnon: %llu kB", &kib) == 1 ||
			 sscanf(line, "RssFile: %llu kB", &kib) == 1)
			process.own += kib << 10;
	}
	if (file)
		fclose(file);
	return process;
}

void run_process_forget_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	/* Where that is not allowed, the peak is one of all runs so far. */
	dprintf(fd, "5");
	close(fd);
}

static uint64_t pool_file_size(int dir, const char *name)
{
	char target[sizeof(POOL_FILE)] = "";
	struct stat st;

	if (readlinkat(dir, name, target, sizeof(target) - 1) < 0 || strcmp(target, POOL_FILE) ||
	    fstatat(dir, name, &st, 0))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

uint64_t run_process_pool(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	uint64_t size = 0;

	while (dir && (entry = readdir(dir)))
		size += pool_file_size(dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
	return size;
}
