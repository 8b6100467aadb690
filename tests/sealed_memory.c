/* SPDX-License-Identifier: MIT */
/* The allocator of sealed_memory.h, and the signal handler that notes who is written to. */
#include "sealed_memory.h"

#include "sanitized.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096

/* The linker's names for where the program's own data begins and ends. */
extern char __data_start[], _end[];

/* Read by the handler, so it is set before anything is sealed. */
static struct sealed_memory *watched;

static size_t whole_pages(size_t size)
{
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static void *map_pages(size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

/* No page is at hand to hold a stricter alignment than a page's; nobody asks for one. */
static void *sealed_alloc(void *ctx, size_t size, size_t align)
{
	struct sealed_memory *memory = ctx;
	struct sealed_block *block = &memory->blocks[memory->nr];

	if (memory->nr == SEALED_BLOCKS_MAX || align > PAGE)
		return NULL;
	*block = (struct sealed_block){ .base = map_pages(whole_pages(size)) };
	if (!block->base)
		return NULL;
	block->size = whole_pages(size);
	memory->nr++;
	return block->base;
}

static void sealed_free(void *ctx, void *ptr)
{
	struct sealed_block *block = sealed_block_of(ctx, ptr);

	if (!block || block->base != ptr) {
		fprintf(stderr, "free of a block that is not of this allocator\n");
		abort();
	}
	munmap(block->base, block->size);
	block->size = 0;
}

struct sealed_block *sealed_block_of(struct sealed_memory *memory, const void *address)
{
	for (unsigned i = 0; i < memory->nr; i++) {
		struct sealed_block *block = &memory->blocks[i];

		if ((uintptr_t)address - (uintptr_t)block->base < block->size)
			return block;
	}
	return NULL;
}

static void add_own_data(struct sealed_memory *memory)
{
#if !WITH_ADDRESS_SANITIZER && !WITH_THREAD_SANITIZER && !WITH_UNDEFINED_SANITIZER
	uintptr_t begin = (uintptr_t)__data_start & ~(uintptr_t)(PAGE - 1);

	memory->blocks[memory->nr++] = (struct sealed_block){
		.base = (char *)begin,
		.size = whole_pages((uintptr_t)_end - begin),
	};
#endif
}

struct sealed_memory *sealed_memory_create(void)
{
	struct sealed_memory *memory = map_pages(whole_pages(sizeof(*memory)));

	if (!memory)
		abort();
	memory->ops = (struct s2_allocator){ sealed_alloc, sealed_free, memory };
	add_own_data(memory);
	return memory;
}

void sealed_memory_destroy(struct sealed_memory *memory)
{
	munmap(memory, whole_pages(sizeof(*memory)));
}

static void note_write(int sig, siginfo_t *info, void *context)
{
	struct sealed_block *block = sealed_block_of(watched, info->si_addr);
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

	(void)context;
	if (!block || mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE)) {
		/* Not ours: it comes again, and ends the program as it would have. */
		signal(sig, SIG_DFL);
		return;
	}
	if (block->written)
		return;
	block->written = true;
	block->first_write = (uintptr_t)info->si_addr - (uintptr_t)block->base;
}

static void protect_all(struct sealed_memory *memory, int protection)
{
	for (unsigned i = 0; i < memory->nr; i++)
		if (memory->blocks[i].size &&
		    mprotect(memory->blocks[i].base, memory->blocks[i].size, protection))
			abort();
}

unsigned run_sealed(struct sealed_memory *memory, void (*path)(void *arg), void *arg)
{
	struct sigaction action = { .sa_sigaction = note_write, .sa_flags = SA_SIGINFO }, old;
	unsigned written = 0;

	for (unsigned i = 0; i < memory->nr; i++)
		memory->blocks[i].written = false;
	watched = memory;
	sigaction(SIGSEGV, &action, &old);
	protect_all(memory, PROT_READ);
	path(arg);
	protect_all(memory, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &old, NULL);
	for (unsigned i = 0; i < memory->nr; i++)
		written += memory->blocks[i].written;
	return written;
}
