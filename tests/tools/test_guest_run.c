/* SPDX-License-Identifier: MIT */
/*
 * Whole guests on plain memory: what tests/guests/guest.c does, each as a static program and as a
 * static-pie one, and what busybox computes, compared with the same program run by the host.
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

#include "guest.h"
#include "guest_cpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY (UINT64_C(64) << 20)
#define BUSYBOX "/bin/busybox"

static char *const environment[] = { "NAME=value", "LC_ALL=C", NULL };

/* @root: a directory with "file", which says "inside", and "numbers". @out: what guests print. */
struct host {
	char path[64];
	int root;
	int out;
};

static void write_numbers(int root)
{
	FILE *out = fdopen(openat(root, "numbers", O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "w");
	uint32_t x = 1;

	assert_non_null(out);
	for (unsigned int i = 0; i < 20000; i++) {
		x = x * 1664525 + 1013904223;
		fprintf(out, "%u line %u\n", x, i);
	}
	assert_int_equal(fclose(out), 0);
}

static int make_root(void **state)
{
	struct host *host = calloc(1, sizeof(*host));
	int fd;

	assert_non_null(host);
	strcpy(host->path, "/tmp/stage2-guest-XXXXXX");
	assert_non_null(mkdtemp(host->path));
	host->root = open(host->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(host->root, errno);
	fd = openat(host->root, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "inside", 6), 6);
	close(fd);
	write_numbers(host->root);
	host->out = memfd_create("out", MFD_CLOEXEC);
	assert_return_code(host->out, errno);
	*state = host;
	return 0;
}

static int remove_root(void **state)
{
	struct host *host = *state;

	unlinkat(host->root, "file", 0);
	unlinkat(host->root, "numbers", 0);
	unlinkat(host->root, "numbers.bz2", 0);
	rmdir(host->path);
	close(host->root);
	close(host->out);
	free(host);
	return 0;
}

static struct guest_config config_of(struct host *host, char *const *argv)
{
	return (struct guest_config){
		.root = host->root,
		.program = argv[0],
		.argv = argv,
		.envp = environment,
		.stdio = { -1, host->out, -1 },
	};
}

/* On memory of its own. */
static int run(struct guest_config *config, struct guest_result *result)
{
	int error;

	assert_int_equal(guest_memory_plain(MEMORY, &config->memory), 0);
	assert_int_equal(ftruncate(config->stdio[1], 0), 0);
	assert_int_equal(lseek(config->stdio[1], 0, SEEK_SET), 0);
	error = guest_run(config, result);
	config->memory->ops->destroy(config->memory);
	return error;
}

static void run_program(struct host *host, const char *program, const char *name,
			struct guest_result *result)
{
	char *argv[] = { (char *)program, (char *)name, NULL };
	struct guest_config config = config_of(host, argv);

	assert_non_null(program);
	config.limits.seconds = 100;
	assert_int_equal(run(&config, result), 0);
}

static void run_case(struct host *host, const char *name, struct guest_result *result)
{
	run_program(host, getenv("S2_GUEST_PIE"), name, result);
	run_program(host, getenv("S2_GUEST"), name, result);
}

static void assert_works(struct host *host, const char *name)
{
	struct guest_result result;

	run_case(host, name, &result);
	assert_string_equal(result.reason, "");
	assert_int_equal(result.status, 0);
}

static void assert_killed(struct host *host, const char *name, int signal, const char *reason)
{
	struct guest_result result;

	run_case(host, name, &result);
	assert_non_null(strstr(result.reason, reason));
	assert_int_equal(result.status, 128 + signal);
}

#define WORKS(name)                                                                                \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		assert_works(*state, #name);                                                       \
	}
#define KILLED(name, signal, reason)                                                               \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		assert_killed(*state, #name, signal, reason);                                      \
	}

