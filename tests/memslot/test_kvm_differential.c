/* SPDX-License-Identifier: MIT */
/*
 * Holds s2_vm_set_memory_region() against the kernel: the same calls go to a bare VM of /dev/kvm
 * and to the library, and every answer must be the same.
 *
 * The calls are random but crowded: a few slot ids on a few pages, so that regions collide, move
 * onto each other and come back; some have fields that no slot may have.  A histogram shows what
 * was met, and each answer that a kind of call can have must have been met often: a test that
 * never sees a refusal proves nothing about refusals.
 *
 * Large regions are only tried where they are refused for overlapping, since the kernel fills
 * gigabytes of metadata for one that it accepts.  The dirty log is compared in the same way: its
 * answers also tell what became of a slot's flags.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stage2/stage2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "memslot/region.h"

#define NR_CALLS 100000
#define OFTEN(nr_calls) ((nr_calls) / 2000)
#define NR_HISTORY 12
#define HVA_BASE (UINT64_C(1) << 40)
#define AFFORDABLE (UINT64_C(4) << 20)

typedef int answer_fn(void *vm, const struct kvm_userspace_memory_region *mem);

struct limits {
	uint64_t gfn_end; /* the first gfn that is refused */
	uint64_t hva_end;
};

struct call {
	struct kvm_userspace_memory_region mem;
	int kvm;
	int stage2;
};

/* What a call asks for, given what is there. */
enum kind {
	CREATE,
	DELETE,
	DELETE_ABSENT,
	MOVE,
	FLAGS,
	SAME,
	RESIZE,
	REHOST,
	READONLY,
	NO_SLOT,
	NR_KINDS
};

static const char *const kind_names[NR_KINDS] = {
	"create",     "delete",	    "delete absent", "move",	       "flags",
	"same again", "other size", "other hva",     "other readonly", "no such slot id",
};

enum answer { ANSWER_0, ANSWER_EINVAL, ANSWER_EEXIST, ANSWER_OTHER, NR_ANSWERS };

static const char *const answer_names[NR_ANSWERS] = { "0", "EINVAL", "EEXIST", "other" };

struct duel {
	int kvm_fd;
	int vm_fd;
	unsigned int nr_slots;
	unsigned int nr_as; /* KVM's; the library has one address space */
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct limits limits; /* the lower of both sides' ... */
	struct limits upper;  /* ... and the upper: what lies between is not compared */
	uint64_t random;
	unsigned int id_span;			   /* crowding: this many ids ... */
	unsigned int gfn_span;			   /* ... on this many pages */
	struct kvm_userspace_memory_region *slots; /* memory_size 0: absent */
	struct call history[NR_HISTORY];
	unsigned long nr_calls;
	unsigned long kinds[NR_KINDS][NR_ANSWERS];
	unsigned long beyond_last_gfn[NR_ANSWERS];
};

static int ask_kvm(void *vm, const struct kvm_userspace_memory_region *mem)
{
	int *fd = vm;

	return ioctl(*fd, KVM_SET_USER_MEMORY_REGION, mem) ? -errno : 0;
}

static int ask_stage2(void *vm, const struct kvm_userspace_memory_region *mem)
{
	return s2_vm_set_memory_region(vm, mem);
}

/* ---- random numbers ---- */

