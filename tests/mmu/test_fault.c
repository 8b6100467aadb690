/* SPDX-License-Identifier: MIT */
/*
 * The fault path, with either kind of mmu_lock. What races with a fault is done
 * from inside the provider's fault(), after it has looked its page up: that is
 * the one place where the order of events is certain without a second thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/schedule.h"
#include "memslot/vm.h"
#include "mmu/fault.h"
#include "mmu/table.h"
#include "small_vm.h"
#include "task_state.h"
#include "vcpu/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGES 512u
/* A guest frame, and a page of the provider, where a 2 MiB leaf may be. */
#define HUGE_GFN UINT64_C(1024)
#define HUGE_PAGE 512u

/*
 * @inside: what happens while the provider is at work, once: it clears itself.
 * @answer: what the provider says instead of its own answer, if @overrides.
 */
struct fixture {
	struct small_vm small; /* first: the provider's context is inside it */
	int (*frame_fault)(void *ctx, uint64_t hva, unsigned access, struct s2_page *page);
	void (*inside)(struct fixture *f);
	struct s2_invalidation inv;
	bool overrides;
	int answer;
	struct s2_fault_state *faults; /* the vCPU's own, which the VM's statistics include */
};

static int hooked_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	struct fixture *f = (struct fixture *)((char *)ctx - offsetof(struct fixture, small.host));
	void (*inside)(struct fixture * f) = f->inside;
	int ret = f->frame_fault(ctx, hva, access, page);

	if (f->overrides)
		ret = f->answer;
	if (inside) {
		f->inside = NULL;
		inside(f);
	}
	return ret;
}

static const enum s2_mmu_lock_kind rwlock = S2_MMU_LOCK_RWLOCK;
static const enum s2_mmu_lock_kind mutex = S2_MMU_LOCK_MUTEX;

static int setup(void **state)
{
	const struct s2_vm_config config = { .mmu_lock = *(const enum s2_mmu_lock_kind *)*state };
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	small_vm_begin(&f->small, S2_GATE_RANGE, &config);
	f->faults = &s2_full(f->small.vcpu)->fault;
	f->frame_fault = f->small.host.ops.fault;
	f->small.host.ops.fault = hooked_fault;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	small_vm_end(&f->small);
	free(f);
	return 0;
}

