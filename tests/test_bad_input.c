/* SPDX-License-Identifier: MIT */
/*
 * Every public function given what it must refuse: the documented answer, and nothing changed.
 *
 *   mm.h        s2_gate_name                       values that are no gate
 *               s2_mm_create                       NULL; each field of the config
 *               s2_mm_put                          NULL
 *               s2_mm_get_stats                    NULL
 *   notifier.h  s2_invalidate_range_start          NULL; empty, backward, misaligned, wrapping; flags
 *               s2_invalidate_range_end            NULL; twice, never started, of another s2_mm
 *               s2_change_pte                      NULL; token closed, of another s2_mm; hva
 *                                                  misaligned, outside; page of 2 MiB, misaligned
 *               s2_clear_flush_young, _clear_young,
 *               s2_test_young, _young_pages        NULL; empty, backward, misaligned, wrapping
 *               s2_release                         NULL; twice
 *   vm.h        s2_vm_create                       NULL; each field of the config; inside a pair
 *               s2_vm_put                          NULL
 *               s2_vm_set_memory_region            NULL; each field; overlapping; out of order
 *                                                  (more in memslot/test_region.c and
 *                                                  test_kvm_differential.c)
 *               s2_vm_memslots_generation          NULL
 *               s2_vm_gfn_to_hva                   NULL; gfns of no memslot
 *               s2_vm_get_dirty_log, _clear_       NULL; no log (more in memslot/test_dirty_log.c)
 *               s2_vm_get_stats                    NULL
 *   vcpu.h      s2_vcpu_create                     NULL
 *               s2_vcpu_destroy                    NULL; in guest mode
 *               s2_vcpu_enter                      NULL; twice, on two threads
 *               s2_vcpu_exit                       NULL; twice, on another thread
 *               s2_vcpu_load8..64, _store8..64     NULL; out of guest mode, wrapping, beyond the last
 *                                                  gfn, into a hole
 *               s2_vcpu_poll                       NULL; out of guest mode
 *               s2_vcpu_read, _write               NULL; wrapping; into a hole
 *               s2_vcpu_get_stats                  NULL
 *               s2_is_mmio                         answers that are none
 *   process.h   s2_mmap, _munmap, _mremap,
 *               _madvise, _mprotect                NULL; what the kernel refuses
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitized.h"
#include "small_vm.h"

#define PAGE S2_PAGE_SIZE
#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define UNTOUCHED UINT64_C(0x7777777777777777)

struct state {
	uint64_t generation;
	uint64_t hva[32];
	struct s2_vm_stats vm;
	struct s2_mm_stats mm;
	struct s2_vcpu_stats vcpu;
	unsigned long blocks;
	unsigned long bytes;
};

static struct state state_of(struct small_vm *small)
{
	struct state state;

	memset(&state, 0, sizeof(state));
	state.generation = s2_vm_memslots_generation(small->vm);
	for (unsigned gfn = 0; gfn < 32; gfn++)
		s2_vm_gfn_to_hva(small->vm, gfn, &state.hva[gfn]);
	state.vm = vm_stats(small->vm);
	state.mm = mm_stats(small->mm);
	assert_int_equal(s2_vcpu_get_stats(small->vcpu, &state.vcpu), 0);
	state.blocks = small->memory.blocks;
	state.bytes = small->memory.bytes;
	return state;
}

/* Guest pages 4 to 7, mapped; 8 to 11 with a log; 12 and 13 read-only. */
static void changes_nothing_under(enum s2_gate gate, void (*test)(struct small_vm *small))
{
	struct state before, after;
	struct small_vm small;

	small_vm_begin(&small, gate, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_int_equal(set_slot(small.vm, 1, 8, 4, 4, LOG), 0);
	assert_int_equal(set_slot(small.vm, 2, 12, 2, 8, KVM_MEM_READONLY), 0);
	for (uint64_t gfn = 4; gfn < 14; gfn++)
		assert_guest_reads(small.vcpu, gfn, gfn - 4);
	before = state_of(&small);
	test(&small);
	after = state_of(&small);
	assert_memory_equal(&before, &after, sizeof(before));
	small_vm_end(&small);
}

static void changes_nothing(void (*test)(struct small_vm *small))
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++)
		changes_nothing_under(gate, test);
}

/* ---- mm.h ---- */

static void test_gate_name(void **state)
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++)
		assert_non_null(s2_gate_name(gate));
	assert_null(s2_gate_name(S2_NR_GATES));
	assert_null(s2_gate_name((enum s2_gate) - 1));
}

static void assert_no_mm(const struct s2_mm_config *config)
{
	struct s2_mm *mm = (void *)(uintptr_t)UNTOUCHED;

	assert_int_equal(s2_mm_create(config, &mm), -EINVAL);
	assert_int_equal((uintptr_t)mm, UNTOUCHED);
}

static int no_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	return -EFAULT;
}

