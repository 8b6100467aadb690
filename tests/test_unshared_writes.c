/* SPDX-License-Identifier: MIT */
/*
 * "Shares no cache line that is written", for each path of which the documents say
 * so: the path runs with all of the library's memory read-only, and what it wrote
 * to nevertheless is exactly what is its thread's own. A path that is known to
 * write to the s2_vm is seen to, so that the seal is known to hold.
 */
#include "frame_provider.h"
#include "sanitized.h"
#include "sealed_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "memslot/vm.h"
#include "mm/mm.h"
#include "vcpu/vcpu.h"
#include <stage2/stage2.h>

#define GUEST_PAGES 1000
/* The bit of the filter is that of guest memory, so that the index is asked. */
#define PAGE_BESIDE (GUEST_PAGES + 5)
/* Of the same place in the TLB as page 0. */
#define PAGE_ALIKE S2_TLB_ENTRIES
#define FAR_AWAY (FRAME_HVA << 1)
#define VMS 16
#define THREADS 8
#define LINE 64

/* What a path may write to. */
enum {
	NOTHING = 0,
	ENTRIES = 1, /* the table of invalidations in flight */
	MM = 2,
	VM = 4,
	VCPU = 8,
	LEAF_TABLE = 16,
	DIRTY_LOG = 32,
	SOMETHING_ELSE = 64, /* memslots, nodes, upper tables; block 0 is the program's own data */
};

static const char *const names[] = {
	"the in-flight entries", "the s2_mm",     "the s2_vm",      "the vCPU",
	"the leaf's table",	 "the dirty log", "something else",
};

/* @value, @ret, @copy: of the path, looked at when the seal is off. */
struct sealed_world {
	struct sealed_memory *memory;
	struct frame_provider host;
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t value;
	int ret;
	char copy[4096];
};

static void set_region(struct s2_vm *vm, uint32_t flags)
{
	const struct kvm_userspace_memory_region mem = {
		.flags = flags,
		.memory_size = (uint64_t)GUEST_PAGES << S2_PAGE_SHIFT,
		.userspace_addr = FRAME_HVA,
	};

	assert_int_equal(s2_vm_set_memory_region(vm, &mem), 0);
}

/* On the heap, since the program's own data is sealed. */
static struct sealed_world *begin(struct s2_mm_config mm_config, enum s2_mmu_lock_kind kind,
				  enum s2_shootdown shootdown)
{
	const struct s2_vm_config vm_config = { .mmu_lock = kind };
	const struct s2_vcpu_config vcpu_config = { .shootdown = shootdown };
	struct sealed_world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->memory = sealed_memory_create();
	frame_provider_init(&w->host);
	mm_config.provider = &w->host.ops;
	mm_config.provider_ctx = &w->host;
	mm_config.allocator = &w->memory->ops;
	assert_int_equal(s2_mm_create(&mm_config, &w->mm), 0);
	assert_int_equal(s2_vm_create(w->mm, &vm_config, &w->vm), 0);
	assert_int_equal(s2_vcpu_create(w->vm, &vcpu_config, &w->vcpu), 0);
	set_region(w->vm, 0);
	return w;
}

static struct sealed_world *begin_plain(enum s2_shootdown shootdown)
{
	return begin((struct s2_mm_config){ 0 }, S2_MMU_LOCK_RWLOCK, shootdown);
}

static struct sealed_world *begin_gate(enum s2_gate gate)
{
	return begin((struct s2_mm_config){ .gate = gate }, S2_MMU_LOCK_RWLOCK,
		     S2_SHOOTDOWN_SAFEPOINT);
}

static void end(struct sealed_world *w)
{
	s2_vcpu_exit(w->vcpu);
	assert_int_equal(s2_vcpu_destroy(w->vcpu), 0);
	s2_vm_put(w->vm);
	s2_mm_put(w->mm);
	frame_provider_free(&w->host);
	sealed_memory_destroy(w->memory);
	free(w);
}

static const void *leaf_table(struct sealed_world *w)
{
	return s2_table_walk(w->vm->mmu_root, 0).sptep;
}

