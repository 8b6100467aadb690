/* SPDX-License-Identifier: MIT */
/*
 * The vCPU threads of the torture test: random accesses to random places, each checked against
 * what was known of its memslot before it and still held after it. torture.c explains the checks.
 */
#include "torture_work.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/*
 * What is known when an access begins.
 *
 * @where:    the memslot's word.
 * @here:     a memslot was at the place accessed, and nobody was changing it.
 * @page:     then, the arena's page that is there.
 * @log:      the memslot's dirty log.
 */
struct access {
	const struct torture_vm *vm;
	struct torture_slot *slot;
	unsigned int id;
	unsigned int residue;
	unsigned int page;
	unsigned int word;
	uint64_t gpa;
	uint64_t where;
	uint64_t generation;
	uint64_t log;
	bool here;
};

static void begin_access(struct torture_worker *w, struct access *a, unsigned int id)
{
	bool second;

	a->vm = w->vm;
	a->id = id;
	a->slot = &w->vm->slots[id];
	/* Acquire: pairs with the updater's release, after its update returned. */
	a->where = __atomic_load_n(&a->slot->where, __ATOMIC_ACQUIRE);
	second = a->where & SLOT_SECOND;
	if (percent(w, 10))
		second = !second;
	a->here = (a->where & SLOT_PRESENT) && !(a->where & SLOT_UPDATING) &&
		  second == !!(a->where & SLOT_SECOND);
	a->residue = pick(w, ARENA_WINDOW_PAGES);
	a->page = slot_window(a->where) * ARENA_WINDOW_PAGES + a->residue;
	a->gpa = slot_gpa(id, second) + a->residue * S2_PAGE_SIZE;
	/* Acquire: pairs with the release in torture_arena_map_fresh(). */
	a->generation = __atomic_load_n(&w->torture->arena.generation[a->page], __ATOMIC_ACQUIRE);
	a->log = __atomic_load_n(&a->slot->log, __ATOMIC_ACQUIRE);
	count(w, TORTURE_ACCESSES, 1);
}

/* Did the memslot stay where it was, from the beginning of the access until now? */
static bool stayed(const struct access *a)
{
	/* The decision whether the access succeeds is a load. */
	torture_look_again();
	return !(a->where & SLOT_UPDATING) &&
	       __atomic_load_n(&a->slot->where, __ATOMIC_RELAXED) == a->where;
}

static void complain(struct torture_worker *w, const struct access *a, enum torture_violation kind,
		     const char *what, uint64_t value)
{
	torture_violation(w, kind, "%s %#" PRIx64 " at gpa %#" PRIx64 ", slot %u of VM %u, page %d",
			  what, value, a->gpa, a->id, a->vm->index, a->here ? (int)a->page : -1);
}

/* Is @error an answer that may be? True if the access succeeded, and its value can be checked. */
static bool answered(struct torture_worker *w, const struct access *a, bool store, int error)
{
	bool readonly = a->where & SLOT_READONLY;
	bool known = stayed(a);

	if (!error && known && !a->here)
		complain(w, a, TORTURE_USE_AFTER_DELETE, store ? "stored" : "loaded", 0);
	else if (!error && known && store && readonly)
		complain(w, a, TORTURE_BAD_ERROR, "stored to a read-only slot", 0);
	else if (error && !(error == -ENXIO && !(known && a->here)) &&
		 !(error == -EROFS && store && !(known && !(a->here && readonly))))
		complain(w, a, TORTURE_BAD_ERROR, store ? "store failed with" : "load failed with",
			 (uint64_t)-error);
	return !error;
}

static void check_loaded(struct torture_worker *w, const struct access *a, unsigned int word,
			 uint64_t value)
{
	struct torture_arena_expected expected = { .word = word,
						   .residue = a->residue,
						   .page = -1 };
	enum torture_violation kind;

	if (a->here && stayed(a)) {
		expected.page = (int)a->page;
		expected.first = a->generation;
		expected.last =
			__atomic_load_n(&w->torture->arena.generation[a->page], __ATOMIC_RELAXED);
	}
	kind = torture_arena_check(value, &expected);
	if (kind != TORTURE_NONE)
		complain(w, a, kind, "loaded", value);
}

/*
 * The page must be in the next dirty log if the store began after the last one was read, which
 * @a->log tells, and is complete before the next is: release, pairs with the updater's acquire.
 */
