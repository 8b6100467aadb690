/* SPDX-License-Identifier: MIT */
/*
 * Random system calls with random arguments, most of which are near to something: none crashes,
 * none waits for longer than it may, and nothing outside of the root changes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "calling_guest.h"

#include "clock.h"
#include "guest_maps.h"
#include "guest_signals.h"
#include "guest_syscalls.h"

#include <stdlib.h>

#define RANDOM_NS UINT64_C(1000000000)
#define CALLS_OF_A_ROUND 500
#define OUTPUT (UINT64_C(4) << 20)

#define OWNER_RIGHTS UINT64_C(0700)

/* Of those that may take a while one in so many is made. */
#define SLOW_CALLS 64

/* As x86-64 has them, wherever this runs. */
enum {
	CALL_POLL = 7,
	CALL_SELECT = 23,
	CALL_PAUSE = 34,
	CALL_NANOSLEEP = 35,
	CALL_FSYNC = 74,
	CALL_FDATASYNC = 75,
	CALL_MKDIR = 83,
	CALL_CHMOD = 90,
	CALL_FCHMOD = 91,
	CALL_UMASK = 95,
	CALL_RT_SIGTIMEDWAIT = 128,
	CALL_RT_SIGSUSPEND = 130,
	CALL_ARCH_PRCTL = 158,
	CALL_FUTEX = 202,
	CALL_CLOCK_NANOSLEEP = 230,
	CALL_MKDIRAT = 258,
	CALL_FCHMODAT = 268,
	CALL_PSELECT6 = 270,
	CALL_PPOLL = 271,
	NR_CALLS = 460,
};

static const char *const paths[] = {
	"file",
	"dir/file",
	"dir",
	"/",
	".",
	"..",
	"../secret",
	"/../secret",
	"new",
	"dir/new",
	"dir/..",
	"link",
	"link/secret",
	"/proc/self/fd",
	"dir/./x",
	"../root/../secret",
	"/proc/self/mem",
	"",
};

#define NR_PATHS (sizeof(paths) / sizeof(paths[0]))

static const uint64_t boundaries[] = {
	0,
	1,
	2,
	3,
	4095,
	4096,
	65536,
	INT32_MAX,
	UINT32_MAX,
	INT64_MAX,
	UINT64_MAX,
	UINT64_MAX - 4095,
	GUEST_CWD,
	(uint64_t)INT64_MIN,
	GUEST_ROOM_START,
	GUEST_ROOM_END - 1,
	GUEST_ROOM_SIZE,
	GUEST_ROOM_END,
	GUEST_ROOM_START - 4096,
	UINT64_C(1) << 32,
};

#define NR_BOUNDARIES (sizeof(boundaries) / sizeof(boundaries[0]))

struct random_calls {
	struct calling_guest *caller;
	uint64_t seed;
	uint64_t paths[NR_PATHS];
};

static uint64_t next(struct random_calls *r)
{
	r->seed = r->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return r->seed >> 24;
}

static uint64_t argument(struct random_calls *r)
{
	switch (next(r) % 6) {
	case 0:
		return next(r) % 12;
	case 1:
		return r->paths[next(r) % NR_PATHS];
	case 2:
		return GUEST_ROOM_START + next(r) % (GUEST_ROOM_END - GUEST_ROOM_START);
	case 3:
		return (GUEST_ROOM_START + next(r) % GUEST_ROOM_SIZE) & -GUEST_PAGE_SIZE;
	case 4:
		return UINT64_C(1) << next(r) % 64 | next(r) % 8;
	default:
		return boundaries[next(r) % NR_BOUNDARIES];
	}
}

static bool may_take_long(uint64_t number)
{
	switch (number) {
	case CALL_POLL:
	case CALL_PPOLL:
	case CALL_SELECT:
	case CALL_PSELECT6:
	case CALL_PAUSE:
	case CALL_NANOSLEEP:
	case CALL_RT_SIGTIMEDWAIT:
	case CALL_RT_SIGSUSPEND:
	case CALL_CLOCK_NANOSLEEP:
	case CALL_FUTEX:
	case CALL_FSYNC:
	case CALL_FDATASYNC:
		return true;
	default:
		return false;
	}
}

/* What the test is to remove at its end must not be closed to it. */
static void keep_owner_rights(uint64_t number, uint64_t args[6])
{
	switch (number) {
	case CALL_CHMOD:
	case CALL_FCHMOD:
	case CALL_MKDIR:
		args[1] |= OWNER_RIGHTS;
		break;
	case CALL_FCHMODAT:
	case CALL_MKDIRAT:
		args[2] |= OWNER_RIGHTS;
		break;
	case CALL_UMASK:
		args[0] &= ~OWNER_RIGHTS;
	}
}

static uint64_t choose(struct random_calls *r)
{
	for (;;) {
		uint64_t number = next(r) % NR_CALLS;

		/* That one is the processor's, of which there is none. */
		if (number == CALL_ARCH_PRCTL)
			continue;
		if (!may_take_long(number) || next(r) % SLOW_CALLS == 0)
			return number;
	}
}

static void call(struct random_calls *r)
{
	struct guest *guest = &r->caller->guest;
	uint64_t number = choose(r), args[6];

	for (unsigned int i = 0; i < 6; i++)
		args[i] = argument(r);
	keep_owner_rights(number, args);
	guest->ended = false;
	guest->deadline_ns = clock_ns() + RANDOM_NS / 500;
	guest_syscall(guest, number, args);
	assert_true(guest_maps_mapped(guest->maps) <= GUEST_ROOM_SIZE);
}

/* Memory full of arguments, which structures and vectors are then made of. */
static void begin_round(struct random_calls *r)
{
	struct calling_guest *caller = r->caller;
	struct guest *guest = &caller->guest;

	calling_guest_restart(caller);
	guest_signals_destroy(guest->signals);
	assert_int_equal(guest_signals_create(&guest->signals), 0);
	guest_maps_remove(guest->maps, GUEST_ROOM_START, GUEST_ROOM_SIZE - GUEST_ROOM_START);
	assert_int_equal(guest_maps_add(guest->maps, GUEST_ROOM_START,
					GUEST_ROOM_END - GUEST_ROOM_START, GUEST_READ_WRITE),
			 0);
	guest->brk_start = GUEST_ROOM_END;
	guest->brk = GUEST_ROOM_END;
	for (uint64_t gpa = GUEST_ROOM_START; gpa < GUEST_ROOM_END; gpa += sizeof(gpa) * 7) {
		const uint64_t word = argument(r);

		guest->memory->ops->write(guest->memory, gpa, &word, sizeof(word));
	}
	caller->next = GUEST_ROOM_START;
	for (unsigned int i = 0; i < NR_PATHS; i++)
		r->paths[i] = guest_text(caller, paths[i]);
}

static void test_nothing_outside_changes(void **state)
{
	const char *seed = getenv("S2_SEED");
	struct random_calls r = {
		.caller = *state,
		.seed = seed ? strtoull(seed, NULL, 0) : clock_ns(),
	};

	printf("S2_SEED=%llu\n", (unsigned long long)r.seed);
	r.caller->config.limits.output = OUTPUT;
	for (const uint64_t end = clock_ns() + RANDOM_NS; clock_ns() < end;) {
		begin_round(&r);
		for (unsigned int i = 0; i < CALLS_OF_A_ROUND && clock_ns() < end; i++)
			call(&r);
		assert_outside_untouched(r.caller);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_outside_changes, calling_guest_setup,
						calling_guest_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
