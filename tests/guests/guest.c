/* SPDX-License-Identifier: MIT */
/*
 * Run as a guest, by tests/tools/test_guest_run.c: does what its first argument says and exits with
 * 0 if that went as it should; with 3 if what ought to have ended it did not.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SURVIVED 3
#define MIB (1 << 20)

/* The compiler must not see what is wrong with it. */
static void *volatile nowhere;
static volatile int zero;

static int fails(int64_t answer, int error)
{
	return answer == -1 && errno == error ? 0 : 1;
}

static int wrong_pointers(void)
{
	static const uintptr_t wrong[] = { 0,		8,
					   0xffff,	UINT64_C(1) << 40,
					   UINTPTR_MAX, UINTPTR_MAX - 4095 };
	struct timespec *gap = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int failed = munmap(gap, 4096);

	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		failed |= fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, wrong[i]), EFAULT);
		failed |= fails(syscall(SYS_write, 1, wrong[i], 100), EFAULT);
		failed |= fails(syscall(SYS_openat, AT_FDCWD, wrong[i], 0), EFAULT);
		failed |= fails(syscall(SYS_uname, wrong[i]), EFAULT);
	}
	failed |= fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, gap), EFAULT);
	failed |= fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, wrong_pointers), EFAULT);
	return failed;
}

static int memory(void)
{
	char *a = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *b;

	memset(a, 1, MIB);
	b = mremap(a, MIB, 4 * MIB, MREMAP_MAYMOVE);
	if (b == MAP_FAILED || b[0] != 1 || b[MIB - 1] != 1 || b[MIB] || b[4 * MIB - 1])
		return 1;
	memset(b, 2, 4 * MIB);
	if (madvise(b, MIB, MADV_DONTNEED) || b[0] || b[MIB - 1] || b[MIB] != 2)
		return 1;
	if (munmap(b + MIB, MIB) || fails(mprotect(b, 4 * MIB, PROT_READ), ENOMEM))
		return 1;
	a = mmap(b + MIB, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return a != b + MIB || a[0] || a[MIB - 1] || b[2 * MIB] != 2;
}

static int heap(void)
{
	char *start = sbrk(0);

	if (sbrk(2 * MIB) != start)
		return 1;
	memset(start, 1, 2 * MIB);
	if (sbrk(-MIB) == (void *)-1 || sbrk(MIB) == (void *)-1)
		return 1;
	return start[MIB - 1] != 1 || start[2 * MIB - 1] != 0 ||
	       fails((intptr_t)sbrk(INT64_C(1) << 40), ENOMEM);
}

static int file_mapping(void)
{
	int fd = open("file", O_RDONLY);
	const char *text = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);

	return text == MAP_FAILED || strcmp(text, "inside") != 0 || text[4096] ||
	       fails((intptr_t)mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0), ENODEV) ||
	       fails((intptr_t)mmap(NULL, 1, PROT_READ, MAP_PRIVATE, 77, 0), EBADF);
}

static int mapping_bomb(void)
{
	unsigned int i = 0;

	/* Every second page, so that no two are neighbours. */
	while (mmap((void *)(UINT64_C(0x1000000) + i * 8192), 4096, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
		i++;
	return i < 10 || errno != ENOMEM;
}

static int no_new_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *text = (void *)((uintptr_t)no_new_code & -4096);

	return fails(mprotect(page, 4096, PROT_READ | PROT_EXEC), EACCES) ||
	       fails((intptr_t)mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		     EACCES) ||
	       fails(munmap(text, 4096), EACCES) || mprotect(text, 4096, PROT_READ | PROT_EXEC);
}

static int auxv(void)
{
	extern const char __ehdr_start[];
	const char *random = (const char *)getauxval(AT_RANDOM);
	const char *name = (const char *)getauxval(AT_EXECFN);

	return getauxval(AT_PAGESZ) != 4096 || getauxval(AT_SECURE) || !random || !name ||
	       !getauxval(AT_ENTRY) || getauxval(AT_PHDR) <= (uintptr_t)__ehdr_start ||
	       getauxval(AT_CLKTCK) != 100 || strcmp(getenv("NAME"), "value") != 0;
}

static int thread_pointer(void)
{
	static _Thread_local int variable = 7;
	uint64_t base = 0;

	return variable != 7 || syscall(SYS_arch_prctl, 0x1003, &base) || !base ||
	       fails(syscall(SYS_arch_prctl, 0x1002, UINT64_C(1) << 63), EPERM);
}

static int floating_point(void)
{
	volatile long double one = 1, three = 3;
	uint16_t control;
	uint32_t mxcsr;

	__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
	return control != 0x37f || (mxcsr & 0xffc0) != 0x1f80 || one / three != 1 / 3.0L;
}

static int clocks(void)
{
	struct timespec before, after, wrong = { 0, 1000000000 };

	if (clock_gettime(CLOCK_MONOTONIC, &before) ||
	    nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL) ||
	    clock_gettime(CLOCK_MONOTONIC, &after))
		return 1;
	return (after.tv_sec - before.tv_sec) * INT64_C(1000000000) + after.tv_nsec -
			       before.tv_nsec <
		       2000000 ||
	       fails(nanosleep(&wrong, NULL), EINVAL) || fails(clock_gettime(99, &after), EINVAL);
}

