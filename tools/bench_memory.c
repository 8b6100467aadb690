/* SPDX-License-Identifier: MIT */
/*
 * How much memory the library takes for each thing there may be many of, as it asks its allocator
 * for it: exact, and without what malloc adds to each piece. What updates have replaced and is not
 * given back yet is in it, too, as it would be in a program.
 */
#include "bench.h"
#include "bench_allocator.h"
#include "bench_memslots.h"
#include "bench_pairs.h"
#include "bench_provider.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NR_VMS 256
#define NR_VCPUS 64

/* 1 GiB, mapped from its beginning to its end. */
#define MAPPED_PAGES (UINT64_C(1) << 18)
#define MAPPED_HVA (UINT64_C(1) << 40)

/*
 * What is looked at, made one after the other.
 *
 * @bytes:  what the library has of the allocator.
 * @before: what it had when the row before was written.
 */
struct setup {
	_Atomic uint64_t bytes;
	uint64_t before;
	struct s2_allocator allocator;
	struct s2_mm *mm;
	struct s2_vm *vms[NR_VMS];
	struct s2_vcpu *vcpus[NR_VCPUS];
	struct bench_memslots memslots;
	struct bench_aliased aliased;
};

/* What has come since the last row is shared out among @nr. */
static int add_row(struct setup *setup, json_t *results, const char *what, uint64_t nr)
{
	double bytes = (double)(setup->bytes - setup->before) / (double)nr;
	json_t *row = json_pack("{s:s, s:i, s:f}", "what", what, "size", (int)nr, "bytes",
				round(bytes * 100) / 100);

	setup->before = setup->bytes;
	return row && !json_array_append_new(results, row) ? 0 : -ENOMEM;
}

static int create_mm(struct setup *setup)
{
	const struct s2_mm_config config = {
		.provider = &bench_provider_aliased,
		.provider_ctx = &setup->aliased,
		.allocator = &setup->allocator,
	};

	setup->before = setup->bytes;
	return s2_mm_create(&config, &setup->mm);
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < NR_VCPUS; i++) {
		s2_vcpu_destroy(setup->vcpus[i]);
		setup->vcpus[i] = NULL;
	}
	for (unsigned int i = 0; i < NR_VMS; i++) {
		s2_vm_put(setup->vms[i]);
		setup->vms[i] = NULL;
	}
	s2_mm_put(setup->mm);
	setup->mm = NULL;
}

static int create_vms(struct setup *setup, unsigned int nr)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < nr; i++)
		error = s2_vm_create(setup->mm, NULL, &setup->vms[i]);
	return error;
}

static int create_vcpus(struct setup *setup)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_VCPUS; i++)
		error = s2_vcpu_create(setup->vms[0], NULL, &setup->vcpus[i]);
	return error;
}

/* The stage-2 table, as a guest fills it that goes through its memory. */
static int map_pages(struct setup *setup)
{
	int error = s2_vcpu_enter(setup->vcpus[0]);

	for (uint64_t page = 0; !error && page < MAPPED_PAGES; page++) {
		error = s2_vcpu_store64(setup->vcpus[0], page * S2_PAGE_SIZE, page);
		s2_vcpu_poll(setup->vcpus[0]);
	}
	s2_vcpu_exit(setup->vcpus[0]);
	return error;
}

static int measure_guests(struct setup *setup, json_t *results)
{
	int error = create_mm(setup);

	if (!error)
		error = add_row(setup, results, "s2_mm", 1);
	if (!error)
		error = create_vms(setup, NR_VMS);
	if (!error)
		error = add_row(setup, results, "VM", NR_VMS);
	if (!error)
		error = create_vcpus(setup);
	if (!error)
		error = add_row(setup, results, "vCPU", NR_VCPUS);
	if (!error)
		error = bench_set_memslot(setup->vms[0], 0, 0, MAPPED_PAGES, MAPPED_HVA);
	setup->before = setup->bytes;
	if (!error)
		error = map_pages(setup);
	if (!error)
		error = add_row(setup, results, "mapped page", MAPPED_PAGES);
	take_down(setup);
	return error;
}

static int set_region(void *vm, const struct kvm_userspace_memory_region *region)
{
	return s2_vm_set_memory_region(vm, region);
}

static int measure_memslots(struct setup *setup, json_t *results, unsigned int nr)
{
	int error = create_mm(setup);

	if (!error)
		error = create_vms(setup, 1);
	setup->before = setup->bytes;
	if (!error)
		error = bench_memslots_fill(&setup->memslots, set_region, setup->vms[0], nr);
	if (!error)
		error = add_row(setup, results, "memslot", nr);
	take_down(setup);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setup = aligned_alloc(S2_PAGE_SIZE, sizeof(*setup));
	int error = -ENOMEM;

	(void)options;
	if (setup) {
		memset(setup, 0, sizeof(*setup));
		setup->allocator = bench_counting_allocator(&setup->bytes);
		error = measure_guests(setup, results);
	}
	for (unsigned int i = 0; !error && i < BENCH_NR_SLOT_COUNTS; i++)
		error = measure_memslots(setup, results, bench_slot_counts[i]);
	if (!error && setup->bytes)
		error = -EPROTO;
	if (error)
		bench_fail(&bench_memory, error, "cannot count the library's memory");
	free(setup);
	return error;
}

const struct bench bench_memory = {
	.name = "memory",
	.title = "the library's memory for one of each, in bytes, where there are so many",
	.row_keys = { "what", "size" },
	.value = "bytes",
	.run = run,
};
