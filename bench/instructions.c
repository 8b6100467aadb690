/* SPDX-License-Identifier: MIT */
/*
 * instructions --list
 * instructions OPERATION COUNT
 *
 * Does one operation COUNT times and measures nothing: scripts/instructions.py runs it
 * under callgrind, with COUNT and with twice that, so that what it takes to set up
 * drops out of the difference. What is set up must therefore not depend on COUNT.
 */
#include "base/rseq.h"
#include "bench_pairs.h"
#include "bench_provider.h"

#include <errno.h>
#include <stage2/stage2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SKIPPED 77

/* The most that an operation is done, as each of them may take a page or a memslot of its own. */
#define COUNT_MAX 16384

#define GUEST_PAGES (UINT64_C(1) << 18) /* 1 GiB */

/* With a bit of the filter that no memslot has. */
#define FAR_AWAY ((UINT64_C(1) << 45) + (UINT64_C(1) << 38))

/* Where further memslots are, one page each and one between: nothing is mapped there. */
#define SLOTS_HVA (UINT64_C(1) << 44)
#define SLOTS_GFN (UINT64_C(1) << 24)
#define MANY_SLOTS 32000
#define MANY_VMS 1024
#define VCPUS_MAX 64

struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct s2_vcpu *vcpus[VCPUS_MAX];
	uint64_t *memory;
	uint64_t *copy;
};

/* What the compiler must not do without, or keep for the next time. */
#define KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")

static void expect(int ret, const char *call)
{
	if (!ret)
		return;
	fprintf(stderr, "instructions: %s: %s\n", call, strerror(-ret));
	exit(EXIT_FAILURE);
}

#define EXPECT(call) expect(call, #call)

static void set_region(struct s2_vm *vm, uint32_t slot, uint64_t gfn, uint64_t pages, uint64_t hva,
		       uint32_t flags)
{
	struct kvm_userspace_memory_region mem = bench_region(slot, gfn, pages, hva);

	mem.flags = flags;
	EXPECT(s2_vm_set_memory_region(vm, &mem));
}

static void add_slot(struct s2_vm *vm, unsigned i)
{
	set_region(vm, i + 1, SLOTS_GFN + 2 * (uint64_t)i, 1,
		   SLOTS_HVA + 2 * (uint64_t)i * S2_PAGE_SIZE, 0);
}

static void delete_slot(struct s2_vm *vm, unsigned i)
{
	set_region(vm, i + 1, SLOTS_GFN, 0, SLOTS_HVA, 0);
}

static void add_slots(struct setup *s, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		add_slot(s->vm, i);
}