static void test_mm_create(void **state)
{
	static const struct s2_provider_ops without_fault = { .name = "x" };
	static const struct s2_provider_ops provider = { .name = "x", .fault = no_fault };
	static const unsigned entries[] = { 3, 255, 65537, 131072, UINT32_MAX, UINT32_C(1) << 31 };
	struct counting_allocator memory;
	struct s2_allocator half;

	counting_allocator_init(&memory);
	assert_int_equal(s2_mm_create(NULL, NULL), -EINVAL);
	assert_no_mm(&(struct s2_mm_config){ .gate = S2_NR_GATES });
	assert_no_mm(&(struct s2_mm_config){ .gate = (enum s2_gate) - 1 });
	assert_no_mm(&(struct s2_mm_config){ .provider = &without_fault });
	assert_no_mm(&(struct s2_mm_config){ .provider = &provider, .huge_pages = true });
	half = (struct s2_allocator){ .alloc = memory.ops.alloc, .ctx = &memory };
	assert_no_mm(&(struct s2_mm_config){ .allocator = &half });
	half = (struct s2_allocator){ .free = memory.ops.free, .ctx = &memory };
	assert_no_mm(&(struct s2_mm_config){ .allocator = &half });
	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		assert_no_mm(&(struct s2_mm_config){ .inflight_entries = entries[i] });
	for (unsigned i = 0; i < 8; i++) {
		struct s2_mm_config config = { .allocator = &memory.ops };

		config.reserved[i] = UINT64_C(1) << (i * 8);
		assert_no_mm(&config);
	}
	assert_int_equal(memory.calls, 0);
}

static void mm_calls(struct small_vm *small)
{
	struct s2_mm_stats stats;

	s2_mm_put(NULL);
	assert_int_equal(s2_mm_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_mm_get_stats(small->mm, NULL), -EINVAL);
	assert_int_equal(s2_mm_get_stats(NULL, NULL), -EINVAL);
}

static void test_mm_put_and_get_stats(void **state)
{
	changes_nothing(mm_calls);
}

/* ---- notifier.h ---- */

static const struct {
	uint64_t start;
	uint64_t end;
} bad_ranges[] = {
	{ FRAME_HVA, FRAME_HVA },
	{ FRAME_HVA + PAGE, FRAME_HVA },
	{ FRAME_HVA + 1, FRAME_HVA + PAGE },
	{ FRAME_HVA, FRAME_HVA + PAGE - 1 },
	{ FRAME_HVA + 2048, FRAME_HVA + 2048 + PAGE },
	{ FRAME_HVA, 0 },
	{ 0, 0 },
	{ 0, UINT64_MAX },
	{ UINT64_MAX, 0 },
	{ UINT64_MAX - PAGE + 1, 0 },
	{ UINT64_MAX - PAGE + 1, UINT64_MAX },
	{ UINT64_MAX - PAGE + 1, PAGE },
};

#define NR_BAD_RANGES (sizeof(bad_ranges) / sizeof(bad_ranges[0]))

static void bad_starts(struct small_vm *small)
{
	struct s2_invalidation inv, before;

	memset(&inv, 0, sizeof(inv));
	before = inv;
	for (unsigned i = 0; i < NR_BAD_RANGES; i++)
		for (unsigned flags = 0; flags < 2; flags++)
			assert_int_equal(s2_invalidate_range_start(small->mm, &inv,
								   bad_ranges[i].start,
								   bad_ranges[i].end, flags),
					 -EINVAL);
	for (unsigned bit = 1; bit < 32; bit++)
		assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA,
							   FRAME_HVA + PAGE, 1U << bit),
				 -EINVAL);
	assert_int_equal(s2_invalidate_range_start(NULL, &inv, FRAME_HVA, FRAME_HVA + PAGE, 0),
			 -EINVAL);
	assert_int_equal(s2_invalidate_range_start(small->mm, NULL, FRAME_HVA, FRAME_HVA + PAGE, 0),
			 -EINVAL);
	assert_memory_equal(&inv, &before, sizeof(inv));
}

static void test_invalidate_range_start(void **state)
{
	changes_nothing(bad_starts);
}

static void null_ends(struct small_vm *small)
{
	struct s2_invalidation inv = { 0 };

	s2_invalidate_range_end(NULL, NULL);
	s2_invalidate_range_end(NULL, &inv);
	s2_invalidate_range_end(small->mm, NULL);
}

static void test_invalidate_range_end_of_null(void **state)
{
	changes_nothing(null_ends);
}

enum misuse { NEVER_STARTED, TWICE, OF_ANOTHER_MM };