#define FAULT_TEST(function)                                                                       \
	{ #function " (rwlock)", function, setup, teardown, (void *)&rwlock },                     \
	{                                                                                          \
#function " (mutex)", function, setup, teardown, (void *)&mutex                    \
	}

static int fault(struct fixture *f, uint64_t gfn, unsigned access)
{
	return s2_mmu_fault(f->small.vm, f->faults, gfn, access);
}

static uint64_t spte_of(struct fixture *f, uint64_t gfn)
{
	return s2_table_walk(f->small.vm->mmu_root, gfn).spte;
}

static bool maps_frame(struct fixture *f, uint64_t gfn, unsigned frame)
{
	return s2_spte_present(spte_of(f, gfn)) &&
	       s2_spte_addr(spte_of(f, gfn)) ==
		       (uintptr_t)frame_provider_word(&f->small.host, frame);
}

static void open_pair(struct fixture *f, unsigned page, unsigned pages)
{
	assert_int_equal(s2_invalidate_range_start(f->small.mm, &f->inv, FRAME_HVA_OF(page),
						   FRAME_HVA_OF(page + pages), 0),
			 0);
}

static void close_pair(struct fixture *f)
{
	s2_invalidate_range_end(f->small.mm, &f->inv);
}

static void add_slot(struct fixture *f, uint64_t gfn, uint64_t pages, unsigned page, unsigned flags)
{
	assert_int_equal(set_slot(f->small.vm, 0, gfn, pages, page, flags), 0);
}

static void test_a_fault_maps_its_page_alone(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(fault(f, 3, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 3, 3));
	assert_false(s2_spte_present(spte_of(f, 2)));
	assert_false(s2_spte_present(spte_of(f, 4)));
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
	assert_int_equal(f->faults->counts.faults, 1);
	assert_int_equal(f->faults->counts.retries, 0);
}

static void test_a_read_of_a_page_that_may_be_written_sets_no_dirty_bit(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(spte_of(f, 0) & S2_SPTE_ACCESSED);
	assert_true(spte_of(f, 0) & S2_SPTE_WRITABLE);
	assert_false(spte_of(f, 0) & S2_SPTE_DIRTY);
}

static void test_a_write_after_a_read_makes_the_page_writable(void **state)
{
	struct fixture *f = *state;

	f->small.host.read_only_reads = true;
	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_false(spte_of(f, 0) & S2_SPTE_WRITABLE);
	assert_int_equal(fault(f, 0, S2_ACCESS_WRITE), 0);
	assert_true(spte_of(f, 0) & S2_SPTE_WRITABLE);
	assert_true(spte_of(f, 0) & S2_SPTE_DIRTY);
	/* A read fault that comes late takes nothing away. */
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(spte_of(f, 0) & S2_SPTE_WRITABLE);
	assert_true(spte_of(f, 0) & S2_SPTE_DIRTY);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
}

static void test_a_guest_store_sets_the_dirty_bit_and_a_load_does_not(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(guest_load(f->small.vcpu, 0, &value), 0);
	assert_false(spte_of(f, 0) & S2_SPTE_DIRTY);
	assert_int_equal(guest_store(f->small.vcpu, 0, 1), 0);
	assert_true(spte_of(f, 0) & S2_SPTE_DIRTY);
	/* Only the first store went by the walk that sets the bit; a fault was not needed. */
	assert_int_equal(atomic_load(&f->small.host.faults), 1);
}

static void test_a_load_sets_the_accessed_bit_again(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(guest_load(f->small.vcpu, 0, &value), 0);
	assert_true(s2_clear_flush_young(f->small.mm, FRAME_HVA_OF(0), FRAME_HVA_OF(1)));
	assert_false(spte_of(f, 0) & S2_SPTE_ACCESSED);
	assert_int_equal(guest_load(f->small.vcpu, 0, &value), 0);
	assert_true(spte_of(f, 0) & S2_SPTE_ACCESSED);
	assert_int_equal(atomic_load(&f->small.host.faults), 1);
}

static void test_a_readonly_memslot_is_read_and_never_writable(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, KVM_MEM_READONLY);
	assert_int_equal(fault(f, 0, S2_ACCESS_WRITE), -EROFS);
	assert_int_equal(atomic_load(&f->small.host.faults), 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(s2_spte_present(spte_of(f, 0)));
	assert_false(spte_of(f, 0) & S2_SPTE_WRITABLE);
}

static void test_no_memslot_means_mmio(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 4, 4, 0, 0);
	assert_int_equal(fault(f, 3, S2_ACCESS_READ), -ENXIO);
	assert_int_equal(fault(f, 8, S2_ACCESS_READ), -ENXIO);
	assert_int_equal(fault(f, S2_GFN_LIMIT, S2_ACCESS_READ), -ENXIO);
	assert_int_equal(fault(f, UINT64_MAX, S2_ACCESS_WRITE), -ENXIO);
	assert_int_equal(atomic_load(&f->small.host.faults), 0);
	assert_int_equal(vm_stats(f->small.vm).tables, 1);
}

static void test_the_last_page_below_2_48_can_be_mapped_and_no_page_beyond(void **state)
{
	struct fixture *f = *state;

	add_slot(f, S2_GFN_LIMIT - 1, 2, 0, 0);
	assert_int_equal(fault(f, S2_GFN_LIMIT - 1, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, S2_GFN_LIMIT - 1, 0));
	assert_int_equal(fault(f, S2_GFN_LIMIT, S2_ACCESS_READ), -ENXIO);
	exchange_frame(&f->small, 0, FRAME_PAGES);
	assert_false(s2_spte_present(spte_of(f, S2_GFN_LIMIT - 1)));
	exchange_frame(&f->small, 1, FRAME_PAGES);
}

static void test_with_a_dirty_log_only_a_write_makes_writable(void **state)
{
	struct fixture *f = *state;
	uint64_t bits = 0;
	const struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &bits };

	add_slot(f, 0, 8, 0, KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_false(spte_of(f, 0) & S2_SPTE_WRITABLE);
	assert_int_equal(fault(f, 1, S2_ACCESS_WRITE), 0);
	assert_true(spte_of(f, 1) & S2_SPTE_WRITABLE);
	assert_int_equal(s2_vm_get_dirty_log(f->small.vm, &log), 0);
	assert_int_equal(bits, 1 << 1);
	assert_false(spte_of(f, 1) & S2_SPTE_WRITABLE);
}

/* 2 MiB leaves */

