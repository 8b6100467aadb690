/* SPDX-License-Identifier: MIT */
/*
 * Every call that allocates is made with its first allocation failing, then its second, and so on
 * until it succeeds: each failure must leave all as it was, and the same call must then work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mm/mm.h"
#include "small_vm.h"

#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define MANY 40	  /* slots: the index then has nodes that split and join */
#define CHUNK 512 /* ids that share one allocation */

/* Everything of a VM that a caller can see. */
struct state {
	uint64_t generation;
	uint64_t hva[2 * MANY];
	bool related[MANY];
	struct s2_vm_stats stats;
	uint64_t memslot_updates;
	unsigned long blocks;
	unsigned long bytes;
};

/* The nodes that are kept for later updates are no change; without them an update has to allocate.
 */
static void empty_node_pool(struct small_vm *small)
{
	s2_itree_reserve_drain(&small->mm->node_pool, &small->memory.ops);
}

static struct state state_of(struct small_vm *small)
{
	struct state state;

	empty_node_pool(small);
	memset(&state, 0, sizeof(state));
	state.generation = s2_vm_memslots_generation(small->vm);
	for (unsigned i = 0; i < MANY; i++) {
		s2_vm_gfn_to_hva(small->vm, 2 * i, &state.hva[i]);
		s2_vm_gfn_to_hva(small->vm, 1000 + 2 * i, &state.hva[MANY + i]);
		/* Asked on pages where nothing is mapped, since asking zaps. */
		state.related[i] = invalidation_is_related(small->mm, 2 * i + 1, 1);
	}
	state.stats = vm_stats(small->vm);
	/* A fault was taken, whatever became of it; and asking what is related flushes. */
	state.stats.faults = 0;
	state.stats.tlb_flushes = 0;
	state.stats.invalidations = 0;
	state.stats.elided = 0;
	state.memslot_updates = mm_stats(small->mm).memslot_updates;
	state.blocks = small->memory.blocks;
	state.bytes = small->memory.bytes;
	return state;
}

/* A slot of two pages on every second one. */
static int slot(struct small_vm *small, unsigned id, uint64_t gfn, uint32_t flags)
{
	return set_slot(small->vm, id, gfn + 2 * id, 2, 2 * id, flags);
}

struct call {
	int (*function)(struct small_vm *small, const struct call *call);
	unsigned id;
	uint64_t gfn;
	uint32_t flags;
};

/* Returns how many allocations could fail. */
static long walk_keeping(struct small_vm *small, const struct call *call, bool keeps_memory)
{
	for (long n = 1;; n++) {
		struct state before = state_of(small), after;
		unsigned long failed = small->memory.failed;
		int ret;

		counting_allocator_fail_at(&small->memory, n);
		ret = call->function(small, call);
		counting_allocator_fail_at(&small->memory, 0);
		if (small->memory.failed == failed) {
			assert_int_equal(ret, 0);
			return n - 1;
		}
		assert_int_equal(ret, -ENOMEM);
		after = state_of(small);
		if (keeps_memory) {
			after.blocks = before.blocks;
			after.bytes = before.bytes;
		}
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

static long walk(struct small_vm *small, const struct call *call)
{
	return walk_keeping(small, call, false);
}

static int call_set(struct small_vm *small, const struct call *call)
{
	return slot(small, call->id, call->gfn, call->flags);
}

static int call_delete(struct small_vm *small, const struct call *call)
{
	return set_slot(small->vm, call->id, 0, 0, 0, 0);
}

static void fill(struct small_vm *small, unsigned nr, uint32_t flags)
{
	for (unsigned id = 0; id < nr; id++)
		assert_int_equal(slot(small, id, 0, flags), 0);
}

static void under_each_gate(void (*test)(struct small_vm *small))
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct small_vm small;

		small_vm_begin(&small, gate, NULL);
		test(&small);
		small_vm_end(&small);
	}
}

/* ---- creation ---- */

static void test_mm_create(void **state)
{
	struct counting_allocator memory;
	struct s2_mm_config config = { .allocator = &memory.ops };
	struct s2_mm *untouched = (struct s2_mm *)&config, *mm = untouched;
	long n;

	counting_allocator_init(&memory);
	for (n = 1;; n++) {
		int ret;

		counting_allocator_fail_at(&memory, n);
		ret = s2_mm_create(&config, &mm);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_ptr_equal(mm, untouched);
		assert_int_equal(memory.blocks, 0);
	}
	assert_true(n > 3);
	s2_mm_put(mm);
	assert_int_equal(memory.blocks, 0);
}