static void misuse_end(struct small_vm *small, struct s2_mm *other, enum misuse misuse)
{
	struct s2_invalidation inv;

	memset(&inv, 0x5a, sizeof(inv));
	if (misuse != NEVER_STARTED)
		assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA,
							   FRAME_HVA + PAGE, 0),
				 0);
	if (misuse == TWICE)
		s2_invalidate_range_end(small->mm, &inv);
	s2_invalidate_range_end(misuse == OF_ANOTHER_MM ? other : small->mm, &inv);
	if (misuse == OF_ANOTHER_MM)
		s2_invalidate_range_end(small->mm, &inv);
}

#if S2_DEBUG_CHECKS
static void assert_misuse_is_caught(struct small_vm *small, struct s2_mm *other, enum misuse misuse)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		struct sigaction by_default = { .sa_handler = SIG_DFL };

		sigaction(SIGABRT, &by_default, NULL);
		close(STDERR_FILENO);
		misuse_end(small, other, misuse);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
#else
/* Ignored: the count that the real end() drops is not dropped twice. */
static void assert_misuse_is_caught(struct small_vm *small, struct s2_mm *other, enum misuse misuse)
{
	misuse_end(small, other, misuse);
	exchange_frame(small, 0, 100);
	assert_guest_reads(small->vcpu, 4, 100);
	exchange_frame(small, 0, 0);
	assert_guest_reads(small->vcpu, 4, 0);
}
#endif

static void test_invalidate_range_end_out_of_order(void **state)
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct small_vm small, other;

		small_vm_begin(&small, gate, NULL);
		small_vm_begin(&other, gate, NULL);
		assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
		assert_misuse_is_caught(&small, other.mm, NEVER_STARTED);
		assert_misuse_is_caught(&small, other.mm, TWICE);
		assert_misuse_is_caught(&small, other.mm, OF_ANOTHER_MM);
		small_vm_end(&other);
		small_vm_end(&small);
	}
}

static void assert_no_change_pte(struct small_vm *small, struct s2_invalidation *inv, uint64_t hva,
				 struct s2_page page)
{
	assert_int_equal(s2_change_pte(small->mm, inv, hva, &page), -EINVAL);
}

