/* SPDX-License-Identifier: MIT */
/*
 * A guest without a processor: the test makes its system calls. Its root is a directory beside
 * which there is a file that it must never get hold of.
 */
#ifndef TESTS_TOOLS_CALLING_GUEST_H
#define TESTS_TOOLS_CALLING_GUEST_H

#include "guest_internal.h"

#include <limits.h>

/* What is mapped of its memory, of which there is more. */
#define GUEST_ROOM_START UINT64_C(0x10000)
#define GUEST_ROOM_END UINT64_C(0x210000)
#define GUEST_ROOM_SIZE (UINT64_C(4) << 20)

#define GUEST_CWD ((uint64_t)-100)

#define INSIDE "inside"
#define SECRET "the host's"

/*
 * @top:  a directory of the host's that has root/ and the file "secret".
 * @stdio: of the host, for pipes; -1 where the test has set none.
 * @next: where the next text goes.
 */
struct calling_guest {
	struct guest guest;
	struct guest_config config;
	struct guest_result result;
	char path[PATH_MAX];
	int top;
	_Atomic bool stop;
	uint64_t next;
};

/* cmocka's, for each test. root/ has "file", which says INSIDE, and dir/ with a "file" as well. */
int calling_guest_setup(void **state);
int calling_guest_teardown(void **state);

/* The files once more, for a config that the test has changed. */
void calling_guest_restart(struct calling_guest *caller);

/* Puts something into the guest's memory and returns where it is. */
uint64_t guest_text(struct calling_guest *caller, const char *text);
uint64_t guest_put(struct calling_guest *caller, const void *data, size_t len);
uint64_t guest_space(struct calling_guest *caller, size_t len);

/* Reads it back. */
void guest_get(struct calling_guest *caller, uint64_t gpa, void *data, size_t len);

#define CALL(caller, call, ...)                                                                    \
	guest_sys_##call(&(caller)->guest, (const uint64_t[6]){ __VA_ARGS__ })

int64_t guest_open(struct calling_guest *caller, const char *path, unsigned int flags);

/* That the file at @path can be read by the guest, and what it says. */
void assert_guest_file(struct calling_guest *caller, const char *path, const char *expected);

/* The host's side: what is there below caller->top. */
bool host_has(const struct calling_guest *caller, const char *path);
void host_write(const struct calling_guest *caller, const char *path, const char *text);

/* That what the host has outside of the root is as it was made. */
void assert_outside_untouched(const struct calling_guest *caller);

#endif
