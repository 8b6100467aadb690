/* SPDX-License-Identifier: MIT */
/*
 * What an invalidation promises to whoever called start(): from its return no
 * vCPU uses the old page. Shown step by step, with this thread as the vCPU that
 * holds a flush up, and by canaries in old pages while vCPUs run freely.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "small_vm.h"
#include "task_state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static int setup(void **state)
{
	struct small_vm *small = malloc(sizeof(*small));

	assert_non_null(small);
	small_vm_begin(small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small->vm, 0, 0, 8, 0, 0), 0);
	*state = small;
	return 0;
}

static int teardown(void **state)
{
	small_vm_end(*state);
	free(*state);
	return 0;
}

/* A pair around a page of the provider, from a thread that is no vCPU. */
struct invalidator {
	struct s2_mm *mm;
	unsigned page;
	unsigned flags;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool started;
	int ret;
};

static void *invalidate(void *arg)
{
	struct invalidator *i = arg;
	struct s2_invalidation inv;

	atomic_store(&i->tid, gettid());
	i->ret = s2_invalidate_range_start(i->mm, &inv, FRAME_HVA_OF(i->page),
					   FRAME_HVA_OF(i->page + 1), i->flags);
	atomic_store(&i->started, true);
	if (!i->ret)
		s2_invalidate_range_end(i->mm, &inv);
	return NULL;
}

static void begin_invalidation(struct invalidator *i, struct s2_mm *mm, unsigned page,
			       unsigned flags)
{
	*i = (struct invalidator){ .mm = mm, .page = page, .flags = flags };
	assert_int_equal(pthread_create(&i->thread, NULL, invalidate, i), 0);
}

static int end_invalidation(struct invalidator *i)
{
	pthread_join(i->thread, NULL);
	return i->ret;
}

static void enter_and_load(struct small_vm *small, uint64_t gfn)
{
	uint64_t value;

	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(small->vcpu, gfn * S2_PAGE_SIZE, &value), 0);
	assert_int_equal(value, gfn);
}

static void test_start_waits_until_the_vcpu_polls(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;
	uint64_t value;

	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 0, 0);
	until_asleep(i.thread, &i.tid);
	assert_false(atomic_load(&i.started));
	/* Until the safepoint the old page may be used, and is still there. */
	assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), 0);
	assert_int_equal(value, 0);
	s2_vcpu_poll(small->vcpu);
	assert_int_equal(end_invalidation(&i), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_start_waits_until_the_vcpu_exits(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;

	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 0, 0);
	until_asleep(i.thread, &i.tid);
	assert_false(atomic_load(&i.started));
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(end_invalidation(&i), 0);
}