static void test_change_pte(void **state)
{
	struct small_vm small, other;
	struct s2_page good, page;
	struct s2_invalidation inv;
	struct state before, after;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	small_vm_begin(&other, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_guest_reads(small.vcpu, 7, 3);
	good = (struct s2_page){
		.addr = frame_provider_word(&small.host, 9),
		.shift = S2_PAGE_SHIFT,
	};
	assert_int_equal(
		s2_invalidate_range_start(small.mm, &inv, FRAME_HVA_OF(0), FRAME_HVA_OF(2), 0), 0);
	before = state_of(&small);
	assert_int_equal(s2_change_pte(NULL, &inv, FRAME_HVA, &good), -EINVAL);
	assert_int_equal(s2_change_pte(small.mm, NULL, FRAME_HVA, &good), -EINVAL);
	assert_int_equal(s2_change_pte(small.mm, &inv, FRAME_HVA, NULL), -EINVAL);
	assert_int_equal(s2_change_pte(other.mm, &inv, FRAME_HVA, &good), -EINVAL);
	assert_no_change_pte(&small, &inv, FRAME_HVA + 1, good);
	assert_no_change_pte(&small, &inv, FRAME_HVA_OF(2), good);
	assert_no_change_pte(&small, &inv, FRAME_HVA_OF(-1), good);
	assert_no_change_pte(&small, &inv, UINT64_MAX - PAGE + 1, good);
	page = good;
	page.shift = S2_HUGE_SHIFT;
	assert_no_change_pte(&small, &inv, FRAME_HVA, page);
	page.shift = 0;
	assert_no_change_pte(&small, &inv, FRAME_HVA, page);
	page = good;
	page.addr = (char *)good.addr + 8;
	assert_no_change_pte(&small, &inv, FRAME_HVA, page);
	page.addr = NULL;
	assert_no_change_pte(&small, &inv, FRAME_HVA, page);
	after = state_of(&small);
	assert_memory_equal(&before, &after, sizeof(before));
	s2_invalidate_range_end(small.mm, &inv);
	before = state_of(&small);
	assert_no_change_pte(&small, &inv, FRAME_HVA, good);
	after = state_of(&small);
	assert_memory_equal(&before, &after, sizeof(before));
	small_vm_end(&other);
	small_vm_end(&small);
}

static void young_calls(struct small_vm *small)
{
	uint64_t bits = UNTOUCHED;

	for (unsigned i = 0; i < NR_BAD_RANGES; i++) {
		assert_false(
			s2_clear_flush_young(small->mm, bad_ranges[i].start, bad_ranges[i].end));
		assert_false(s2_clear_young(small->mm, bad_ranges[i].start, bad_ranges[i].end));
		assert_int_equal(s2_test_young_pages(small->mm, bad_ranges[i].start,
						     bad_ranges[i].end, &bits),
				 -EINVAL);
	}
	assert_false(s2_clear_flush_young(NULL, FRAME_HVA, FRAME_HVA + PAGE));
	assert_false(s2_clear_young(NULL, FRAME_HVA, FRAME_HVA + PAGE));
	assert_false(s2_test_young(NULL, FRAME_HVA));
	assert_false(s2_test_young(small->mm, FRAME_HVA + 1));
	assert_false(s2_test_young(small->mm, UINT64_MAX));
	assert_false(s2_test_young(small->mm, UINT64_MAX - PAGE + 1));
	assert_int_equal(s2_test_young_pages(NULL, FRAME_HVA, FRAME_HVA + PAGE, &bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(small->mm, FRAME_HVA, FRAME_HVA + PAGE, NULL), -EINVAL);
	assert_int_equal(bits, UNTOUCHED);
}

/* Refused, not only answered with false: what is young stays so. */
static void test_young_calls(void **state)
{
	struct small_vm small;

	changes_nothing(young_calls);
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_guest_reads(small.vcpu, 4, 0);
	young_calls(&small);
	assert_true(s2_test_young(small.mm, FRAME_HVA));
	small_vm_end(&small);
}

static void test_release_of_null_and_twice(void **state)
{
	struct small_vm small;
	uint64_t value;

	s2_release(NULL);
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_guest_reads(small.vcpu, 4, 0);
	s2_release(small.mm);
	s2_release(small.mm);
	assert_int_equal(guest_load(small.vcpu, 4, &value), -EFAULT);
	assert_int_equal(guest_load(small.vcpu, 3, &value), -ENXIO);
	small_vm_end(&small);
}

/* ---- vm.h ---- */

static void assert_no_vm(struct small_vm *small, const struct s2_vm_config *config)
{
	struct s2_vm *vm = (void *)(uintptr_t)UNTOUCHED;

	assert_int_equal(s2_vm_create(small->mm, config, &vm), -EINVAL);
	assert_int_equal((uintptr_t)vm, UNTOUCHED);
}

static void vm_creates(struct small_vm *small)
{
	struct s2_vm *vm = (void *)(uintptr_t)UNTOUCHED;

	assert_int_equal(s2_vm_create(NULL, NULL, &vm), -EINVAL);
	assert_int_equal(s2_vm_create(small->mm, NULL, NULL), -EINVAL);
	assert_int_equal((uintptr_t)vm, UNTOUCHED);
	assert_no_vm(small, &(struct s2_vm_config){ .mmu_lock = 2 });
	assert_no_vm(small, &(struct s2_vm_config){ .mmu_lock = (enum s2_mmu_lock_kind) - 1 });
	assert_no_vm(small, &(struct s2_vm_config){ .dirty_initially_set = true });
	for (unsigned i = 0; i < 8; i++) {
		struct s2_vm_config config = { 0 };

		config.reserved[i] = UINT64_C(1) << (63 - i);
		assert_no_vm(small, &config);
	}
	s2_vm_put(NULL);
}

static void test_vm_create_and_put(void **state)
{
	changes_nothing(vm_creates);
}

/* It would wait for its own end(), but for the range gate, which does not wait. */
static void test_vm_create_inside_a_pair(void **state)
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct s2_vm *vm = (void *)(uintptr_t)UNTOUCHED;
		struct s2_invalidation inv;
		struct small_vm small;
		int ret;

		small_vm_begin(&small, gate, NULL);
		assert_int_equal(s2_invalidate_range_start(small.mm, &inv, FRAME_HVA,
							   FRAME_HVA + PAGE, 0),
				 0);
		ret = s2_vm_create(small.mm, NULL, &vm);
		s2_invalidate_range_end(small.mm, &inv);
		if (gate == S2_GATE_RANGE) {
			assert_int_equal(ret, 0);
			s2_vm_put(vm);
		} else {
			assert_int_equal(ret, -EDEADLK);
			assert_int_equal((uintptr_t)vm, UNTOUCHED);
		}
		small_vm_end(&small);
	}
}