/* One VM, one memslot, one vCPU: what every operation begins with. */
static void set_up(struct setup *s)
{
	const struct s2_mm_config config = { .provider = &bench_provider };

	s->memory = mmap(NULL, GUEST_PAGES << S2_PAGE_SHIFT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	s->copy = calloc(1, S2_PAGE_SIZE * 8);
	if (s->memory == MAP_FAILED || !s->copy)
		expect(-ENOMEM, "memory for the guest");
	EXPECT(s2_mm_create(&config, &s->mm));
	EXPECT(s2_vm_create(s->mm, NULL, &s->vm));
	EXPECT(s2_vcpu_create(s->vm, NULL, &s->vcpus[0]));
	set_region(s->vm, 0, 0, GUEST_PAGES, (uintptr_t)s->memory, 0);
}

static void nothing_more(struct setup *s)
{
	(void)s;
}

static void with_many_vms(struct setup *s)
{
	for (unsigned i = 1; i < MANY_VMS; i++) {
		struct s2_vm *vm;

		EXPECT(s2_vm_create(s->mm, NULL, &vm));
		set_region(vm, 0, 0, GUEST_PAGES, (uintptr_t)s->memory, 0);
	}
}

static void with_many_slots(struct setup *s)
{
	add_slots(s, MANY_SLOTS);
}

static void with_slots_to_delete(struct setup *s)
{
	add_slots(s, 2 * COUNT_MAX - 5);
}

static void with_guest_entered(struct setup *s)
{
	uint64_t value;

	EXPECT(s2_vcpu_enter(s->vcpus[0]));
	for (unsigned page = 0; page <= S2_TLB_ENTRIES; page += S2_TLB_ENTRIES)
		EXPECT(s2_vcpu_load64(s->vcpus[0], page * S2_PAGE_SIZE, &value));
	EXPECT(s2_vcpu_load64(s->vcpus[0], S2_PAGE_SIZE, &value));
}

static void with_restartable_guest_entered(struct setup *s)
{
	const struct s2_vcpu_config config = { .shootdown = S2_SHOOTDOWN_RSEQ };

	EXPECT(s2_vcpu_create(s->vm, &config, &s->vcpus[0]));
	if (s2_vcpu_shootdown(s->vcpus[0]) != S2_SHOOTDOWN_RSEQ || !s2_rseq_thread_registered()) {
		fprintf(stderr, "restartable sequences are not to be had here\n");
		exit(SKIPPED);
	}
	with_guest_entered(s);
}

static void with_pages_mapped(struct setup *s)
{
	uint64_t value;

	EXPECT(s2_vcpu_enter(s->vcpus[0]));
	for (uint64_t page = 0; page < COUNT_MAX; page++)
		EXPECT(s2_vcpu_load64(s->vcpus[0], page << S2_PAGE_SHIFT, &value));
	EXPECT(s2_vcpu_exit(s->vcpus[0]));
}

static void with_vcpus(struct setup *s, unsigned vcpus)
{
	for (unsigned i = 1; i < vcpus; i++)
		EXPECT(s2_vcpu_create(s->vm, NULL, &s->vcpus[i]));
	with_pages_mapped(s);
}

static void with_16_vcpus(struct setup *s)
{
	with_vcpus(s, 16);
}

static void with_64_vcpus(struct setup *s)
{
	with_vcpus(s, 64);
}

static void with_dirty_log(struct setup *s)
{
	set_region(s->vm, 0, 0, GUEST_PAGES, (uintptr_t)s->memory, KVM_MEM_LOG_DIRTY_PAGES);
}

static void pair(struct s2_mm *mm, uint64_t start)
{
	struct s2_invalidation inv;

	s2_invalidate_range_start(mm, &inv, start, start + S2_PAGE_SIZE, 0);
	s2_invalidate_range_end(mm, &inv);
}

static void do_plain_load(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		KEEP(*(volatile uint64_t *)s->memory);
}

static void do_plain_copy(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		size_t size = S2_PAGE_SIZE;

		/* A call, as the library's is: the compiler does not know how much. */
		__asm__ volatile("" : "+r"(size));
		memcpy(s->copy, s->memory, size);
		KEEP(s->copy);
	}
}

static void do_pairs(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pair(s->mm, FAR_AWAY);
}

static void do_pairs_among_slots(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pair(s->mm, SLOTS_HVA + (MANY_SLOTS + 1) * S2_PAGE_SIZE);
}

static void do_nested_pairs(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct s2_invalidation outer;

		s2_invalidate_range_start(s->mm, &outer, FAR_AWAY, FAR_AWAY + S2_PAGE_SIZE, 0);
		pair(s->mm, FAR_AWAY);
		s2_invalidate_range_end(s->mm, &outer);
	}
}

static void do_related_pairs(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pair(s->mm, (uintptr_t)s->memory + i * S2_PAGE_SIZE);
}

static void do_load_hits(struct setup *s, unsigned count)
{
	struct s2_vcpu *vcpu = s->vcpus[0];

	for (unsigned i = 0; i < count; i++) {
		uint64_t value;

		EXPECT(s2_vcpu_load64(vcpu, 0, &value));
		KEEP(value);
	}
}

static void do_load_misses(struct setup *s, unsigned count)
{
	struct s2_vcpu *vcpu = s->vcpus[0];

	for (unsigned i = 0; i < count; i++) {
		uint64_t value;

		EXPECT(s2_vcpu_load64(vcpu, i % 2 * S2_TLB_ENTRIES * S2_PAGE_SIZE, &value));
		KEEP(value);
	}
}

static void do_polls(struct setup *s, unsigned count)
{
	struct s2_vcpu *vcpu = s->vcpus[0];

	for (unsigned i = 0; i < count; i++) {
		s2_vcpu_poll(vcpu);
		KEEP(vcpu);
	}
}

static void do_faults(struct setup *s, unsigned count)
{
	struct s2_vcpu *vcpu = s->vcpus[0];
	uint64_t value;

	for (unsigned i = 0; i < count; i++)
		EXPECT(s2_vcpu_load64(vcpu, (uint64_t)(i + 1024) << S2_PAGE_SHIFT, &value));
}

static void do_reads(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		EXPECT(s2_vcpu_read(s->vcpus[0], 0, s->copy, S2_PAGE_SIZE));
}

static void do_entries(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		EXPECT(s2_vcpu_enter(s->vcpus[0]));
		EXPECT(s2_vcpu_exit(s->vcpus[0]));
	}
}