static uint64_t random64(struct duel *duel)
{
	uint64_t x = duel->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	duel->random = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t below(struct duel *duel, uint64_t bound)
{
	return (random64(duel) >> 16) % bound;
}

static bool percent(struct duel *duel, unsigned int chance)
{
	return below(duel, 100) < chance;
}

static void seed_random(struct duel *duel)
{
	const char *given = getenv("S2_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	duel->random = given ? strtoull(given, NULL, 0)
			     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	print_message("S2_SEED=%" PRIu64 "\n", duel->random);
	/* xorshift stays at zero for ever. */
	duel->random += UINT64_C(0x9e3779b97f4a7c15);
	if (!duel->random)
		duel->random = 1;
}

/* ---- what the slots are, as the kernel's answers tell ---- */

static bool slot_possible(const struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	return mem->slot < duel->nr_slots;
}

static enum kind kind_of(const struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	const struct kvm_userspace_memory_region *old;

	if (!slot_possible(duel, mem))
		return NO_SLOT;
	old = &duel->slots[mem->slot];
	if (!mem->memory_size)
		return old->memory_size ? DELETE : DELETE_ABSENT;
	if (!old->memory_size)
		return CREATE;
	if (mem->memory_size != old->memory_size)
		return RESIZE;
	if (mem->userspace_addr != old->userspace_addr)
		return REHOST;
	if ((mem->flags ^ old->flags) & KVM_MEM_READONLY)
		return READONLY;
	if (mem->guest_phys_addr != old->guest_phys_addr)
		return MOVE;
	return mem->flags != old->flags ? FLAGS : SAME;
}

static bool overlaps_any(const struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	for (unsigned int id = 0; id < duel->nr_slots; id++) {
		const struct kvm_userspace_memory_region *other = &duel->slots[id];

		if (id != mem->slot && other->memory_size &&
		    mem->guest_phys_addr < other->guest_phys_addr + other->memory_size &&
		    other->guest_phys_addr < mem->guest_phys_addr + mem->memory_size)
			return true;
	}
	return false;
}

/* ---- the calls ---- */

static uint32_t random_slot(struct duel *duel)
{
	uint32_t id = (uint32_t)below(duel, duel->id_span);

	/* The last id is one of the few. */
	if (id == duel->id_span - 1)
		id = duel->nr_slots - 1;
	return id;
}

static uint64_t random_size(struct duel *duel)
{
	static const unsigned int pages[] = { 1, 1, 2, 2, 3, 4, 5, 8, 16 };

	if (!below(duel, 200))
		return (512 + below(duel, 512)) * S2_PAGE_SIZE;
	return pages[below(duel, sizeof(pages) / sizeof(pages[0]))] * S2_PAGE_SIZE;
}

static uint64_t random_gpa(struct duel *duel)
{
	uint64_t gfn = below(duel, duel->gfn_span);

	if (percent(duel, 20))
		gfn = duel->limits.gfn_end - 12 + below(duel, 16);
	else if (percent(duel, 10))
		gfn = (UINT64_C(1) << 20) - 8 + below(duel, 16);
	return gfn * S2_PAGE_SIZE;
}

static uint64_t random_hva(struct duel *duel, uint64_t size)
{
	if (percent(duel, 5))
		return 0;
	if (percent(duel, 5))
		return duel->limits.hva_end - size;
	return HVA_BASE + below(duel, 64) * S2_PAGE_SIZE;
}

static void make_fresh(struct duel *duel, struct kvm_userspace_memory_region *mem)
{
	mem->flags = (uint32_t)below(duel, 4);
	mem->memory_size = random_size(duel);
	mem->guest_phys_addr = random_gpa(duel);
	mem->userspace_addr = random_hva(duel, mem->memory_size);
}

static void make_delete(struct duel *duel, struct kvm_userspace_memory_region *mem)
{
	if (percent(duel, 50))
		make_fresh(duel, mem);
	mem->memory_size = 0;
}

/* Starts from what is there, so that all but the one thing is as the slot has it. */
static void make_change(struct duel *duel, struct kvm_userspace_memory_region *mem)
{
	switch (below(duel, 10)) {
	case 0:
		make_delete(duel, mem);
		break;
	case 1:
		mem->flags ^= KVM_MEM_LOG_DIRTY_PAGES;
		break;
	case 2:
		mem->flags ^= KVM_MEM_READONLY;
		break;
	case 3:
		mem->memory_size = random_size(duel);
		break;
	case 4:
		mem->userspace_addr = random_hva(duel, mem->memory_size);
		break;
	case 5:
		mem->flags ^= KVM_MEM_LOG_DIRTY_PAGES;
		/* fall through */
	case 6:
		mem->guest_phys_addr = random_gpa(duel);
		break;
	case 7:
		/* By less than its size: overlaps its old place. */
		mem->guest_phys_addr += S2_PAGE_SIZE;
		break;
	case 8:
		make_fresh(duel, mem);
		break;
	case 9:
		break;
	}
}

static uint64_t odd_address(struct duel *duel, uint64_t address, uint64_t size, uint64_t end)
{
	const uint64_t odd[] = {
		address + 1 + below(duel, S2_PAGE_SIZE - 1),
		end,
		end - S2_PAGE_SIZE,
		end - size,
		end - size + S2_PAGE_SIZE,
		-S2_PAGE_SIZE,
		-size,
		-size - S2_PAGE_SIZE,
		UINT64_C(1) << (12 + below(duel, 52)),
		random64(duel) & -S2_PAGE_SIZE,
		random64(duel),
	};

	return odd[below(duel, sizeof(odd) / sizeof(odd[0]))];
}

static uint64_t odd_size(struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	const uint64_t odd[] = {
		mem->memory_size + 1 + below(duel, S2_PAGE_SIZE - 1),
		S2_REGION_MAX_PAGES * S2_PAGE_SIZE,
		(S2_REGION_MAX_PAGES + 1) * S2_PAGE_SIZE,
		(UINT64_C(1) << 32) + mem->memory_size,
		UINT64_C(1) << (12 + below(duel, 52)),
		-mem->guest_phys_addr,
		-mem->userspace_addr,
		duel->limits.hva_end - mem->userspace_addr,
		-S2_PAGE_SIZE,
		random64(duel) & -S2_PAGE_SIZE,
		random64(duel),
	};

	return odd[below(duel, sizeof(odd) / sizeof(odd[0]))];
}

static uint32_t odd_slot(struct duel *duel, uint32_t slot)
{
	const uint32_t odd[] = {
		duel->nr_slots,
		duel->nr_slots + (uint32_t)below(duel, 8),
		0xffff,
		slot | 1 << 16,
		slot | (uint32_t)below(duel, 0x10000) << 16,
		(uint32_t)random64(duel),
	};

	return odd[below(duel, sizeof(odd) / sizeof(odd[0]))];
}

static uint32_t odd_flags(struct duel *duel, uint32_t flags)
{
	const uint32_t odd[] = {
		flags | UINT32_C(1) << below(duel, 32),
		UINT32_C(1) << below(duel, 32),
		UINT32_MAX,
		(uint32_t)random64(duel),
	};

	return odd[below(duel, sizeof(odd) / sizeof(odd[0]))];
}

static void spoil(struct duel *duel, struct kvm_userspace_memory_region *mem)
{
	switch (below(duel, 5)) {
	case 0:
		mem->flags = odd_flags(duel, mem->flags);
		break;
	case 1:
		mem->memory_size = odd_size(duel, mem);
		/* So that a size is judged that a high host address would hide. */
		if (percent(duel, 50))
			mem->userspace_addr = S2_PAGE_SIZE;
		break;
	case 2:
		mem->guest_phys_addr = odd_address(duel, mem->guest_phys_addr, mem->memory_size,
						   duel->limits.gfn_end * S2_PAGE_SIZE);
		break;
	case 3:
		mem->userspace_addr = odd_address(duel, mem->userspace_addr, mem->memory_size,
						  duel->limits.hva_end);
		break;
	case 4:
		mem->slot = odd_slot(duel, mem->slot);
		break;
	}
}

static void keep_affordable(struct duel *duel, struct kvm_userspace_memory_region *mem)
{
	if (mem->memory_size > AFFORDABLE && kind_of(duel, mem) == CREATE &&
	    s2_region_npages(mem) <= S2_REGION_MAX_PAGES && !overlaps_any(duel, mem))
		mem->memory_size = S2_PAGE_SIZE;
}

static struct kvm_userspace_memory_region random_call(struct duel *duel)
{
	struct kvm_userspace_memory_region mem = { .slot = random_slot(duel) };
	const struct kvm_userspace_memory_region *old = &duel->slots[mem.slot];

	if (old->memory_size) {
		mem = *old;
		make_change(duel, &mem);
	} else {
		make_fresh(duel, &mem);
		if (percent(duel, 15))
			make_delete(duel, &mem);
	}
	for (int chance = 12; percent(duel, (unsigned int)chance); chance = 30)
		spoil(duel, &mem);
	keep_affordable(duel, &mem);
	return mem;
}

/* ---- the comparison ---- */

static void print_call(const struct call *call, unsigned long number)
{
	print_error("#%lu slot %#x flags %#x gpa %#llx size %#llx hva %#llx: kvm %d, stage2 %d\n",
		    number, call->mem.slot, call->mem.flags, call->mem.guest_phys_addr,
		    call->mem.memory_size, call->mem.userspace_addr, call->kvm, call->stage2);
}

static void report_mismatch(const struct duel *duel)
{
	unsigned long last = duel->nr_calls - 1;
	const struct call *call = &duel->history[last % NR_HISTORY];

	print_error("the answers to call #%lu (%s) differ: kvm %d (%s), stage2 %d (%s)\n", last,
		    kind_names[kind_of(duel, &call->mem)], call->kvm, strerror(-call->kvm),
		    call->stage2, strerror(-call->stage2));
	if (slot_possible(duel, &call->mem)) {
		const struct kvm_userspace_memory_region *old = &duel->slots[call->mem.slot];

		print_error("before: slot %#x flags %#x gpa %#llx size %#llx hva %#llx\n",
			    call->mem.slot, old->flags, old->guest_phys_addr, old->memory_size,
			    old->userspace_addr);
	}
	print_error("the last calls:\n");
	for (unsigned long i = last < NR_HISTORY ? 0 : last - NR_HISTORY + 1; i <= last; i++)
		print_call(&duel->history[i % NR_HISTORY], i);
	fail();
}

static enum answer answer_of(int r)
{
	switch (r) {
	case 0:
		return ANSWER_0;
	case -EINVAL:
		return ANSWER_EINVAL;
	case -EEXIST:
		return ANSWER_EEXIST;
	default:
		return ANSWER_OTHER;
	}
}

/* Calls that are fine but for the last gfn, which only the place of that check tells apart. */
static bool only_beyond_last_gfn(const struct duel *duel,
				 const struct kvm_userspace_memory_region *mem, enum kind kind)
{
	struct s2_region_rules rules = {
		.nr_slots = duel->nr_slots,
		.nr_address_spaces = 1,
		.max_gfn = duel->limits.gfn_end - 1,
		.hva_limit = duel->limits.hva_end,
	};

	return (kind == CREATE || kind == MOVE) && !s2_region_check(mem, &rules) &&
	       s2_region_check_reach(mem, S2_REGION_CREATE, &rules);
}

static void count_answer(struct duel *duel, const struct kvm_userspace_memory_region *mem, int r)
{
	enum kind kind = kind_of(duel, mem);

	duel->kinds[kind][answer_of(r)]++;
	if (only_beyond_last_gfn(duel, mem, kind))
		duel->beyond_last_gfn[answer_of(r)]++;
}

/* Returns the answer, which is the same on both. */
static int ask_both(struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	struct call *call = &duel->history[duel->nr_calls++ % NR_HISTORY];

	call->mem = *mem;
	call->kvm = ask_kvm(&duel->vm_fd, mem);
	call->stage2 = ask_stage2(duel->vm, mem);
	if (call->kvm != call->stage2)
		report_mismatch(duel);
	count_answer(duel, mem, call->kvm);
	if (!call->kvm)
		duel->slots[mem->slot] = *mem;
	return call->kvm;
}

static bool beyond_one_alone(uint64_t start, uint64_t size, uint64_t lower, uint64_t upper)
{
	uint64_t end = start + size;

	return lower != upper && end >= start && end > lower && end <= upper;
}

/* ---- both sides, and where their limits are ---- */

static bool is_accepted(answer_fn *ask, void *vm, uint64_t gpa, uint64_t hva)
{
	struct kvm_userspace_memory_region mem = {
		.guest_phys_addr = gpa,
		.memory_size = S2_PAGE_SIZE,
		.userspace_addr = hva,
	};

	if (ask(vm, &mem))
		return false;
	mem.memory_size = 0;
	mem.userspace_addr = 0;
	assert_int_equal(ask(vm, &mem), 0);
	return true;
}

static struct limits find_limits(answer_fn *ask, void *vm)
{
	struct limits found;
	uint64_t pages[2];

	for (int hva = 0; hva < 2; hva++) {
		uint64_t good = 0;
		uint64_t bad = UINT64_C(1) << 52;

		while (bad - good > 1) {
			uint64_t middle = good + (bad - good) / 2;
			uint64_t address = middle * S2_PAGE_SIZE;

			if (is_accepted(ask, vm, hva ? 0 : address, hva ? address : 0))
				good = middle;
			else
				bad = middle;
		}
		pages[hva] = bad;
	}
	found.gfn_end = pages[0];
	found.hva_end = pages[1] * S2_PAGE_SIZE;
	return found;
}

static uint64_t lower_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t upper_of(uint64_t a, uint64_t b)
{
	return a < b ? b : a;
}

/* The library's limits are constants; those of a KVM depend on its CPU and its kernel. */
static void compare_limits(struct duel *duel)
{
	struct limits kvm = find_limits(ask_kvm, &duel->vm_fd);
	struct limits stage2 = find_limits(ask_stage2, duel->vm);

	assert_true(stage2.gfn_end == S2_REGION_MAX_GFN + 1);
	assert_true(stage2.hva_end == S2_REGION_HVA_LIMIT);

	duel->limits.gfn_end = lower_of(kvm.gfn_end, stage2.gfn_end);
	duel->limits.hva_end = lower_of(kvm.hva_end, stage2.hva_end);
	duel->upper.gfn_end = upper_of(kvm.gfn_end, stage2.gfn_end);
	duel->upper.hva_end = upper_of(kvm.hva_end, stage2.hva_end);
	if (memcmp(&kvm, &stage2, sizeof(kvm)))
		print_message("not compared: calls between this KVM's limits (gfn %#" PRIx64
			      ", hva %#" PRIx64 ") and the library's\n",
			      kvm.gfn_end, kvm.hva_end);
}

static bool comparable(const struct duel *duel, const struct kvm_userspace_memory_region *mem)
{
	if (s2_region_as_id(mem) && s2_region_as_id(mem) < duel->nr_as)
		return false;
	return !beyond_one_alone(mem->userspace_addr, mem->memory_size, duel->limits.hva_end,
				 duel->upper.hva_end) &&
	       !beyond_one_alone(mem->guest_phys_addr >> S2_PAGE_SHIFT, s2_region_npages(mem),
				 duel->limits.gfn_end, duel->upper.gfn_end);
}

static void open_kvm(struct duel *duel)
{
	int nr_as;

	duel->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (duel->kvm_fd < 0) {
		print_message("skipped: /dev/kvm cannot be opened: %s\n", strerror(errno));
		skip();
	}
	if (ioctl(duel->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) <= 0) {
		print_message("skipped: this KVM lacks KVM_CAP_USER_MEMORY\n");
		skip();
	}
	if (ioctl(duel->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) != S2_USER_MEM_SLOTS) {
		print_message("skipped: this KVM has not %d memslots\n", S2_USER_MEM_SLOTS);
		skip();
	}
	duel->nr_slots = S2_USER_MEM_SLOTS;
	duel->vm_fd = ioctl(duel->kvm_fd, KVM_CREATE_VM, 0);
	if (duel->vm_fd < 0) {
		print_message("skipped: KVM_CREATE_VM: %s\n", strerror(errno));
		skip();
	}
	nr_as = ioctl(duel->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE);
	duel->nr_as = nr_as > 1 ? (unsigned int)nr_as : 1;
}

static void set_dirty_log_protect(struct duel *duel, const struct s2_vm_config *config)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };

	if (config->manual_dirty_protect)
		cap.args[0] |= KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	if (config->dirty_initially_set)
		cap.args[0] |= KVM_DIRTY_LOG_INITIALLY_SET;
	if (cap.args[0] && ioctl(duel->vm_fd, KVM_ENABLE_CAP, &cap)) {
		print_message("skipped: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: %s\n", strerror(errno));
		skip();
	}
}