static const struct {
	struct kvm_userspace_memory_region mem;
	int ret;
} bad_regions[] = {
	{ { 5, 4, 16 * PAGE, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, UINT32_MAX, 16 * PAGE, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, 0, 16 * PAGE, PAGE + 1, FRAME_HVA }, -EINVAL },
	{ { 5, 0, 16 * PAGE + 1, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, 0, 16 * PAGE, PAGE, FRAME_HVA + 1 }, -EINVAL },
	{ { 5, 0, 16 * PAGE, PAGE, UINT64_MAX - PAGE + 1 }, -EINVAL },
	{ { 5, 0, 16 * PAGE, PAGE, UINT64_C(1) << 63 }, -EINVAL },
	{ { 5, 0, UINT64_MAX - PAGE + 1, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, 0, UINT64_MAX - PAGE + 1, 2 * PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, 0, UINT64_C(1) << 52, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5, 0, 16 * PAGE, UINT64_C(1) << 43, FRAME_HVA }, -EINVAL },
	{ { 5, 0, 16 * PAGE, UINT64_MAX - PAGE + 1, FRAME_HVA }, -EINVAL },
	{ { S2_USER_MEM_SLOTS, 0, 16 * PAGE, PAGE, FRAME_HVA }, -EINVAL },
	{ { 5 | 1 << 16, 0, 16 * PAGE, PAGE, FRAME_HVA }, -EINVAL },
	{ { UINT32_MAX, 0, 16 * PAGE, PAGE, FRAME_HVA }, -EINVAL },
	/* overlaps another, from before, inside, behind and around */
	{ { 5, 0, 3 * PAGE, 2 * PAGE, FRAME_HVA }, -EEXIST },
	{ { 5, 0, 5 * PAGE, PAGE, FRAME_HVA }, -EEXIST },
	{ { 5, 0, 13 * PAGE, 2 * PAGE, FRAME_HVA }, -EEXIST },
	{ { 5, 0, 0, 32 * PAGE, FRAME_HVA }, -EEXIST },
	{ { 0, 0, 6 * PAGE, 4 * PAGE, FRAME_HVA }, -EEXIST },
	/* out of order: absent, or of another shape */
	{ { 5, 0, 0, 0, 0 }, -EINVAL },
	{ { 0, 0, 4 * PAGE, 5 * PAGE, FRAME_HVA }, -EINVAL },
	{ { 0, 0, 4 * PAGE, 3 * PAGE, FRAME_HVA }, -EINVAL },
	{ { 0, 0, 4 * PAGE, 4 * PAGE, FRAME_HVA + PAGE }, -EINVAL },
	{ { 0, KVM_MEM_READONLY, 4 * PAGE, 4 * PAGE, FRAME_HVA }, -EINVAL },
	{ { 2, 0, 12 * PAGE, 2 * PAGE, FRAME_HVA + 8 * PAGE }, -EINVAL },
	/* a delete is held to the rules as well */
	{ { 0, 4, 0, 0, 0 }, -EINVAL },
	{ { 0, 0, 1, 0, 0 }, -EINVAL },
	{ { 0, 0, 0, 0, 1 }, -EINVAL },
};

static void bad_updates(struct small_vm *small)
{
	static const struct kvm_userspace_memory_region good = { .memory_size = PAGE };

	for (unsigned i = 0; i < sizeof(bad_regions) / sizeof(bad_regions[0]); i++) {
		int ret = s2_vm_set_memory_region(small->vm, &bad_regions[i].mem);

		if (ret != bad_regions[i].ret)
			fail_msg("region %u: %d instead of %d", i, ret, bad_regions[i].ret);
	}
	assert_int_equal(s2_vm_set_memory_region(NULL, &good), -EINVAL);
	assert_int_equal(s2_vm_set_memory_region(small->vm, NULL), -EINVAL);
}

static void test_set_memory_region(void **state)
{
	changes_nothing(bad_updates);
}

static void bad_lookups(struct small_vm *small)
{
	static const uint64_t gfns[] = {
		0, 3, 14, UINT64_C(1) << 36, UINT64_C(1) << 52, UINT64_MAX - 1, UINT64_MAX,
	};
	uint64_t hva = UNTOUCHED;

	assert_int_equal(s2_vm_memslots_generation(NULL), 0);
	assert_int_equal(s2_vm_gfn_to_hva(NULL, 4, &hva), -EINVAL);
	assert_int_equal(s2_vm_gfn_to_hva(small->vm, 4, NULL), -EINVAL);
	for (unsigned i = 0; i < sizeof(gfns) / sizeof(gfns[0]); i++)
		assert_int_equal(s2_vm_gfn_to_hva(small->vm, gfns[i], &hva), -ENOENT);
	assert_int_equal(hva, UNTOUCHED);
}

static void test_memslots_generation_and_gfn_to_hva(void **state)
{
	changes_nothing(bad_lookups);
}

static void bad_logs(struct small_vm *small)
{
	uint64_t bits = UNTOUCHED;
	struct kvm_dirty_log get = { .slot = 1, .dirty_bitmap = &bits };
	struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = 4, .dirty_bitmap = &bits };

	assert_int_equal(s2_vm_get_dirty_log(NULL, &get), -EINVAL);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, NULL), -EINVAL);
	assert_int_equal(s2_vm_clear_dirty_log(NULL, &clear), -EINVAL);
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, NULL), -EINVAL);
	clear.dirty_bitmap = get.dirty_bitmap = NULL;
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &get), -EINVAL);
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, &clear), -EINVAL);
	clear.dirty_bitmap = get.dirty_bitmap = &bits;
	clear.slot = get.slot = 0;
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &get), -ENOENT);
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, &clear), -ENOENT);
	clear.slot = get.slot = S2_USER_MEM_SLOTS;
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &get), -EINVAL);
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, &clear), -EINVAL);
	clear.slot = 1;
	clear.first_page = 1;
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, &clear), -EINVAL);
	clear.first_page = 64;
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, &clear), -EINVAL);
	assert_int_equal(bits, UNTOUCHED);
}