static unsigned what_is(struct sealed_world *w, const struct sealed_block *block)
{
	const struct s2_memslot *slot = s2_vm_slot_by_id(w->vm, 0);
	const void *const known[] = { w->mm->inflight.entries, w->mm,	      w->vm,
				      w->vcpu,		       leaf_table(w), slot->dirty_bitmap };

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] && sealed_block_of(w->memory, known[i]) == block)
			return i;
	return __builtin_ctz(SOMETHING_ELSE);
}

static void run_path(struct sealed_world *w, void (*path)(void *), unsigned expected,
		     const char *name)
{
	unsigned blocks = w->memory->nr, written = 0;

	run_sealed(w->memory, path, w);
	for (unsigned i = 0; i < w->memory->nr; i++) {
		const struct sealed_block *block = &w->memory->blocks[i];
		unsigned what = what_is(w, block);

		if (!block->written)
			continue;
		written |= 1u << what;
		if (!(expected >> what & 1))
			print_error("%s wrote to %s, block %u of %zu bytes, at offset %zu\n", name,
				    names[what], i, block->size, block->first_write);
	}
	assert_int_equal(written, expected);
	assert_int_equal(w->memory->nr, blocks);
}

#define assert_writes(w, path, expected) run_path(w, path, expected, #path)

static void pair(struct sealed_world *w, uint64_t start, unsigned flags)
{
	struct s2_invalidation inv;

	w->ret = s2_invalidate_range_start(w->mm, &inv, start, start + S2_PAGE_SIZE, flags);
	s2_invalidate_range_end(w->mm, &inv);
}

static void pair_far_away(void *arg)
{
	pair(arg, FAR_AWAY, 0);
}

static void pair_beside_guest_memory(void *arg)
{
	pair(arg, FRAME_HVA_OF(PAGE_BESIDE), 0);
}

static void pair_that_may_not_block(void *arg)
{
	pair(arg, FAR_AWAY, S2_NONBLOCK);
}

static void pair_of_page_0(void *arg)
{
	pair(arg, FRAME_HVA, 0);
}

static void pair_in_a_pair(void *arg)
{
	struct sealed_world *w = arg;
	struct s2_invalidation inv;

	s2_invalidate_range_start(w->mm, &inv, FAR_AWAY, FAR_AWAY + S2_PAGE_SIZE, 0);
	pair_beside_guest_memory(w);
	s2_invalidate_range_end(w->mm, &inv);
}

/* The first pair of a thread, and of a kind, is not what is promised. */
static void assert_warm_writes(struct sealed_world *w, void (*path)(void *), unsigned expected)
{
	path(w);
	run_path(w, path, expected, "a path that is warm");
}

static void an_unrelated_pair_writes_to_its_entry_alone(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	assert_warm_writes(w, pair_far_away, ENTRIES);
	assert_warm_writes(w, pair_beside_guest_memory, ENTRIES);
	assert_warm_writes(w, pair_that_may_not_block, ENTRIES);
	assert_warm_writes(w, pair_in_a_pair, ENTRIES);
	end(w);
}

static void so_does_one_beside_many_vms(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);
	struct s2_vm *vms[VMS];

	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(s2_vm_create(w->mm, NULL, &vms[i]), 0);
		set_region(vms[i], 0);
	}
	assert_warm_writes(w, pair_far_away, ENTRIES);
	assert_warm_writes(w, pair_beside_guest_memory, ENTRIES);
	for (unsigned i = 0; i < VMS; i++)
		s2_vm_put(vms[i]);
	end(w);
}

struct entries_copy {
	struct s2_inflight_entry entries[S2_INFLIGHT_DEFAULT];
};

static struct entries_copy *copy_entries(struct sealed_world *w)
{
	struct entries_copy *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	memcpy((void *)copy, w->mm->inflight.entries, sizeof(*copy));
	return copy;
}