WORKS(wrong_pointers)
WORKS(memory)
WORKS(heap)
WORKS(file_mapping)
WORKS(mapping_bomb)
WORKS(no_new_code)
WORKS(auxv)
WORKS(thread_pointer)
WORKS(floating_point)
WORKS(clocks)
WORKS(signals)
WORKS(futexes)
WORKS(random_bytes)
KILLED(read_null, SIGSEGV, "accessed 0x0,")
KILLED(write_far, SIGSEGV, "accessed 0x10000000000,")
KILLED(write_all_memory, SIGSEGV, "accessed 0x3000000,")
KILLED(jump_to_data, SIGSEGV, "where it has no code")
KILLED(write_code, SIGSEGV, "wrote to its code")
KILLED(invalid_instruction, SIGILL, "is not valid")
KILLED(halt, SIGSEGV, "exception 13")
KILLED(divide, SIGFPE, "exception 0")
KILLED(wait_for_nobody, SIGKILL, "second thread")
KILLED(pipe_without_reader, SIGPIPE, "signal 13")
KILLED(abort, SIGABRT, "signal 6")

static void test_calls_that_are_missing_are_named(void **state)
{
	struct guest_result result;

	run_case(*state, "no_children", &result);
	assert_int_equal(result.status, 0);
	assert_int_equal(result.unknown_calls, 3);
	assert_int_equal(result.nr_unknown, 3);
	assert_string_equal(result.unknown[0].name, "clone");
	assert_string_equal(result.unknown[1].name, "vfork");
	assert_null(result.unknown[2].name);
	assert_int_equal(result.unknown[2].number, 9999);
}

static void assert_stopped_in_time(struct host *host, const char *name)
{
	char *argv[] = { getenv("S2_GUEST"), (char *)name, NULL };
	struct guest_config config = config_of(host, argv);
	struct guest_result result;

	config.limits.seconds = 1;
	assert_int_equal(run(&config, &result), 0);
	assert_int_equal(result.status, 128 + SIGKILL);
	assert_non_null(strstr(result.reason, "longer than the 1 s"));
}

static void test_a_loop_ends_with_its_time(void **state)
{
	assert_stopped_in_time(*state, "loop");
}

static void test_a_sleep_ends_with_its_time(void **state)
{
	assert_stopped_in_time(*state, "sleep_long");
}

/* Also one that was told before it began, which the engine itself would forget. */
static void test_a_guest_stops_when_told(void **state)
{
	char *argv[] = { getenv("S2_GUEST"), "loop", NULL };
	struct guest_config config = config_of(*state, argv);
	_Atomic bool stop = true;
	struct guest_result result;

	config.stop = &stop;
	assert_int_equal(run(&config, &result), 0);
	assert_int_equal(result.status, 128 + SIGKILL);
	assert_string_equal(result.reason, "it was told to stop");
}

static void test_the_limit_of_mappings_is_the_configs(void **state)
{
	char *argv[] = { getenv("S2_GUEST"), "mapping_bomb", NULL };
	struct guest_config config = config_of(*state, argv);
	struct guest_result few;
	struct guest_result many;

	config.limits.maps = 100;
	assert_int_equal(run(&config, &few), 0);
	config.limits.maps = 200;
	assert_int_equal(run(&config, &many), 0);
	assert_int_equal(few.status, 0);
	assert_int_equal(many.status, 0);
	assert_int_equal(many.syscalls - few.syscalls, 100);
}

static void test_others_may_look_at_the_count_of_calls(void **state)
{
	char *argv[] = { getenv("S2_GUEST"), "mapping_bomb", NULL };
	struct guest_config config = config_of(*state, argv);
	_Atomic uint64_t syscalls = 0;
	struct guest_result result;

	config.syscalls = &syscalls;
	assert_int_equal(run(&config, &result), 0);
	assert_true(result.syscalls > 0);
	assert_int_equal(syscalls, result.syscalls);
}