static void test_a_fault_lets_the_flush_go_on(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;
	uint64_t value;

	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 0, 0);
	until_asleep(i.thread, &i.tid);
	assert_int_equal(s2_vcpu_load64(small->vcpu, S2_PAGE_SIZE, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(end_invalidation(&i), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_nobody_waits_for_a_vcpu_whose_pages_stay(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;
	uint64_t value;

	enter_and_load(small, 0);
	/* A page of no memslot, and one that no vCPU has mapped. */
	begin_invalidation(&i, small->mm, 100, 0);
	assert_int_equal(end_invalidation(&i), 0);
	begin_invalidation(&i, small->mm, 7, 0);
	assert_int_equal(end_invalidation(&i), 0);
	assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_nobody_waits_for_a_vcpu_of_another_vm(void **state)
{
	struct small_vm *small = *state;
	struct s2_vcpu *other;
	struct invalidator i;
	struct s2_vm *vm;

	assert_int_equal(s2_vm_create(small->mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, NULL, &other), 0);
	assert_int_equal(set_slot(vm, 0, 0, 1, 50, 0), 0);
	assert_guest_reads(other, 0, 50);
	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 50, 0);
	assert_int_equal(end_invalidation(&i), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(s2_vcpu_destroy(other), 0);
	s2_vm_put(vm);
}

static void test_nonblocking_start_gives_up_on_a_vcpu_in_guest_mode(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;
	uint64_t value;

	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 0, S2_NONBLOCK);
	assert_int_equal(end_invalidation(&i), -EAGAIN);
	/* Nothing has changed for the guest. */
	assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	begin_invalidation(&i, small->mm, 0, S2_NONBLOCK);
	assert_int_equal(end_invalidation(&i), 0);
}

/* The failed start has zapped the SPTE; the vCPU still has the page. The next one must not miss it.
 */
static void test_a_flush_that_was_not_waited_for_is_made_up_for(void **state)
{
	struct small_vm *small = *state;
	struct invalidator i;

	enter_and_load(small, 0);
	begin_invalidation(&i, small->mm, 0, S2_NONBLOCK);
	assert_int_equal(end_invalidation(&i), -EAGAIN);
	begin_invalidation(&i, small->mm, 0, 0);
	until_asleep(i.thread, &i.tid);
	assert_false(atomic_load(&i.started));
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(end_invalidation(&i), 0);
}

struct log_reader {
	struct small_vm *small;
	uint64_t bits;
	int start_ret;
	int log_ret;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
};

static int read_log(struct small_vm *small, uint64_t *bits)
{
	const struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = bits };

	return s2_vm_get_dirty_log(small->vm, &log);
}

static void *fail_a_start_and_read_log(void *arg)
{
	struct log_reader *reader = arg;
	struct s2_invalidation inv;

	atomic_store(&reader->tid, gettid());
	reader->start_ret = s2_invalidate_range_start(reader->small->mm, &inv, FRAME_HVA_OF(0),
						      FRAME_HVA_OF(1), S2_NONBLOCK);
	reader->log_ret = read_log(reader->small, &reader->bits);
	atomic_store(&reader->done, true);
	return NULL;
}

/* A store after the log was read is in the next one, also where the page's SPTE was gone by then.
 */
static void test_the_dirty_log_sees_a_store_through_a_flush_that_was_not_waited_for(void **state)
{
	struct small_vm *small = *state;
	struct log_reader reader = { .small = small };
	uint64_t bits = 0;
	bool after;

	assert_int_equal(set_slot(small->vm, 0, 0, 8, 0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_store64(small->vcpu, 0, 1), 0);
	assert_int_equal(pthread_create(&reader.thread, NULL, fail_a_start_and_read_log, &reader),
			 0);
	while (!atomic_load(&reader.done) && task_state(atomic_load(&reader.tid)) != 'S')
		sched_yield();
	after = atomic_load(&reader.done);
	assert_int_equal(s2_vcpu_store64(small->vcpu, 0, 2), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.start_ret, -EAGAIN);
	assert_int_equal(reader.log_ret, 0);
	assert_int_equal(reader.bits, 1);
	assert_int_equal(read_log(small, &bits), 0);
	if (after)
		assert_int_equal(bits, 1);
}

struct deleter {
	struct s2_vm *vm;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	int ret;
};

static void *delete_slot(void *arg)
{
	struct deleter *deleter = arg;

	atomic_store(&deleter->tid, gettid());
	deleter->ret = set_slot(deleter->vm, 0, 0, 0, 0, 0);
	atomic_store(&deleter->done, true);
	return NULL;
}

static void test_deleting_a_memslot_waits_for_the_vcpu_too(void **state)
{
	struct small_vm *small = *state;
	struct deleter deleter = { .vm = small->vm };
	uint64_t value;

	enter_and_load(small, 0);
	assert_int_equal(pthread_create(&deleter.thread, NULL, delete_slot, &deleter), 0);
	until_asleep(deleter.thread, &deleter.tid);
	assert_false(atomic_load(&deleter.done));
	s2_vcpu_poll(small->vcpu);
	/* It may be on its way to free empty tables, with another flush. */
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	pthread_join(deleter.thread, NULL);
	assert_int_equal(deleter.ret, 0);
	assert_int_equal(guest_load(small->vcpu, 0, &value), -ENXIO);
}

/* A start that finds no SPTE has nothing to flush; so it must not get to look before the flush is
 * done. */
static void test_nobody_looks_at_the_table_while_a_flush_is_waited_for(void **state)
{
	struct small_vm *small = *state;
	struct invalidator first, second;

	enter_and_load(small, 0);
	begin_invalidation(&first, small->mm, 0, 0);
	until_asleep(first.thread, &first.tid);
	begin_invalidation(&second, small->mm, 0, S2_NONBLOCK);
	assert_int_equal(end_invalidation(&second), -EAGAIN);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(end_invalidation(&first), 0);
}

/* As long as a vCPU may have its pages, invalidations must find it. */
static void test_a_memslot_that_goes_is_found_until_its_pages_are_flushed(void **state)
{
	struct small_vm *small = *state;
	struct deleter deleter = { .vm = small->vm };
	struct invalidator i;

	enter_and_load(small, 0);
	assert_int_equal(pthread_create(&deleter.thread, NULL, delete_slot, &deleter), 0);
	until_asleep(deleter.thread, &deleter.tid);
	begin_invalidation(&i, small->mm, 0, S2_NONBLOCK);
	assert_int_equal(end_invalidation(&i), -EAGAIN);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	pthread_join(deleter.thread, NULL);
	assert_int_equal(deleter.ret, 0);
}

/* A vCPU in guest mode may be walking them, whether or not there was a page to flush. */
static void test_empty_tables_are_not_freed_under_a_vcpu(void **state)
{
	struct small_vm *small = *state;
	struct deleter deleter = { .vm = small->vm };
	struct invalidator i;

	enter_and_load(small, 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	begin_invalidation(&i, small->mm, 0, 0);
	assert_int_equal(end_invalidation(&i), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(pthread_create(&deleter.thread, NULL, delete_slot, &deleter), 0);
	while (!atomic_load(&deleter.done) && task_state(atomic_load(&deleter.tid)) != 'S')
		sched_yield();
	assert_false(atomic_load(&deleter.done));
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	pthread_join(deleter.thread, NULL);
	assert_int_equal(deleter.ret, 0);
}

static void test_a_vcpu_invalidates_its_own_page_from_inside_guest_mode(void **state)
{
	struct small_vm *small = *state;
	uint64_t value;

	enter_and_load(small, 0);
	for (unsigned i = 0; i < 5; i++) {
		exchange_frame(small, 0, FRAME_PAGES + i);
		assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), 0);
		assert_int_equal(value, FRAME_PAGES + i);
	}
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_madvise_from_inside_guest_mode(void **state)
{
	char *map = mmap(NULL, 4 * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct kvm_userspace_memory_region mem = {
		.memory_size = 4 * S2_PAGE_SIZE,
		.userspace_addr = (uintptr_t)map,
	};
	struct s2_vcpu_stats stats;
	struct s2_vcpu *vcpu;
	struct s2_mm *mm;
	struct s2_vm *vm;
	uint64_t value;

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(s2_mm_create(NULL, &mm), 0);
	assert_int_equal(s2_vm_create(mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, NULL, &vcpu), 0);
	assert_int_equal(s2_vm_set_memory_region(vm, &mem), 0);
	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	assert_int_equal(s2_vcpu_store64(vcpu, 8, 77), 0);
	assert_int_equal(s2_madvise(mm, map, S2_PAGE_SIZE, MADV_DONTNEED), 0);
	assert_int_equal(s2_vcpu_load64(vcpu, 8, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(s2_vcpu_get_stats(vcpu, &stats), 0);
	assert_int_equal(stats.faults, 2);
	assert_int_equal(stats.tlb_flushes, 1);
	assert_int_equal(s2_munmap(mm, map, S2_PAGE_SIZE), 0);
	assert_int_equal(s2_vcpu_load64(vcpu, 8, &value), -EFAULT);
	assert_int_equal(s2_vcpu_load64(vcpu, S2_PAGE_SIZE, &value), 0);
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	s2_vm_put(vm);
	s2_mm_put(mm);
	munmap(map + S2_PAGE_SIZE, 3 * S2_PAGE_SIZE);
}

/*
 * Canaries. Word 0 of a page is what vCPUs read, word 1 what they write; in a page
 * that is not the guest's both hold the canary.
 */
#define CANARY UINT64_C(0xdeadbeefdeadbeef)
#define CANARY_VCPUS 3
#define CANARY_PAGES 4u
#define CANARY_ROUNDS 1000u

struct runner {
	struct s2_vcpu *vcpu;
	_Atomic bool *stop;
	_Atomic uint64_t *accesses;
	uint64_t stale_reads;
	uint64_t failures;
	pthread_t thread;
};

static void run_once(struct runner *runner, unsigned n)
{
	uint64_t gpa = n % CANARY_PAGES * S2_PAGE_SIZE, value = 0;

	runner->failures += s2_vcpu_load64(runner->vcpu, gpa, &value) != 0;
	runner->stale_reads += value == CANARY;
	runner->failures += s2_vcpu_store64(runner->vcpu, gpa + 8, n) != 0;
}

/* Short stays for the race of entry and flush, long ones for that of poll and flush. */
static void *run(void *arg)
{
	struct runner *runner = arg;

	for (unsigned n = 0; !atomic_load_explicit(runner->stop, memory_order_relaxed); n++) {
		unsigned stay = n % 64 ? 1 : 64;

		s2_vcpu_enter(runner->vcpu);
		for (unsigned i = 0; i < stay; i++) {
			run_once(runner, n + i);
			s2_vcpu_poll(runner->vcpu);
		}
		s2_vcpu_exit(runner->vcpu);
		atomic_fetch_add_explicit(runner->accesses, stay, memory_order_relaxed);
	}
	return NULL;
}

static void set_words(struct small_vm *small, unsigned frame, uint64_t value)
{
	uint64_t *words = frame_provider_word(&small->host, frame);

	__atomic_store_n(&words[0], value, __ATOMIC_RELAXED);
	__atomic_store_n(&words[1], value, __ATOMIC_RELAXED);
}

static bool damaged(struct small_vm *small, unsigned frame)
{
	uint64_t *words = frame_provider_word(&small->host, frame);

	return __atomic_load_n(&words[0], __ATOMIC_RELAXED) != CANARY ||
	       __atomic_load_n(&words[1], __ATOMIC_RELAXED) != CANARY;
}

/* Replaces some pages by spare ones; returns how many canaries were damaged. */
static unsigned churn(struct small_vm *small, unsigned round, uint32_t spare[CANARY_PAGES])
{
	unsigned first = round % CANARY_PAGES, damage = 0;
	unsigned nr = 1 + round % (CANARY_PAGES - first);
	struct s2_invalidation inv;

	assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(first),
						   FRAME_HVA_OF(first + nr), 0),
			 0);
	for (unsigned page = first; page < first + nr; page++) {
		uint32_t old = atomic_load(&small->host.frame_of[page]);

		damage += damaged(small, spare[page]);
		set_words(small, old, CANARY);
		set_words(small, spare[page], round);
		atomic_store(&small->host.frame_of[page], spare[page]);
		spare[page] = old;
	}
	for (unsigned page = first; page < first + nr; page++)
		damage += damaged(small, spare[page]);
	s2_invalidate_range_end(small->mm, &inv);
	return damage;
}

static void run_canaries(enum s2_gate gate, enum s2_mmu_lock_kind kind)
{
	const struct s2_vm_config config = { .mmu_lock = kind };
	struct runner runners[CANARY_VCPUS];
	uint32_t spare[CANARY_PAGES];
	_Atomic uint64_t accesses = 0;
	_Atomic bool stop = false;
	struct small_vm small;
	unsigned damage = 0;

	small_vm_begin(&small, gate, &config);
	assert_int_equal(set_slot(small.vm, 0, 0, CANARY_PAGES, 0, 0), 0);
	for (unsigned page = 0; page < CANARY_PAGES; page++) {
		spare[page] = FRAME_PAGES + page;
		set_words(&small, spare[page], CANARY);
	}
	for (unsigned i = 0; i < CANARY_VCPUS; i++) {
		runners[i] = (struct runner){ .stop = &stop, .accesses = &accesses };
		assert_int_equal(s2_vcpu_create(small.vm, NULL, &runners[i].vcpu), 0);
		assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
	}
	for (unsigned round = 0; round < CANARY_ROUNDS; round++) {
		uint64_t before = atomic_load(&accesses);

		damage += churn(&small, round, spare);
		/* Now and then the vCPUs get to use what they have. */
		while (round % 16 == 0 && atomic_load(&accesses) < before + 64)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < CANARY_VCPUS; i++) {
		pthread_join(runners[i].thread, NULL);
		assert_int_equal(runners[i].stale_reads, 0);
		assert_int_equal(runners[i].failures, 0);
		assert_int_equal(s2_vcpu_destroy(runners[i].vcpu), 0);
	}
	assert_int_equal(damage, 0);
	small_vm_end(&small);
}

static void test_no_vcpu_meets_a_canary(void **state)
{
	(void)state;
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		run_canaries(gate, S2_MMU_LOCK_RWLOCK);
		run_canaries(gate, S2_MMU_LOCK_MUTEX);
	}
}

#define FLUSH_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FLUSH_TEST(test_start_waits_until_the_vcpu_polls),
		FLUSH_TEST(test_start_waits_until_the_vcpu_exits),
		FLUSH_TEST(test_a_fault_lets_the_flush_go_on),
		FLUSH_TEST(test_nobody_waits_for_a_vcpu_whose_pages_stay),
		FLUSH_TEST(test_nobody_waits_for_a_vcpu_of_another_vm),
		FLUSH_TEST(test_nonblocking_start_gives_up_on_a_vcpu_in_guest_mode),
		FLUSH_TEST(test_a_flush_that_was_not_waited_for_is_made_up_for),
		FLUSH_TEST(test_the_dirty_log_sees_a_store_through_a_flush_that_was_not_waited_for),
		FLUSH_TEST(test_deleting_a_memslot_waits_for_the_vcpu_too),
		FLUSH_TEST(test_nobody_looks_at_the_table_while_a_flush_is_waited_for),
		FLUSH_TEST(test_a_memslot_that_goes_is_found_until_its_pages_are_flushed),
		FLUSH_TEST(test_empty_tables_are_not_freed_under_a_vcpu),
		FLUSH_TEST(test_a_vcpu_invalidates_its_own_page_from_inside_guest_mode),
		cmocka_unit_test(test_madvise_from_inside_guest_mode),
		cmocka_unit_test(test_no_vcpu_meets_a_canary),
	};

	return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
