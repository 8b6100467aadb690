/* SPDX-License-Identifier: MIT */
/*
 * The host memory that torture's guests run on, with contents that certify themselves: each
 * aligned 8-byte word says which word of which page it belongs to, who wrote it and when, under a
 * checksum. Whoever reads one can tell whether it may be there, without knowing what was written
 * last.
 *
 * Contents certify host pages, not guest pages: memslots come, go and move, hva stays.
 */
#ifndef STAGE2_TOOLS_TORTURE_ARENA_H
#define STAGE2_TOOLS_TORTURE_ARENA_H

#include <stage2/mm.h>
#include <stdint.h>

/* Memslots are one window of the arena each, at multiples of the same size in guest space. */
#define ARENA_WINDOW_PAGES 16u
#define ARENA_WINDOWS 16u
#define ARENA_PAGES (ARENA_WINDOWS * ARENA_WINDOW_PAGES)

/*
 * A page's words: those only the host writes, which certify the page's number and generation;
 * those any vCPU stores to; and a few for each of the first vCPUs alone.
 */
#define PAGE_WORDS 512u
#define PAGE_SHARED_WORDS 256u /* first word of the second kind */
#define PAGE_OWNED_WORDS 384u  /* and of the third */
#define PAGE_OWNERS 16u
#define PAGE_WORDS_EACH ((PAGE_WORDS - PAGE_OWNED_WORDS) / PAGE_OWNERS)

/* Each is one way of being wrong; torture.c tells when an observation counts as one. */
enum torture_violation {
	TORTURE_STALE_READ,
	TORTURE_STALE_WRITE,
	TORTURE_WRONG_PAGE,
	TORTURE_TORN,
	TORTURE_LOST_WRITE,
	TORTURE_DIRTY_LOST,
	TORTURE_USE_AFTER_DELETE,
	TORTURE_BAD_ERROR,
	TORTURE_BAD_COUNT,
	TORTURE_LOST,
	TORTURE_MIXED_UP,
	TORTURE_DAMAGED,
	TORTURE_NR_VIOLATIONS,
	TORTURE_NONE = TORTURE_NR_VIOLATIONS,
};

/*
 * @base:       ARENA_PAGES pages of real memory.
 * @generation: how often each page was replaced. Raised between the new contents and the end of
 *              the invalidation: what is read by an access lies between what this was before it
 *              and what it is after it.
 */
struct torture_arena {
	char *base;
	int canary_fd;
	uint64_t generation[ARENA_PAGES];
};

int torture_arena_create(struct torture_arena *arena);
void torture_arena_destroy(struct torture_arena *arena);

static inline uint64_t torture_arena_hva(const struct torture_arena *arena, unsigned int page)
{
	return (uint64_t)(uintptr_t)arena->base + page * S2_PAGE_SIZE;
}

/* Replace the mapping of @nr pages, by canaries or by fresh pages of the next generation. */
int torture_arena_map_canaries(struct torture_arena *arena, unsigned int first, unsigned int nr);
int torture_arena_map_fresh(struct torture_arena *arena, unsigned int first, unsigned int nr);

/* How many words of @nr pages of canaries are not as they were mapped. */
uint64_t torture_arena_canary_damage(const struct torture_arena *arena, unsigned int first,
				     unsigned int nr);

/* A sum over a page's words, to tell whether any has changed. */
uint64_t torture_arena_page_sum(const struct torture_arena *arena, unsigned int page);

/* What a vCPU stores to a shared word of a page that is the @residue-th of its window. */
uint64_t torture_arena_guest_word(unsigned int residue, unsigned int word, uint64_t sequence);

/*
 * What the reader of a word knows. @residue always holds, whatever memslot updates run at the same
 * time. @page is -1, or exact; then @first and @last are the generations it may be of.
 */
struct torture_arena_expected {
	unsigned int word;
	unsigned int residue;
	int page;
	uint64_t first;
	uint64_t last;
};

enum torture_violation torture_arena_check(uint64_t value,
					   const struct torture_arena_expected *expected);

#endif