static void test_dirty_log(void **state)
{
	changes_nothing(bad_logs);
}

static void vm_stats_calls(struct small_vm *small)
{
	struct s2_vm_stats stats;

	assert_int_equal(s2_vm_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_vm_get_stats(small->vm, NULL), -EINVAL);
}

static void test_vm_get_stats(void **state)
{
	changes_nothing(vm_stats_calls);
}

/* ---- vcpu.h ---- */

static void vcpu_nulls(struct small_vm *small)
{
	struct s2_vcpu *vcpu = (void *)(uintptr_t)UNTOUCHED;
	struct s2_vcpu_stats stats;
	uint64_t value = UNTOUCHED;

	assert_int_equal(s2_vcpu_create(NULL, NULL, &vcpu), -EINVAL);
	assert_int_equal(s2_vcpu_create(small->vm, NULL, NULL), -EINVAL);
	assert_int_equal((uintptr_t)vcpu, UNTOUCHED);
	assert_int_equal(s2_vcpu_destroy(NULL), 0);
	assert_int_equal(s2_vcpu_enter(NULL), -EINVAL);
	assert_int_equal(s2_vcpu_exit(NULL), -EINVAL);
	assert_int_equal(s2_vcpu_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_vcpu_get_stats(small->vcpu, NULL), -EINVAL);
	assert_int_equal(s2_vcpu_read(NULL, 4 * PAGE, &value, 8), -EINVAL);
	assert_int_equal(s2_vcpu_write(NULL, 4 * PAGE, &value, 8), -EINVAL);
	assert_int_equal(s2_vcpu_read(small->vcpu, 4 * PAGE, NULL, 8), -EINVAL);
	assert_int_equal(s2_vcpu_write(small->vcpu, 4 * PAGE, NULL, 8), -EINVAL);
	assert_int_equal(value, UNTOUCHED);
}

static void test_vcpu_calls_with_null(void **state)
{
	changes_nothing(vcpu_nulls);
}

static void *enter_and_exit_elsewhere(void *vcpu)
{
	assert_int_equal(s2_vcpu_enter(vcpu), -EBUSY);
	assert_int_equal(s2_vcpu_exit(vcpu), -EPERM);
	return NULL;
}

static void vcpu_out_of_order(struct small_vm *small)
{
	pthread_t thread;

	assert_int_equal(s2_vcpu_exit(small->vcpu), -EPERM);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), -EBUSY);
	assert_int_equal(s2_vcpu_destroy(small->vcpu), -EBUSY);
	assert_int_equal(pthread_create(&thread, NULL, enter_and_exit_elsewhere, small->vcpu), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), -EPERM);
	s2_vcpu_poll(small->vcpu);
}

static void test_vcpu_calls_out_of_order(void **state)
{
	changes_nothing(vcpu_out_of_order);
}

/* The answer of all eight, which must leave what they were given alone. */
static void assert_accesses(struct s2_vcpu *vcpu, uint64_t gpa, int ret)
{
	uint8_t v8 = 77;
	uint16_t v16 = 77;
	uint32_t v32 = 77;
	uint64_t v64 = 77;

	assert_int_equal(s2_vcpu_load8(vcpu, gpa, &v8), ret);
	assert_int_equal(s2_vcpu_load16(vcpu, gpa, &v16), ret);
	assert_int_equal(s2_vcpu_load32(vcpu, gpa, &v32), ret);
	assert_int_equal(s2_vcpu_load64(vcpu, gpa, &v64), ret);
	assert_true(v8 == 77 && v16 == 77 && v32 == 77 && v64 == 77);
	assert_int_equal(s2_vcpu_store8(vcpu, gpa, 1), ret);
	assert_int_equal(s2_vcpu_store16(vcpu, gpa, 1), ret);
	assert_int_equal(s2_vcpu_store32(vcpu, gpa, 1), ret);
	assert_int_equal(s2_vcpu_store64(vcpu, gpa, 1), ret);
}

static void accesses_out_of_guest_mode(struct small_vm *small)
{
	assert_accesses(small->vcpu, 4 * PAGE, -EPERM);
	assert_accesses(small->vcpu, 4 * PAGE + 1, -EPERM);
	assert_accesses(small->vcpu, 0, -EPERM);
	assert_accesses(small->vcpu, UINT64_MAX, -EPERM);
	assert_int_equal(*frame_provider_word(&small->host, 0), 0);
}

static void test_accesses_out_of_guest_mode(void **state)
{
	changes_nothing(accesses_out_of_guest_mode);
}

