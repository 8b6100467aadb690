/* SPDX-License-Identifier: MIT */
/*
 * Guest mode and flush requests: first the protocol on its own, with a
 * translation that is a word in the TLB and a page that is a flag; then vCPUs
 * that invalidate each other's memory from inside guest mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arch.h"
#include "base/guest_mode.h"
#include "small_vm.h"
#include "task_state.h"

#include <errno.h>
#include <stdlib.h>

static struct s2_guest *new_guest(void)
{
	struct s2_guest *guest = aligned_alloc(64, sizeof(*guest));

	assert_non_null(guest);
	s2_guest_init(guest);
	return guest;
}

static void give_translation(struct s2_guest *guest)
{
	guest->tlb[0].rtag = 0;
}

static bool has_translation(const struct s2_guest *guest)
{
	return guest->tlb[0].rtag == 0;
}

static bool flush(struct s2_guest *guest, bool may_block)
{
	s2_guest_request_flush(guest);
	atomic_thread_fence(memory_order_seq_cst);
	return s2_guest_await_flush(guest, may_block);
}

static void test_nobody_waits_for_a_guest_out_of_guest_mode(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	assert_true(flush(guest, false));
	assert_true(flush(guest, true));
	free(guest);
}

static void test_entering_with_a_request_pending_drops_the_tlb(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	give_translation(guest);
	assert_true(flush(guest, false));
	s2_guest_enter(guest);
	assert_false(has_translation(guest));
	assert_int_equal(guest->flushes, 1);
	s2_guest_exit(guest);
	free(guest);
}

static void test_entering_without_a_request_keeps_the_tlb(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	give_translation(guest);
	for (unsigned i = 0; i < 3; i++) {
		s2_guest_enter(guest);
		assert_true(has_translation(guest));
		assert_ptr_equal(guest->vcpu.tlb, guest->tlb);
		s2_guest_exit(guest);
		assert_ptr_not_equal(guest->vcpu.tlb, guest->tlb);
	}
	assert_int_equal(guest->flushes, 0);
	free(guest);
}

static void test_a_poll_without_a_request_keeps_the_tlb(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	s2_guest_enter(guest);
	give_translation(guest);
	s2_vcpu_poll(&guest->vcpu);
	assert_true(has_translation(guest));
	s2_guest_request_flush(guest);
	s2_vcpu_poll(&guest->vcpu);
	assert_false(has_translation(guest));
	s2_guest_exit(guest);
	free(guest);
}

static void test_a_poll_out_of_guest_mode_leaves_the_request_to_the_entry(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	give_translation(guest);
	s2_guest_request_flush(guest);
	s2_vcpu_poll(&guest->vcpu);
	s2_guest_enter(guest);
	assert_false(has_translation(guest));
	assert_int_equal(guest->flushes, 1);
	s2_guest_exit(guest);
	free(guest);
}

static void test_one_poll_answers_all_requests(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	s2_guest_enter(guest);
	give_translation(guest);
	s2_guest_request_flush(guest);
	s2_guest_request_flush(guest);
	assert_false(s2_guest_await_flush(guest, false));
	s2_vcpu_poll(&guest->vcpu);
	assert_true(s2_guest_await_flush(guest, false));
	assert_int_equal(guest->flushes, 1);
	s2_guest_exit(guest);
	free(guest);
}

static void test_without_blocking_the_answer_is_no_while_in_guest_mode(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	s2_guest_enter(guest);
	assert_false(flush(guest, false));
	s2_guest_exit(guest);
	assert_true(s2_guest_await_flush(guest, false));
	free(guest);
}

struct flusher {
	struct s2_guest *guest;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
};

static void *flush_and_say(void *arg)
{
	struct flusher *flusher = arg;

	atomic_store(&flusher->tid, gettid());
	s2_guest_await_flush(flusher->guest, true);
	atomic_store(&flusher->done, true);
	return NULL;
}

/* The flusher is asleep and has not returned. */
static void begin_flush(struct flusher *flusher, struct s2_guest *guest)
{
	*flusher = (struct flusher){ .guest = guest };
	assert_int_equal(pthread_create(&flusher->thread, NULL, flush_and_say, flusher), 0);
	until_asleep(flusher->thread, &flusher->tid);
	assert_false(atomic_load(&flusher->done));
}