static void assert_refused(struct host *host, char *const *argv, int error, const char *reason)
{
	struct guest_config config = config_of(host, argv);
	struct guest_result result;

	assert_int_equal(run(&config, &result), error);
	assert_non_null(strstr(result.reason, reason));
}

static void test_programs_that_cannot_run_are_refused(void **state)
{
	assert_refused(*state, (char *[]){ "/nowhere/at/all", NULL }, -ENOENT, "cannot open");
	assert_refused(*state, (char *[]){ "/", NULL }, -ENOEXEC, "not a regular file");
	assert_refused(*state, (char *[]){ "/proc/self/exe", NULL }, -ENOEXEC, "dynamically");
}

static void test_too_many_arguments_are_refused(void **state)
{
	size_t size = 3 << 20;
	char *large = malloc(size);

	assert_non_null(large);
	memset(large, 'a', size);
	large[size - 1] = '\0';
	assert_refused(*state, (char *[]){ getenv("S2_GUEST"), large, NULL }, -E2BIG, "too large");
	free(large);
}

static void test_a_memory_that_is_too_small_is_refused(void **state)
{
	char *argv[] = { getenv("S2_GUEST"), NULL };
	struct guest_config config = config_of(*state, argv);
	struct guest_result result;

	assert_int_equal(guest_memory_plain(UINT64_C(1) << 20, &config.memory), 0);
	assert_int_equal(guest_run(&config, &result), -ENOEXEC);
	assert_non_null(strstr(result.reason, "does not fit"));
	config.memory->ops->destroy(config.memory);
}

/* cmocka puts its own in the place of the handler that guests have, of which there is one. */
static struct sigaction guests_handler;

/* Pages of it that nobody can provide, as those of a pool that has failed. */
static void test_memory_that_the_host_cannot_provide_ends_the_guest(void **state)
{
	char *argv[] = { getenv("S2_GUEST"), "write_all_memory", NULL };
	struct guest_config config = config_of(*state, argv);
	struct sigaction cmockas_handler;
	struct guest_result result;

	assert_int_equal(guest_memory_plain(MEMORY, &config.memory), 0);
	assert_int_equal(mprotect((char *)config.memory->base + MEMORY / 2, 4096, PROT_NONE), 0);
	assert_int_equal(sigaction(SIGSEGV, &guests_handler, &cmockas_handler), 0);
	assert_int_equal(guest_run(&config, &result), 0);
	assert_int_equal(sigaction(SIGSEGV, &cmockas_handler, NULL), 0);
	assert_int_equal(result.status, 128 + SIGBUS);
	assert_string_equal(result.reason, "the host could not provide its memory at 0x2000000; --pool or "
			    "--swap may be too small");
	config.memory->ops->destroy(config.memory);
}

/* In a child, which is to die of it: before, there was the default action. */
static void test_a_fault_that_is_no_guests_is_passed_on(void **state)
{
	int status;
	pid_t child = fork();

	if (!child) {
		sigaction(SIGSEGV, &guests_handler, NULL);
		*(volatile char *)(uintptr_t)4096 = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void *run_guests(void *arg)
{
	struct host host = *(struct host *)arg;
	struct guest_result result;

	host.out = memfd_create("out", MFD_CLOEXEC);
	for (unsigned int i = 0; i < 5; i++) {
		run_case(&host, "memory", &result);
		if (result.status)
			break;
	}
	close(host.out);
	return (void *)(intptr_t)result.status;
}

static void test_guests_on_many_threads_keep_apart(void **state)
{
	pthread_t threads[8];
	void *status;

	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_guests, *state), 0);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(threads[i], &status), 0);
		assert_null(status);
	}
}

/* What the host's busybox prints, in the same directory. */
static int run_native(const struct host *host, char *const *argv)
{
	int status, out = native_output(host->root, argv, environment, &status);

	assert_int_equal(status, 0);
	return out;
}

