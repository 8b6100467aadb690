/* SPDX-License-Identifier: MIT */
/*
 * LD_PRELOAD for a program that knows nothing of this library: each munmap(), madvise(), mremap(),
 * mprotect() and mmap(MAP_FIXED) that comes by here is told to VMs whose memory it has nothing to
 * do with, so that what the program takes longer is what being notified costs. Calls that the C
 * library makes of itself, as its malloc() does, are bound inside it and do not come by.
 *
 * S2_PRELOAD_GATE: the gate; unset, calls are only counted and passed on.
 * S2_PRELOAD_VMS:  how many VMs of 128 MiB, from 1 to 1024; 1 if unset.
 *
 * An allocator calls with its own locks held: from here on nothing allocates, and an elided pair
 * takes no lock. A child of fork() is another address space, of which the VMs are not part, as in
 * the kernel: its calls are passed on.
 */
/* mmap() is to be defined under its own name, beside mmap64(). */
#undef _FILE_OFFSET_BITS
#include "bench_pairs.h"
#include "preload_notifier.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_VMS 1024
#define VM_PAGES (BENCH_CHUNK_SIZE / S2_PAGE_SIZE)

/* Threads that share one only meet in it; the calls they count cost a system call each. */
#define COUNTS 64

static struct {
	_Alignas(64) uint64_t calls;
} counts[COUNTS];

static unsigned int threads_seen;
static _Thread_local unsigned int own_count; /* 0: none yet */

/* NULL where there is nobody to tell: before the constructor, without a gate, after fork(). */
static struct s2_mm *notified;

/*
 * The library's calls are used as they are, and the system calls in them come back here. What a
 * signal handler unmaps meanwhile would be passed on as well, untold; no program measured does.
 */
static _Thread_local bool inside;

/* What is behind this object. Allocators call before its constructor; then it is the kernel. */
static struct {
	int (*munmap)(void *addr, size_t length);
	int (*madvise)(void *addr, size_t length, int advice);
	int (*mprotect)(void *addr, size_t length, int prot);
	void *(*mremap)(void *old_addr, size_t old_size, size_t new_size, int flags, ...);
	void *(*mmap)(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
} next;

uint64_t s2_preload_calls(void)
{
	uint64_t calls = 0;

	for (unsigned int i = 0; i < COUNTS; i++)
		calls += __atomic_load_n(&counts[i].calls, __ATOMIC_RELAXED);
	return calls;
}

static void count_call(void)
{
	if (!own_count)
		own_count = 1 + __atomic_fetch_add(&threads_seen, 1, __ATOMIC_RELAXED) % COUNTS;
	__atomic_fetch_add(&counts[own_count - 1].calls, 1, __ATOMIC_RELAXED);
}

/* Whom to tell of this call, if anybody; then leave() has to follow. */
static struct s2_mm *enter(void)
{
	struct s2_mm *mm;