static void test_a_flush_sleeps_until_the_guest_polls(void **state)
{
	struct s2_guest *guest = new_guest();
	struct flusher flushers[2];

	(void)state;
	s2_guest_enter(guest);
	give_translation(guest);
	s2_guest_request_flush(guest);
	begin_flush(&flushers[0], guest);
	begin_flush(&flushers[1], guest);
	s2_vcpu_poll(&guest->vcpu);
	pthread_join(flushers[0].thread, NULL);
	pthread_join(flushers[1].thread, NULL);
	assert_false(has_translation(guest));
	s2_guest_exit(guest);
	free(guest);
}

static void test_a_flush_sleeps_until_the_guest_exits(void **state)
{
	struct s2_guest *guest = new_guest();
	struct flusher flusher;

	(void)state;
	s2_guest_enter(guest);
	s2_guest_request_flush(guest);
	begin_flush(&flusher, guest);
	s2_guest_exit(guest);
	pthread_join(flusher.thread, NULL);
	free(guest);
}

static void test_a_thread_takes_all_its_guests_out_and_back(void **state)
{
	struct s2_guest *a = new_guest(), *b = new_guest();

	(void)state;
	assert_false(s2_in_guest_mode());
	assert_false(s2_guest_leave_all());
	s2_guest_enter(a);
	s2_guest_enter(b);
	assert_true(s2_in_guest_mode());
	assert_true(s2_guest_leave_all());
	assert_false(s2_in_guest_mode());
	assert_true(flush(a, false));
	assert_true(flush(b, false));
	/* Nested: who took them out brings them back, and nobody sooner. */
	assert_true(s2_guest_leave_all());
	s2_guest_return_all();
	assert_false(s2_in_guest_mode());
	give_translation(a);
	give_translation(b);
	s2_guest_return_all();
	assert_true(s2_in_guest_mode());
	assert_false(has_translation(a));
	assert_false(has_translation(b));
	assert_false(flush(a, false));
	assert_false(flush(b, false));
	s2_guest_exit(a);
	free(a);
	assert_true(s2_in_guest_mode());
	s2_guest_exit(b);
	assert_false(s2_in_guest_mode());
	free(b);
}

/* As a provider may, which is called while the guest is out of guest mode. */
static void test_a_guest_that_was_taken_out_may_exit(void **state)
{
	struct s2_guest *guest = new_guest();

	(void)state;
	s2_guest_enter(guest);
	assert_true(s2_guest_leave_all());
	s2_guest_exit(guest);
	s2_guest_return_all();
	assert_true(flush(guest, false));
	s2_guest_enter(guest);
	assert_false(flush(guest, false));
	s2_guest_exit(guest);
	free(guest);
}

static void test_a_guest_that_entered_while_others_were_out_is_taken_out_too(void **state)
{
	struct s2_guest *a = new_guest(), *b = new_guest();

	(void)state;
	s2_guest_enter(a);
	assert_true(s2_guest_leave_all());
	s2_guest_enter(b);
	s2_guest_return_all();
	assert_true(s2_guest_leave_all());
	assert_true(flush(a, false));
	assert_true(flush(b, false));
	s2_guest_return_all();
	assert_false(flush(a, false));
	assert_false(flush(b, false));
	s2_guest_exit(a);
	s2_guest_exit(b);
	free(a);
	free(b);
}

/*
 * The race at the top of guest_mode.c. @spte: there is a page to translate to;
 * @gone: the page is away, and whoever uses its translation now has found a bug.
 */
struct litmus {
	struct s2_guest *guest;
	_Atomic bool spte;
	_Atomic bool gone;
	_Atomic bool stop;
	_Atomic uint64_t uses;
	_Atomic uint64_t violations;
};

