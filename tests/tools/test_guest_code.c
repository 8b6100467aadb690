/* SPDX-License-Identifier: MIT */
/*
 * Guests whose code no compiler would make: whatever it is, it ends itself and nothing else.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest.h"

#include "clock.h"
#include "guest_cpu.h"
#include "guest_unicorn.h"

#include <elf.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (UINT64_C(8) << 20)
#define CODE 0x400000
#define CODE_SIZE 16384

/* The address of a page of the guest's stack that the host cannot provide. */
#define ABSENT 0x700000

#define RANDOM_NS UINT64_C(1000000000)
#define STOP_NS 20000000

struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	unsigned char code[CODE_SIZE];
};

/* A file with @image in it, whose name is @path. */
struct program {
	struct image image;
	int fd;
	char path[64];
	uint64_t seed;
	_Atomic bool stop;
};

static int create(void **state)
{
	struct program *program = calloc(1, sizeof(*program));
	struct image *image = &program->image;

	assert_non_null(program);
	image->ehdr = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_phoff = offsetof(struct image, phdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	image->phdr = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = CODE,
		.p_filesz = sizeof(*image),
		.p_memsz = sizeof(*image),
	};
	program->fd = memfd_create("program", MFD_CLOEXEC);
	assert_return_code(program->fd, errno);
	snprintf(program->path, sizeof(program->path), "/proc/self/fd/%d", program->fd);
	*state = program;
	return 0;
}

static int destroy(void **state)
{
	struct program *program = *state;

	close(program->fd);
	free(program);
	return 0;
}

static void run(struct program *program, uint64_t entry, struct guest_result *result)
{
	char *argv[] = { program->path, NULL };
	struct guest_config config = {
		.root = -1,
		.program = program->path,
		.argv = argv,
		.stdio = { -1, -1, -1 },
		.stop = &program->stop,
	};

	program->image.ehdr.e_entry = CODE + offsetof(struct image, code) + entry;
	assert_int_equal(pwrite(program->fd, &program->image, sizeof(program->image), 0),
			 sizeof(program->image));
	assert_int_equal(guest_memory_plain(MEMORY, &config.memory), 0);
	assert_int_equal(guest_run(&config, result), 0);
	config.memory->ops->destroy(config.memory);
}

static void assert_ended(struct program *program, const void *code, size_t len, int signal,
			 const char *reason)
{
	struct guest_result result;

	memset(program->image.code, 0xcc, CODE_SIZE);
	memcpy(program->image.code, code, len);
	run(program, 0, &result);
	if (!strstr(result.reason, reason))
		fail_msg("\"%s\" instead of \"%s\"", result.reason, reason);
	assert_int_equal(result.status, 128 + signal);
}

static void test_has_no_privilege(void **state)
{
	/* hlt; mov %rax,%cr3; mov %rax,%dr7; wrmsr; lidt (%rsp); swapgs */
	static const char privileged[][5] = { "\xf4",	  "\x0f\x22\xd8",     "\x0f\x23\xf8",
					      "\x0f\x30", "\x0f\x01\x1c\x24", "\x0f\x01\xf8" };

	for (unsigned int i = 0; i < sizeof(privileged) / sizeof(privileged[0]); i++)
		assert_ended(*state, privileged[i], 4, SIGSEGV, "exception 13");
}

/* A far call by a register, for which Unicorn 2.0.1 calls abort(). */
static void test_ends_alone_where_its_processor_fails(void **state)
{
	struct program *program = *state;
	struct guest_result result;

	memset(program->image.code, 0xcc, CODE_SIZE);
	memcpy(program->image.code, "\xff\xd8", 2);
	for (unsigned int i = 0; i < 3; i++) {
		run(program, 0, &result);
		assert_true(result.status == 128 + SIGABRT || result.status == 128 + SIGILL);
		assert_string_not_equal(result.reason, "");
	}
	assert_ended(program, "\x0f\x0b", 2, SIGILL, "is not valid");
}

/* Each of them is the second instruction. */
static void test_is_told_which_instruction_may_not_access_what(void **state)
{
	/* nop and mov 0x10000,%al; a stack that ends at 0x300000 and push %rax */
	static const struct {
		const char *code;
		size_t len;
		const char *reason;
	} cases[] = {
		{ "\x90\x8a\x04\x25\x00\x00\x01\x00", 8,
		  "instruction at 0x4000%x accessed 0x10000, where it has no memory" },
		{ "\xbc\x00\x00\x30\x00\x50", 6,
		  "instruction at 0x4000%x accessed 0x2ffff8, where it has no memory" },
	};
	const unsigned int start = offsetof(struct image, code);

	if (!guest_unicorn_is_known()) {
		print_message("# this Unicorn is not version 2.0.1: nothing is checked\n");
		skip();
	}
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int first = (unsigned char)cases[i].code[0] == 0x90 ? 1 : 5;
		char reason[100];

		snprintf(reason, sizeof(reason), cases[i].reason, start + first);
		assert_ended(*state, cases[i].code, cases[i].len, SIGSEGV, reason);
	}
}

