/* SPDX-License-Identifier: MIT */
/*
 * What KVM_SET_USER_MEMORY_REGION costs, by the number of memslots a VM has: the updates of stage2
 * bench slots. A KVM that has fewer memslots is measured as far as it goes.
 */
#include "bench_memslots.h"
#include "kvm_vm.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct setup {
	int vm;
	struct bench_memslots memslots;
};

static int set_up(struct setup *setup, int kvm, unsigned int nr_slots)
{
	int error;

	setup->vm = kvm_call(kvm, KVM_CREATE_VM, NULL);
	error = setup->vm < 0 ? setup->vm : 0;
	if (!error)
		error = bench_memslots_fill(&setup->memslots, kvm_set_region, &setup->vm, nr_slots);
	if (error)
		bench_fail(&kvm_bench_slots, error, "cannot create a VM with %u memslots",
			   nr_slots);
	return error;
}

static int plan_setup(struct bench_plan *plan, struct setup *setup)
{
	int error = bench_memslots_plan_updates(plan, &setup->memslots);

	return error ? bench_fail(&kvm_bench_slots, error, "cannot plan the rounds") : 0;
}

static int measure_setups(struct bench_plan *plan, struct setup *setups, int kvm,
			  const struct bench_options *options, json_t *results)
{
	int most = kvm_call(kvm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NR_MEMSLOTS);
	int error = 0;

	for (unsigned int i = 0; !error && i < BENCH_NR_SLOT_COUNTS; i++) {
		/* One more is added. */
		if ((int)bench_slot_counts[i] >= most) {
			bench_fail(&kvm_bench_slots, -EINVAL,
				   "without %u memslots, as this KVM has %d", bench_slot_counts[i],
				   most);
			continue;
		}
		error = set_up(&setups[i], kvm, bench_slot_counts[i]);
		if (!error)
			error = plan_setup(plan, &setups[i]);
	}
	return error ? error : bench_plan_measure(plan, &kvm_bench_slots, options, results);
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setups = calloc(BENCH_NR_SLOT_COUNTS, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int kvm = kvm_open(), error;

	for (unsigned int i = 0; setups && i < BENCH_NR_SLOT_COUNTS; i++)
		setups[i].vm = -1;
	if (kvm < 0)
		error = bench_fail(&kvm_bench_slots, kvm, "cannot open /dev/kvm");
	else if (setups && plan)
		error = measure_setups(plan, setups, kvm, options, results);
	else
		error = bench_fail(&kvm_bench_slots, -ENOMEM, "cannot begin");
	bench_plan_destroy(plan);
	for (unsigned int i = 0; setups && i < BENCH_NR_SLOT_COUNTS; i++)
		if (setups[i].vm >= 0)
			close(setups[i].vm);
	if (kvm >= 0)
		close(kvm);
	free(setups);
	return error;
}

const struct bench kvm_bench_slots = {
	.name = "slots",
	.title = "memslot updates, in ns (add+delete: for one of each together)",
	.row_keys = { "op", NULL },
	.column = "slots",
	.value = "ns",
	.run = run,
};