/* The only line of the entries that has changed since; frees the copy. */
static unsigned the_line_written(struct sealed_world *w, struct entries_copy *before)
{
	const char *now = (const char *)w->mm->inflight.entries, *old = (const char *)before;
	unsigned lines = 0, line = 0;

	for (unsigned i = 0; i < sizeof(*before) / LINE; i++) {
		if (!memcmp(now + (size_t)i * LINE, old + (size_t)i * LINE, LINE))
			continue;
		lines++;
		line = i;
	}
	free(before);
	assert_int_equal(lines, 1);
	return line;
}

static void of_the_entries_it_writes_to_one_line(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);
	struct entries_copy *before;
	unsigned line;

	pair_far_away(w);
	before = copy_entries(w);
	pair_far_away(w);
	line = the_line_written(w, before);
	before = copy_entries(w);
	pair_beside_guest_memory(w);
	assert_int_equal(the_line_written(w, before), line);
	assert_int_equal((uintptr_t)w->mm->inflight.entries % LINE, 0);
	end(w);
}

/* A thread that is there until all have had their turn, one after the other. */
struct pair_thread {
	struct sealed_world *w;
	pthread_t thread;
	pthread_barrier_t *turn;
};

static void meet(struct pair_thread *thread)
{
	pthread_barrier_wait(thread->turn);
}

static void *make_pairs_in_turn(void *arg)
{
	struct pair_thread *thread = arg;

	pair_far_away(thread->w);
	meet(thread);
	meet(thread);
	pair_far_away(thread->w);
	meet(thread);
	meet(thread);
	return NULL;
}

static void each_thread_writes_to_a_line_of_its_own(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);
	bool taken[S2_INFLIGHT_DEFAULT] = { false };
	struct pair_thread threads[THREADS];
	pthread_barrier_t turns[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_barrier_init(&turns[i], NULL, 2), 0);
		threads[i] = (struct pair_thread){ .w = w, .turn = &turns[i] };
		assert_int_equal(pthread_create(&threads[i].thread, NULL, make_pairs_in_turn,
						&threads[i]), 0);
		meet(&threads[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		struct entries_copy *before = copy_entries(w);
		unsigned line;

		meet(&threads[i]);
		meet(&threads[i]);
		line = the_line_written(w, before);
		assert_false(taken[line]);
		taken[line] = true;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		meet(&threads[i]);
		assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
		pthread_barrier_destroy(&turns[i]);
	}
	end(w);
}

static void load_page_0(void *arg)
{
	struct sealed_world *w = arg;

	w->ret = s2_vcpu_load64(w->vcpu, 0, &w->value);
}

static void store_page_0(void *arg)
{
	struct sealed_world *w = arg;

	w->ret = s2_vcpu_store64(w->vcpu, 8, 1);
}

static void load_page_alike(void *arg)
{
	struct sealed_world *w = arg;

	w->ret = s2_vcpu_load64(w->vcpu, PAGE_ALIKE * S2_PAGE_SIZE, &w->value);
}

static void read_page_0(void *arg)
{
	struct sealed_world *w = arg;

	w->ret = s2_vcpu_read(w->vcpu, 0, w->copy, sizeof(w->copy));
}

static void poll_without_request(void *arg)
{
	struct sealed_world *w = arg;

	s2_vcpu_poll(w->vcpu);
}

/*
 * In guest mode, with page 0 in the TLB, written to; the end of the world leaves it.
 * Page 1 is in the same table: its fault leaves the vCPU with spare tables that the
 * next fault need not allocate.
 */
static void enter_and_warm_up(struct sealed_world *w)
{
	assert_int_equal(s2_vcpu_enter(w->vcpu), 0);
	load_page_0(w);
	assert_int_equal(w->ret, 0);
	assert_int_equal(s2_vcpu_load64(w->vcpu, S2_PAGE_SIZE, &w->value), 0);
	assert_int_equal(w->ret, 0);
	store_page_0(w);
	assert_int_equal(w->ret, 0);
}