static void begin_with(struct duel *duel, enum s2_gate gate, const struct s2_vm_config *vm_config)
{
	struct s2_mm_config mm_config = { .gate = gate };

	memset(duel, 0, sizeof(*duel));
	open_kvm(duel);
	set_dirty_log_protect(duel, vm_config);
	assert_int_equal(s2_mm_create(&mm_config, &duel->mm), 0);
	assert_int_equal(s2_vm_create(duel->mm, vm_config, &duel->vm), 0);
	duel->slots = calloc(duel->nr_slots, sizeof(*duel->slots));
	assert_non_null(duel->slots);
	duel->id_span = 18;
	duel->gfn_span = 160;
	compare_limits(duel);
	seed_random(duel);
}

static void begin(struct duel *duel, enum s2_gate gate)
{
	begin_with(duel, gate, &(struct s2_vm_config){ 0 });
}

static void finish(struct duel *duel)
{
	free(duel->slots);
	s2_vm_put(duel->vm);
	s2_mm_put(duel->mm);
	close(duel->vm_fd);
	close(duel->kvm_fd);
}

/* ---- what was met ---- */

static void print_row(const char *name, const unsigned long *row)
{
	print_message("%-20s %8lu %8lu %8lu %8lu\n", name, row[ANSWER_0], row[ANSWER_EINVAL],
		      row[ANSWER_EEXIST], row[ANSWER_OTHER]);
}