static void want_huge(struct fixture *f)
{
	f->small.host.shift = S2_HUGE_SHIFT;
}

static void test_a_huge_page_is_mapped_huge_where_all_is_aligned(void **state)
{
	struct fixture *f = *state;
	struct s2_walk_result found;

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	assert_int_equal(fault(f, HUGE_GFN + 7, S2_ACCESS_READ), 0);
	found = s2_table_walk(f->small.vm->mmu_root, HUGE_GFN);
	assert_int_equal(found.shift, S2_HUGE_SHIFT);
	assert_int_equal(s2_spte_addr(found.spte),
			 (uintptr_t)frame_provider_word(&f->small.host, HUGE_PAGE));
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 1);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
	assert_guest_reads(f->small.vcpu, HUGE_GFN, HUGE_PAGE);
	assert_guest_reads(f->small.vcpu, HUGE_GFN + 511, HUGE_PAGE + 511);
	assert_int_equal(atomic_load(&f->small.host.faults), 1);
}

/* The page of the 2 MiB that was faulted on, and no more, is mapped, and it is the right one. */
static void assert_mapped_small(struct fixture *f, uint64_t gfn, unsigned page)
{
	assert_int_equal(fault(f, gfn, S2_ACCESS_READ), 0);
	assert_int_equal(s2_table_walk(f->small.vm->mmu_root, gfn).shift, S2_PAGE_SHIFT);
	assert_true(maps_frame(f, gfn, page));
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 0);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
	assert_guest_reads(f->small.vcpu, gfn, page);
}

static void test_a_memslot_that_ends_inside_gets_small_leaves(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES - 1, HUGE_PAGE, 0);
	assert_mapped_small(f, HUGE_GFN + 7, HUGE_PAGE + 7);
}

static void test_a_memslot_that_begins_inside_gets_small_leaves(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN + 1, HUGE_PAGES - 1, HUGE_PAGE + 1, 0);
	assert_mapped_small(f, HUGE_GFN + 7, HUGE_PAGE + 7);
}

static void test_a_gfn_out_of_step_with_its_hva_gets_small_leaves(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, 2 * HUGE_PAGES, HUGE_PAGE + 1, 0);
	assert_mapped_small(f, HUGE_GFN + 7, HUGE_PAGE + 8);
}

static void test_a_memslot_with_a_dirty_log_gets_small_leaves(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, KVM_MEM_LOG_DIRTY_PAGES);
	assert_mapped_small(f, HUGE_GFN + 7, HUGE_PAGE + 7);
}

static void test_small_leaves_that_are_there_keep_a_huge_one_out(void **state)
{
	struct fixture *f = *state;

	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	assert_int_equal(fault(f, HUGE_GFN, S2_ACCESS_READ), 0);
	want_huge(f);
	assert_int_equal(fault(f, HUGE_GFN + 7, S2_ACCESS_WRITE), 0);
	assert_true(maps_frame(f, HUGE_GFN + 7, HUGE_PAGE + 7));
	assert_true(spte_of(f, HUGE_GFN + 7) & S2_SPTE_DIRTY);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 2);
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 0);
}

static void test_a_huge_leaf_takes_the_place_of_small_ones_that_are_gone(void **state)
{
	struct fixture *f = *state;
	uint64_t tables;

	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	assert_int_equal(fault(f, HUGE_GFN, S2_ACCESS_READ), 0);
	assert_int_equal(fault(f, HUGE_GFN + 100, S2_ACCESS_READ), 0);
	tables = f->small.vm->nr_tables;
	want_huge(f);
	open_pair(f, HUGE_PAGE, HUGE_PAGES);
	close_pair(f);
	assert_int_equal(fault(f, HUGE_GFN + 7, S2_ACCESS_WRITE), 0);
	assert_int_equal(s2_table_walk(f->small.vm->mmu_root, HUGE_GFN).shift, S2_HUGE_SHIFT);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 1);
	assert_int_equal(f->small.vm->nr_tables, tables - 1);
}

static void test_a_huge_leaf_gives_way_to_a_small_page(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	f->small.host.read_only_reads = true;
	assert_int_equal(fault(f, HUGE_GFN, S2_ACCESS_READ), 0);
	f->small.host.shift = S2_PAGE_SHIFT;
	assert_int_equal(fault(f, HUGE_GFN + 7, S2_ACCESS_WRITE), 0);
	assert_true(maps_frame(f, HUGE_GFN + 7, HUGE_PAGE + 7));
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 0);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
}

