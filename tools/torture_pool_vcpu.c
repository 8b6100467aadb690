/* SPDX-License-Identifier: MIT */
/*
 * What vCPUs do to a pool's memory, and the host in their place: read, write and discard, whole
 * pages and single words, near each other and all over. ThreadSanitizer takes the plain
 * accesses of guests for what they are; under it each thread keeps to the pages it owns.
 */
#include "torture_pool.h"

#include <errno.h>
#include <inttypes.h>

#define HOT_PAGES 64u
#define SCANNED_PAGES 48u

#define EACH_ITS_OWN TORTURE_THREAD_SANITIZER

static uint64_t gpa_of(unsigned int page)
{
	return page * S2_PAGE_SIZE;
}

/* Mostly near where the others are, which is another place from time to time. */
static unsigned int any_page(struct torture_worker *w)
{
	uint64_t narrow = __atomic_load_n(&w->torture->pool->narrow, __ATOMIC_RELAXED);
	unsigned int nr = w->guest->nr_pages;
	uint64_t place = w->counts[TORTURE_ACCESSES] / 4096 * 97 % nr;

	if (torture_pool_is_full(w))
		return pick(w, nr);
	if (narrow && narrow * POOL_CHUNK_PAGES <= nr)
		return (unsigned int)(narrow - 1) * POOL_CHUNK_PAGES + pick(w, POOL_CHUNK_PAGES);
	return percent(w, 75) ? (unsigned int)(place + pick(w, HOT_PAGES)) % nr : pick(w, nr);
}

static unsigned int owner_of(const struct torture_worker *w, unsigned int page)
{
	return page / POOL_OWNED_PAGES % w->guest->owners;
}

/* One of those near it that @owner owns. */
static unsigned int own_page(struct torture_worker *w, unsigned int owner)
{
	unsigned int page = any_page(w);

	while (owner_of(w, page) != owner)
		page = (page + POOL_OWNED_PAGES) % w->guest->nr_pages;
	return page;
}

static unsigned int readable_page(struct torture_worker *w, unsigned int owner)
{
	return EACH_ITS_OWN ? own_page(w, owner) : any_page(w);
}

static bool answered(struct torture_worker *w, const char *what, int error)
{
	return torture_pool_answered(w, w->guest, what, error, 0);
}

static struct s2_pool *pool_of(const struct torture_worker *w)
{
	return w->torture->pool->pool;
}

static int guest_read(struct torture_worker *w, uint64_t gpa, void *data, size_t len)
{
	return w->window ? torture_plain_read(w, gpa, data, len) :
			   s2_vcpu_read(w->vcpu, gpa, data, len);
}

static int guest_write(struct torture_worker *w, uint64_t gpa, const void *data, size_t len)
{
	return w->window ? torture_plain_write(w, gpa, data, len) :
			   s2_vcpu_write(w->vcpu, gpa, data, len);
}

static int guest_load(struct torture_worker *w, uint64_t gpa, uint64_t *value)
{
	return w->window ? torture_plain_read(w, gpa, value, sizeof(*value)) :
			   s2_vcpu_load64(w->vcpu, gpa, value);
}

static int guest_store(struct torture_worker *w, uint64_t gpa, uint64_t value)
{
	return w->window ? torture_plain_write(w, gpa, &value, sizeof(value)) :
			   s2_vcpu_store64(w->vcpu, gpa, value);
}

static void watch_host(struct torture_worker *w, enum watch_kind kind, unsigned int page,
		       unsigned int nr)
{
	uint64_t hva = torture_pool_hva(w->guest, page);

	watch_now(&w->watch, kind, hva, hva + nr * S2_PAGE_SIZE);
}

static void watch_guest(struct torture_worker *w)
{
	watch_now(&w->watch, WATCH_GUEST, w->guest->index, 0);
}

static void read_page(struct torture_worker *w, unsigned int page, bool host)
{
	uint64_t first = torture_pool_begin_look(w->guest, page);
	uint64_t words[PAGE_WORDS];
	int error;

	if (host) {
		watch_host(w, WATCH_HOST, page, 1);
		error = s2_pool_read(pool_of(w), torture_pool_hva(w->guest, page), words,
				     sizeof(words));
		watch_guest(w);
		count(w, TORTURE_HOST_ACCESSES, 1);
	} else {
		error = guest_read(w, gpa_of(page), words, sizeof(words));
	}
	if (answered(w, host ? "host's read" : "read", error))
		torture_pool_check_seen(w, w->guest, page, first, words, 0, PAGE_WORDS);
}

static void load_word(struct torture_worker *w, unsigned int page)
{
	uint64_t first = torture_pool_begin_look(w->guest, page), value;
	unsigned int word = pick(w, PAGE_WORDS);

	if (answered(w, "load", guest_load(w, gpa_of(page) + word * 8, &value)))
		torture_pool_check_seen(w, w->guest, page, first, &value, word, 1);
}

