/* SPDX-License-Identifier: MIT */
/* See calling_guest.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "calling_guest.h"

#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_maps.h"
#include "guest_signals.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_tree(struct calling_guest *caller)
{
	assert_return_code(mkdirat(caller->top, "root", 0755), errno);
	assert_return_code(mkdirat(caller->top, "root/dir", 0755), errno);
	host_write(caller, "secret", SECRET);
	host_write(caller, "root/file", INSIDE);
	host_write(caller, "root/dir/file", INSIDE);
}

int calling_guest_setup(void **state)
{
	struct calling_guest *caller = calloc(1, sizeof(*caller));
	struct guest *guest = &caller->guest;

	assert_non_null(caller);
	snprintf(caller->path, sizeof(caller->path), "%s/stage2-files-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(caller->path));
	caller->top = open(caller->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(caller->top, errno);
	make_tree(caller);

	caller->next = GUEST_ROOM_START;
	caller->config.root = openat(caller->top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(caller->config.root, errno);
	for (unsigned int i = 0; i < 3; i++)
		caller->config.stdio[i] = -1;
	caller->config.stop = &caller->stop;
	guest->config = &caller->config;
	guest->result = &caller->result;
	guest->deadline_ns = UINT64_MAX;
	assert_int_equal(guest_memory_plain(GUEST_ROOM_SIZE, &guest->memory), 0);
	assert_int_equal(guest_maps_create(guest->memory, 16, &guest->maps), 0);
	assert_int_equal(guest_maps_add(guest->maps, GUEST_ROOM_START,
					GUEST_ROOM_END - GUEST_ROOM_START, GUEST_READ_WRITE),
			 0);
	assert_int_equal(guest_signals_create(&guest->signals), 0);
	calling_guest_restart(caller);
	*state = caller;
	return 0;
}

void calling_guest_restart(struct calling_guest *caller)
{
	guest_files_destroy(caller->guest.files);
	caller->guest.files = NULL;
	caller->guest.limits = caller->config.limits;
	assert_int_equal(guest_files_create(&caller->config, &caller->guest.files), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int calling_guest_teardown(void **state)
{
	struct calling_guest *caller = *state;

	guest_files_destroy(caller->guest.files);
	guest_signals_destroy(caller->guest.signals);
	guest_maps_destroy(caller->guest.maps);
	caller->guest.memory->ops->destroy(caller->guest.memory);
	close(caller->config.root);
	close(caller->top);
	nftw(caller->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(caller);
	return 0;
}

uint64_t guest_space(struct calling_guest *caller, size_t len)
{
	uint64_t gpa = caller->next;

	assert_true(len <= GUEST_ROOM_END - gpa);
	caller->next += (len + 7) / 8 * 8;
	return gpa;
}

uint64_t guest_put(struct calling_guest *caller, const void *data, size_t len)
{
	uint64_t gpa = guest_space(caller, len);

	memcpy((char *)caller->guest.memory->base + gpa, data, len);
	return gpa;
}

uint64_t guest_text(struct calling_guest *caller, const char *text)
{
	/* Tests in a loop make the same text again and again. */
	if (caller->next > GUEST_ROOM_START + (GUEST_ROOM_END - GUEST_ROOM_START) / 2)
		caller->next = GUEST_ROOM_START;
	return guest_put(caller, text, strlen(text) + 1);
}

void guest_get(struct calling_guest *caller, uint64_t gpa, void *data, size_t len)
{
	memcpy(data, (char *)caller->guest.memory->base + gpa, len);
}

int64_t guest_open(struct calling_guest *caller, const char *path, unsigned int flags)
{
	return CALL(caller, open, guest_text(caller, path), flags, 0644);
}

void assert_guest_file(struct calling_guest *caller, const char *path, const char *expected)
{
	char text[64] = "";
	uint64_t to = guest_space(caller, sizeof(text));
	int64_t fd = guest_open(caller, path, 0), n;

	assert_true(fd >= 0);
	n = CALL(caller, read, (uint64_t)fd, to, sizeof(text) - 1);
	assert_true(n >= 0);
	guest_get(caller, to, text, (size_t)n);
	assert_string_equal(text, expected);
	assert_int_equal(CALL(caller, close, (uint64_t)fd), 0);
}

bool host_has(const struct calling_guest *caller, const char *path)
{
	struct stat st;

	return !fstatat(caller->top, path, &st, AT_SYMLINK_NOFOLLOW);
}

void host_write(const struct calling_guest *caller, const char *path, const char *text)
{
	int fd = openat(caller->top, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

void assert_outside_untouched(const struct calling_guest *caller)
{
	unsigned int names = 0;
	char text[64] = "";
	struct stat st;
	int fd = openat(caller->top, "secret", O_RDONLY | O_CLOEXEC);
	DIR *top = opendir(caller->path);

	assert_return_code(fd, errno);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	assert_string_equal(text, SECRET);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07111, 0);
	assert_int_equal(st.st_nlink, 1);
	close(fd);
	assert_non_null(top);
	while (readdir(top))
		names++;
	closedir(top);
	/* ".", "..", root and the secret */
	assert_int_equal(names, 4);
}