static void print_histogram(const struct duel *duel)
{
	print_message("%-20s %8s %8s %8s %8s\n", "", answer_names[0], answer_names[1],
		      answer_names[2], answer_names[3]);
	for (int kind = 0; kind < NR_KINDS; kind++)
		print_row(kind_names[kind], duel->kinds[kind]);
	print_row("beyond the last gfn", duel->beyond_last_gfn);
}

/* Each kind of call must have met these answers often, and no other one at all. */
static const unsigned int possible[NR_KINDS] = {
	[CREATE] = 1 << ANSWER_0 | 1 << ANSWER_EINVAL | 1 << ANSWER_EEXIST,
	[DELETE] = 1 << ANSWER_0 | 1 << ANSWER_EINVAL,
	[DELETE_ABSENT] = 1 << ANSWER_EINVAL,
	[MOVE] = 1 << ANSWER_0 | 1 << ANSWER_EINVAL | 1 << ANSWER_EEXIST,
	[FLAGS] = 1 << ANSWER_0 | 1 << ANSWER_EINVAL,
	[SAME] = 1 << ANSWER_0,
	[RESIZE] = 1 << ANSWER_EINVAL,
	[REHOST] = 1 << ANSWER_EINVAL,
	[READONLY] = 1 << ANSWER_EINVAL,
	[NO_SLOT] = 1 << ANSWER_EINVAL,
};