static void do_lookups(struct setup *s, unsigned count)
{
	uint64_t hva;

	for (unsigned i = 0; i < count; i++)
		EXPECT(s2_vm_gfn_to_hva(s->vm, SLOTS_GFN + 2 * (MANY_SLOTS / 2), &hva));
}

static void do_adds(struct setup *s, unsigned count)
{
	add_slots(s, count);
}

static void do_deletes(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		delete_slot(s->vm, i);
}

static void do_adds_and_deletes(struct setup *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		add_slot(s->vm, MANY_SLOTS);
		delete_slot(s->vm, MANY_SLOTS);
	}
}

static void do_dirty_logs(struct setup *s, unsigned count)
{
	const struct kvm_dirty_log log = { .dirty_bitmap = s->copy };

	for (unsigned i = 0; i < count; i++)
		EXPECT(s2_vm_get_dirty_log(s->vm, &log));
}

static const struct operation {
	const char *name;
	const char *what;
	void (*prepare)(struct setup *s);
	void (*run)(struct setup *s, unsigned count);
} operations[] = {
	{ "plain-load", "load of 8 bytes through a pointer", nothing_more, do_plain_load },
	{ "load-hit", "load of 8 bytes that hits, safepoints", with_guest_entered, do_load_hits },
	{ "load-hit-rseq", "load of 8 bytes that hits, restartable", with_restartable_guest_entered,
	  do_load_hits },
	{ "load-miss", "load of 8 bytes that misses, its SPTE there", with_guest_entered,
	  do_load_misses },
	{ "fault", "load of a page for the first time", with_guest_entered, do_faults },
	{ "poll", "poll without a request", with_guest_entered, do_polls },
	{ "enter-exit", "guest mode, entered and left", nothing_more, do_entries },
	{ "plain-copy", "memcpy of 4 KiB", nothing_more, do_plain_copy },
	{ "read", "read of 4 KiB that hits", with_guest_entered, do_reads },
	{ "pair", "unrelated pair", nothing_more, do_pairs },
	{ "pair-vms", "unrelated pair, 1,024 VMs", with_many_vms, do_pairs },
	{ "pair-slots", "unrelated pair, 32,000 memslots", with_many_slots, do_pairs },
	{ "pair-among-slots", "unrelated pair between two of 32,000", with_many_slots,
	  do_pairs_among_slots },
	{ "pair-nested", "unrelated pair in a pair, both", nothing_more, do_nested_pairs },
	{ "related", "related pair of a mapped page, 1 vCPU", with_pages_mapped, do_related_pairs },
	{ "related-16", "the same, 16 vCPUs", with_16_vcpus, do_related_pairs },
	{ "related-64", "the same, 64 vCPUs", with_64_vcpus, do_related_pairs },
	{ "lookup", "gfn to hva among 32,000 memslots", with_many_slots, do_lookups },
	{ "add", "add of a memslot, beside COUNT to 2 COUNT", nothing_more, do_adds },
	{ "delete", "delete of a memslot of 32,763", with_slots_to_delete, do_deletes },
	{ "add-delete", "add and delete beside 32,000", with_many_slots, do_adds_and_deletes },
	{ "dirty-log", "get of the dirty log of 1 GiB, clean", with_dirty_log, do_dirty_logs },
};

#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static int list_operations(void)
{
	for (unsigned i = 0; i < NR_OPERATIONS; i++)
		printf("%s\t%s\n", operations[i].name, operations[i].what);
	return EXIT_SUCCESS;
}

static const struct operation *find_operation(const char *name)
{
	for (unsigned i = 0; i < NR_OPERATIONS; i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	return NULL;
}

static int usage(const char *why)
{
	fprintf(stderr, "instructions: %s; try --list, or OPERATION COUNT, of 1 to %d\n", why,
		COUNT_MAX);
	return 2;
}

int main(int argc, char **argv)
{
	const struct operation *operation;
	struct setup s = { 0 };
	unsigned long count;
	char *rest;

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list_operations();
	if (argc != 3)
		return usage("there must be two arguments");
	operation = find_operation(argv[1]);
	if (!operation)
		return usage("there is no such operation");
	count = strtoul(argv[2], &rest, 10);
	if (*rest || count < 1 || count > COUNT_MAX)
		return usage("that is not a count");
	set_up(&s);
	operation->prepare(&s);
	operation->run(&s, (unsigned)count);
	return EXIT_SUCCESS;
}