static void accesses_that_hit_write_to_the_guests_page_alone(enum s2_shootdown shootdown)
{
	struct sealed_world *w = begin_plain(shootdown);

	if (s2_vcpu_shootdown(w->vcpu) != shootdown) {
		end(w);
		print_message("restartable sequences are not to be had here\n");
		skip();
	}
	enter_and_warm_up(w);
	w->value = ~UINT64_C(0);
	assert_writes(w, load_page_0, NOTHING);
	assert_int_equal(w->ret, 0);
	assert_int_equal(w->value, 0);
	assert_writes(w, store_page_0, NOTHING);
	assert_int_equal(w->ret, 0);
	assert_writes(w, poll_without_request, NOTHING);
	end(w);
}

static void hits_with_safepoints_write_to_the_guests_page_alone(void **state)
{
	accesses_that_hit_write_to_the_guests_page_alone(S2_SHOOTDOWN_SAFEPOINT);
}

static void restartable_hits_write_to_the_guests_page_alone(void **state)
{
	accesses_that_hit_write_to_the_guests_page_alone(S2_SHOOTDOWN_RSEQ);
}

static void a_copy_that_hits_writes_to_nothing_but_its_target(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	enter_and_warm_up(w);
	read_page_0(w);
	assert_writes(w, read_page_0, NOTHING);
	assert_int_equal(w->ret, 0);
	end(w);
}

static void a_miss_with_its_spte_there_writes_to_the_vcpu_alone(void **state)
{
	for (unsigned shootdown = S2_SHOOTDOWN_SAFEPOINT; shootdown <= S2_SHOOTDOWN_RSEQ;
	     shootdown++) {
		struct sealed_world *w = begin_plain(shootdown);

		enter_and_warm_up(w);
		load_page_alike(w);
		assert_writes(w, load_page_0, VCPU);
		assert_int_equal(w->ret, 0);
		load_page_alike(w);
		assert_writes(w, store_page_0, VCPU);
		assert_int_equal(w->ret, 0);
		end(w);
	}
}

static void the_first_store_to_a_page_marks_its_spte(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	assert_int_equal(s2_vcpu_enter(w->vcpu), 0);
	load_page_0(w);
	assert_writes(w, store_page_0, VCPU | LEAF_TABLE);
	assert_int_equal(w->ret, 0);
	end(w);
}

static uint64_t faults_of(struct sealed_world *w)
{
	struct s2_vcpu_stats stats;

	assert_int_equal(s2_vcpu_get_stats(w->vcpu, &stats), 0);
	return stats.faults;
}

/* The page goes between; its table stays. */
static void assert_fault_writes(struct sealed_world *w, void (*path)(void *), unsigned expected)
{
	uint64_t faults;

	pair_of_page_0(w);
	s2_vcpu_poll(w->vcpu);
	faults = faults_of(w);
	run_path(w, path, expected, "a fault");
	assert_int_equal(w->ret, 0);
	assert_int_equal(faults_of(w), faults + 1);
}

static void a_fault_writes_to_its_vcpu_and_its_table(void **state)
{
	for (unsigned shootdown = S2_SHOOTDOWN_SAFEPOINT; shootdown <= S2_SHOOTDOWN_RSEQ;
	     shootdown++) {
		struct sealed_world *w = begin_plain(shootdown);

		enter_and_warm_up(w);
		assert_fault_writes(w, load_page_0, VCPU | LEAF_TABLE);
		assert_fault_writes(w, store_page_0, VCPU | LEAF_TABLE);
		end(w);
	}
}

static void a_fault_for_a_logged_store_also_writes_to_the_log(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	set_region(w->vm, KVM_MEM_LOG_DIRTY_PAGES);
	enter_and_warm_up(w);
	assert_fault_writes(w, load_page_0, VCPU | LEAF_TABLE);
	assert_fault_writes(w, store_page_0, VCPU | LEAF_TABLE | DIRTY_LOG);
	end(w);
}

static void look_up_gfn_0(void *arg)
{
	struct sealed_world *w = arg;

	w->ret = s2_vm_gfn_to_hva(w->vm, 0, &w->value);
}

