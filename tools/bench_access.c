/* SPDX-License-Identifier: MIT */
/*
 * What a guest's access to its memory costs: through the TLB (load64, store64, read4k, write4k),
 * past it (miss: the translation is in the stage-2 table), as a copy that enters guest mode and
 * leaves it again by itself (enter+read4k), and for comparison the same addresses through plain
 * pointers (plain_load64, plain_miss, memcpy4k and, into the guest, memcpy4k_write; "slots" is 0
 * there). The guests differ in the number of memslots that their 125 MiB are cut into, and in
 * nothing else.
 */
#include "bench.h"
#include "bench_pairs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const unsigned int slot_counts[] = { 1, 16, 512, 32000 };

#define NR_GUESTS (sizeof(slot_counts) / sizeof(slot_counts[0]))
#define GUEST_PAGES 32000

/*
 * The TLB is indexed with the page number. HOT_PAGES have indices of their own, so that they hit
 * once they have been seen; of the COLD_PAGES, COLD_PER_INDEX share each index and are visited in
 * turn, so that each visit finds another's translation. Both are spread over all of the guest.
 *
 * The words of the hot pages and their entries in the TLB stay in the processor's first-level
 * cache: it is not to be measured here what memory costs behind a hit.
 */
#define HOT_PAGES 64
#define HOT_WORDS 4
#define COLD_PER_INDEX 8
#define COLD_PAGES (S2_TLB_ENTRIES * COLD_PER_INDEX)

/* How many accesses there are between two polls, and in a list. */
#define HOT_ADDRESSES 1024
/*
 * The guest addresses, the same for all guests; all are below 4 GiB. All copies go to @page and
 * come from it: where two buffers lie to each other is worth more than what a copy adds to memcpy.
 */
struct addresses {
	uint32_t hot[HOT_ADDRESSES];
	uint32_t cold[COLD_PAGES];
	uint32_t copy[HOT_PAGES]; /* the first bytes of the hot pages */
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)] __attribute__((aligned(64)));
};

struct guest {
	struct addresses *at;
	char *memory;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t faults; /* when it was set up: there must be no more */
};

static int load_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	struct s2_vcpu *vcpu = ((struct guest *)worker->ctx)->vcpu;
	uint64_t sum = 0, value = 0;

	for (uint64_t i = 0; i < n; i++) {
		int error = s2_vcpu_load64(vcpu, gpa[i], &value);

		if (__builtin_expect(error, 0))
			return error;
		sum += value;
	}
	worker->sink += sum;
	s2_vcpu_poll(vcpu);
	return 0;
}

static int store_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	struct s2_vcpu *vcpu = ((struct guest *)worker->ctx)->vcpu;

	for (uint64_t i = 0; i < n; i++) {
		int error = s2_vcpu_store64(vcpu, gpa[i], i);

		if (__builtin_expect(error, 0))
			return error;
	}
	s2_vcpu_poll(vcpu);
	return 0;
}

static int read_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	const struct guest *guest = worker->ctx;
	struct addresses *at = guest->at;

	for (uint64_t i = 0; i < n; i++) {
		int error = s2_vcpu_read(guest->vcpu, gpa[i], at->page, sizeof(at->page));

		if (error)
			return error;
	}
	return 0;
}

static int write_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	const struct guest *guest = worker->ctx;

	for (uint64_t i = 0; i < n; i++) {
		int error = s2_vcpu_write(guest->vcpu, gpa[i], guest->at->page,
					  sizeof(guest->at->page));

		if (error)
			return error;
	}
	return 0;
}

static int plain_load_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	const char *memory = ((struct guest *)worker->ctx)->memory;
	uint64_t sum = 0;

	/* Atomic, as the guest's loads are: the compiler may not make vectors of them. */
	for (uint64_t i = 0; i < n; i++)
		sum += __atomic_load_n((const uint64_t *)(memory + gpa[i]), __ATOMIC_RELAXED);
	worker->sink += sum;
	return 0;
}

/* Volatile, so that the compiler does not know what is called and drops none of the copy. */
static void *(*volatile plain_copy)(void *, const void *, size_t) = memcpy;

static int memcpy_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	const struct guest *guest = worker->ctx;

	for (uint64_t i = 0; i < n; i++)
		plain_copy(guest->at->page, guest->memory + gpa[i], sizeof(guest->at->page));
	return 0;
}

static int memcpy_write_all(struct bench_worker *worker, const uint32_t *gpa, uint64_t n)
{
	const struct guest *guest = worker->ctx;

	for (uint64_t i = 0; i < n; i++)
		plain_copy(guest->memory + gpa[i], guest->at->page, sizeof(guest->at->page));
	return 0;
}