static int call_vm_create(struct small_vm *small, const struct call *call)
{
	struct s2_vm *untouched = small->vm, *vm = untouched;
	int ret = s2_vm_create(small->mm, NULL, &vm);

	counting_allocator_fail_at(&small->memory, 0);
	if (ret)
		assert_ptr_equal(vm, untouched);
	else
		s2_vm_put(vm);
	return ret;
}

static void vm_create(struct small_vm *small)
{
	assert_true(walk(small, &(struct call){ .function = call_vm_create }) >= 3);
}

static void test_vm_create(void **state)
{
	under_each_gate(vm_create);
}

static int call_vcpu_create(struct small_vm *small, const struct call *call)
{
	struct s2_vcpu *untouched = small->vcpu, *vcpu = untouched;
	int ret = s2_vcpu_create(small->vm, test_vcpu_config(), &vcpu);

	if (ret)
		assert_ptr_equal(vcpu, untouched);
	else
		assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	return ret;
}

static void vcpu_create(struct small_vm *small)
{
	assert_int_equal(walk(small, &(struct call){ .function = call_vcpu_create }), 1);
}

static void test_vcpu_create(void **state)
{
	under_each_gate(vcpu_create);
}

/* ---- memslots ---- */

static void creates(struct small_vm *small)
{
	for (unsigned id = 0; id < MANY; id++) {
		struct call call = {
			.function = call_set,
			.id = id,
			.flags = id % 2 ? LOG : 0,
		};

		/* The slot, its log, two indexes. */
		assert_true(walk(small, &call) >= 3 + (id % 2));
		assert_guest_reads(small->vcpu, 2 * id, 2 * id);
	}
}

static void test_slot_create(void **state)
{
	under_each_gate(creates);
}

static int call_far_id(struct small_vm *small, const struct call *call)
{
	return set_slot(small->vm, call->id, 0, 2, 0, 0);
}

/* Ids are kept in chunks that are allocated when first used. */
static void far_ids(struct small_vm *small)
{
	for (unsigned id = CHUNK; id < S2_USER_MEM_SLOTS; id += 10 * CHUNK) {
		assert_true(walk(small, &(struct call){ .function = call_far_id, .id = id }) > 0);
		assert_int_equal(set_slot(small->vm, id, 0, 0, 0, 0), 0);
	}
}

static void test_slot_create_with_an_id_far_off(void **state)
{
	under_each_gate(far_ids);
}

static void moves(struct small_vm *small)
{
	fill(small, MANY, 0);
	for (unsigned id = 0; id < MANY; id++) {
		struct call call = { .function = call_set, .id = id, .gfn = 1000 };

		assert_guest_reads(small->vcpu, 2 * id, 2 * id);
		assert_true(walk(small, &call) > 0);
		assert_guest_reads(small->vcpu, 1000 + 2 * id, 2 * id);
	}
}

static void test_slot_move(void **state)
{
	under_each_gate(moves);
}

static void flags(struct small_vm *small)
{
	uint64_t bits;
	struct kvm_dirty_log log = { .slot = 7, .dirty_bitmap = &bits };

	fill(small, MANY, 0);
	assert_true(walk(small, &(struct call){ call_set, 7, 0, LOG }) > 0);
	assert_int_equal(guest_store(small->vcpu, 14, 1), 0);
	assert_true(walk(small, &(struct call){ call_set, 7, 1000, LOG }) > 0);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &log), 0);
	assert_int_equal(bits, 1);
	assert_true(walk(small, &(struct call){ call_set, 7, 1000, 0 }) > 0);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &log), -ENOENT);
}

static void test_slot_flags_and_the_log_that_moves_along(void **state)
{
	under_each_gate(flags);
}

static void deletes(struct small_vm *small)
{
	fill(small, MANY, LOG);
	for (unsigned i = 0; i < MANY; i++) {
		unsigned id = i * 7 % MANY;

		assert_guest_reads(small->vcpu, 2 * id, 2 * id);
		assert_true(walk(small, &(struct call){ .function = call_delete, .id = id }) > 0);
	}
	assert_int_equal(vm_stats(small->vm).tables, 1);
}