static void assert_same_contents(int a, int b)
{
	static char x[65536];
	static char y[65536];
	off_t offset = 0;
	ssize_t n;

	while ((n = pread(a, x, sizeof(x), offset)) > 0) {
		assert_int_equal(pread(b, y, sizeof(y), offset), n);
		assert_memory_equal(x, y, (size_t)n);
		offset += n;
	}
	assert_true(offset > 0);
	assert_int_equal(pread(b, y, 1, offset), 0);
}

static void assert_as_native(struct host *host, char *const *argv)
{
	struct guest_config config = config_of(host, argv);
	struct guest_result result;
	int native;

	if (access(BUSYBOX, X_OK)) {
		print_message("# " BUSYBOX " is missing: install busybox-static\n");
		skip();
	}
	native = run_native(host, argv);
	assert_int_equal(run(&config, &result), 0);
	assert_string_equal(result.reason, "");
	assert_int_equal(result.status, 0);
	assert_same_contents(native, host->out);
	close(native);
}

static void test_busybox_echo(void **state)
{
	assert_as_native(*state, (char *[]){ BUSYBOX, "echo", "a", "b  c", NULL });
}

static void test_busybox_sha256sum(void **state)
{
	assert_as_native(*state, (char *[]){ BUSYBOX, "sha256sum", "numbers", NULL });
}

static void test_busybox_sort(void **state)
{
	assert_as_native(*state, (char *[]){ BUSYBOX, "sort", "numbers", NULL });
}

static void test_busybox_gzip(void **state)
{
	assert_as_native(*state, (char *[]){ BUSYBOX, "gzip", "-c", "numbers", NULL });
}

static void test_busybox_bzip2(void **state)
{
	struct host *host = *state;
	int out;

	if (access(BUSYBOX, X_OK))
		skip();
	out = run_native(host, (char *[]){ BUSYBOX, "bzip2", "-k", "numbers", NULL });
	close(out);
	assert_as_native(host, (char *[]){ BUSYBOX, "bzip2", "-dc", "numbers.bz2", NULL });
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_wrong_pointers),
		TEST(test_memory),
		TEST(test_heap),
		TEST(test_file_mapping),
		TEST(test_mapping_bomb),
		TEST(test_no_new_code),
		TEST(test_auxv),
		TEST(test_thread_pointer),
		TEST(test_floating_point),
		TEST(test_clocks),
		TEST(test_signals),
		TEST(test_futexes),
		TEST(test_random_bytes),
		TEST(test_read_null),
		TEST(test_write_far),
		TEST(test_write_all_memory),
		TEST(test_jump_to_data),
		TEST(test_write_code),
		TEST(test_invalid_instruction),
		TEST(test_halt),
		TEST(test_divide),
		TEST(test_wait_for_nobody),
		TEST(test_pipe_without_reader),
		TEST(test_abort),
		TEST(test_calls_that_are_missing_are_named),
		TEST(test_a_loop_ends_with_its_time),
		TEST(test_a_sleep_ends_with_its_time),
		TEST(test_a_guest_stops_when_told),
		TEST(test_the_limit_of_mappings_is_the_configs),
		TEST(test_others_may_look_at_the_count_of_calls),
		TEST(test_programs_that_cannot_run_are_refused),
		TEST(test_too_many_arguments_are_refused),
		TEST(test_a_memory_that_is_too_small_is_refused),
		TEST(test_memory_that_the_host_cannot_provide_ends_the_guest),
		TEST(test_a_fault_that_is_no_guests_is_passed_on),
		TEST(test_guests_on_many_threads_keep_apart),
		TEST(test_busybox_echo),
		TEST(test_busybox_sha256sum),
		TEST(test_busybox_sort),
		TEST(test_busybox_gzip),
		TEST(test_busybox_bzip2),
	};

	signal(SIGSEGV, SIG_DFL);
	if (guest_cpu_handle_signals() || sigaction(SIGSEGV, NULL, &guests_handler))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
