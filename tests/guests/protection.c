/* SPDX-License-Identifier: MIT */
/*
 * Run as a guest, by tests/tools/test_guest_protection.c: does what its first argument says and
 * exits with 0 if that went as it should; with 3 if what ought to have ended it did not.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SURVIVED 3
#define PAGE 4096

/* Where nothing else is. */
#define PLACE ((char *)0x2000000)

static volatile int zero;

static int fails(int64_t answer, int error)
{
	return answer == -1 && errno == error ? 0 : 1;
}

/* Pages at PLACE that have been written to. */
static char *map(unsigned int pages)
{
	char *p = mmap(PLACE, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (p != PLACE)
		exit(1);
	memset(p, 'x', pages * PAGE);
	return p;
}

static void protect(char *p, unsigned int pages, int protection)
{
	if (mprotect(p, pages * PAGE, protection))
		exit(1);
}

static int read_from(const volatile char *p)
{
	return *p == 'y' ? 1 : SURVIVED;
}

static int write_to(volatile char *p)
{
	*p = 'y';
	return SURVIVED;
}

static int read_hole(void)
{
	return read_from((char *)0x10000);
}

static int write_hole(void)
{
	return write_to(PLACE);
}

static int read_unmapped(void)
{
	char *p = map(3);

	if (munmap(p + PAGE, PAGE) || p[0] != 'x' || p[2 * PAGE] != 'x')
		return 1;
	return read_from(p + PAGE);
}

static int read_one_of_many_unmapped(void)
{
	char *p = map(1000);

	return munmap(p, 1000 * PAGE) ? 1 : read_from(p + 999 * PAGE);
}

static int write_across(void)
{
	char *p = map(2);

	if (munmap(p + PAGE, PAGE))
		return 1;
	*(volatile uint64_t *)(p + PAGE - 4) = 0;
	return SURVIVED;
}

static int write_beyond_break(void)
{
	char *p = sbrk(2 * PAGE);

	memset(p, 'x', 2 * PAGE);
	return sbrk(-2 * PAGE) == (void *)-1 ? 1 : write_to(p + PAGE);
}

static int read_guard(void)
{
	char *p = map(2);

	protect(p, 1, PROT_NONE);
	return p[PAGE] != 'x' ? 1 : read_from(p);
}

static int write_read_only(void)
{
	char *p = map(2);

	protect(p, 1, PROT_READ);
	return p[0] != 'x' ? 1 : write_to(p);
}

static int add_to_read_only(void)
{
	char *p = map(1);

	protect(p, 1, PROT_READ);
	__atomic_fetch_add((int *)p, 1, __ATOMIC_SEQ_CST);
	return SURVIVED;
}

static int write_constant(void)
{
	static const char constant[] = "constant";

	return write_to((char *)(uintptr_t)constant);
}

/* Not a leaf, and not a loop. */
__attribute__((noinline)) static int recurse(volatile char *above)
{
	volatile char room[1024];

	room[0] = *above;
	return zero ? 1 : recurse(room) + room[0];
}

static int overflow_stack(void)
{
	volatile char top = 1;

	return recurse(&top) ? SURVIVED : 1;
}

static int protect_and_allow_again(void)
{
	char *p = map(200);

	for (unsigned int i = 0; i < 3; i++) {
		protect(p, 200, PROT_NONE);
		protect(p, 100, PROT_READ);
		protect(p + 100 * PAGE, 100, PROT_READ | PROT_WRITE);
		for (unsigned int page = 0; page < 200; page++)
			if (p[page * PAGE] != (char)('x' + (page < 100 ? 0 : i)))
				return 1;
		for (unsigned int page = 100; page < 200; page++)
			p[page * PAGE]++;
	}
	return 0;
}

static int map_again(void)
{
	for (unsigned int i = 0; i < 100; i++) {
		char *p = map(2);

		if (munmap(p, 2 * PAGE) ||
		    mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p ||
		    p[0] || p[PAGE - 1])
			return 1;
	}
	return 0;
}

static int calls_keep_to_it(void)
{
	int ends[2];
	char *p = map(3);

	protect(p + PAGE, 1, PROT_NONE);
	protect(p + 2 * PAGE, 1, PROT_READ);
	return pipe(ends) || write(ends[1], p, 3 * PAGE) != PAGE ||
	       fails(write(ends[1], p + PAGE, 1), EFAULT) || write(ends[1], p + 2 * PAGE, 1) != 1 ||
	       fails(read(ends[0], p + 2 * PAGE, 1), EFAULT) || read(ends[0], p, 1) != 1 ||
	       fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p + 2 * PAGE), EFAULT);
}

static int move_keeps_it(void)
{
	char *p = map(2);

	protect(p, 1, PROT_READ);
	if (fails((intptr_t)mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE), EFAULT))
		return 1;
	p = mremap(p, PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	return p == MAP_FAILED || p[0] != 'x' || p[2 * PAGE] ||
	       fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p), EFAULT) ||
	       fails(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p + 2 * PAGE), EFAULT);
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "read_hole", read_hole },
	{ "write_hole", write_hole },
	{ "read_unmapped", read_unmapped },
	{ "read_one_of_many_unmapped", read_one_of_many_unmapped },
	{ "write_across", write_across },
	{ "write_beyond_break", write_beyond_break },
	{ "read_guard", read_guard },
	{ "write_read_only", write_read_only },
	{ "add_to_read_only", add_to_read_only },
	{ "write_constant", write_constant },
	{ "overflow_stack", overflow_stack },
	{ "protect_and_allow_again", protect_and_allow_again },
	{ "map_again", map_again },
	{ "calls_keep_to_it", calls_keep_to_it },
	{ "move_keeps_it", move_keeps_it },
};

int main(int argc, char **argv)
{
	for (unsigned int i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	return 99;
}
