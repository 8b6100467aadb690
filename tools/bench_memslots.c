/* SPDX-License-Identifier: MIT */
/*
 * See bench_memslots.h. An update that would leave the VM another one is undone at once, with
 * another update of which the time is not counted, or is: that makes the difference between the
 * operations here.
 */
#include "bench_memslots.h"
#include "bench_pairs.h"
#include "clock.h"

const unsigned int bench_slot_counts[BENCH_NR_SLOT_COUNTS] = { 32, 512, 4096, BENCH_MOST_SLOTS };

/* A prime that divides none of the counts, so that i * PRIME % nr visits all of them. */
#define PRIME 7919

static uint64_t slot_hva(const struct bench_memslots *memslots, uint32_t slot)
{
	return BENCH_FIRST_SLOT_HVA + (uint64_t)slot * PRIME % memslots->nr * 2 * S2_PAGE_SIZE;
}

static int set_region(const struct bench_memslots *memslots, uint32_t slot, uint64_t gfn,
		      uint64_t pages, uint64_t hva)
{
	struct kvm_userspace_memory_region region = bench_region(slot, gfn, pages, hva);

	if (slot < memslots->nr && memslots->logging[slot])
		region.flags = KVM_MEM_LOG_DIRTY_PAGES;
	return memslots->set_region(memslots->vm, &region);
}

int bench_memslots_fill(struct bench_memslots *memslots, bench_set_region_fn *set, void *vm,
			unsigned int nr)
{
	uint64_t random = nr;
	int error = 0;

	memslots->set_region = set;
	memslots->vm = vm;
	memslots->nr = nr;
	for (unsigned int i = 0; i < BENCH_CHOICES; i++)
		memslots->choice[i] = (uint32_t)(bench_random(&random) % nr);
	for (unsigned int i = 0; !error && i < nr; i++)
		error = set_region(memslots, i, bench_memslots_gfn(i), 1, slot_hva(memslots, i));
	return error;
}

/* One update, where @slot is the memslot that was chosen for it. */
typedef int update_fn(struct bench_memslots *memslots, uint32_t slot);

/* Adds one more memslot, in the gaps behind @slot. */
static int add_behind(struct bench_memslots *memslots, uint32_t slot)
{
	return set_region(memslots, memslots->nr, bench_memslots_gfn(slot) + 1, 1,
			  slot_hva(memslots, slot) + S2_PAGE_SIZE);
}

static int delete_added(struct bench_memslots *memslots, uint32_t slot)
{
	(void)slot;
	return set_region(memslots, memslots->nr, 0, 0, 0);
}

static int move_behind(struct bench_memslots *memslots, uint32_t slot)
{
	return set_region(memslots, slot, bench_memslots_gfn(slot) + 1, 1,
			  slot_hva(memslots, slot));
}

static int move_back(struct bench_memslots *memslots, uint32_t slot)
{
	return set_region(memslots, slot, bench_memslots_gfn(slot), 1, slot_hva(memslots, slot));
}

static int toggle_logging(struct bench_memslots *memslots, uint32_t slot)
{
	int error;

	memslots->logging[slot] = !memslots->logging[slot];
	error = set_region(memslots, slot, bench_memslots_gfn(slot), 1, slot_hva(memslots, slot));
	if (error)
		memslots->logging[slot] = !memslots->logging[slot];
	return error;
}

static int run_update(struct bench_worker *worker, uint64_t n, update_fn *update)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = update(worker->ctx, bench_memslots_choose(worker->ctx, worker, i));
	return error;
}

/* @update, and then @undo, of which the time is not counted. */
static int run_then_undo(struct bench_worker *worker, uint64_t n, update_fn *update,
			 update_fn *undo)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint32_t slot = bench_memslots_choose(worker->ctx, worker, i);
		uint64_t begin;

		error = update(worker->ctx, slot);
		begin = clock_ns();
		if (!error)
			error = undo(worker->ctx, slot);
		worker->excluded_ns += clock_ns() - begin;
	}
	return error;
}

static int add_and_delete(struct bench_memslots *memslots, uint32_t slot)
{
	int error = add_behind(memslots, slot);

	return error ? error : delete_added(memslots, slot);
}

static int run_add_delete(struct bench_worker *worker, uint64_t n)
{
	return run_update(worker, n, add_and_delete);
}

static int run_add(struct bench_worker *worker, uint64_t n)
{
	return run_then_undo(worker, n, add_behind, delete_added);
}

static int run_delete(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint32_t slot = bench_memslots_choose(worker->ctx, worker, i);
		uint64_t begin = clock_ns();

		error = add_behind(worker->ctx, slot);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = delete_added(worker->ctx, slot);
	}
	return error;
}

static int run_move(struct bench_worker *worker, uint64_t n)
{
	return run_then_undo(worker, n, move_behind, move_back);
}

static int run_flags(struct bench_worker *worker, uint64_t n)
{
	return run_update(worker, n, toggle_logging);
}

int bench_memslots_plan(struct bench_plan *plan, const struct bench_memslots *memslots,
			const char *op, bench_run_fn *run, void *ctx)
{
	const struct bench_cell cell = { .run = run, .ctx = ctx, .threads = 1 };

	return bench_plan_add(plan, &cell,
			      json_pack("{s:i, s:s}", "slots", (int)memslots->nr, "op", op));
}

int bench_memslots_plan_updates(struct bench_plan *plan, struct bench_memslots *memslots)
{
	static const struct {
		const char *op;
		bench_run_fn *run;
	} updates[] = {
		{ "add+delete", run_add_delete }, { "add", run_add },
		{ "delete", run_delete },	  { "move", run_move },
		{ "flags", run_flags },
	};
	int error = 0;

	for (unsigned int i = 0; !error && i < sizeof(updates) / sizeof(updates[0]); i++)
		error = bench_memslots_plan(plan, memslots, updates[i].op, updates[i].run,
					    memslots);
	return error;
}