static void test_starting_a_dirty_log_splits_a_huge_leaf(void **state)
{
	struct fixture *f = *state;
	uint64_t bits[HUGE_PAGES / 64];
	const struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = bits };

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	assert_int_equal(guest_store(f->small.vcpu, HUGE_GFN, 5), 0);
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 1);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 0);
	assert_int_equal(guest_store(f->small.vcpu, HUGE_GFN + 65, 5), 0);
	assert_int_equal(s2_vm_get_dirty_log(f->small.vm, &log), 0);
	assert_int_equal(bits[0], 0);
	assert_int_equal(bits[1], 2);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
}

static void test_zapping_part_of_a_huge_leaf_zaps_it_all(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, 2 * HUGE_PAGES, HUGE_PAGE, 0);
	assert_int_equal(fault(f, HUGE_GFN, S2_ACCESS_READ), 0);
	assert_int_equal(fault(f, HUGE_GFN + HUGE_PAGES, S2_ACCESS_READ), 0);
	open_pair(f, HUGE_PAGE + 100, 1);
	assert_false(s2_spte_present(spte_of(f, HUGE_GFN)));
	assert_true(s2_spte_present(spte_of(f, HUGE_GFN + HUGE_PAGES)));
	close_pair(f);
	assert_int_equal(vm_stats(f->small.vm).huge_mapped, 1);
}

static void test_no_huge_leaf_covers_a_page_that_is_being_invalidated(void **state)
{
	struct fixture *f = *state;

	want_huge(f);
	add_slot(f, HUGE_GFN, HUGE_PAGES, HUGE_PAGE, 0);
	open_pair(f, HUGE_PAGE + 100, 1);
	/* A neighbour may be mapped, but not together with the page that is going. */
	fault(f, HUGE_GFN, S2_ACCESS_READ);
	assert_false(s2_spte_present(spte_of(f, HUGE_GFN + 100)));
	close_pair(f);
	assert_int_equal(fault(f, HUGE_GFN, S2_ACCESS_READ), 0);
}

static void test_the_process_provider_maps_huge_if_it_is_told_to(void **state)
{
	const struct s2_mm_config config = { .huge_pages = true };
	const struct s2_vm_config vm_config = {
		.mmu_lock = ((struct fixture *)*state)->small.vm->mmu_lock.kind
	};
	size_t size = (size_t)3 << S2_HUGE_SHIFT;
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t hva = ((uintptr_t)map + (1u << S2_HUGE_SHIFT) - 1) >> S2_HUGE_SHIFT
									       << S2_HUGE_SHIFT;
	struct kvm_userspace_memory_region mem = {
		.memory_size = UINT64_C(1) << S2_HUGE_SHIFT,
		.userspace_addr = hva,
	};
	struct s2_vcpu *vcpu;
	struct s2_mm *mm;
	struct s2_vm *vm;
	uint64_t value;

	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(s2_mm_create(&config, &mm), 0);
	assert_int_equal(s2_vm_create(mm, &vm_config, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, test_vcpu_config(), &vcpu), 0);
	assert_int_equal(s2_vm_set_memory_region(vm, &mem), 0);
	assert_int_equal(guest_store(vcpu, 300, 77), 0);
	assert_int_equal(*(uint64_t *)(uintptr_t)(hva + 300 * S2_PAGE_SIZE), 77);
	assert_int_equal(vm_stats(vm).huge_mapped, 1);
	/* A hole in the 2 MiB: the rest comes in small pages. */
	assert_int_equal(s2_munmap(mm, (void *)(uintptr_t)(hva + 5 * S2_PAGE_SIZE), S2_PAGE_SIZE),
			 0);
	assert_int_equal(guest_load(vcpu, 300, &value), 0);
	assert_int_equal(value, 77);
	assert_int_equal(guest_load(vcpu, 5, &value), -EFAULT);
	assert_int_equal(vm_stats(vm).huge_mapped, 0);
	assert_int_equal(vm_stats(vm).pages_mapped, 1);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	s2_vm_put(vm);
	s2_mm_put(mm);
	munmap(map, size);
}

/* mmu_invalidate_retry */

static void whole_pair(struct fixture *f)
{
	exchange_frame(&f->small, 0, FRAME_PAGES);
}

static void test_a_pair_that_came_and_went_sends_the_fault_back(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = whole_pair;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
	assert_int_equal(f->faults->counts.retries, 1);
}