static void assert_row(const char *name, const unsigned long *row, unsigned int answers,
		       unsigned long often)
{
	for (int answer = 0; answer < NR_ANSWERS; answer++) {
		if (answers & 1U << answer ? row[answer] < often : row[answer] > 0)
			fail_msg("%s: answer %s was met %lu times", name, answer_names[answer],
				 row[answer]);
	}
}

static void assert_all_was_met(const struct duel *duel, unsigned long often)
{
	for (int kind = 0; kind < NR_KINDS; kind++)
		assert_row(kind_names[kind], duel->kinds[kind], possible[kind], often);
	if (duel->limits.gfn_end == duel->upper.gfn_end)
		assert_row("beyond the last gfn", duel->beyond_last_gfn,
			   1 << ANSWER_EINVAL | 1 << ANSWER_EEXIST, often);
}

/* ---- the tests ---- */

static void random_calls(struct duel *duel, unsigned long nr_calls)
{
	while (nr_calls--) {
		struct kvm_userspace_memory_region mem = random_call(duel);

		if (comparable(duel, &mem))
			ask_both(duel, &mem);
	}
}

static void crowded_random_calls(enum s2_gate gate, unsigned long nr_calls)
{
	struct duel duel;

	begin(&duel, gate);
	random_calls(&duel, nr_calls);
	print_histogram(&duel);
	assert_all_was_met(&duel, OFTEN(nr_calls));
	finish(&duel);
}