static void test_accesses_outside_of_memory(void **state)
{
	struct small_vm small;
	uint64_t value;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_int_equal(s2_vcpu_enter(small.vcpu), 0);
	assert_accesses(small.vcpu, 0, -ENXIO);
	assert_accesses(small.vcpu, 8 * PAGE, -ENXIO);
	assert_accesses(small.vcpu, UINT64_C(1) << 48, -ENXIO);
	assert_accesses(small.vcpu, (UINT64_C(1) << 48) + 4 * PAGE, -ENXIO);
	assert_accesses(small.vcpu, UINT64_C(1) << 63, -ENXIO);
	assert_accesses(small.vcpu, UINT64_MAX, -ENXIO);
	assert_int_equal(s2_vcpu_load64(small.vcpu, UINT64_MAX - 6, &value), -ENXIO);
	assert_int_equal(s2_vcpu_store16(small.vcpu, UINT64_MAX, 1), -ENXIO);
	/* Half in, half out: nothing is stored. */
	assert_int_equal(s2_vcpu_store64(small.vcpu, 8 * PAGE - 4, UINT64_MAX), -ENXIO);
	assert_int_equal(s2_vcpu_store64(small.vcpu, 4 * PAGE - 4, UINT64_MAX), -ENXIO);
	assert_int_equal(s2_vcpu_exit(small.vcpu), 0);
	assert_int_equal(*frame_provider_word(&small.host, 0), 0);
	assert_int_equal(frame_provider_word(&small.host, 3)[511], 0);
	small_vm_end(&small);
}

static void test_copies_outside_of_memory(void **state)
{
	static char data[6 * PAGE];
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	assert_int_equal(set_slot(small.vm, 1, 8, 1, 8, KVM_MEM_READONLY), 0);
	assert_int_equal(s2_vcpu_read(small.vcpu, UINT64_MAX, data, 2), -EINVAL);
	assert_int_equal(s2_vcpu_write(small.vcpu, UINT64_MAX - 8, data, PAGE), -EINVAL);
	assert_int_equal(s2_vcpu_read(small.vcpu, 4 * PAGE, data, SIZE_MAX), -EINVAL);
	assert_int_equal(s2_vcpu_read(small.vcpu, UINT64_MAX, data, 1), -ENXIO);
	assert_int_equal(s2_vcpu_read(small.vcpu, 9 * PAGE, data, 1), -ENXIO);
	assert_int_equal(s2_vcpu_read(small.vcpu, 9 * PAGE, data, 0), 0);
	assert_int_equal(s2_vcpu_read(small.vcpu, 5 * PAGE, data, 5 * PAGE), -ENXIO);
	assert_int_equal(*(uint64_t *)(void *)data, 1);
	assert_int_equal(s2_vcpu_write(small.vcpu, 7 * PAGE, data, 2 * PAGE), -EROFS);
	assert_int_equal(*frame_provider_word(&small.host, 3), 1);
	assert_int_equal(*frame_provider_word(&small.host, 8), 8);
	/* It has left guest mode again. */
	assert_int_equal(s2_vcpu_exit(small.vcpu), -EPERM);
	small_vm_end(&small);
}

static void test_provider_errors_reach_the_caller(void **state)
{
	struct small_vm small;
	uint64_t value = 77;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, FRAME_PAGES, 0), 0);
	assert_int_equal(guest_load(small.vcpu, 4, &value), -EFAULT);
	assert_int_equal(set_slot(small.vm, 0, 0, 0, 0, 0), 0);
	assert_int_equal(set_slot(small.vm, 0, 4, 4, 0, 0), 0);
	atomic_store(&small.host.error, -EHWPOISON);
	assert_int_equal(guest_load(small.vcpu, 4, &value), -EHWPOISON);
	assert_int_equal(value, 77);
	assert_int_equal(vm_stats(small.vm).pages_mapped, 0);
	atomic_store(&small.host.error, 0);
	assert_guest_reads(small.vcpu, 4, 0);
	small_vm_end(&small);
}

static void test_is_mmio(void **state)
{
	assert_true(s2_is_mmio(-ENXIO));
	assert_true(s2_is_mmio(-EROFS));
	assert_false(s2_is_mmio(0));
	assert_false(s2_is_mmio(-EFAULT));
	assert_false(s2_is_mmio(ENXIO));
	assert_false(s2_is_mmio(INT32_MIN));
}

/* ---- process.h ---- */