static void begin_pair(struct fixture *f)
{
	open_pair(f, 0, 2);
	atomic_store(&f->small.host.frame_of[0], FRAME_PAGES);
}

/* The pair is this thread's own, so that the second try is refused where another thread's would
 * wait. */
static void test_a_pair_that_is_still_open_keeps_the_page_out(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = begin_pair;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), -EDEADLK);
	assert_false(s2_spte_present(spte_of(f, 0)));
	close_pair(f);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
}

static void end_pair(struct fixture *f)
{
	close_pair(f);
}

static void test_a_pair_that_ended_meanwhile_sends_the_fault_back(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	open_pair(f, 4, 1);
	f->inside = end_pair;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_int_equal(f->faults->counts.retries, 1);
}

static void test_a_pair_elsewhere_in_the_memslot_holds_up_nobody(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	open_pair(f, 2, 2);
	assert_int_equal(fault(f, 1, S2_ACCESS_READ), 0);
	assert_int_equal(fault(f, 4, S2_ACCESS_READ), 0);
	assert_int_equal(f->faults->counts.retries, 0);
	assert_int_equal(fault(f, 2, S2_ACCESS_READ), -EDEADLK);
	assert_int_equal(fault(f, 3, S2_ACCESS_READ), -EDEADLK);
	close_pair(f);
}

static void begin_pair_elsewhere(struct fixture *f)
{
	open_pair(f, 4, 2);
}

static void test_a_pair_begun_elsewhere_meanwhile_does_not_send_the_fault_back(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = begin_pair_elsewhere;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_int_equal(f->faults->counts.retries, 0);
	close_pair(f);
}

static void test_a_page_between_two_pairs_of_ones_own_is_no_deadlock(void **state)
{
	struct fixture *f = *state;
	struct s2_invalidation second;

	add_slot(f, 0, 8, 0, 0);
	open_pair(f, 0, 1);
	assert_int_equal(s2_invalidate_range_start(f->small.mm, &second, FRAME_HVA_OF(7),
						   FRAME_HVA_OF(8), 0),
			 0);
	s2_invalidate_range_end(f->small.mm, &second);
	assert_int_equal(fault(f, 4, S2_ACCESS_READ), 0);
	close_pair(f);
}

struct waiter {
	struct fixture *f;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	int ret;
};

static void *wait_and_fault(void *arg)
{
	struct waiter *waiter = arg;

	atomic_store(&waiter->tid, gettid());
	waiter->ret = fault(waiter->f, 0, S2_ACCESS_READ);
	atomic_store(&waiter->done, true);
	return NULL;
}

static void test_a_fault_sleeps_until_another_threads_pair_ends(void **state)
{
	struct fixture *f = *state;
	struct waiter waiter = { .f = f };

	add_slot(f, 0, 8, 0, 0);
	open_pair(f, 0, 1);
	assert_int_equal(pthread_create(&waiter.thread, NULL, wait_and_fault, &waiter), 0);
	until_asleep(waiter.thread, &waiter.tid);
	assert_false(atomic_load(&waiter.done));
	assert_int_equal(atomic_load(&f->small.host.faults), 0);
	atomic_store(&f->small.host.frame_of[0], FRAME_PAGES);
	close_pair(f);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.ret, 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
}

/* The memslot changes while the provider is at work. */

static void delete_slot(struct fixture *f)
{
	assert_int_equal(set_slot(f->small.vm, 0, 0, 0, 0, 0), 0);
}

static void test_a_memslot_deleted_meanwhile_is_not_mapped(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = delete_slot;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), -ENXIO);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
}

static void put_other_slot(struct fixture *f)
{
	delete_slot(f);
	add_slot(f, 0, 8, 100, 0);
}

static void test_a_memslot_replaced_meanwhile_maps_the_new_host_page(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = put_other_slot;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 0, 100));
}

static void put_same_slot_on_new_page(struct fixture *f)
{
	delete_slot(f);
	exchange_frame(&f->small, 0, FRAME_PAGES);
	add_slot(f, 0, 8, 0, 0);
}

/* While there was no memslot, the invalidation was unrelated and told the VM nothing. */
static void test_a_memslot_deleted_and_put_back_meanwhile_maps_the_new_page(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = put_same_slot_on_new_page;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
}

