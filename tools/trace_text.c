/* SPDX-License-Identifier: MIT */
/*
 * Reading a recording's text. An .xz file is known by its first bytes, not by its name, so that
 * a pipe works as well. It is unpacked while it is read: only the unpacked text is ever held, and
 * the limit on it also stops a small file that unpacks to terabytes.
 */
#define _GNU_SOURCE
#include "trace_text.h"

#include <errno.h>
#include <fcntl.h>
#ifdef S2_HAVE_LZMA
#include <lzma.h>
#endif
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 65536u

static const unsigned char xz_magic[] = { 0xfd, '7', 'z', 'X', 'Z', 0x00 };

struct text {
	char *p;
	size_t len;
	size_t cap;
	size_t max;
	char *why;
	size_t why_len;
};

static int refuse(struct text *t, int error, const char *why)
{
	snprintf(t->why, t->why_len, "%s", why);
	return error;
}

static int too_big(struct text *t)
{
	snprintf(t->why, t->why_len,
		 "more than %zu bytes of text; record a shorter run, or split the recording",
		 t->max);
	return -EFBIG;
}

/* Room for at least one more byte. */
static int make_room(struct text *t)
{
	size_t cap = t->cap ? t->cap * 2 : CHUNK;
	char *p;

	if (t->len < t->cap)
		return 0;
	/* One byte above the limit shows that there is more than the limit. */
	if (cap > t->max + 1)
		cap = t->max + 1;
	if (t->len > t->max)
		return too_big(t);
	p = realloc(t->p, cap);
	if (!p)
		return refuse(t, -ENOMEM, "out of memory; record a shorter run");
	t->p = p;
	t->cap = cap;
	return 0;
}

static int append(struct text *t, const unsigned char *in, size_t n)
{
	while (n) {
		int ret = make_room(t);
		size_t part;

		if (ret)
			return ret;
		part = n < t->cap - t->len ? n : t->cap - t->len;
		memcpy(t->p + t->len, in, part);
		t->len += part;
		in += part;
		n -= part;
	}
	return t->len > t->max ? too_big(t) : 0;
}

#ifdef S2_HAVE_LZMA

/* xz -9 needs 65 MiB to unpack; what needs more than this was made to hurt. */
#define XZ_MEMORY ((uint64_t)256 << 20)

struct unpacker {
	lzma_stream xz;
};

#define UNPACKER_INIT { LZMA_STREAM_INIT }

static int xz_error(struct text *t, lzma_ret code)
{
	switch (code) {
	case LZMA_MEM_ERROR:
		return refuse(t, -ENOMEM, "out of memory; record a shorter run");
	case LZMA_MEMLIMIT_ERROR:
		return refuse(t, -EFBIG,
			      "needs more than 256 MiB to unpack; compress it again with xz -9");
	case LZMA_BUF_ERROR:
		return refuse(t, -EINVAL, "the .xz file is truncated; copy it again");
	case LZMA_OPTIONS_ERROR:
		return refuse(t, -EINVAL,
			      "the .xz file needs a newer liblzma; compress it again with xz -9");
	default:
		return refuse(t, -EINVAL, "the .xz file is damaged; copy it again");
	}
}

static int unpack_begin(struct text *t, struct unpacker *u)
{
	lzma_ret code = lzma_stream_decoder(&u->xz, XZ_MEMORY, LZMA_CONCATENATED);

	return code == LZMA_OK ? 0 : xz_error(t, code);
}

/* @n is 0 at the end of the file. */
static int unpack(struct text *t, struct unpacker *u, const unsigned char *in, size_t n)
{
	lzma_action action = n ? LZMA_RUN : LZMA_FINISH;
	lzma_stream *xz = &u->xz;

	xz->next_in = in;
	xz->avail_in = n;
	for (;;) {
		lzma_ret code;
		size_t room;
		int ret = make_room(t);

		if (ret)
			return ret;
		room = t->cap - t->len;
		xz->next_out = (uint8_t *)t->p + t->len;
		xz->avail_out = room;
		code = lzma_code(xz, action);
		t->len += room - xz->avail_out;
		if (code == LZMA_STREAM_END)
			break;
		if (code != LZMA_OK && !(code == LZMA_BUF_ERROR && action == LZMA_RUN))
			return xz_error(t, code);
		if (action == LZMA_RUN && !xz->avail_in && xz->avail_out)
			break;
	}
	return t->len > t->max ? too_big(t) : 0;
}

static void unpack_end(struct unpacker *u)
{
	lzma_end(&u->xz);
}

#else

struct unpacker {
	char nothing;
};

#define UNPACKER_INIT { 0 }

static int unpack_begin(struct text *t, struct unpacker *u)
{
	(void)u;
	return refuse(t, -ENOTSUP,
		      "this stage2 was built without liblzma; unpack the file with xz -d first");
}

static int unpack(struct text *t, struct unpacker *u, const unsigned char *in, size_t n)
{
	(void)in;
	(void)n;
	return unpack_begin(t, u);
}

static void unpack_end(struct unpacker *u)
{
	(void)u;
}

#endif

static ssize_t read_chunk(struct text *t, int fd, unsigned char *chunk)
{
	size_t n = 0;

	while (n < CHUNK) {
		ssize_t got = read(fd, chunk + n, CHUNK - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int error = errno;

			snprintf(t->why, t->why_len, "cannot be read: %s", strerror(error));
			return -error;
		}
		if (!got)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int read_all(struct text *t, int fd, struct unpacker *u, unsigned char *chunk)
{
	bool first = true, packed = false;

	for (;;) {
		ssize_t n = read_chunk(t, fd, chunk);
		int ret;

		if (n < 0)
			return (int)n;
		if (first && (size_t)n >= sizeof(xz_magic) &&
		    !memcmp(chunk, xz_magic, sizeof(xz_magic))) {
			ret = unpack_begin(t, u);
			if (ret)
				return ret;
			packed = true;
		}
		first = false;
		if (!packed)
			ret = append(t, chunk, (size_t)n);
		else
			ret = unpack(t, u, chunk, (size_t)n);
		if (ret || !n)
			return ret;
	}
}

int trace_text_read(const char *path, size_t max_bytes, char **text, size_t *len, char *why,
		    size_t why_len)
{
	struct text t = { .max = max_bytes, .why = why, .why_len = why_len };
	struct unpacker u = UNPACKER_INIT;
	unsigned char *chunk;
	int fd, ret;

	*text = NULL;
	*len = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		ret = -errno;
		snprintf(why, why_len, "cannot be opened: %s", strerror(-ret));
		return ret;
	}
	chunk = malloc(CHUNK);
	ret = chunk ? read_all(&t, fd, &u, chunk) : refuse(&t, -ENOMEM, "out of memory");
	unpack_end(&u);
	free(chunk);
	close(fd);
	if (ret) {
		free(t.p);
		return ret;
	}
	*text = t.p;
	*len = t.len;
	return 0;
}
