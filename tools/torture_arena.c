/* SPDX-License-Identifier: MIT */
/*
 * A word of the arena is, from the top: 16 bits of checksum, 3 of kind, 9 of word number, 16 of
 * page number, 20 of generation or sequence. No kind is 0, so that memory nobody has filled is
 * never valid.
 *
 * Canaries are private mappings of a file that holds them for the whole arena: one mmap() puts
 * them in place of the pages, complete from the first moment, and a store to one is kept.
 */
#include "torture_arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum word_kind { WORD_HOST = 1, WORD_GUEST = 2, WORD_CANARY = 3 };

#define GENERATION_MASK ((UINT64_C(1) << 20) - 1)
#define BODY_MASK ((UINT64_C(1) << 48) - 1)

static uint64_t checksum(uint64_t body)
{
	return (body * UINT64_C(0x9e3779b97f4a7c15)) >> 48;
}

static uint64_t make_word(enum word_kind kind, unsigned int page, unsigned int word,
			  uint64_t generation)
{
	uint64_t body = (uint64_t)kind << 45 | (uint64_t)word << 36 | (uint64_t)page << 20 |
			(generation & GENERATION_MASK);

	return checksum(body) << 48 | body;
}

uint64_t torture_arena_guest_word(unsigned int residue, unsigned int word, uint64_t sequence)
{
	return make_word(WORD_GUEST, residue, word, sequence);
}

static uint64_t *page_words(const struct torture_arena *arena, unsigned int page)
{
	return (uint64_t *)(void *)(arena->base + page * S2_PAGE_SIZE);
}

/* Atomic although nobody else should be there: if somebody is, that is what is being looked for. */
static uint64_t read_word(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void fill_page(struct torture_arena *arena, unsigned int page, uint64_t generation)
{
	uint64_t *words = page_words(arena, page);

	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		__atomic_store_n(&words[i], make_word(WORD_HOST, page, i, generation),
				 __ATOMIC_RELAXED);
}

static int create_canaries(void)
{
	int fd = memfd_create("torture canaries", MFD_CLOEXEC);

	for (unsigned int page = 0; fd >= 0 && page < ARENA_PAGES; page++) {
		uint64_t words[PAGE_WORDS];

		for (unsigned int i = 0; i < PAGE_WORDS; i++)
			words[i] = make_word(WORD_CANARY, page, i, 0);
		if (write(fd, words, sizeof(words)) != (ssize_t)sizeof(words)) {
			close(fd);
			errno = ENOSPC;
			fd = -1;
		}
	}
	return fd;
}

int torture_arena_create(struct torture_arena *arena)
{
	void *base = mmap(NULL, ARENA_PAGES * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	arena->base = base;
	arena->canary_fd = create_canaries();
	if (arena->canary_fd < 0) {
		int error = -errno;

		munmap(base, ARENA_PAGES * S2_PAGE_SIZE);
		arena->base = NULL;
		return error;
	}
	for (unsigned int page = 0; page < ARENA_PAGES; page++) {
		arena->generation[page] = 0;
		fill_page(arena, page, 0);
	}
	return 0;
}

void torture_arena_destroy(struct torture_arena *arena)
{
	munmap(arena->base, ARENA_PAGES * S2_PAGE_SIZE);
	close(arena->canary_fd);
}

static int replace(struct torture_arena *arena, unsigned int first, unsigned int nr, int flags,
		   int fd)
{
	void *at = arena->base + first * S2_PAGE_SIZE;
	void *mapped = mmap(at, nr * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED | flags, fd,
			    fd < 0 ? 0 : (off_t)(first * S2_PAGE_SIZE));

	return mapped == MAP_FAILED ? -errno : 0;
}

int torture_arena_map_canaries(struct torture_arena *arena, unsigned int first, unsigned int nr)
{
	return replace(arena, first, nr, 0, arena->canary_fd);
}

int torture_arena_map_fresh(struct torture_arena *arena, unsigned int first, unsigned int nr)
{
	int error = replace(arena, first, nr, MAP_ANONYMOUS, -1);

	for (unsigned int page = first; !error && page < first + nr; page++) {
		/* Only the thread that has this part of the arena raises it. */
		uint64_t generation = arena->generation[page] + 1;

		fill_page(arena, page, generation);
		/* Pairs with the acquire of the vCPUs' first look. */
		__atomic_store_n(&arena->generation[page], generation, __ATOMIC_RELEASE);
	}
	return error;
}

uint64_t torture_arena_canary_damage(const struct torture_arena *arena, unsigned int first,
				     unsigned int nr)
{
	uint64_t damage = 0;

	for (unsigned int page = first; page < first + nr; page++) {
		const uint64_t *words = page_words(arena, page);

		for (unsigned int i = 0; i < PAGE_WORDS; i++)
			damage += read_word(&words[i]) != make_word(WORD_CANARY, page, i, 0);
	}
	return damage;
}

uint64_t torture_arena_page_sum(const struct torture_arena *arena, unsigned int page)
{
	const uint64_t *words = page_words(arena, page);
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		sum = (sum << 7 | sum >> 57) ^ read_word(&words[i]);
	return sum;
}

enum torture_violation torture_arena_check(uint64_t value,
					   const struct torture_arena_expected *expected)
{
	uint64_t body = value & BODY_MASK;
	enum word_kind kind = (enum word_kind)(body >> 45);
	unsigned int word = (unsigned int)(body >> 36) & 0x1ff;
	unsigned int page = (unsigned int)(body >> 20) & 0xffff;
	uint64_t age = (body - expected->first) & GENERATION_MASK;

	if (value >> 48 != checksum(body) || kind < WORD_HOST || kind > WORD_CANARY)
		return TORTURE_TORN;
	if (kind == WORD_CANARY)
		return TORTURE_STALE_READ;
	if (word != expected->word || page % ARENA_WINDOW_PAGES != expected->residue)
		return TORTURE_WRONG_PAGE;
	if (kind == WORD_GUEST)
		return word < PAGE_SHARED_WORDS ? TORTURE_WRONG_PAGE : TORTURE_NONE;
	if (expected->page < 0)
		return TORTURE_NONE;
	if (page != (unsigned int)expected->page)
		return TORTURE_WRONG_PAGE;
	return age > expected->last - expected->first ? TORTURE_STALE_READ : TORTURE_NONE;
}