static void a_lookup_by_gfn_writes_to_nothing(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	assert_warm_writes(w, look_up_gfn_0, NOTHING);
	assert_int_equal(w->ret, 0);
	assert_int_equal(w->value, FRAME_HVA);
	end(w);
}

/* From here on, what is shared and written: the seal does hold. */

static void a_related_pair_writes_to_the_vm(void **state)
{
	struct sealed_world *w = begin_plain(S2_SHOOTDOWN_SAFEPOINT);

	assert_warm_writes(w, pair_of_page_0, ENTRIES | VM);
	/* What has been mapped is zapped, and the vCPU is asked to flush. */
	enter_and_warm_up(w);
	assert_int_equal(s2_vcpu_exit(w->vcpu), 0);
	assert_writes(w, pair_of_page_0, ENTRIES | VM | VCPU | LEAF_TABLE);
	end(w);
}

static void under_the_other_gates_an_unrelated_pair_writes_to_the_vm(void **state)
{
	static const enum s2_gate gates[] = { S2_GATE_ALWAYS, S2_GATE_RWSEM, S2_GATE_COUNT };

	for (unsigned i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
		struct sealed_world *w = begin_gate(gates[i]);

		assert_warm_writes(w, pair_far_away, ENTRIES | VM);
		end(w);
	}
}

static void beyond_the_table_an_unrelated_pair_writes_to_the_mm(void **state)
{
	struct sealed_world *w = begin((struct s2_mm_config){ .inflight_entries = 1 },
				       S2_MMU_LOCK_RWLOCK, S2_SHOOTDOWN_SAFEPOINT);
	struct s2_invalidation occupant;

	assert_int_equal(s2_invalidate_range_start(w->mm, &occupant, FAR_AWAY,
						   FAR_AWAY + S2_PAGE_SIZE, 0), 0);
#ifdef S2_PAIRS_CALLED
	assert_warm_writes(w, pair_far_away, MM);
#else
	/* It tries where it is at home first, which is a line of its own. */
	assert_warm_writes(w, pair_far_away, ENTRIES | MM);
#endif
	s2_invalidate_range_end(w->mm, &occupant);
	end(w);
}

static void with_a_mutex_a_fault_writes_to_the_vm(void **state)
{
	struct sealed_world *w = begin((struct s2_mm_config){ 0 }, S2_MMU_LOCK_MUTEX,
				       S2_SHOOTDOWN_SAFEPOINT);

	enter_and_warm_up(w);
	assert_fault_writes(w, load_page_0, VM | VCPU | LEAF_TABLE);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unrelated_pair_writes_to_its_entry_alone),
		cmocka_unit_test(so_does_one_beside_many_vms),
		cmocka_unit_test(of_the_entries_it_writes_to_one_line),
		cmocka_unit_test(each_thread_writes_to_a_line_of_its_own),
		cmocka_unit_test(hits_with_safepoints_write_to_the_guests_page_alone),
		cmocka_unit_test(restartable_hits_write_to_the_guests_page_alone),
		cmocka_unit_test(a_copy_that_hits_writes_to_nothing_but_its_target),
		cmocka_unit_test(a_miss_with_its_spte_there_writes_to_the_vcpu_alone),
		cmocka_unit_test(the_first_store_to_a_page_marks_its_spte),
		cmocka_unit_test(a_fault_writes_to_its_vcpu_and_its_table),
		cmocka_unit_test(a_fault_for_a_logged_store_also_writes_to_the_log),
		cmocka_unit_test(a_lookup_by_gfn_writes_to_nothing),
		cmocka_unit_test(a_related_pair_writes_to_the_vm),
		cmocka_unit_test(under_the_other_gates_an_unrelated_pair_writes_to_the_vm),
		cmocka_unit_test(beyond_the_table_an_unrelated_pair_writes_to_the_mm),
		cmocka_unit_test(with_a_mutex_a_fault_writes_to_the_vm),
	};

	return cmocka_run_group_tests_name("what the hot paths write to", tests, NULL, NULL);
}