	if (inside)
		return NULL;
	count_call();
	/* Acquire: pairs with the constructor's release, after all that the s2_mm consists of. */
	mm = __atomic_load_n(&notified, __ATOMIC_ACQUIRE);
	inside = mm;
	return mm;
}

/* From the library's way of telling errors to the C library's. */
static int leave(int error)
{
	inside = false;
	if (!error)
		return 0;
	errno = -error;
	return -1;
}

int munmap(void *addr, size_t length)
{
	struct s2_mm *mm = enter();

	if (mm)
		return leave(s2_munmap(mm, addr, length));
	return next.munmap ? next.munmap(addr, length) : (int)syscall(SYS_munmap, addr, length);
}

int madvise(void *addr, size_t length, int advice)
{
	struct s2_mm *mm = enter();

	if (mm)
		return leave(s2_madvise(mm, addr, length, advice));
	return next.madvise ? next.madvise(addr, length, advice)
			    : (int)syscall(SYS_madvise, addr, length, advice);
}

int mprotect(void *addr, size_t length, int prot)
{
	struct s2_mm *mm = enter();

	if (mm)
		return leave(s2_mprotect(mm, addr, length, prot));
	return next.mprotect ? next.mprotect(addr, length, prot)
			     : (int)syscall(SYS_mprotect, addr, length, prot);
}

void *mremap(void *old_addr, size_t old_size, size_t new_size, int flags, ...)
{
	struct s2_mm *mm = enter();
	void *new_addr = NULL, *mapped;

	if (flags & ~MREMAP_MAYMOVE) {
		va_list args;

		va_start(args, flags);
		new_addr = va_arg(args, void *);
		va_end(args);
	}
	if (mm)
		return leave(s2_mremap(mm, old_addr, old_size, new_size, flags, new_addr, &mapped))
			       ? MAP_FAILED
			       : mapped;
	return next.mremap
		       ? next.mremap(old_addr, old_size, new_size, flags, new_addr)
		       : (void *)syscall(SYS_mremap, old_addr, old_size, new_size, flags, new_addr);
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	/* Without MAP_FIXED it takes nothing away. */
	struct s2_mm *mm = flags & MAP_FIXED ? enter() : NULL;
	void *mapped;

	if (mm)
		return leave(s2_mmap(mm, addr, length, prot, flags, fd, offset, &mapped))
			       ? MAP_FAILED
			       : mapped;
	return next.mmap ? next.mmap(addr, length, prot, flags, fd, offset)
			 : (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

static void find_next(void)
{
	/* POSIX lets a pointer to void be one to a function; ISO C would not convert it. */
	*(void **)&next.munmap = dlsym(RTLD_NEXT, "munmap");
	*(void **)&next.madvise = dlsym(RTLD_NEXT, "madvise");
	*(void **)&next.mprotect = dlsym(RTLD_NEXT, "mprotect");
	*(void **)&next.mremap = dlsym(RTLD_NEXT, "mremap");
	*(void **)&next.mmap = dlsym(RTLD_NEXT, "mmap");
}

/* A program that is not notified as it was asked for is not worth measuring. */
static void give_up(const char *what, const char *value)
{
	fprintf(stderr, "preload_notifier: %s: '%s'\n", what, value);
	_exit(2);
}

static enum s2_gate parse_gate(const char *name)
{
	enum s2_gate gate = S2_GATE_RANGE;

	while (s2_gate_name(gate) && strcmp(s2_gate_name(gate), name))
		gate++;
	if (!s2_gate_name(gate))
		give_up("S2_PRELOAD_GATE must be one of range, always, rwsem and count", name);
	return gate;
}

static unsigned int parse_vms(const char *text)
{
	char *end;
	unsigned long vms = strtoul(text, &end, 10);

	if (*end || vms < 1 || vms > MOST_VMS)
		give_up("S2_PRELOAD_VMS must be a number from 1 to 1024", text);
	return (unsigned int)vms;
}

/* Memory that guests could have: address space, as a VM has before its guest touches it. */
static int create_vms(struct s2_mm *mm, unsigned int nr)
{
	void *memory = mmap(NULL, nr * BENCH_CHUNK_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int error = memory == MAP_FAILED ? -errno : 0;

	for (unsigned int i = 0; !error && i < nr; i++) {
		struct s2_vm *vm;

		error = s2_vm_create(mm, NULL, &vm);
		if (!error)
			error = bench_set_memslot(vm, 0, 0, VM_PAGES,
						  (uintptr_t)memory + i * BENCH_CHUNK_SIZE);
	}
	return error;
}

static void forget_vms(void)
{
	__atomic_store_n(&notified, NULL, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void begin(void)
{
	const char *gate = getenv("S2_PRELOAD_GATE"), *vms = getenv("S2_PRELOAD_VMS");
	struct s2_mm_config config = { 0 };
	struct s2_mm *mm;
	int error;

	find_next();
	if (!gate)
		return;
	config.gate = parse_gate(gate);
	error = s2_mm_create(&config, &mm);
	if (!error)
		error = create_vms(mm, vms ? parse_vms(vms) : 1);
	if (!error)
		error = -pthread_atfork(NULL, NULL, forget_vms);
	if (error)
		give_up("cannot create the VMs", strerror(-error));
	/* Release: see enter(). */
	__atomic_store_n(&notified, mm, __ATOMIC_RELEASE);
}
