/* SPDX-License-Identifier: MIT */
/*
 * Guests that handle signals: what tests/guests/signals.c prints, and how it ends, is what it does
 * on the host; and whatever a guest makes of its signals ends nobody but itself.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "native_program.h"

#include "clock.h"
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (UINT64_C(16) << 20)
#define RANDOM_NS UINT64_C(1500000000)
#define STOP_NS 30000000
#define OUTPUT 4096
#define BUSYBOX "/bin/busybox"

static char *const environment[] = { NULL };

/* Of a program that has run, as a guest or not. */
struct outcome {
	int status;
	char output[OUTPUT];
	char reason[160];
};

static void read_output(int fd, struct outcome *outcome)
{
	ssize_t n = pread(fd, outcome->output, OUTPUT - 1, 0);

	assert_true(n >= 0);
	outcome->output[n] = '\0';
	close(fd);
}

static void run_guest(char *const *argv, uint64_t seconds, const _Atomic bool *stop,
		      struct outcome *outcome)
{
	struct guest_config config = {
		.root = -1,
		.program = argv[0],
		.argv = argv,
		.envp = environment,
		.stdio = { -1, memfd_create("guest", MFD_CLOEXEC), -1 },
		.limits = { .seconds = seconds },
		.stop = stop,
	};
	struct guest_result result;

	assert_int_equal(guest_memory_plain(MEMORY, &config.memory), 0);
	assert_int_equal(guest_run(&config, &result), 0);
	config.memory->ops->destroy(config.memory);
	outcome->status = result.status;
	strcpy(outcome->reason, result.reason);
	read_output(config.stdio[1], outcome);
}

static void assert_program_as_native(char *const *argv)
{
	int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct outcome native, guest;

	read_output(native_output(directory, argv, environment, &native.status), &native);
	close(directory);
	run_guest(argv, 100, NULL, &guest);
	assert_string_equal(guest.output, native.output);
	assert_int_equal(guest.status, native.status);
}

static void assert_as_native(const char *name)
{
	char *argv[] = { getenv("S2_GUEST_SIGNALS"), (char *)name, NULL };

	assert_non_null(argv[0]);
	assert_program_as_native(argv);
}

#define AS_NATIVE(name)                                                                            \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		assert_as_native(#name);                                                           \
	}

AS_NATIVE(info)
AS_NATIVE(nested)
AS_NATIVE(masks)
AS_NATIVE(deferred)
AS_NATIVE(nodefer)
AS_NATIVE(resethand)
AS_NATIVE(order)
AS_NATIVE(pending)
AS_NATIVE(actions)
AS_NATIVE(everything)
AS_NATIVE(sse)
AS_NATIVE(frame)
AS_NATIVE(context)
AS_NATIVE(altstack)
AS_NATIVE(autodisarm)
AS_NATIVE(longjump)
AS_NATIVE(longjump_from_altstack)
AS_NATIVE(sigpipe)
AS_NATIVE(abort_plain)
AS_NATIVE(abort_handled)
AS_NATIVE(abort_ignored)
AS_NATIVE(abort_escaped)
AS_NATIVE(alarms)
AS_NATIVE(timer)
AS_NATIVE(timer_ends)
AS_NATIVE(computing)
AS_NATIVE(spinning)
AS_NATIVE(suspend)
AS_NATIVE(timedwait)
AS_NATIVE(sleeps)
AS_NATIVE(polls)
AS_NATIVE(poll_masks)
AS_NATIVE(reads)
AS_NATIVE(writes)
AS_NATIVE(semaphores)
AS_NATIVE(faults)
AS_NATIVE(stack_overflow)
AS_NATIVE(blocked_fault)
AS_NATIVE(exit_in_handler)
AS_NATIVE(ended_by_sigterm)
AS_NATIVE(ended_by_sigkill)
AS_NATIVE(ended_by_a_queued_one)
AS_NATIVE(no_stack)
AS_NATIVE(no_stack_handled)
AS_NATIVE(altstack_overflow)
AS_NATIVE(no_frame)
AS_NATIVE(no_address)
AS_NATIVE(no_fpu)
AS_NATIVE(no_restorer)

static void test_the_traps_of_a_shell(void **state)
{
	static const char commands[] =
		"trap 'echo trapped; n=1' USR1; kill -USR1 $$; echo after $n; trap '' TERM;"
		"kill -TERM $$; echo still there; trap - TERM; kill -TERM $$; echo never";

	if (access(BUSYBOX, X_OK)) {
		print_message("# " BUSYBOX " is missing: install busybox-static\n");
		skip();
	}
	assert_program_as_native((char *[]){ BUSYBOX, "ash", "-c", (char *)commands, NULL });
}