static void stored(const struct access *a)
{
	if (a->log && !(a->log & 1))
		__atomic_store_n(&a->slot->written[a->residue], a->log, __ATOMIC_RELEASE);
}

static void load(struct torture_worker *w, struct access *a)
{
	uint64_t value;

	a->word = pick(w, PAGE_OWNED_WORDS);
	if (answered(w, a, false, s2_vcpu_load64(w->vcpu, a->gpa + a->word * 8, &value)))
		check_loaded(w, a, a->word, value);
}

static void load_many(struct torture_worker *w, struct access *a)
{
	uint64_t values[32];
	unsigned int nr = 1 + pick(w, 32);

	a->word = pick(w, PAGE_SHARED_WORDS - nr);
	if (!answered(w, a, false, s2_vcpu_read(w->vcpu, a->gpa + a->word * 8, values, nr * 8)))
		return;
	for (unsigned int i = 0; i < nr; i++)
		check_loaded(w, a, a->word + i, values[i]);
}

static void store(struct torture_worker *w, struct access *a)
{
	uint64_t value;

	a->word = PAGE_SHARED_WORDS + pick(w, PAGE_OWNED_WORDS - PAGE_SHARED_WORDS);
	value = torture_arena_guest_word(a->residue, a->word, w->counts[TORTURE_ACCESSES]);
	if (answered(w, a, true, s2_vcpu_store64(w->vcpu, a->gpa + a->word * 8, value)))
		stored(a);
}

static int store_bytes(struct s2_vcpu *vcpu, uint64_t gpa, uint64_t value, unsigned int shift)
{
	switch (shift) {
	case 0:
		return s2_vcpu_store8(vcpu, gpa, (uint8_t)value);
	case 1:
		return s2_vcpu_store16(vcpu, gpa, (uint16_t)value);
	case 2:
		return s2_vcpu_store32(vcpu, gpa, (uint32_t)value);
	case 3:
		return s2_vcpu_store64(vcpu, gpa, value);
	default:
		return s2_vcpu_write(vcpu, gpa, &value, 8);
	}
}

static int load_bytes(struct s2_vcpu *vcpu, uint64_t gpa, uint64_t *value, unsigned int shift)
{
	uint8_t v8 = 0;
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	int error;

	switch (shift) {
	case 0:
		error = s2_vcpu_load8(vcpu, gpa, &v8);
		*value = v8;
		return error;
	case 1:
		error = s2_vcpu_load16(vcpu, gpa, &v16);
		*value = v16;
		return error;
	case 2:
		error = s2_vcpu_load32(vcpu, gpa, &v32);
		*value = v32;
		return error;
	case 3:
		return s2_vcpu_load64(vcpu, gpa, value);
	default:
		return s2_vcpu_read(vcpu, gpa, value, 8);
	}
}

/* A word nobody else stores to, unless the page is replaced, which its generation tells. */
static void store_and_load(struct torture_worker *w, struct access *a)
{
	unsigned int shift = pick(w, 5);
	uint64_t mask = shift < 3 ? (UINT64_C(1) << (8u << shift)) - 1 : UINT64_MAX;
	uint64_t value = torture_random(&w->random) & mask;
	uint64_t loaded, gpa;

	a->word = PAGE_OWNED_WORDS + w->index * PAGE_WORDS_EACH + pick(w, PAGE_WORDS_EACH);
	gpa = a->gpa + a->word * 8;
	if (!(w->torture->options.breaks & TORTURE_BREAK_STORES) &&
	    !answered(w, a, true, store_bytes(w->vcpu, gpa, value, shift)))
		return;
	stored(a);
	if (!answered(w, a, false, load_bytes(w->vcpu, gpa, &loaded, shift)))
		return;
	if (loaded != value && a->here && stayed(a) &&
	    __atomic_load_n(&w->torture->arena.generation[a->page], __ATOMIC_RELAXED) ==
		    a->generation)
		complain(w, a, TORTURE_LOST_WRITE, "stored, but did not load", value);
}

/*
 * From inside guest mode, which start() must see by itself; then the page is out of reach.
 *
 * Not under rwsem, where it can be a deadlock of the kind that gate is known for: if the
 * memslot has moved meanwhile, what is loaded is another page, and the load may have to wait for a pair around
 * that. Its start() queues behind an updater, at a semaphore that our own pair holds.
 */