static void test_slot_delete(void **state)
{
	under_each_gate(deletes);
}

/* ---- faults and the log ---- */

static int call_load(struct small_vm *small, const struct call *call)
{
	uint64_t value = 77;
	int ret = guest_load(small->vcpu, 0, &value);

	assert_int_equal(value, ret ? 77 : 0);
	return ret;
}

/*
 * The tables that a fault got before memory ran out stay with its vCPU: of the three, the last
 * try to fail has one already.
 */
static void faults(struct small_vm *small)
{
	fill(small, 1, 0);
	assert_int_equal(walk_keeping(small, &(struct call){ .function = call_load }, true), 2);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 1);
}

static void test_fault(void **state)
{
	under_each_gate(faults);
}

static uint64_t log_bits;

static int call_get_log(struct small_vm *small, const struct call *call)
{
	struct kvm_dirty_log log = { .dirty_bitmap = &log_bits };

	return s2_vm_get_dirty_log(small->vm, &log);
}

static int call_clear_log(struct small_vm *small, const struct call *call)
{
	struct kvm_clear_dirty_log log = { .num_pages = 2, .dirty_bitmap = &log_bits };

	return s2_vm_clear_dirty_log(small->vm, &log);
}

static void logs(struct small_vm *small)
{
	fill(small, 1, LOG);
	assert_int_equal(guest_store(small->vcpu, 0, 1), 0);
	log_bits = 77;
	counting_allocator_fail_all(&small->memory, true);
	assert_int_equal(call_get_log(small, NULL), -ENOMEM);
	counting_allocator_fail_all(&small->memory, false);
	assert_int_equal(log_bits, 77);
	walk(small, &(struct call){ .function = call_get_log });
	assert_int_equal(log_bits, 1);

	assert_int_equal(guest_store(small->vcpu, 0, 2), 0);
	counting_allocator_fail_all(&small->memory, true);
	assert_int_equal(call_clear_log(small, NULL), -ENOMEM);
	counting_allocator_fail_all(&small->memory, false);
	assert_int_equal(call_get_log(small, NULL), 0);
	assert_int_equal(log_bits, 1);
	assert_int_equal(guest_store(small->vcpu, 0, 3), 0);
	walk(small, &(struct call){ .function = call_clear_log });
	assert_int_equal(call_get_log(small, NULL), 0);
	assert_int_equal(log_bits, 0);
}

static void test_dirty_log(void **state)
{
	under_each_gate(logs);
}

/* ---- the end, which cannot fail ---- */

/* A second VM with many slots on the pages of the first. */
static struct s2_vm *big_vm(struct small_vm *small)
{
	struct s2_vcpu *vcpu;
	struct s2_vm *vm;

	assert_int_equal(s2_vm_create(small->mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, test_vcpu_config(), &vcpu), 0);
	for (unsigned id = 0; id < MANY; id++)
		assert_int_equal(set_slot(vm, id * 100, 2 * id, 2, 2 * id, LOG), 0);
	for (uint64_t gfn = 0; gfn < 2 * MANY; gfn++)
		assert_int_equal(guest_store(vcpu, gfn, gfn), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	return vm;
}

/* The other VM's pages are still taken away from it, whatever is left of the first. */
static void assert_invalidations_work(struct small_vm *small, uint32_t frame)
{
	assert_guest_reads(small->vcpu, 1000, 2000);
	exchange_frame(small, 2000, frame);
	assert_guest_reads(small->vcpu, 1000, frame);
	exchange_frame(small, 2000, 2000);
	for (unsigned page = 0; page < 2 * MANY; page += 9)
		exchange_frame(small, page, page);
}

static void vm_put_at_each_failure(struct small_vm *small, bool others_follow)
{
	unsigned long failed;
	long n = 1;

	assert_int_equal(set_slot(small->vm, 0, 1000, 1, 2000, 0), 0);
	do {
		struct s2_vm *vm = big_vm(small);
		struct s2_invalidation inv;

		failed = small->memory.failed;
		assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(4),
							   FRAME_HVA_OF(9), 0),
				 0);
		empty_node_pool(small);
		counting_allocator_fail_at(&small->memory, n++);
		s2_vm_put(vm);
		counting_allocator_fail_at(&small->memory, 0);
		s2_invalidate_range_end(small->mm, &inv);
		assert_invalidations_work(small, 2001);
		if (others_follow) {
			/* The next VM that goes takes what is left of this one along. */
			assert_int_equal(s2_vm_create(small->mm, NULL, &vm), 0);
			s2_vm_put(vm);
			assert_invalidations_work(small, 2002);
		}
	} while (small->memory.failed != failed);
	assert_true(n > 2);
	/* Nothing but the slot of the VM that stays is looked at any more. */
	if (others_follow)
		for (unsigned page = 0; page < 2 * MANY; page++) {
			uint64_t locks = mm_stats(small->mm).mmu_lock_acquired;

			invalidation_is_related(small->mm, page, 1);
			assert_int_equal(mm_stats(small->mm).mmu_lock_acquired, locks);
		}
}