static void break_a_rule(int signal, siginfo_t *info, void *context)
{
	abort();
}

/* As the library does where it finds, in a fault, that one of its rules was broken. */
static void run_with_a_broken_library(struct program *program)
{
	const struct sigaction action = { .sa_sigaction = break_a_rule, .sa_flags = SA_SIGINFO };
	char *argv[] = { program->path, NULL };
	struct guest_config config = {
		.root = -1,
		.program = program->path,
		.argv = argv,
		.stdio = { -1, -1, -1 },
	};
	struct guest_result result;

	if (guest_memory_plain(MEMORY, &config.memory) || guest_cpu_handle_signals() ||
	    mprotect((char *)config.memory->base + ABSENT, 4096, PROT_NONE) ||
	    sigaction(SIGSEGV, &action, NULL))
		_exit(1);
	guest_run(&config, &result);
	_exit(0);
}

static void test_does_not_hide_what_is_wrong_with_the_library(void **state)
{
	struct program *program = *state;
	pid_t child;
	int status;

	memset(program->image.code, 0xcc, CODE_SIZE);
	/* mov ABSENT,%eax */
	memcpy(program->image.code, "\x8b\x04\x25\x00\x00\x70\x00", 7);
	program->image.ehdr.e_entry = CODE + offsetof(struct image, code);
	assert_int_equal(pwrite(program->fd, &program->image, sizeof(program->image), 0),
			 sizeof(program->image));
	child = fork();
	assert_return_code(child, errno);
	if (!child)
		run_with_a_broken_library(program);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static uint64_t next(struct program *program)
{
	program->seed = program->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return program->seed >> 24;
}

/* Of bytes alone few would be more than a simple instruction. */
static void make_code(struct program *program)
{
	static const char starts[][3] = { "\x0f",     "\x66\x0f", "\xf3\x0f", "\xf2\x0f",
					  "\x0f\x38", "\x0f\x3a", "\x0f\xae", "\x0f\x01",
					  "\xf0",     "\xdb",	  "\x48",     "\xff" };
	unsigned char *code = program->image.code;

	for (unsigned int i = 0; i < CODE_SIZE; i++)
		code[i] = (unsigned char)next(program);
	for (unsigned int i = 0; i < CODE_SIZE - 16; i += 2 + next(program) % 6) {
		const char *start = starts[next(program) % (sizeof(starts) / sizeof(starts[0]))];

		memcpy(code + i, start, strlen(start));
	}
}

/* Random code may well loop. */
static void *stop_often(void *arg)
{
	struct program *program = arg;
	const uint64_t end = clock_ns() + RANDOM_NS;

	while (clock_ns() < end) {
		nanosleep(&(struct timespec){ .tv_nsec = STOP_NS }, NULL);
		program->stop = true;
	}
	return NULL;
}

static void test_ends_whatever_its_code_is(void **state)
{
	struct program *program = *state;
	const char *seed = getenv("S2_SEED");
	pthread_t stopper;

	program->seed = seed ? strtoull(seed, NULL, 0) : clock_ns();
	printf("S2_SEED=%llu\n", (unsigned long long)program->seed);
	assert_int_equal(pthread_create(&stopper, NULL, stop_often, program), 0);
	for (const uint64_t end = clock_ns() + RANDOM_NS / 2; clock_ns() < end;) {
		struct guest_result result;

		make_code(program);
		program->stop = false;
		run(program, next(program) % (CODE_SIZE / 2), &result);
		assert_true(result.status || !result.reason[0]);
	}
	pthread_join(stopper, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_has_no_privilege, create, destroy),
		cmocka_unit_test_setup_teardown(test_ends_alone_where_its_processor_fails, create,
						destroy),
		cmocka_unit_test_setup_teardown(test_is_told_which_instruction_may_not_access_what,
						create, destroy),
		cmocka_unit_test_setup_teardown(test_does_not_hide_what_is_wrong_with_the_library,
						create, destroy),
		cmocka_unit_test_setup_teardown(test_ends_whatever_its_code_is, create, destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