static void move_there_and_back_over_a_new_page(struct fixture *f)
{
	add_slot(f, 64, 8, 0, 0);
	delete_slot(f);
	exchange_frame(&f->small, 0, FRAME_PAGES);
	add_slot(f, 64, 8, 0, 0);
	add_slot(f, 0, 8, 0, 0);
}

static void test_a_memslot_moved_there_and_back_meanwhile_maps_the_new_page(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = move_there_and_back_over_a_new_page;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
}

static void start_dirty_log(struct fixture *f)
{
	add_slot(f, 0, 8, 0, KVM_MEM_LOG_DIRTY_PAGES);
}

static void test_a_dirty_log_started_meanwhile_is_heeded(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->inside = start_dirty_log;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_false(spte_of(f, 0) & S2_SPTE_WRITABLE);
}

/* What the provider says */

static void test_the_providers_error_reaches_the_caller(void **state)
{
	const int errors[] = { -EFAULT, -EIO, -EAGAIN, -EINTR, -EBUSY, -ENOMEM, -EHWPOISON };
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->overrides = true;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		uint64_t value;

		f->answer = errors[i];
		assert_int_equal(fault(f, 0, S2_ACCESS_READ), errors[i]);
		assert_int_equal(guest_load(f->small.vcpu, 0, &value), errors[i]);
	}
	f->overrides = false;
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
}

static void whole_pair_that_brings_the_page(struct fixture *f)
{
	open_pair(f, 0, 1);
	f->overrides = false;
	close_pair(f);
}

static void test_an_error_that_an_invalidation_explains_is_tried_again(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	f->overrides = true;
	f->answer = -EFAULT;
	f->inside = whole_pair_that_brings_the_page;
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	assert_int_equal(f->faults->counts.retries, 1);
}

static void test_a_page_replaced_without_notice_is_mapped_anew(void **state)
{
	struct fixture *f = *state;
	struct s2_vcpu *second;
	uint64_t value;

	f->small.host.read_only_reads = true;
	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(guest_load(f->small.vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_create(f->small.vm, test_vcpu_config(), &second), 0);
	assert_guest_reads(second, 0, 0);
	/* As copy-on-write would do it that forgot its notifier. */
	atomic_store(&f->small.host.frame_of[0], FRAME_PAGES);
	assert_int_equal(guest_store(f->small.vcpu, 0, 99), 0);
	assert_true(maps_frame(f, 0, FRAME_PAGES));
	assert_int_equal(*frame_provider_word(&f->small.host, FRAME_PAGES), 99);
	assert_int_equal(*frame_provider_word(&f->small.host, 0), 0);
	assert_guest_reads(f->small.vcpu, 0, 99);
	/* Not even a vCPU whose TLB had it sees the old page. */
	assert_guest_reads(second, 0, 99);
	assert_int_equal(s2_vcpu_destroy(second), 0);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 1);
}

/* The second page's fault is a safepoint: what the first translated to may be gone after it. */
static void test_a_store_across_pages_looks_again_after_a_fault(void **state)
{
	struct fixture *f = *state;
	const uint64_t value = UINT64_C(0x1122334455667788);
	uint64_t found;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(guest_store(f->small.vcpu, 0, 0), 0);
	f->inside = whole_pair;
	assert_int_equal(s2_vcpu_enter(f->small.vcpu), 0);
	assert_int_equal(s2_vcpu_store64(f->small.vcpu, S2_PAGE_SIZE - 4, value), 0);
	assert_int_equal(s2_vcpu_load64(f->small.vcpu, S2_PAGE_SIZE - 4, &found), 0);
	assert_int_equal(s2_vcpu_exit(f->small.vcpu), 0);
	assert_int_equal(found, value);
	assert_int_equal(frame_provider_word(&f->small.host, 0)[511], 0);
}

static void test_after_release_every_fault_fails(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
	s2_release(f->small.mm);
	assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), -EFAULT);
}

static void test_without_memory_for_tables_nothing_is_mapped(void **state)
{
	struct fixture *f = *state;

	add_slot(f, 0, 8, 0, 0);
	for (long n = 1; n <= 3; n++) {
		counting_allocator_fail_at(&f->small.memory, n);
		assert_int_equal(fault(f, 0, S2_ACCESS_READ), -ENOMEM);
		assert_int_equal(vm_stats(f->small.vm).tables, 1);
		s2_fault_state_free(f->faults, &f->small.memory.ops);
	}
	counting_allocator_fail_at(&f->small.memory, 0);
	assert_int_equal(fault(f, 0, S2_ACCESS_READ), 0);
}