static int signals(void)
{
	sigset_t set;
	struct sigaction action;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGTERM);
	signal(SIGUSR1, SIG_IGN);
	raise(SIGUSR1);
	raise(SIGCHLD);
	return sigpending(&set) || !sigismember(&set, SIGTERM) ||
	       sigaction(SIGUSR1, NULL, &action) || action.sa_handler != SIG_IGN ||
	       fails(kill(12345, SIGTERM), ESRCH) || fails(kill(0, 100), EINVAL);
}

static int futexes(void)
{
	static int word = 1;
	const struct timespec soon = { .tv_nsec = 1000000 };

	return fails(syscall(SYS_futex, &word, 0, 2, NULL), EAGAIN) ||
	       fails(syscall(SYS_futex, &word, 0, 1, &soon), ETIMEDOUT) ||
	       syscall(SYS_futex, &word, 1, 1) != 0;
}

static int no_children(void)
{
	return fails(fork(), ENOSYS) || fails(syscall(SYS_vfork), ENOSYS) ||
	       fails(syscall(9999), ENOSYS) || fails(wait(NULL), ECHILD);
}

static int random_bytes(void)
{
	static char a[5000], b[5000];

	return getrandom(a, sizeof(a), 0) != sizeof(a) || getrandom(b, sizeof(b), 0) != sizeof(b) ||
	       !memcmp(a, b, sizeof(a)) || !memcmp(a + 4096, b + 4096, 900);
}

static int read_null(void)
{
	return *(volatile char *)nowhere ? 1 : SURVIVED;
}

static int write_far(void)
{
	*(volatile char *)(UINT64_C(1) << 40) = 1;
	return SURVIVED;
}

static int jump_to_data(void)
{
	static char data[16] = { (char)0xc3 };
	void (*volatile function)(void) = (void (*)(void))(uintptr_t)data;

	function();
	return SURVIVED;
}

static int write_code(void)
{
	*(volatile char *)(uintptr_t)write_code = 0;
	return SURVIVED;
}

static int invalid_instruction(void)
{
	__asm__ volatile("ud2");
	return SURVIVED;
}

static int halt(void)
{
	__asm__ volatile("hlt");
	return SURVIVED;
}

static int divide(void)
{
	return 100 / zero ? 1 : SURVIVED;
}

static int loop(void)
{
	while (!zero)
		;
	return SURVIVED;
}

static int sleep_long(void)
{
	sleep(1000);
	return SURVIVED;
}

static int wait_for_nobody(void)
{
	static int word;

	syscall(SYS_futex, &word, 0, 0, NULL);
	return SURVIVED;
}

static int pipe_without_reader(void)
{
	int ends[2];

	if (pipe(ends) || close(ends[0]) || write(ends[1], "x", 1) != 1)
		return 1;
	return SURVIVED;
}

static int write_all_memory(void)
{
	char *start = mmap((void *)UINT64_C(0x800000), 0x2800000, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	for (volatile char *p = start; !zero; p += 4096)
		*p = 1;
	return SURVIVED;
}

static int end_by_abort(void)
{
	abort();
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "wrong_pointers", wrong_pointers },
	{ "memory", memory },
	{ "heap", heap },
	{ "file_mapping", file_mapping },
	{ "mapping_bomb", mapping_bomb },
	{ "no_new_code", no_new_code },
	{ "auxv", auxv },
	{ "thread_pointer", thread_pointer },
	{ "floating_point", floating_point },
	{ "clocks", clocks },
	{ "signals", signals },
	{ "futexes", futexes },
	{ "no_children", no_children },
	{ "random_bytes", random_bytes },
	{ "read_null", read_null },
	{ "write_far", write_far },
	{ "jump_to_data", jump_to_data },
	{ "write_code", write_code },
	{ "invalid_instruction", invalid_instruction },
	{ "halt", halt },
	{ "divide", divide },
	{ "loop", loop },
	{ "sleep_long", sleep_long },
	{ "wait_for_nobody", wait_for_nobody },
	{ "pipe_without_reader", pipe_without_reader },
	{ "write_all_memory", write_all_memory },
	{ "abort", end_by_abort },
};

int main(int argc, char **argv)
{
	for (unsigned int i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	return 99;
}