typedef int access_fn(struct bench_worker *worker, const uint32_t *gpa, uint64_t n);

/*
 * Has @access go over the list of @nr addresses, in guest mode, and on to its beginning. Inlined
 * into each run function, so that @access is too.
 */
static inline __attribute__((always_inline)) int run_list(struct bench_worker *worker,
							  access_fn *access, const uint32_t *gpa,
							  uint64_t nr, uint64_t n)
{
	struct s2_vcpu *vcpu = ((struct guest *)worker->ctx)->vcpu;
	int error = vcpu ? s2_vcpu_enter(vcpu) : 0;
	uint64_t done = 0;

	while (!error && done < n) {
		uint64_t first = (worker->done + done) % nr;
		uint64_t some = nr - first;

		if (some > HOT_ADDRESSES)
			some = HOT_ADDRESSES;
		if (some > n - done)
			some = n - done;
		error = access(worker, gpa + first, some);
		done += some;
	}
	if (vcpu)
		s2_vcpu_exit(vcpu);
	return error;
}

static const struct addresses *addresses_of(const struct bench_worker *worker)
{
	return ((const struct guest *)worker->ctx)->at;
}

static int run_load64(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, load_all, addresses_of(worker)->hot, HOT_ADDRESSES, n);
}

static int run_store64(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, store_all, addresses_of(worker)->hot, HOT_ADDRESSES, n);
}

static int run_miss(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, load_all, addresses_of(worker)->cold, COLD_PAGES, n);
}

static int run_read4k(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, read_all, addresses_of(worker)->copy, HOT_PAGES, n);
}

static int run_write4k(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, write_all, addresses_of(worker)->copy, HOT_PAGES, n);
}

/* Out of guest mode, unlike the others. */
static int run_enter_read4k(struct bench_worker *worker, uint64_t n)
{
	const uint32_t *gpa = addresses_of(worker)->copy;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = read_all(worker, gpa + (worker->done + i) % HOT_PAGES, 1);
	return error;
}

static int run_plain_load64(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, plain_load_all, addresses_of(worker)->hot, HOT_ADDRESSES, n);
}

static int run_plain_miss(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, plain_load_all, addresses_of(worker)->cold, COLD_PAGES, n);
}

static int run_memcpy4k(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, memcpy_all, addresses_of(worker)->copy, HOT_PAGES, n);
}

static int run_memcpy4k_write(struct bench_worker *worker, uint64_t n)
{
	return run_list(worker, memcpy_write_all, addresses_of(worker)->copy, HOT_PAGES, n);
}

static void shuffle(uint32_t *list, unsigned int nr, uint64_t *random)
{
	for (unsigned int i = nr; i > 1; i--) {
		unsigned int other = (unsigned int)(bench_random(random) % i);
		uint32_t swap = list[i - 1];

		list[i - 1] = list[other];
		list[other] = swap;
	}
}

/* The @nth of several pages, in no order, that have @index in the TLB. */
static uint32_t page_at(unsigned int index, unsigned int nth, uint64_t *random)
{
	unsigned int stride = GUEST_PAGES / S2_TLB_ENTRIES / COLD_PER_INDEX;
	unsigned int row = nth * stride + (unsigned int)(bench_random(random) % stride);

	return (row * S2_TLB_ENTRIES + index) << S2_PAGE_SHIFT;
}

/* An aligned 8-byte word somewhere in the page. */
static uint32_t word_in(uint32_t page, uint64_t *random)
{
	return page + (uint32_t)(bench_random(random) % (S2_PAGE_SIZE / 8)) * 8;
}

static void choose_addresses(struct addresses *at)
{
	uint64_t random = 1;

	for (unsigned int i = 0; i < HOT_PAGES; i++) {
		at->copy[i] = page_at(i, i % COLD_PER_INDEX, &random);
		for (unsigned int j = 0; j < HOT_WORDS; j++)
			at->hot[i * HOT_WORDS + j] = word_in(at->copy[i], &random);
	}
	for (unsigned int i = HOT_PAGES * HOT_WORDS; i < HOT_ADDRESSES; i++)
		at->hot[i] = at->hot[i - HOT_PAGES * HOT_WORDS];
	for (unsigned int i = 0; i < COLD_PAGES; i++)
		at->cold[i] =
			word_in(page_at(i / COLD_PER_INDEX, i % COLD_PER_INDEX, &random), &random);
	shuffle(at->hot, HOT_ADDRESSES, &random);
	shuffle(at->copy, HOT_PAGES, &random);
	shuffle(at->cold, COLD_PAGES, &random);
}