static void test_vm_put_and_the_retry_by_the_next(void **state)
{
	static const enum s2_gate eliding[] = { S2_GATE_RANGE, S2_GATE_RWSEM, S2_GATE_COUNT };

	for (unsigned i = 0; i < 3; i++) {
		struct small_vm small;

		small_vm_begin(&small, eliding[i], NULL);
		vm_put_at_each_failure(&small, true);
		small_vm_end(&small);
	}
}

static void vm_put_without_retry(struct small_vm *small)
{
	vm_put_at_each_failure(small, false);
}

static void test_vm_put_and_the_end_of_the_mm(void **state)
{
	under_each_gate(vm_put_without_retry);
}

static void all_puts_without_memory(struct small_vm *small)
{
	struct s2_vm *vm[3];

	assert_int_equal(set_slot(small->vm, 0, 1000, 1, 2000, 0), 0);
	for (int i = 0; i < 3; i++)
		vm[i] = big_vm(small);
	empty_node_pool(small);
	counting_allocator_fail_all(&small->memory, true);
	for (int i = 0; i < 3; i++)
		s2_vm_put(vm[i]);
	counting_allocator_fail_all(&small->memory, false);
	assert_invalidations_work(small, 2003);
	/* And the last ones, in small_vm_end(), too. */
	empty_node_pool(small);
	counting_allocator_fail_all(&small->memory, true);
}

static void test_everything_is_freed_where_no_memory_is_left_at_all(void **state)
{
	under_each_gate(all_puts_without_memory);
}

/* ---- what never allocates ---- */

static void notifier_calls(struct small_vm *small)
{
	struct s2_page page = {
		.addr = frame_provider_word(&small->host, 9),
		.shift = S2_PAGE_SHIFT,
	};
	unsigned long calls;
	struct s2_invalidation inv;
	uint64_t bits[2];

	fill(small, MANY, 0);
	assert_guest_reads(small->vcpu, 4, 4);
	calls = small->memory.calls;
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(4),
							   FRAME_HVA_OF(1000 + n), n),
				 0);
		assert_int_equal(s2_change_pte(small->mm, &inv, FRAME_HVA_OF(5), &page), 0);
		s2_invalidate_range_end(small->mm, &inv);
	}
	s2_clear_flush_young(small->mm, FRAME_HVA_OF(0), FRAME_HVA_OF(90));
	s2_clear_young(small->mm, FRAME_HVA_OF(0), FRAME_HVA_OF(90));
	s2_test_young(small->mm, FRAME_HVA_OF(0));
	s2_test_young_pages(small->mm, FRAME_HVA_OF(0), FRAME_HVA_OF(90), bits);
	s2_release(small->mm);
	assert_int_equal(small->memory.calls, calls);
}

static void test_notifier_calls_allocate_nothing(void **state)
{
	under_each_gate(notifier_calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mm_create),
		cmocka_unit_test(test_vm_create),
		cmocka_unit_test(test_vcpu_create),
		cmocka_unit_test(test_slot_create),
		cmocka_unit_test(test_slot_create_with_an_id_far_off),
		cmocka_unit_test(test_slot_move),
		cmocka_unit_test(test_slot_flags_and_the_log_that_moves_along),
		cmocka_unit_test(test_slot_delete),
		cmocka_unit_test(test_fault),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_vm_put_and_the_retry_by_the_next),
		cmocka_unit_test(test_vm_put_and_the_end_of_the_mm),
		cmocka_unit_test(test_everything_is_freed_where_no_memory_is_left_at_all),
		cmocka_unit_test(test_notifier_calls_allocate_nothing),
	};

	return cmocka_run_group_tests_name("out_of_memory", tests, NULL, NULL);
}
