/* SPDX-License-Identifier: MIT */
/* Where the report's page goes, and that only whole ones get there. */
#include "run_report.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(const char *path, const char *why, int error)
{
	fprintf(stderr, "stage2 run: --report: '%s' cannot be written: %s\n", path, why);
	return -error;
}

/* Renaming to the name of a device or a symbolic link would put a file in its place. */
static int check_name(const char *path)
{
	struct stat stat;

	if (lstat(path, &stat)) {
		if (errno != ENOENT)
			return refuse(path, strerror(errno), errno);
		return 0;
	}
	if (S_ISLNK(stat.st_mode))
		return refuse(path, "it is a symbolic link; name the file itself", ELOOP);
	if (S_ISDIR(stat.st_mode))
		return refuse(path, "it is a directory; name a file in it", EISDIR);
	if (!S_ISREG(stat.st_mode))
		return refuse(path, "it is no plain file", EINVAL);
	return 0;
}

int run_report_check(const char *path)
{
	size_t len = strlen(path);
	char directory[PATH_MAX];

	if (!len || path[len - 1] == '/')
		return refuse(path, "it names no file", EINVAL);
	/* What is written beside it has a longer name. */
	if (len + 32 > sizeof(directory))
		return refuse(path, "the name is too long", ENAMETOOLONG);
	memcpy(directory, path, len + 1);
	if (access(dirname(directory), W_OK | X_OK))
		return refuse(path, strerror(errno), errno);
	return check_name(path);
}

/* Returns 0 or the errno of what did not work. */
static int write_page(const struct run_report *report, int fd)
{
	FILE *out = fdopen(fd, "w");
	int error = 0;

	if (!out) {
		error = errno;
		close(fd);
		return error;
	}
	errno = 0;
	run_report_page(report, out);
	if (fflush(out) || ferror(out))
		error = errno ? errno : EIO;
	if (fclose(out) && !error)
		error = errno;
	return error;
}

int run_report_write(const struct run_report *report, const char *path)
{
	char beside[PATH_MAX];
	int error = run_report_check(path), fd;

	if (error)
		return error;
	snprintf(beside, sizeof(beside), "%s.%ld.part", path, (long)getpid());
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return refuse(path, strerror(errno), errno);
	error = write_page(report, fd);
	if (!error && rename(beside, path))
		error = errno;
	if (!error)
		return 0;
	unlink(beside);
	return refuse(path, strerror(error), error);
}