/* Several at once */

#define STRESS_THREADS 4
#define STRESS_ROUNDS 300

struct stress {
	struct fixture *f;
	struct s2_vcpu *vcpu;
	pthread_barrier_t *round;
	unsigned failures;
	pthread_t thread;
};

/* Each gfn has a table of its own, so that the threads race for those as well. */
static uint64_t stress_gfn(unsigned i)
{
	return (uint64_t)i << 18;
}

static void *fault_all(void *arg)
{
	struct stress *stress = arg;
	struct s2_fault_state *faults = &s2_full(stress->vcpu)->fault;

	for (unsigned round = 0; round < STRESS_ROUNDS; round++) {
		pthread_barrier_wait(stress->round);
		for (unsigned i = 0; i < 8; i++)
			stress->failures +=
				s2_mmu_fault(stress->f->small.vm, faults, stress_gfn(i),
					     i % 2 ? S2_ACCESS_WRITE : S2_ACCESS_READ) != 0;
		pthread_barrier_wait(stress->round);
	}
	return NULL;
}

static void set_stress_slots(struct fixture *f, unsigned pages)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(set_slot(f->small.vm, i, stress_gfn(i), pages, i, 0), 0);
}

static void test_many_faults_on_one_page_make_one_leaf(void **state)
{
	struct fixture *f = *state;
	struct stress stress[STRESS_THREADS];
	pthread_barrier_t round;

	pthread_barrier_init(&round, NULL, STRESS_THREADS + 1);
	set_stress_slots(f, 1);
	for (unsigned i = 0; i < STRESS_THREADS; i++) {
		stress[i] = (struct stress){ .f = f, .round = &round };
		assert_int_equal(s2_vcpu_create(f->small.vm, test_vcpu_config(), &stress[i].vcpu), 0);
		assert_int_equal(pthread_create(&stress[i].thread, NULL, fault_all, &stress[i]), 0);
	}
	for (unsigned n = 0; n < STRESS_ROUNDS; n++) {
		pthread_barrier_wait(&round);
		pthread_barrier_wait(&round);
		assert_int_equal(vm_stats(f->small.vm).pages_mapped, 8);
		/* Root, one of level 3, and two for each gfn. */
		assert_int_equal(vm_stats(f->small.vm).tables, 2 + 2 * 8);
		for (unsigned i = 0; i < 8; i++)
			assert_true(maps_frame(f, stress_gfn(i), i));
		/* Deleting prunes the tables; they are made again in the next round. */
		set_stress_slots(f, 0);
		assert_int_equal(vm_stats(f->small.vm).tables, 1);
		assert_int_equal(vm_stats(f->small.vm).pages_mapped, 0);
		set_stress_slots(f, 1);
	}
	for (unsigned i = 0; i < STRESS_THREADS; i++) {
		pthread_join(stress[i].thread, NULL);
		assert_int_equal(stress[i].failures, 0);
		assert_int_equal(s2_vcpu_destroy(stress[i].vcpu), 0);
	}
	pthread_barrier_destroy(&round);
}

#define EXCHANGES 3000

/* Frame FRAME_PAGES + n % FRAME_SPARES is behind page 0 since exchange n has ended. */
struct exchanges {
	struct fixture *f;
	_Atomic uint64_t begun;
	_Atomic uint64_t ended;
	_Atomic uint64_t stale;
	_Atomic bool stop;
	pthread_t thread;
};

static void *load_what_is_exchanged(void *arg)
{
	struct exchanges *e = arg;

	while (!atomic_load(&e->stop)) {
		uint64_t ended = atomic_load(&e->ended), value = 0, ahead, possible;

		if (guest_load(e->f->small.vcpu, 0, &value))
			break;
		/* How many exchanges after that one, which may be as many as have begun since. */
		ahead = (value - FRAME_PAGES + FRAME_SPARES - ended % FRAME_SPARES) % FRAME_SPARES;
		possible = atomic_load(&e->begun) - ended;
		if (ahead > possible)
			atomic_fetch_add(&e->stale, 1);
	}
	return NULL;
}