static void use_page(struct litmus *litmus)
{
	struct s2_guest *guest = litmus->guest;

	if (!has_translation(guest) && atomic_load_explicit(&litmus->spte, memory_order_acquire))
		give_translation(guest);
	if (!has_translation(guest))
		return;
	for (unsigned i = 0; i < 20; i++)
		if (atomic_load_explicit(&litmus->gone, memory_order_relaxed))
			atomic_fetch_add(&litmus->violations, 1);
	atomic_fetch_add_explicit(&litmus->uses, 1, memory_order_relaxed);
}

static void *litmus_vcpu(void *arg)
{
	struct litmus *litmus = arg;

	while (!atomic_load_explicit(&litmus->stop, memory_order_relaxed)) {
		s2_guest_enter(litmus->guest);
		for (unsigned i = 0; i < 3; i++) {
			use_page(litmus);
			s2_vcpu_poll(&litmus->guest->vcpu);
		}
		s2_guest_exit(litmus->guest);
	}
	return NULL;
}

static void test_no_translation_is_used_after_its_flush(void **state)
{
	struct litmus litmus = { .guest = new_guest() };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, litmus_vcpu, &litmus), 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t uses = atomic_load(&litmus.uses);

		atomic_store_explicit(&litmus.spte, true, memory_order_release);
		for (unsigned spins = i % 64; spins && atomic_load(&litmus.uses) == uses; spins--)
			;
		atomic_store_explicit(&litmus.spte, false, memory_order_release);
		flush(litmus.guest, true);
		atomic_store_explicit(&litmus.gone, true, memory_order_release);
		for (unsigned spins = 0; spins < i % 32; spins++)
			s2_cpu_relax();
		atomic_store_explicit(&litmus.gone, false, memory_order_release);
	}
	atomic_store(&litmus.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&litmus.violations), 0);
	free(litmus.guest);
}

#define ROUNDS 2000

/* A vCPU that uses its page, and invalidates another's without leaving guest mode. */
struct peer {
	struct s2_mm *mm;
	struct s2_vcpu *vcpu;
	uint64_t own_gfn;
	unsigned other_page;
	unsigned failures;
	pthread_t thread;
};

static void *invalidate_the_other(void *arg)
{
	struct peer *peer = arg;
	uint64_t hva = FRAME_HVA_OF(peer->other_page), value;
	struct s2_invalidation inv;

	s2_vcpu_enter(peer->vcpu);
	for (unsigned i = 0; i < ROUNDS; i++) {
		peer->failures +=
			s2_vcpu_load64(peer->vcpu, peer->own_gfn * S2_PAGE_SIZE, &value) != 0;
		peer->failures +=
			s2_invalidate_range_start(peer->mm, &inv, hva, hva + S2_PAGE_SIZE, 0) != 0;
		s2_invalidate_range_end(peer->mm, &inv);
		s2_vcpu_poll(peer->vcpu);
	}
	s2_vcpu_exit(peer->vcpu);
	return NULL;
}

static void run_peers(struct peer peers[2])
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&peers[i].thread, NULL, invalidate_the_other, &peers[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(peers[i].thread, NULL);
		assert_int_equal(peers[i].failures, 0);
	}
}

static void test_vcpus_of_one_vm_invalidate_each_other_at_once(void **state)
{
	struct s2_vcpu *second;
	struct small_vm small;

	(void)state;
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 0, 2, 0, 0), 0);
	assert_int_equal(s2_vcpu_create(small.vm, NULL, &second), 0);
	run_peers((struct peer[]){
		{ .mm = small.mm, .vcpu = small.vcpu, .own_gfn = 0, .other_page = 1 },
		{ .mm = small.mm, .vcpu = second, .own_gfn = 1, .other_page = 0 },
	});
	assert_int_equal(s2_vcpu_destroy(second), 0);
	small_vm_end(&small);
}

