/* SPDX-License-Identifier: MIT */
/* See run_output.h. */
#include "run_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536

/* What a pipe holds: one who writes without end must not keep us from the others. */
#define ERRORS_AT_ONCE 65536

int run_output_file(void)
{
	const char *dir = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd;

	if (!dir || !*dir)
		dir = P_tmpdir;
	fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd >= 0 ? fd : -errno;
	/* Not every filesystem has files without a name. */
	if (snprintf(path, sizeof(path), "%s/stage2-run-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

uint64_t run_output_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) || st.st_size < 0 ? 0 : (uint64_t)st.st_size;
}

/* As many as there are, up to CHUNK. */
static ssize_t read_at(int fd, char *data, off_t at)
{
	size_t done = 0;

	while (done < CHUNK) {
		ssize_t got = pread(fd, data + done, CHUNK - done, at + (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int run_output_same(int a, int b, bool *same)
{
	char *chunk = malloc(2 * CHUNK);
	ssize_t len_a = CHUNK, len_b = CHUNK;

	if (!chunk)
		return -ENOMEM;
	*same = true;
	for (off_t at = 0; *same && len_a == CHUNK; at += CHUNK) {
		len_a = read_at(a, chunk, at);
		len_b = read_at(b, chunk + CHUNK, at);
		if (len_a < 0 || len_b < 0)
			break;
		*same = len_a == len_b && !memcmp(chunk, chunk + CHUNK, (size_t)len_a);
	}
	free(chunk);
	return len_a < 0 ? (int)len_a : len_b < 0 ? (int)len_b : 0;
}

int run_output_print(int fd, FILE *stream)
{
	char *chunk = malloc(CHUNK);
	ssize_t len = CHUNK;

	if (!chunk)
		return -ENOMEM;
	for (off_t at = 0; len == CHUNK; at += len) {
		len = read_at(fd, chunk, at);
		if (len > 0 && fwrite(chunk, 1, (size_t)len, stream) != (size_t)len)
			len = -EIO;
	}
	free(chunk);
	return len < 0 ? (int)len : 0;
}

int run_errors_open(struct run_errors *errors, unsigned int number)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	*errors = (struct run_errors){ .read_fd = fds[0], .write_fd = fds[1] };
	snprintf(errors->name, sizeof(errors->name), "guest %u", number);
	/* Only our end: a guest that writes waits for us, as for any slow reader. */
	fcntl(errors->read_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

static void print_line(struct run_errors *errors, size_t len, FILE *stream)
{
	fprintf(stream, "%s: ", errors->name);
	fwrite(errors->line, 1, len, stream);
	fputc('\n', stream);
}

static void print_lines(struct run_errors *errors, FILE *stream)
{
	char *line = errors->line, *end;

	while ((end = memchr(errors->line, '\n', errors->len))) {
		size_t len = (size_t)(end - line);

		print_line(errors, len, stream);
		errors->len -= len + 1;
		memmove(line, end + 1, errors->len);
	}
	if (errors->len == sizeof(errors->line)) {
		print_line(errors, errors->len, stream);
		errors->len = 0;
	}
}

void run_errors_pass_on(struct run_errors *errors, FILE *stream)
{
	ssize_t got = 0;

	for (size_t done = 0; errors->read_fd >= 0 && done < ERRORS_AT_ONCE; done += (size_t)got) {
		got = read(errors->read_fd, errors->line + errors->len,
			   sizeof(errors->line) - errors->len);
		if (got <= 0)
			break;
		errors->len += (size_t)got;
		print_lines(errors, stream);
	}
	fflush(stream);
}

void run_errors_close(struct run_errors *errors, FILE *stream)
{
	if (errors->read_fd < 0)
		return;
	close(errors->write_fd);
	run_errors_pass_on(errors, stream);
	if (errors->len)
		print_line(errors, errors->len, stream);
	fflush(stream);
	close(errors->read_fd);
	errors->read_fd = -1;
}