/* With hesitations wherever the build has them, so that orders come about that are rare. */
static void test_a_page_that_was_exchanged_is_never_seen_again(void **state)
{
	struct fixture *f = *state;
	struct exchanges e = { .f = f };

	set_stress_slots(f, 1);
	exchange_frame(&f->small, 0, FRAME_PAGES);
	s2_schedule_run(test_seed(), 30);
	assert_int_equal(pthread_create(&e.thread, NULL, load_what_is_exchanged, &e), 0);
	for (uint64_t i = 1; i <= EXCHANGES; i++) {
		atomic_store(&e.begun, i);
		exchange_frame(&f->small, 0, FRAME_PAGES + i % FRAME_SPARES);
		atomic_store(&e.ended, i);
	}
	atomic_store(&e.stop, true);
	pthread_join(e.thread, NULL);
	s2_schedule_run(0, 0);
	assert_int_equal(atomic_load(&e.stale), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(test_a_fault_maps_its_page_alone),
		FAULT_TEST(test_a_read_of_a_page_that_may_be_written_sets_no_dirty_bit),
		FAULT_TEST(test_a_write_after_a_read_makes_the_page_writable),
		FAULT_TEST(test_a_guest_store_sets_the_dirty_bit_and_a_load_does_not),
		FAULT_TEST(test_a_load_sets_the_accessed_bit_again),
		FAULT_TEST(test_a_readonly_memslot_is_read_and_never_writable),
		FAULT_TEST(test_no_memslot_means_mmio),
		FAULT_TEST(test_the_last_page_below_2_48_can_be_mapped_and_no_page_beyond),
		FAULT_TEST(test_with_a_dirty_log_only_a_write_makes_writable),
		FAULT_TEST(test_a_huge_page_is_mapped_huge_where_all_is_aligned),
		FAULT_TEST(test_a_memslot_that_ends_inside_gets_small_leaves),
		FAULT_TEST(test_a_memslot_that_begins_inside_gets_small_leaves),
		FAULT_TEST(test_a_gfn_out_of_step_with_its_hva_gets_small_leaves),
		FAULT_TEST(test_a_memslot_with_a_dirty_log_gets_small_leaves),
		FAULT_TEST(test_small_leaves_that_are_there_keep_a_huge_one_out),
		FAULT_TEST(test_a_huge_leaf_takes_the_place_of_small_ones_that_are_gone),
		FAULT_TEST(test_a_huge_leaf_gives_way_to_a_small_page),
		FAULT_TEST(test_starting_a_dirty_log_splits_a_huge_leaf),
		FAULT_TEST(test_zapping_part_of_a_huge_leaf_zaps_it_all),
		FAULT_TEST(test_no_huge_leaf_covers_a_page_that_is_being_invalidated),
		FAULT_TEST(test_the_process_provider_maps_huge_if_it_is_told_to),
		FAULT_TEST(test_a_pair_that_came_and_went_sends_the_fault_back),
		FAULT_TEST(test_a_pair_that_is_still_open_keeps_the_page_out),
		FAULT_TEST(test_a_pair_that_ended_meanwhile_sends_the_fault_back),
		FAULT_TEST(test_a_pair_elsewhere_in_the_memslot_holds_up_nobody),
		FAULT_TEST(test_a_pair_begun_elsewhere_meanwhile_does_not_send_the_fault_back),
		FAULT_TEST(test_a_fault_sleeps_until_another_threads_pair_ends),
		FAULT_TEST(test_a_memslot_deleted_meanwhile_is_not_mapped),
		FAULT_TEST(test_a_memslot_replaced_meanwhile_maps_the_new_host_page),
		FAULT_TEST(test_a_memslot_deleted_and_put_back_meanwhile_maps_the_new_page),
		FAULT_TEST(test_a_memslot_moved_there_and_back_meanwhile_maps_the_new_page),
		FAULT_TEST(test_a_dirty_log_started_meanwhile_is_heeded),
		FAULT_TEST(test_the_providers_error_reaches_the_caller),
		FAULT_TEST(test_an_error_that_an_invalidation_explains_is_tried_again),
		FAULT_TEST(test_a_page_replaced_without_notice_is_mapped_anew),
		FAULT_TEST(test_a_store_across_pages_looks_again_after_a_fault),
		FAULT_TEST(test_after_release_every_fault_fails),
		FAULT_TEST(test_without_memory_for_tables_nothing_is_mapped),
		FAULT_TEST(test_many_faults_on_one_page_make_one_leaf),
		FAULT_TEST(test_a_page_that_was_exchanged_is_never_seen_again),
		FAULT_TEST(test_a_page_between_two_pairs_of_ones_own_is_no_deadlock),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