/* Stores once to each page that is going to be used, so that it is mapped for writing. */
static int touch(struct s2_vcpu *vcpu, const uint32_t *gpa, unsigned int nr)
{
	int error = s2_vcpu_enter(vcpu);

	for (unsigned int i = 0; !error && i < nr; i++)
		error = s2_vcpu_store64(vcpu, gpa[i], i);
	s2_vcpu_exit(vcpu);
	return error;
}

static int set_up(struct guest *guest, struct s2_mm *mm, unsigned int nr_slots)
{
	struct s2_vcpu_stats stats;
	int error = s2_vm_create(mm, NULL, &guest->vm);

	for (unsigned int i = 0; !error && i < nr_slots; i++) {
		uint64_t first = (uint64_t)GUEST_PAGES * i / nr_slots;
		uint64_t end = (uint64_t)GUEST_PAGES * (i + 1) / nr_slots;

		error = bench_set_memslot(guest->vm, i, first, end - first,
					  (uintptr_t)guest->memory + first * S2_PAGE_SIZE);
	}
	if (!error)
		error = s2_vcpu_create(guest->vm, NULL, &guest->vcpu);
	if (!error)
		error = touch(guest->vcpu, guest->at->hot, HOT_ADDRESSES);
	if (!error)
		error = touch(guest->vcpu, guest->at->copy, HOT_PAGES);
	if (!error)
		error = touch(guest->vcpu, guest->at->cold, COLD_PAGES);
	if (!error)
		error = s2_vcpu_get_stats(guest->vcpu, &stats);
	if (error)
		return bench_fail(&bench_access, error, "cannot set up a guest with %u memslots",
				  nr_slots);
	guest->faults = stats.faults;
	return 0;
}

static void take_down(struct guest *guest)
{
	s2_vcpu_destroy(guest->vcpu);
	s2_vm_put(guest->vm);
}

static int plan_op(struct bench_plan *plan, const char *op, bench_run_fn *run_op,
		   struct guest *guest, unsigned int slots)
{
	const struct bench_cell cell = { .run = run_op, .ctx = guest, .threads = 1 };

	return bench_plan_add(plan, &cell, json_pack("{s:s, s:i}", "op", op, "slots", (int)slots));
}

static const struct {
	const char *name;
	bench_run_fn *run;
	bool plain;
} ops[] = {
	{ "plain_load64", run_plain_load64, true },
	{ "load64", run_load64, false },
	{ "store64", run_store64, false },
	{ "plain_miss", run_plain_miss, true },
	{ "miss", run_miss, false },
	{ "memcpy4k", run_memcpy4k, true },
	{ "read4k", run_read4k, false },
	{ "enter+read4k", run_enter_read4k, false },
	{ "memcpy4k_write", run_memcpy4k_write, true },
	{ "write4k", run_write4k, false },
};

/*
 * Of the same, in turns: how many times as long as by a plain pointer. All take a batch's worth of
 * time, so that each finds the caches as it left them.
 */
static const struct {
	const char *name;
	bench_run_fn *run;
	bench_run_fn *beside;
} ratios[] = {
	{ "load64/plain_load64", run_load64, run_plain_load64 },
	{ "read4k/memcpy4k", run_read4k, run_memcpy4k },
	{ "write4k/memcpy4k_write", run_write4k, run_memcpy4k_write },
};

#define NR_RATIOS (sizeof(ratios) / sizeof(ratios[0]))

/* @beside stays where it is until all has been measured. */
static int plan_ratios(struct bench_plan *plan, struct guest *guest, struct guest *plain,
		       struct bench_cell beside[NR_RATIOS])
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_RATIOS; i++) {
		struct bench_cell cell = {
			.run = ratios[i].run, .ctx = guest, .threads = 1, .beside = &beside[i]
		};

		beside[i] = (struct bench_cell){ .run = ratios[i].beside, .ctx = plain };
		error = bench_plan_add(plan, &cell,
				       json_pack("{s:s, s:i}", "op", ratios[i].name, "slots",
						 (int)slot_counts[0]));
	}
	return error ? bench_fail(&bench_access, error, "cannot plan the rounds") : 0;
}

