/* SPDX-License-Identifier: MIT */
/*
 * See guest_stack.h. The block is built on the host, for an address that is known beforehand, and
 * copied as a whole: strings at the end, the vectors, which point to them, before.
 */
#include "guest_stack.h"

#include "guest_copy.h"
#include "guest_internal.h"
#include "guest_maps.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MOST_STACK (UINT64_C(8) << 20)
#define LEAST_STACK (UINT64_C(64) << 10)

/* Below it nothing may be accessed: at most so much, and at most this part of the memory. */
#define MOST_GUARD (UINT64_C(1) << 20)
#define GUARD_PART 64

/* As the kernel has it: at most this part of the stack is arguments. */
#define ARGUMENTS_PART 4

/* What CPUID.1:EDX says of any x86-64: FPU, TSC, MSR, CX8, CMOV, MMX, FXSR, SSE, SSE2. */
#define HWCAP_X86_64 0x07808131

/* Two words an entry; the number of those below and one to spare. */
#define MOST_AUXV_WORDS 48

/*
 * @strings: the next free byte, @words the next free word, both offsets in @data, of which the end
 *           is the end of the stack.
 */
struct block {
	char *data;
	size_t size;
	uint64_t gpa;
	size_t strings;
	size_t words;
};

static size_t vector_length(char *const *vector)
{
	size_t n = 0;

	while (vector && vector[n])
		n++;
	return n;
}

static size_t strings_size(char *const *vector)
{
	size_t size = 0;

	for (size_t i = 0; vector && vector[i]; i++)
		size += strlen(vector[i]) + 1;
	return size;
}

static void put_word(struct block *block, uint64_t word)
{
	memcpy(block->data + block->words, &word, sizeof(word));
	block->words += sizeof(word);
}

static uint64_t put_bytes(struct block *block, const void *data, size_t len)
{
	uint64_t gpa = block->gpa + block->strings;

	memcpy(block->data + block->strings, data, len);
	block->strings += len;
	return gpa;
}

static void put_vector(struct block *block, char *const *vector)
{
	for (size_t i = 0; vector && vector[i]; i++)
		put_word(block, put_bytes(block, vector[i], strlen(vector[i]) + 1));
	put_word(block, 0);
}

static void put_auxv(struct block *block, const struct guest_program *program, uint64_t execfn)
{
	static const char platform[] = "x86_64";
	char random[16] = { 0 };

	/* 16 bytes need no waiting once the kernel has booted; if it says no they are zeroes. */
	(void)!getrandom(random, sizeof(random), 0);
	const uint64_t words[] = {
		AT_HWCAP,  HWCAP_X86_64,
		AT_PAGESZ, GUEST_PAGE_SIZE,
		AT_CLKTCK, (uint64_t)sysconf(_SC_CLK_TCK),
		AT_PHDR,   program->phdr,
		AT_PHENT,  sizeof(Elf64_Phdr),
		AT_PHNUM,  program->phdr ? program->nr_phdrs : 0,
		AT_BASE,   0,
		AT_FLAGS,  0,
		AT_ENTRY,  program->entry,
		AT_UID,	   getuid(),
		AT_EUID,   geteuid(),
		AT_GID,	   getgid(),
		AT_EGID,   getegid(),
		AT_SECURE, 0,
		AT_RANDOM, put_bytes(block, random, sizeof(random)),
		AT_EXECFN, execfn,
		AT_PLATFORM, put_bytes(block, platform, sizeof(platform)),
		AT_NULL,   0,
	};
	_Static_assert(sizeof(words) <= MOST_AUXV_WORDS * sizeof(words[0]), "room for auxv");

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		put_word(block, words[i]);
}

static int refuse(struct guest *guest, int error, const char *what)
{
	guest_end(guest, GUEST_NOT_RUN, "%s", what);
	return error;
}

static int map_stack(struct guest *guest, const struct guest_program *program)
{
	uint64_t memory = guest->memory->size;
	uint64_t size = memory / 8 & -GUEST_PAGE_SIZE;
	uint64_t guard = memory / GUARD_PART & -GUEST_PAGE_SIZE;

	size = size < MOST_STACK ? size : MOST_STACK;
	guard = guard < MOST_GUARD ? guard : MOST_GUARD;
	if (size < LEAST_STACK || memory - size - guard < program->end)
		return refuse(guest, -ENOMEM, "the guest's memory is too small for its program; give it "
					      "a larger --mem");
	guest->stack_size = size;
	if (guest_maps_add(guest->maps, memory - size, size, GUEST_READ_WRITE) ||
	    guest_maps_add(guest->maps, memory - size - guard, guard, 0))
		return refuse(guest, -ENOMEM, "the guest may map too few ranges to start");
	return 0;
}

static int fill(struct guest *guest, const struct guest_program *program, struct block *block)
{
	char *const *argv = guest->config->argv;
	char *const *envp = guest->config->envp;
	uint64_t execfn;
	int error;

	block->data = calloc(1, block->size);
	if (!block->data)
		return refuse(guest, -ENOMEM, "the host has no memory for the guest's arguments");
	block->gpa = guest->memory->size - block->size;
	execfn = put_bytes(block, guest->config->program, strlen(guest->config->program) + 1);
	put_word(block, vector_length(argv));
	put_vector(block, argv);
	put_vector(block, envp);
	put_auxv(block, program, execfn);
	error = guest_copy_out(guest, block->gpa, block->data, block->size);
	free(block->data);
	if (error)
		return refuse(guest, error, "the host could not provide the guest's stack; --pool or "
					     "--swap may be too small");
	return 0;
}

int guest_stack_create(struct guest *guest, const struct guest_program *program, uint64_t *sp)
{
	const struct guest_config *config = guest->config;
	size_t nr = vector_length(config->argv) + vector_length(config->envp) + 3;
	size_t strings = strings_size(config->argv) + strings_size(config->envp) +
			 strlen(config->program) + 64;
	struct block block = { .strings = (nr + MOST_AUXV_WORDS) * sizeof(uint64_t) };
	int error = map_stack(guest, program);

	if (error)
		return error;
	/* rsp is a multiple of 16 when a program starts. */
	block.size = (block.strings + strings + 15) & ~(size_t)15;
	if (block.size > guest->stack_size / ARGUMENTS_PART)
		return refuse(guest, -E2BIG,
			      "the arguments and environment are too large for the guest's stack");
	error = fill(guest, program, &block);
	*sp = block.gpa;
	return error;
}