static void test_random_calls_under_the_range_gate(void **state)
{
	crowded_random_calls(S2_GATE_RANGE, NR_CALLS);
}

static void test_random_calls_under_the_always_gate(void **state)
{
	crowded_random_calls(S2_GATE_ALWAYS, NR_CALLS / 4);
}

static void test_random_calls_under_the_rwsem_gate(void **state)
{
	crowded_random_calls(S2_GATE_RWSEM, NR_CALLS / 4);
}

static void test_random_calls_under_the_count_gate(void **state)
{
	crowded_random_calls(S2_GATE_COUNT, NR_CALLS / 4);
}

/* One page of each two; the host ranges are a few that many slots share. */
static void fill_all_slots(struct duel *duel)
{
	struct kvm_userspace_memory_region mem = { .memory_size = S2_PAGE_SIZE };

	for (mem.slot = 0; mem.slot < duel->nr_slots; mem.slot++) {
		mem.guest_phys_addr = mem.slot * 2 * S2_PAGE_SIZE;
		mem.userspace_addr = HVA_BASE + mem.slot % 64 * S2_PAGE_SIZE;
		assert_int_equal(ask_both(duel, &mem), 0);
	}
}

static void one_slot_more(struct duel *duel)
{
	struct kvm_userspace_memory_region mem = {
		.slot = duel->nr_slots,
		.guest_phys_addr = S2_PAGE_SIZE,
		.memory_size = S2_PAGE_SIZE,
		.userspace_addr = HVA_BASE,
	};

	assert_int_equal(ask_both(duel, &mem), -EINVAL);
}