static void test_vcpus_of_two_vms_invalidate_each_other_at_once(void **state)
{
	struct s2_vcpu *second;
	struct small_vm small;
	struct s2_vm *vm;

	(void)state;
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(s2_vm_create(small.mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, NULL, &second), 0);
	assert_int_equal(set_slot(small.vm, 0, 0, 1, 0, 0), 0);
	assert_int_equal(set_slot(vm, 0, 1, 1, 1, 0), 0);
	run_peers((struct peer[]){
		{ .mm = small.mm, .vcpu = small.vcpu, .own_gfn = 0, .other_page = 1 },
		{ .mm = small.mm, .vcpu = second, .own_gfn = 1, .other_page = 0 },
	});
	assert_int_equal(s2_vcpu_destroy(second), 0);
	s2_vm_put(vm);
	small_vm_end(&small);
}

static void test_a_thread_inside_two_vcpus_invalidates_and_faults(void **state)
{
	struct s2_invalidation inv;
	struct s2_vcpu *second;
	struct small_vm small;
	struct s2_vm *vm;
	uint64_t value;

	(void)state;
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(s2_vm_create(small.mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, NULL, &second), 0);
	assert_int_equal(set_slot(small.vm, 0, 0, 1, 0, 0), 0);
	assert_int_equal(set_slot(vm, 0, 0, 1, 0, 0), 0);
	s2_vcpu_enter(small.vcpu);
	s2_vcpu_enter(second);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s2_vcpu_load64(small.vcpu, 0, &value), 0);
		assert_int_equal(value, i ? FRAME_PAGES + i - 1 : 0);
		assert_int_equal(s2_vcpu_load64(second, 0, &value), 0);
		assert_int_equal(value, i ? FRAME_PAGES + i - 1 : 0);
		assert_int_equal(s2_invalidate_range_start(small.mm, &inv, FRAME_HVA_OF(0),
							   FRAME_HVA_OF(1), 0),
				 0);
		assert_int_equal(s2_vcpu_load64(small.vcpu, 0, &value), -EDEADLK);
		assert_int_equal(s2_vcpu_load64(second, 0, &value), -EDEADLK);
		atomic_store(&small.host.frame_of[0], FRAME_PAGES + i);
		s2_invalidate_range_end(small.mm, &inv);
	}
	assert_int_equal(s2_vcpu_exit(small.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(second, 0, &value), 0);
	assert_int_equal(s2_vcpu_exit(second), 0);
	assert_int_equal(s2_vcpu_destroy(second), 0);
	s2_vm_put(vm);
	small_vm_end(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_waits_for_a_guest_out_of_guest_mode),
		cmocka_unit_test(test_entering_with_a_request_pending_drops_the_tlb),
		cmocka_unit_test(test_entering_without_a_request_keeps_the_tlb),
		cmocka_unit_test(test_a_poll_without_a_request_keeps_the_tlb),
		cmocka_unit_test(test_a_poll_out_of_guest_mode_leaves_the_request_to_the_entry),
		cmocka_unit_test(test_one_poll_answers_all_requests),
		cmocka_unit_test(test_without_blocking_the_answer_is_no_while_in_guest_mode),
		cmocka_unit_test(test_a_flush_sleeps_until_the_guest_polls),
		cmocka_unit_test(test_a_flush_sleeps_until_the_guest_exits),
		cmocka_unit_test(test_a_thread_takes_all_its_guests_out_and_back),
		cmocka_unit_test(test_a_guest_that_was_taken_out_may_exit),
		cmocka_unit_test(test_a_guest_that_entered_while_others_were_out_is_taken_out_too),
		cmocka_unit_test(test_no_translation_is_used_after_its_flush),
		cmocka_unit_test(test_vcpus_of_one_vm_invalidate_each_other_at_once),
		cmocka_unit_test(test_vcpus_of_two_vms_invalidate_each_other_at_once),
		cmocka_unit_test(test_a_thread_inside_two_vcpus_invalidates_and_faults),
	};

	return cmocka_run_group_tests_name("guest mode", tests, NULL, NULL);
}