static void assert_ends(const char *name, int signal, const char *reason)
{
	char *argv[] = { getenv("S2_GUEST_SIGNALS"), (char *)name, NULL };
	struct outcome outcome;

	run_guest(argv, 1, NULL, &outcome);
	assert_non_null(strstr(outcome.reason, reason));
	assert_int_equal(outcome.status, 128 + signal);
}

/* On the host it would wait for ever. */
static void test_a_guest_that_nobody_sends_a_signal_ends(void **state)
{
	assert_ends("nobody_sends", SIGKILL, "there will be none");
}

static void test_a_handler_that_loops_ends_with_its_time(void **state)
{
	assert_ends("handler_loops", SIGKILL, "longer than the 1 s");
}

static void test_a_guest_that_signals_itself_for_ever_ends_with_its_time(void **state)
{
	assert_ends("raises_for_ever", SIGKILL, "longer than the 1 s");
}

/* What random calls and frames make a guest do may well be a loop. */
static void *stop_often(void *arg)
{
	const uint64_t end = clock_ns() + RANDOM_NS;
	_Atomic bool *stop = arg;

	while (clock_ns() < end) {
		nanosleep(&(struct timespec){ .tv_nsec = STOP_NS }, NULL);
		*stop = true;
	}
	return NULL;
}

static void test_random_signals_and_frames_end_the_guest_alone(void **state)
{
	const char *text = getenv("S2_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_ns();
	char number[24], *argv[] = { getenv("S2_GUEST_RANDOM_SIGNALS"), number, NULL };
	_Atomic bool stop = false;
	pthread_t stopper;

	assert_non_null(argv[0]);
	printf("S2_SEED=%llu\n", (unsigned long long)seed);
	assert_int_equal(pthread_create(&stopper, NULL, stop_often, &stop), 0);
	for (const uint64_t end = clock_ns() + RANDOM_NS - 2 * STOP_NS; clock_ns() < end; seed++) {
		struct outcome outcome;

		snprintf(number, sizeof(number), "%llu", (unsigned long long)seed);
		stop = false;
		run_guest(argv, 100, &stop, &outcome);
		assert_true(outcome.status || !outcome.reason[0]);
	}
	pthread_join(stopper, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_deferred),
		cmocka_unit_test(test_nodefer),
		cmocka_unit_test(test_resethand),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_pending),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_sse),
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_context),
		cmocka_unit_test(test_altstack),
		cmocka_unit_test(test_autodisarm),
		cmocka_unit_test(test_longjump),
		cmocka_unit_test(test_longjump_from_altstack),
		cmocka_unit_test(test_sigpipe),
		cmocka_unit_test(test_abort_plain),
		cmocka_unit_test(test_abort_handled),
		cmocka_unit_test(test_abort_ignored),
		cmocka_unit_test(test_abort_escaped),
		cmocka_unit_test(test_alarms),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_timer_ends),
		cmocka_unit_test(test_computing),
		cmocka_unit_test(test_spinning),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_timedwait),
		cmocka_unit_test(test_sleeps),
		cmocka_unit_test(test_polls),
		cmocka_unit_test(test_poll_masks),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_semaphores),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_stack_overflow),
		cmocka_unit_test(test_blocked_fault),
		cmocka_unit_test(test_exit_in_handler),
		cmocka_unit_test(test_ended_by_sigterm),
		cmocka_unit_test(test_ended_by_sigkill),
		cmocka_unit_test(test_ended_by_a_queued_one),
		cmocka_unit_test(test_no_stack),
		cmocka_unit_test(test_no_stack_handled),
		cmocka_unit_test(test_altstack_overflow),
		cmocka_unit_test(test_no_frame),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_no_fpu),
		cmocka_unit_test(test_no_restorer),
		cmocka_unit_test(test_the_traps_of_a_shell),
		cmocka_unit_test(test_a_guest_that_nobody_sends_a_signal_ends),
		cmocka_unit_test(test_a_handler_that_loops_ends_with_its_time),
		cmocka_unit_test(test_a_guest_that_signals_itself_for_ever_ends_with_its_time),
		cmocka_unit_test(test_random_signals_and_frames_end_the_guest_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