static void delete_all_slots(struct duel *duel)
{
	struct kvm_userspace_memory_region mem = { 0 };

	for (mem.slot = 0; mem.slot < duel->nr_slots; mem.slot++) {
		int expected = duel->slots[mem.slot].memory_size ? 0 : -EINVAL;

		assert_int_equal(ask_both(duel, &mem), expected);
	}
}

/* One test, since the kernel takes seconds to fill them. */
static void test_all_slots_in_use(void **state)
{
	struct duel duel;

	begin(&duel, S2_GATE_RANGE);
	fill_all_slots(&duel);
	one_slot_more(&duel);
	duel.id_span = duel.nr_slots;
	duel.gfn_span = 2 * duel.nr_slots;
	random_calls(&duel, NR_CALLS / 10);
	delete_all_slots(&duel);
	print_histogram(&duel);
	finish(&duel);
}

/* ---- the dirty log ---- */

struct bitmap {
	uint64_t words[64]; /* more than the largest affordable slot has pages */
};

static uint32_t random_log_slot(struct duel *duel)
{
	uint32_t slot = random_slot(duel);

	return percent(duel, 5) ? odd_slot(duel, slot) : slot;
}

static bool log_comparable(const struct duel *duel, uint32_t slot)
{
	return slot >> 16 == 0 || slot >> 16 >= duel->nr_as;
}

static void compare_get(struct duel *duel, unsigned long met[NR_ANSWERS])
{
	struct bitmap kvm_bitmap, stage2_bitmap;
	struct kvm_dirty_log log = { .slot = random_log_slot(duel) };
	int kvm, stage2;

	if (!log_comparable(duel, log.slot))
		return;
	/* What lies behind the log must be left as it is. */
	memset(&kvm_bitmap, 0xa5, sizeof(kvm_bitmap));
	memset(&stage2_bitmap, 0xa5, sizeof(stage2_bitmap));

	log.dirty_bitmap = &kvm_bitmap;
	kvm = ioctl(duel->vm_fd, KVM_GET_DIRTY_LOG, &log) ? -errno : 0;
	log.dirty_bitmap = &stage2_bitmap;
	stage2 = s2_vm_get_dirty_log(duel->vm, &log);
	if (kvm != stage2)
		fail_msg("get of slot %#x after call #%lu: kvm %d, stage2 %d", log.slot,
			 duel->nr_calls - 1, kvm, stage2);
	if (memcmp(&kvm_bitmap, &stage2_bitmap, sizeof(kvm_bitmap)))
		fail_msg("get of slot %#x after call #%lu: the bitmaps differ", log.slot,
			 duel->nr_calls - 1);
	met[answer_of(kvm)]++;
}

