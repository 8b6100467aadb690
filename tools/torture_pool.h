/* SPDX-License-Identifier: MIT */
/*
 * What the threads of a torture run on a pool share, and their bodies. Internal to
 * torture_pool*.c; torture_pool.c tells what they do.
 */
#ifndef STAGE2_TOOLS_TORTURE_POOL_H
#define STAGE2_TOOLS_TORTURE_POOL_H

#include "torture_pool_page.h"
#include "torture_pool_tier.h"
#include "torture_work.h"

#include <stage2/pool.h>
#include <stage2/window.h>

#define POOL_CHUNK_PAGES 512u /* 2 MiB */
/* Pages that follow each other have one owner; what is more has another. */
#define POOL_OWNED_PAGES 8u
/*
 * Memslot 0 is all of the guest; each updater has another, which shows a window of the same
 * pages.
 */
#define POOL_WINDOW_PAGES 64u

/*
 * What is known of a page: its generation when its owner last had written it, and the one that
 * its owner last began to write. Between them it may be any.
 */
struct torture_pool_record {
	uint64_t done;
	uint64_t begun;
};

/*
 * What the original's page may have been when it was cloned; the original may be a clone, of
 * one that is not.
 */
#define POOL_PAST_CLAIMS 2u
struct torture_pool_past {
	unsigned int n;
	struct torture_pool_claim claims[POOL_PAST_CLAIMS];
};

/*
 * @number:   in the contents of its pages; no other guest of the time has it.
 * @killable: its memcg may be killed for lack of memory.
 * @owners:   the pages are divided among so many threads.
 * @pasts:    a clone's, of each page; else NULL.
 * @windows:  of each updater, as in torture_work.h.
 */
struct torture_pool_guest {
	unsigned int index;
	unsigned int number;
	unsigned int nr_pages;
	unsigned int owners;
	bool killable;
	uint64_t hva;
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct torture_pool_record *records;
	struct torture_pool_past *pasts;
	struct torture_slot *windows;
	bool logging;
};

/*
 * @next_number: of guests.
 * @narrow: vCPUs use the chunk of this number only; 0 is all of their memory.
 * @signals: SIGSEGV is the library's.
 */
struct torture_pool {
	struct s2_pool *pool;
	struct torture_pool_weather weather;
	struct torture_pool_tier tiers[S2_POOL_TIERS];
	unsigned int nr_tiers;
	struct torture_pool_guest *guests;
	unsigned int nr_guests;
	uint64_t next_number;
	uint64_t narrow;
	bool signals;
};

/* While tiers take nothing, guests want all, and give nothing back: so that memory runs out. */
static inline bool torture_pool_is_full(const struct torture_worker *w)
{
	return __atomic_load_n(&w->torture->pool->weather.now, __ATOMIC_RELAXED) == WEATHER_FULL;
}

static inline uint64_t torture_pool_hva(const struct torture_pool_guest *guest, unsigned int page)
{
	return guest->hva + page * S2_PAGE_SIZE;
}

/* torture_pool_guest.c: a guest with memory of its own, or with a clone of @original's. */
int torture_pool_create_guest(struct torture_worker *w, struct torture_pool_guest *guest,
			      unsigned int nr_pages, unsigned int oom_priority);
int torture_pool_clone_guest(struct torture_worker *w, struct torture_pool_guest *guest,
			     const struct torture_pool_guest *original, unsigned int oom_priority);
/* Its vCPUs are destroyed already. Also of one that is all zeroes, or made in part. */
void torture_pool_destroy_guest(struct torture_worker *w, struct torture_pool_guest *guest);

/*
 * torture_pool_check.c. Is @error an answer that may be? True if it is 0. @may: an error more
 * that may be, or 0.
 */
bool torture_pool_answered(struct torture_worker *w, const struct torture_pool_guest *guest,
			   const char *what, int error, int may);
bool torture_pool_killed(const struct torture_pool_guest *guest);
/* The generation a page has at least, to be asked for before it is looked at. */
uint64_t torture_pool_begin_look(const struct torture_pool_guest *guest, unsigned int page);
/* What was seen, @nr words from @word on. */
void torture_pool_check_seen(struct torture_worker *w, const struct torture_pool_guest *guest,
			     unsigned int page, uint64_t first_generation, const uint64_t *words,
			     unsigned int word, unsigned int nr);
/* The past of a clone's page; @before: as its original was before the call. */
void torture_pool_set_past(struct torture_pool_past *past,
			   const struct torture_pool_guest *original, unsigned int page,
			   uint64_t before);

/* torture_pool_plain.c: of guests' threads that have a window. The signals are for all of a run. */
int torture_plain_begin_signals(void);
void torture_plain_end_signals(void);
int torture_plain_begin(struct torture_worker *w);
void torture_plain_end(struct torture_worker *w);
/* By plain accesses: 0, or what a vCPU would get. */
int torture_plain_read(struct torture_worker *w, uint64_t gpa, void *data, size_t len);
int torture_plain_write(struct torture_worker *w, uint64_t gpa, const void *data, size_t len);

/*
 * torture_pool_vcpu.c: @w uses @w->guest's memory, by a vCPU or a window, from here to there. One
 * thing that it does to it, or the host in its place.
 */
int torture_pool_begin_use(struct torture_worker *w);
void torture_pool_end_use(struct torture_worker *w);
/* Guest mode; a window has none. */
void torture_pool_enter(struct torture_worker *w);
void torture_pool_leave(struct torture_worker *w);
void torture_pool_access(struct torture_worker *w, unsigned int owner);
void torture_pool_vcpu(struct torture_worker *w);
/* Most pages once, by the host, before there are others. */
void torture_pool_fill_guest(struct torture_worker *w);
/* Every page, at the end. */
void torture_pool_final_check(struct torture_worker *w);

/* torture_pool_kernel.c */
void torture_pool_reclaimer(struct torture_worker *w);
void torture_pool_merger(struct torture_worker *w);
void torture_pool_mover(struct torture_worker *w);
void torture_pool_weather(struct torture_worker *w);

/* torture_pool_churn.c */
void torture_pool_unrelated(struct torture_worker *w);
void torture_pool_related(struct torture_worker *w);

/* torture_pool_slots.c */
void torture_pool_updater(struct torture_worker *w);
int torture_pool_map_guest(struct torture_worker *w, struct torture_pool_guest *guest, bool log);
/* Guest physical address of an updater's window. */
uint64_t torture_pool_window_gpa(const struct torture_pool_guest *guest, unsigned int updater,
				 bool second);
static inline unsigned int torture_pool_window(uint64_t where)
{
	return (unsigned int)(where >> SLOT_WINDOW_SHIFT) %
	       (1u << (SLOT_COUNT_SHIFT - SLOT_WINDOW_SHIFT));
}

/* torture_pool_visitor.c */
void torture_pool_visitor(struct torture_worker *w);

#endif