/* Who sees anything of @generation sees that it has begun. */
static void begin_write(struct torture_worker *w, unsigned int page, uint64_t generation)
{
	__atomic_store_n(&w->guest->records[page].begun, generation, __ATOMIC_RELAXED);
#if EACH_ITS_OWN
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/* Release: pairs with the acquire in torture_pool_begin_look(). */
static void end_write(struct torture_worker *w, unsigned int page)
{
	struct torture_pool_record *record = &w->guest->records[page];

	__atomic_store_n(&record->done, record->begun, __ATOMIC_RELEASE);
}

static int store_page(struct torture_worker *w, unsigned int page, const uint64_t *words,
		      unsigned int nr, bool host)
{
	size_t size = nr * S2_PAGE_SIZE;
	int error;

	if (w->torture->options.breaks & TORTURE_BREAK_STORES && percent(w, 1))
		return 0;
	if (!host)
		return guest_write(w, gpa_of(page), words, size);
	watch_host(w, WATCH_HOST, page, nr);
	error = s2_pool_write(pool_of(w), torture_pool_hva(w->guest, page), words, size);
	watch_guest(w);
	count(w, TORTURE_HOST_ACCESSES, 1);
	return error;
}

/* One page or two, of the same owner. */
static void write_pages(struct torture_worker *w, unsigned int page, unsigned int nr, bool host)
{
	uint64_t words[2 * PAGE_WORDS];

	if (page % POOL_OWNED_PAGES + nr > POOL_OWNED_PAGES)
		nr = 1;
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t generation =
			torture_pool_next_whole(w->guest->records[page + i].begun);

		torture_pool_fill(&words[i * PAGE_WORDS], w->guest->number, page + i, generation);
		begin_write(w, page + i, generation);
	}
	if (w->torture->options.breaks & TORTURE_BREAK_BYTES && percent(w, 1))
		words[pick(w, PAGE_WORDS)] ^= 1;
	if (answered(w, host ? "host's write" : "write", store_page(w, page, words, nr, host)))
		for (unsigned int i = 0; i < nr; i++)
			end_write(w, page + i);
}

/* What the page is must be known for that, and be the guest's own. */
static void store_word(struct torture_worker *w, unsigned int page)
{
	const struct torture_pool_record *record = &w->guest->records[page];
	uint64_t generation = torture_pool_next_word(record->begun), value;
	unsigned int word;

	if (!generation || record->done != record->begun || (w->guest->pasts && !record->done)) {
		write_pages(w, page, 1, false);
		return;
	}
	word = torture_pool_changed_word(page, generation, w->guest->number, &value);
	begin_write(w, page, generation);
	if (answered(w, "store", guest_store(w, gpa_of(page) + word * 8, value)))
		end_write(w, page);
}

static void discard(struct torture_worker *w, unsigned int page)
{
	unsigned int nr = 1 + pick(w, POOL_OWNED_PAGES - page % POOL_OWNED_PAGES);
	bool lie = w->torture->options.breaks & TORTURE_BREAK_DISCARDS;
	int error;

	if (torture_pool_is_full(w)) {
		write_pages(w, page, 1, false);
		return;
	}
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t begun = w->guest->records[page + i].begun;

		begin_write(w, page + i,
			    lie ? torture_pool_next_whole(begun) :
				  torture_pool_next_zero(page + i, begun));
	}
	watch_host(w, WATCH_DISCARD, page, nr);
	error = s2_pool_discard(pool_of(w), torture_pool_hva(w->guest, page), nr * S2_PAGE_SIZE);
	watch_guest(w);
	if (!answered(w, "discard", error))
		return;
	for (unsigned int i = 0; i < nr; i++)
		end_write(w, page + i);
	count(w, TORTURE_DISCARDS, nr);
}

/* Page after page, for the sake of read-ahead. */
static void scan(struct torture_worker *w, unsigned int owner)
{
	unsigned int page = any_page(w);

	for (unsigned int i = pick(w, SCANNED_PAGES); i; i--) {
		if (!EACH_ITS_OWN || owner_of(w, page) == owner)
			read_page(w, page, false);
		page = (page + 1) % w->guest->nr_pages;
		watch_progress(&w->watch);
	}
}

/*
 * Through a memslot that comes, goes, moves and shows other pages. What it showed is known only
 * if it stayed.
 */