static void process_calls(struct small_vm *small)
{
	void *untouched = (void *)(uintptr_t)UNTOUCHED, *at = untouched;
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *odd = (char *)page + 1;

	assert_true(page != MAP_FAILED);
	assert_int_equal(s2_mmap(NULL, NULL, PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &at),
			 -EINVAL);
	assert_int_equal(s2_mmap(small->mm, NULL, PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0,
				 NULL),
			 -EINVAL);
	assert_int_equal(s2_mmap(small->mm, NULL, 0, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &at),
			 -EINVAL);
	assert_int_equal(s2_mmap(small->mm, odd, PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				 -1, 0, &at),
			 -EINVAL);
	assert_int_equal(s2_mmap(small->mm, NULL, PAGE, 0, MAP_PRIVATE, -1, 0, &at), -EBADF);
	assert_int_equal(s2_mmap(small->mm, page, SIZE_MAX, 0,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &at),
			 -ENOMEM);
	assert_int_equal(s2_munmap(NULL, page, PAGE), -EINVAL);
	assert_int_equal(s2_munmap(small->mm, odd, PAGE), -EINVAL);
	assert_int_equal(s2_munmap(small->mm, page, 0), -EINVAL);
	assert_int_equal(s2_munmap(small->mm, page, SIZE_MAX), -EINVAL);
	assert_int_equal(s2_mprotect(NULL, page, PAGE, PROT_READ), -EINVAL);
	assert_int_equal(s2_mprotect(small->mm, odd, PAGE, PROT_READ), -EINVAL);
	assert_int_equal(s2_mprotect(small->mm, page, SIZE_MAX - 2 * PAGE, PROT_READ), -ENOMEM);
	assert_int_equal(s2_madvise(NULL, page, PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(s2_madvise(small->mm, odd, PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(s2_madvise(small->mm, page, PAGE, -1), -EINVAL);
	assert_int_equal(s2_mremap(NULL, page, PAGE, PAGE, 0, NULL, &at), -EINVAL);
	assert_int_equal(s2_mremap(small->mm, page, PAGE, PAGE, 0, NULL, NULL), -EINVAL);
	assert_int_equal(s2_mremap(small->mm, odd, PAGE, PAGE, 0, NULL, &at), -EINVAL);
	assert_ptr_equal(at, untouched);
	assert_int_equal(munmap(page, PAGE), 0);
}

/* A bracket around a call that then fails is allowed, but there is nothing here to bracket. */
static void ignoring_pairs(void (*test)(struct small_vm *small))
{
	struct state before, after;
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	before = state_of(&small);
	test(&small);
	after = state_of(&small);
	after.mm.invalidations = before.mm.invalidations;
	after.mm.elided = before.mm.elided;
	after.vm.invalidations = before.vm.invalidations;
	after.vm.elided = before.vm.elided;
	assert_memory_equal(&before, &after, sizeof(before));
	small_vm_end(&small);
}

static void test_process_calls(void **state)
{
	int saved = errno = 4711;

	if (SANITIZER_FORBIDS_BAD_MUNMAP) {
		print_message("gcc's ThreadSanitizer ends at an munmap() of SIZE_MAX bytes\n");
		skip();
	}
	ignoring_pairs(process_calls);
	/* errno is not touched by the library; munmap() and mmap() of the test do not fail. */
	assert_int_equal(errno, saved);
}

static void test_inline_accesses_with_null(void **state)
{
	struct small_vm small;
	uint64_t value = UNTOUCHED;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 0, 1, 0, 0), 0);
	assert_int_equal(s2_vcpu_enter(small.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(NULL, 0, &value), -EINVAL);
	assert_int_equal(s2_vcpu_store64(NULL, 0, value), -EINVAL);
	/* Twice: the first would miss, the second hit. */
	assert_int_equal(s2_vcpu_load64(small.vcpu, 0, NULL), -EINVAL);
	assert_int_equal(s2_vcpu_load64(small.vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_load64(small.vcpu, 0, NULL), -EINVAL);
	s2_vcpu_poll(NULL);
	assert_int_equal(s2_vcpu_exit(small.vcpu), 0);
	small_vm_end(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inline_accesses_with_null),
		cmocka_unit_test(test_gate_name),
		cmocka_unit_test(test_mm_create),
		cmocka_unit_test(test_mm_put_and_get_stats),
		cmocka_unit_test(test_invalidate_range_start),
		cmocka_unit_test(test_invalidate_range_end_of_null),
		cmocka_unit_test(test_invalidate_range_end_out_of_order),
		cmocka_unit_test(test_change_pte),
		cmocka_unit_test(test_young_calls),
		cmocka_unit_test(test_release_of_null_and_twice),
		cmocka_unit_test(test_vm_create_and_put),
		cmocka_unit_test(test_vm_create_inside_a_pair),
		cmocka_unit_test(test_set_memory_region),
		cmocka_unit_test(test_memslots_generation_and_gfn_to_hva),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_vm_get_stats),
		cmocka_unit_test(test_vcpu_calls_with_null),
		cmocka_unit_test(test_vcpu_calls_out_of_order),
		cmocka_unit_test(test_accesses_out_of_guest_mode),
		cmocka_unit_test(test_accesses_outside_of_memory),
		cmocka_unit_test(test_copies_outside_of_memory),
		cmocka_unit_test(test_provider_errors_reach_the_caller),
		cmocka_unit_test(test_is_mmio),
		cmocka_unit_test(test_process_calls),
	};

	return cmocka_run_group_tests_name("bad_input", tests, NULL, NULL);
}