static int plan_guests(struct bench_plan *plan, struct guest *guests, struct guest *plain)
{
	int error = 0;

	for (unsigned int op = 0; !error && op < sizeof(ops) / sizeof(ops[0]); op++) {
		if (ops[op].plain)
			error = plan_op(plan, ops[op].name, ops[op].run, plain, 0);
		for (unsigned int i = 0; !error && !ops[op].plain && i < NR_GUESTS; i++)
			error = plan_op(plan, ops[op].name, ops[op].run, &guests[i],
					slot_counts[i]);
	}
	return error ? bench_fail(&bench_access, error, "cannot plan the rounds") : 0;
}

/* A TLB miss that went on to a fault would have been measured for what it is not. */
static int check_faults(const struct guest *guest)
{
	struct s2_vcpu_stats stats;
	int error = s2_vcpu_get_stats(guest->vcpu, &stats);

	if (!error && stats.faults != guest->faults)
		error = -EPROTO;
	return error ? bench_fail(&bench_access, error, "a mapped page faulted again") : 0;
}

static int measure_guests(struct bench_plan *plan, struct s2_mm *mm, struct guest *guests,
			  const struct bench_options *options, json_t *results)
{
	/* The last one has no VM: its memory is read through plain pointers. */
	struct guest *plain = &guests[NR_GUESTS];
	struct bench_cell beside[NR_RATIOS];
	int error = plan_guests(plan, guests, plain);

	if (!error)
		error = plan_ratios(plan, &guests[0], plain, beside);
	for (unsigned int i = 0; !error && i < NR_GUESTS; i++)
		error = set_up(&guests[i], mm, slot_counts[i]);
	if (!error)
		error = bench_plan_measure(plan, &bench_access, options, results);
	for (unsigned int i = 0; !error && i < NR_GUESTS; i++)
		error = check_faults(&guests[i]);
	for (unsigned int i = 0; i < NR_GUESTS; i++)
		take_down(&guests[i]);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	size_t size = GUEST_PAGES * S2_PAGE_SIZE;
	/* Only the pages that the lists name are ever touched. */
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct addresses *at = aligned_alloc(64, sizeof(*at));
	struct bench_plan *plan = bench_plan_create();
	struct guest guests[NR_GUESTS + 1] = { 0 };
	struct s2_mm *mm = NULL;
	int error = s2_mm_create(NULL, &mm);

	if (memory == MAP_FAILED || !at || !plan)
		error = -ENOMEM;
	if (!error) {
		choose_addresses(at);
		for (unsigned int i = 0; i <= NR_GUESTS; i++)
			guests[i] = (struct guest){ .at = at, .memory = memory };
		error = measure_guests(plan, mm, guests, options, results);
	} else {
		bench_fail(&bench_access, error, "cannot begin");
	}
	s2_mm_put(mm);
	bench_plan_destroy(plan);
	free(at);
	if (memory != MAP_FAILED)
		munmap(memory, size);
	return error;
}

/* The number of memslots has no part in a hit, so that these are four measurements of one thing. */
static double hit_ns(const json_t *results, const char *op)
{
	double ns[NR_GUESTS];

	for (unsigned int i = 0; i < NR_GUESTS; i++)
		ns[i] = bench_value(results, "ns",
				    json_pack("{s:s, s:i}", "op", op, "slots",
					      (int)slot_counts[i]));
	return bench_median(ns, NR_GUESTS);
}

static double ratio(const json_t *results, unsigned int i)
{
	return bench_value(results, "ns",
			   json_pack("{s:s, s:i}", "op", ratios[i].name, "slots",
				     (int)slot_counts[0]));
}

static void add_goals(const json_t *results, json_t *goals)
{
	double load = hit_ns(results, "load64");

	bench_add_goal(goals, load, BENCH_AT_MOST, 1.5, "ns",
		       "for an 8-byte guest load that hits the TLB, median of the guests");
	bench_add_goal(goals, ratio(results, 0), BENCH_AT_MOST, 3, "times",
		       "a plain load, for the same, in turns");
	bench_add_goal(goals, ratio(results, 1), BENCH_AT_MOST, 1.05, "times",
		       "memcpy, to read 4 KiB of a guest, in turns");
	bench_add_goal(goals, ratio(results, 2), BENCH_AT_MOST, 1.05, "times",
		       "memcpy, to write 4 KiB of a guest, in turns");
}

const struct bench bench_access = {
	.name = "access",
	.title = "an access to guest memory, in ns (4 KiB at a time where the name says so; how many "
		 "times as long where it is of two, done in turns)",
	.row_keys = { "op", NULL },
	.column = "slots",
	.value = "ns",
	.run = run,
	.add_goals = add_goals,
};