static void invalidate_and_load(struct torture_worker *w, struct access *a)
{
	uint64_t hva = torture_arena_hva(&w->torture->arena, a->page);
	struct torture_pair pair;
	uint64_t value;
	int error;

	if (!a->here || !torture_start(w, &pair, hva, hva + S2_PAGE_SIZE, 0))
		return;
	watch_now(&w->watch, WATCH_GUEST, w->vm->index, 0);
	error = s2_vcpu_load64(w->vcpu, a->gpa, &value);
	if (stayed(a) && error != -EDEADLK)
		complain(w, a, error ? TORTURE_BAD_ERROR : TORTURE_STALE_READ,
			 "load from a page it was invalidating:", (uint64_t)-error);
	torture_end(w, &pair);
	watch_now(&w->watch, WATCH_GUEST, w->vm->index, 0);
}

/*
 * Many hits on one page and no poll: what a flush has to wait for. What was known before the first
 * of them still is the earliest that the others may see.
 */
static void dwell(struct torture_worker *w, struct access *a)
{
	for (unsigned int i = pick(w, percent(w, 10) ? 4000 : 400); i; i--) {
		if (i % 4)
			load(w, a);
		else
			store(w, a);
		count(w, TORTURE_ACCESSES, 1);
		watch_progress(&w->watch);
	}
}

void torture_access(struct torture_worker *w, unsigned int slot)
{
	unsigned int kind = pick(w, 256);
	struct access a;

	begin_access(w, &a, slot);
	if (kind < 10)
		dwell(w, &a);
	else if (kind < 120)
		load(w, &a);
	else if (kind < 190 || (kind < 240 && w->index >= PAGE_OWNERS))
		store(w, &a);
	else if (kind < 240)
		store_and_load(w, &a);
	else if (kind < 255)
		load_many(w, &a);
	else if (w->torture->options.gate != S2_GATE_RWSEM)
		invalidate_and_load(w, &a);
}

void torture_publish_vcpu_stats(struct torture_worker *w, struct s2_vcpu_stats *before)
{
	struct s2_vcpu_stats now;

	s2_vcpu_get_stats(w->vcpu, &now);
	count(w, TORTURE_FAULTS, now.faults - before->faults);
	count(w, TORTURE_RETRIES, now.fault_retries - before->fault_retries);
	*before = now;
}

void torture_vcpu(struct torture_worker *w)
{
	const struct s2_vcpu_config config = {
		.shootdown = percent(w, w->torture->options.rseq) ? S2_SHOOTDOWN_RSEQ :
								     S2_SHOOTDOWN_SAFEPOINT,
	};
	struct s2_vcpu_stats stats = { 0 };
	int error = s2_vcpu_create(w->vm->vm, &config, &w->vcpu);
	bool polls;

	if (error) {
		torture_give_up(w, error);
		return;
	}
	polls = s2_vcpu_shootdown(w->vcpu) == S2_SHOOTDOWN_SAFEPOINT;
	while (!stopped(w->torture)) {
		unsigned int nr = 1 + pick(w, 256);
		/* Sometimes for as long as a guest may, so that a flush has something to wait for.
		 */
		unsigned int between_polls = 1 + pick(w, percent(w, 80) ? 8 : 256);

		watch_now(&w->watch, WATCH_GUEST, w->vm->index, 0);
		s2_vcpu_enter(w->vcpu);
		for (unsigned int i = 0; i < nr; i++) {
			torture_access(w, percent(w, 30) ? 0 : pick(w, w->vm->nr_slots));
			watch_progress(&w->watch);
			if (polls && i % between_polls == 0)
				s2_vcpu_poll(w->vcpu);
		}
		s2_vcpu_exit(w->vcpu);
		torture_publish_vcpu_stats(w, &stats);
		torture_pause(w);
	}
	s2_vcpu_destroy(w->vcpu);
}

void torture_final_check(struct torture_worker *w)
{
	int error = s2_vcpu_create(w->vm->vm, NULL, &w->vcpu);
	uint64_t value;

	watch_now(&w->watch, WATCH_GUEST, w->vm->index, 0);
	for (unsigned int page = 0; !error && page < ARENA_WINDOW_PAGES; page++)
		error = s2_vcpu_read(w->vcpu, page * S2_PAGE_SIZE, &value, sizeof(value));
	if (error)
		torture_violation(w, TORTURE_BAD_ERROR, "VM %u, after the run: load failed with %d",
				  w->vm->index, -error);
	s2_vcpu_destroy(w->vcpu);
}