/* Mostly a range that the slot has, or is off by little. */
static void random_clear_range(struct duel *duel, struct kvm_clear_dirty_log *log)
{
	uint64_t npages = 1;

	if (log->slot < duel->nr_slots && duel->slots[log->slot].memory_size)
		npages = s2_region_npages(&duel->slots[log->slot]);
	log->first_page = below(duel, npages / 64 + 1) * 64;
	log->num_pages = (uint32_t)below(duel, 3) * 64;
	if (percent(duel, 60))
		log->num_pages = (uint32_t)(npages - log->first_page);
	if (percent(duel, 10))
		log->num_pages += (uint32_t)below(duel, 130) - 65;
	if (percent(duel, 10))
		log->first_page += below(duel, 130) - 65;
	if (percent(duel, 3))
		log->first_page = random64(duel) & -UINT64_C(64);
}

static void compare_clear(struct duel *duel, unsigned long met[NR_ANSWERS])
{
	struct kvm_clear_dirty_log log = { .slot = random_log_slot(duel) };
	struct bitmap bitmap;
	int kvm, stage2;

	if (!log_comparable(duel, log.slot))
		return;
	random_clear_range(duel, &log);
	for (int i = 0; i < 64; i++)
		bitmap.words[i] = random64(duel);
	log.dirty_bitmap = &bitmap;
	kvm = ioctl(duel->vm_fd, KVM_CLEAR_DIRTY_LOG, &log) ? -errno : 0;
	stage2 = s2_vm_clear_dirty_log(duel->vm, &log);
	if (kvm != stage2)
		fail_msg("clear of slot %#x, pages %#llx+%#x, after call #%lu: kvm %d, stage2 %d",
			 log.slot, log.first_page, log.num_pages, duel->nr_calls - 1, kvm, stage2);
	met[answer_of(kvm)]++;
}

/* Without a vCPU pages are dirty only from the start: when the log begins with all of them set. */
static void dirty_log_duel(const struct s2_vm_config *config)
{
	unsigned long got[NR_ANSWERS] = { 0 };
	unsigned long cleared[NR_ANSWERS] = { 0 };
	struct duel duel;

	begin_with(&duel, S2_GATE_RANGE, config);
	for (int round = 0; round < NR_CALLS / 5; round++) {
		random_calls(&duel, 1);
		compare_get(&duel, got);
		compare_clear(&duel, cleared);
	}
	print_row("get dirty log", got);
	print_row("clear dirty log", cleared);
	assert_row("get", got, 1 << ANSWER_0 | 1 << ANSWER_EINVAL | 1 << ANSWER_OTHER,
		   OFTEN(NR_CALLS));
	assert_row("clear", cleared, 1 << ANSWER_0 | 1 << ANSWER_EINVAL | 1 << ANSWER_OTHER,
		   OFTEN(NR_CALLS));
	finish(&duel);
}

static void test_dirty_log(void **state)
{
	dirty_log_duel(&(struct s2_vm_config){ 0 });
}

static void test_dirty_log_with_manual_protect(void **state)
{
	dirty_log_duel(&(struct s2_vm_config){ .manual_dirty_protect = true });
}

static void test_dirty_log_initially_set(void **state)
{
	dirty_log_duel(&(struct s2_vm_config){
		.manual_dirty_protect = true,
		.dirty_initially_set = true,
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_calls_under_the_range_gate),
		cmocka_unit_test(test_random_calls_under_the_always_gate),
		cmocka_unit_test(test_random_calls_under_the_rwsem_gate),
		cmocka_unit_test(test_random_calls_under_the_count_gate),
		cmocka_unit_test(test_all_slots_in_use),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_dirty_log_with_manual_protect),
		cmocka_unit_test(test_dirty_log_initially_set),
	};

	return cmocka_run_group_tests_name("kvm_differential", tests, NULL, NULL);
}