static void read_window(struct torture_worker *w)
{
	unsigned int updater = pick(w, w->torture->options.updaters);
	const struct torture_slot *slot = &w->guest->windows[updater];
	/* Acquire: pairs with the updater's release, after its update returned. */
	uint64_t where = __atomic_load_n(&slot->where, __ATOMIC_ACQUIRE), words[PAGE_WORDS], first;
	unsigned int in_window = pick(w, POOL_WINDOW_PAGES);
	unsigned int page = torture_pool_window(where) * POOL_WINDOW_PAGES + in_window;
	bool here = where & SLOT_PRESENT, stayed;
	int error;

	first = torture_pool_begin_look(w->guest, page);
	error = guest_read(w,
			   torture_pool_window_gpa(w->guest, updater, where & SLOT_SECOND) +
				   gpa_of(in_window),
			   words, sizeof(words));
	torture_look_again();
	stayed = !(where & SLOT_UPDATING) &&
		 __atomic_load_n(&slot->where, __ATOMIC_RELAXED) == where;
	if (!error && stayed && !here)
		torture_violation(w, TORTURE_USE_AFTER_DELETE, "window %u of guest %u", updater,
				  w->guest->index);
	else if (torture_pool_answered(w, w->guest, "read through a window", error,
				       stayed && here ? 0 : -ENXIO) &&
		 stayed)
		torture_pool_check_seen(w, w->guest, page, first, words, 0, PAGE_WORDS);
}

void torture_pool_access(struct torture_worker *w, unsigned int owner)
{
	unsigned int kind = pick(w, 256);

	count(w, TORTURE_ACCESSES, 1);
	if (kind < 50)
		read_page(w, own_page(w, owner), false);
	else if (kind < 90)
		read_page(w, readable_page(w, owner), false);
	else if (kind < 120)
		load_word(w, readable_page(w, owner));
	else if (kind < 160)
		write_pages(w, own_page(w, owner), 1, false);
	else if (kind < 165)
		write_pages(w, own_page(w, owner), 2, percent(w, 50));
	else if (kind < 210)
		store_word(w, own_page(w, owner));
	else if (kind < 215)
		discard(w, own_page(w, owner));
	else if (kind < 225)
		write_pages(w, own_page(w, owner), 1, true);
	else if (kind < 240)
		read_page(w, readable_page(w, owner), true);
	else if (kind < 244)
		scan(w, owner);
	else if (w->torture->options.updaters && !EACH_ITS_OWN)
		read_window(w);
}

void torture_pool_fill_guest(struct torture_worker *w)
{
	for (unsigned int page = 0; page < w->guest->nr_pages; page++)
		if (page / POOL_OWNED_PAGES % 8)
			write_pages(w, page, 1, true);
}

int torture_pool_begin_use(struct torture_worker *w)
{
	const struct s2_vcpu_config config = {
		.shootdown = percent(w, w->torture->options.rseq) ? S2_SHOOTDOWN_RSEQ :
								     S2_SHOOTDOWN_SAFEPOINT,
	};

	watch_guest(w);
	return percent(w, w->torture->options.window) ?
		       torture_plain_begin(w) :
		       s2_vcpu_create(w->guest->vm, &config, &w->vcpu);
}

void torture_pool_end_use(struct torture_worker *w)
{
	struct s2_vcpu_stats none = { 0 };

	if (w->window) {
		torture_plain_end(w);
		return;
	}
	torture_publish_vcpu_stats(w, &none);
	s2_vcpu_destroy(w->vcpu);
	w->vcpu = NULL;
}

void torture_pool_enter(struct torture_worker *w)
{
	if (w->vcpu)
		s2_vcpu_enter(w->vcpu);
}

void torture_pool_leave(struct torture_worker *w)
{
	if (w->vcpu)
		s2_vcpu_exit(w->vcpu);
}

static void use_for_a_while(struct torture_worker *w)
{
	watch_guest(w);
	torture_pool_enter(w);
	for (unsigned int i = 1 + pick(w, 256); i; i--) {
		torture_pool_access(w, w->index % w->guest->owners);
		watch_progress(&w->watch);
		s2_vcpu_poll(w->vcpu);
	}
	torture_pool_leave(w);
	torture_pause(w);
}

void torture_pool_vcpu(struct torture_worker *w)
{
	int error = 0;

	while (!error && !stopped(w->torture)) {
		error = torture_pool_begin_use(w);
		for (unsigned int i = pick(w, 64); !error && i && !stopped(w->torture); i--)
			use_for_a_while(w);
		if (!error)
			torture_pool_end_use(w);
	}
	if (error)
		torture_give_up(w, error);
}

/* The weather is fine, so that each must be there. */
void torture_pool_final_check(struct torture_worker *w)
{
	int error = torture_pool_begin_use(w);

	if (error) {
		torture_give_up(w, error);
		return;
	}
	for (unsigned int page = 0; page < w->guest->nr_pages; page++) {
		uint64_t words[PAGE_WORDS];

		watch_guest(w);
		error = guest_read(w, gpa_of(page), words, sizeof(words));
		if (error)
			torture_violation(w, TORTURE_LOST,
					  "page %u of guest %u, after the run: read failed with %d",
					  page, w->guest->index, -error);
		else
			torture_pool_check_seen(w, w->guest, page,
						torture_pool_begin_look(w->guest, page), words, 0,
						PAGE_WORDS);
	}
	torture_pool_end_use(w);
}
