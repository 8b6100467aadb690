/* SPDX-License-Identifier: MIT */
/*
 * S2_SHOOTDOWN_RSEQ: invalidations that wait for no vCPU, whatever it does between two
 * accesses, and yet leave none of them the old page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rseq.h"
#include "base/schedule.h"
#include "small_vm.h"
#include "task_state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

static const struct s2_vcpu_config with_rseq = { .shootdown = S2_SHOOTDOWN_RSEQ };

/* A small VM and, beside its own, a vCPU on a thread of its own. */
struct fixture {
	struct small_vm small;
	struct s2_vcpu *vcpu;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool ready;
	_Atomic bool stop;
	_Atomic uint64_t loads;
	_Atomic uint64_t latest;
	_Atomic bool saw_canary; /* UINT64_MAX */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	small_vm_begin(&f->small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(f->small.vm, 0, 0, 8, 0, 0), 0);
	assert_int_equal(s2_vcpu_create(f->small.vm, &with_rseq, &f->vcpu), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(s2_vcpu_destroy(f->vcpu), 0);
	small_vm_end(&f->small);
	free(f);
	return 0;
}

static void needs_rseq(struct fixture *f)
{
	if (s2_vcpu_shootdown(f->vcpu) == S2_SHOOTDOWN_RSEQ)
		return;
	print_message("no restartable sequences on this machine\n");
	skip();
}

static void start(struct fixture *f, struct s2_invalidation *inv, unsigned page)
{
	assert_int_equal(s2_invalidate_range_start(f->small.mm, inv, FRAME_HVA_OF(page),
						   FRAME_HVA_OF(page + 1), 0), 0);
}

static void end(struct fixture *f, struct s2_invalidation *inv)
{
	s2_invalidate_range_end(f->small.mm, inv);
}

static void begin_thread(struct fixture *f, void *(*body)(void *))
{
	assert_int_equal(pthread_create(&f->thread, NULL, body, f), 0);
	until_true(&f->ready);
}

static void end_thread(struct fixture *f)
{
	atomic_store(&f->stop, true);
	assert_int_equal(pthread_join(f->thread, NULL), 0);
}

static void test_a_vcpu_has_the_shootdown_it_was_created_with(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(s2_vcpu_shootdown(f->small.vcpu), S2_SHOOTDOWN_SAFEPOINT);
	assert_int_equal(s2_vcpu_shootdown(NULL), S2_SHOOTDOWN_SAFEPOINT);
	needs_rseq(f);
	assert_int_equal(s2_vcpu_shootdown(f->vcpu), S2_SHOOTDOWN_RSEQ);
}

static void test_a_config_that_is_not_known_is_refused(void **state)
{
	const struct s2_vcpu_config unknown = { .shootdown = S2_SHOOTDOWN_RSEQ + 1 };
	const struct s2_vcpu_config reserved = { .reserved = { 0, 0, 0, 1 } };
	struct fixture *f = *state;
	struct s2_vcpu *vcpu;

	assert_int_equal(s2_vcpu_create(f->small.vm, &unknown, &vcpu), -EINVAL);
	assert_int_equal(s2_vcpu_create(f->small.vm, &reserved, &vcpu), -EINVAL);
}

/* Looks at page 0 until it is stopped, and never polls. */
static void *load_for_ever(void *arg)
{
	struct fixture *f = arg;
	uint64_t value = 0;

	atomic_store(&f->tid, gettid());
	s2_vcpu_enter(f->vcpu);
	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		if (s2_vcpu_load64(f->vcpu, 0, &value))
			break;
		if (value == UINT64_MAX)
			atomic_store(&f->saw_canary, true);
		atomic_store_explicit(&f->latest, value, memory_order_relaxed);
		atomic_fetch_add_explicit(&f->loads, 1, memory_order_relaxed);
		atomic_store_explicit(&f->ready, true, memory_order_relaxed);
	}
	s2_vcpu_exit(f->vcpu);
	return NULL;
}

static void until_loads(struct fixture *f, uint64_t value)
{
	uint64_t before = atomic_load(&f->loads);

	while (atomic_load(&f->loads) < before + 2 || atomic_load(&f->latest) != value)
		sched_yield();
}

static void test_start_does_not_wait_for_a_vcpu_that_never_polls(void **state)
{
	struct fixture *f = *state;

	needs_rseq(f);
	begin_thread(f, load_for_ever);
	for (unsigned i = 0; i < 2000; i++)
		exchange_frame(&f->small, 0, FRAME_PAGES + i % FRAME_SPARES);
	until_loads(f, FRAME_PAGES + 1999 % FRAME_SPARES);
	end_thread(f);
}

static void test_between_start_and_end_the_page_is_not_used(void **state)
{
	struct fixture *f = *state;
	struct s2_invalidation inv;

	needs_rseq(f);
	begin_thread(f, load_for_ever);
	for (unsigned i = 0; i < 500; i++) {
		start(f, &inv, 0);
		*frame_provider_word(&f->small.host, 0) = UINT64_MAX;
		for (unsigned j = 0; j < i % 50; j++)
			s2_cpu_relax();
		*frame_provider_word(&f->small.host, 0) = 7;
		end(f, &inv);
		until_loads(f, 7);
	}
	end_thread(f);
	assert_false(atomic_load(&f->saw_canary));
}

static void *sleep_in_guest_mode(void *arg)
{
	struct fixture *f = arg;
	uint64_t value;

	s2_vcpu_enter(f->vcpu);
	s2_vcpu_load64(f->vcpu, 0, &value);
	atomic_store(&f->ready, true);
	until_true(&f->stop);
	s2_vcpu_load64(f->vcpu, 0, &value);
	atomic_store(&f->latest, value);
	s2_vcpu_exit(f->vcpu);
	return NULL;
}

static void test_start_does_not_wait_for_a_vcpu_that_does_something_else(void **state)
{
	struct fixture *f = *state;

	needs_rseq(f);
	begin_thread(f, sleep_in_guest_mode);
	exchange_frame(&f->small, 0, FRAME_PAGES + 3);
	end_thread(f);
	assert_int_equal(atomic_load(&f->latest), FRAME_PAGES + 3);
}

static void test_a_vcpu_may_block_in_guest_mode(void **state)
{
	struct fixture *f = *state;
	struct s2_invalidation inv;
	uint64_t value;

	needs_rseq(f);
	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	/* Each of these would be "blocking in guest mode" with safepoints, in a debug build. */
	assert_int_equal(set_slot(f->small.vm, 1, 100, 8, 100, 0), 0);
	start(f, &inv, 0);
	end(f, &inv);
	assert_int_equal(set_slot(f->small.vm, 1, 100, 0, 100, 0), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
}

static uint64_t misses(struct s2_vcpu *vcpu)
{
	struct s2_vcpu_stats stats;

	assert_int_equal(s2_vcpu_get_stats(vcpu, &stats), 0);
	return stats.tlb_misses;
}

static void test_accesses_of_every_size_hit(void **state)
{
	struct fixture *f = *state;
	uint64_t before, v64;
	uint32_t v32;
	uint16_t v16;
	uint8_t v8;

	needs_rseq(f);
	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_store64(f->vcpu, 4096, UINT64_C(0x1122334455667788)), 0);
	before = misses(f->vcpu);
	assert_int_equal(s2_vcpu_store32(f->vcpu, 4104, 0x99aabbccu), 0);
	assert_int_equal(s2_vcpu_store16(f->vcpu, 4108, 0xddee), 0);
	assert_int_equal(s2_vcpu_store8(f->vcpu, 4110, 0xff), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 4096, &v64), 0);
	assert_int_equal(s2_vcpu_load32(f->vcpu, 4104, &v32), 0);
	assert_int_equal(s2_vcpu_load16(f->vcpu, 4108, &v16), 0);
	assert_int_equal(s2_vcpu_load8(f->vcpu, 4110, &v8), 0);
	assert_int_equal(misses(f->vcpu), before);
	assert_int_equal(v64, UINT64_C(0x1122334455667788));
	assert_int_equal(v32, 0x99aabbccu);
	assert_int_equal(v16, 0xddee);
	assert_int_equal(v8, 0xff);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
}

static void test_what_was_only_loaded_misses_at_the_first_store(void **state)
{
	struct fixture *f = *state;
	uint64_t before, value;

	needs_rseq(f);
	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 4096, &value), 0);
	before = misses(f->vcpu);
	assert_int_equal(s2_vcpu_store64(f->vcpu, 4096, 1), 0);
	assert_int_equal(misses(f->vcpu), before + 1);
	assert_int_equal(s2_vcpu_store64(f->vcpu, 4096, 2), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 4096, &value), 0);
	assert_int_equal(misses(f->vcpu), before + 1);
	assert_int_equal(value, 2);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
}

static void test_out_of_guest_mode_nothing_hits(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), -EPERM);
	assert_int_equal(s2_vcpu_store64(f->vcpu, 0, value), -EPERM);
}

static void test_a_flush_while_it_is_out_is_acted_on_when_it_enters(void **state)
{
	struct fixture *f = *state;

	assert_guest_reads(f->vcpu, 0, 0);
	exchange_frame(&f->small, 0, FRAME_PAGES + 5);
	assert_guest_reads(f->vcpu, 0, FRAME_PAGES + 5);
}

static void test_a_poll_acts_on_a_request(void **state)
{
	struct fixture *f = *state;
	struct s2_vcpu_stats before, after;
	uint64_t value;

	needs_rseq(f);
	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	exchange_frame(&f->small, 0, FRAME_PAGES);
	s2_vcpu_get_stats(f->vcpu, &before);
	s2_vcpu_poll(f->vcpu);
	s2_vcpu_get_stats(f->vcpu, &after);
	assert_int_equal(after.tlb_flushes, before.tlb_flushes + 1);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
}

#if S2_SCHEDULES && defined(S2_ARCH_HAS_RSEQ)
/*
 * Two threads on one CPU never show the race: who is switched away begins anew. On a
 * machine with one CPU the test shows nothing, and passes.
 */
static void keep_apart(pthread_t thread, const cpu_set_t *all)
{
	cpu_set_t one;
	int cpu = 0, left = 2;

	for (; cpu < CPU_SETSIZE && left; cpu++) {
		if (!CPU_ISSET(cpu, all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(left == 2 ? pthread_self() : thread, sizeof(one), &one);
		left--;
	}
}

/*
 * Loads that take a while between the look at the TLB and the use of it, each a few
 * hundred microseconds: longer ones the scheduler would begin anew of its own accord.
 */
static void test_a_load_under_way_is_begun_anew(void **state)
{
	struct fixture *f = *state;
	struct s2_invalidation inv;
	cpu_set_t all;

	needs_rseq(f);
	assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(all), &all), 0);
	__atomic_store_n(&s2_rseq_window, 500000, __ATOMIC_RELAXED);
	begin_thread(f, load_for_ever);
	keep_apart(f->thread, &all);
	for (unsigned i = 0; i < 50; i++) {
		start(f, &inv, 0);
		*frame_provider_word(&f->small.host, 0) = UINT64_MAX;
		/* In a fault, where it waits for the end; or it has the old page still. */
		while (task_state(atomic_load(&f->tid)) != 'S' && !atomic_load(&f->saw_canary))
			sched_yield();
		*frame_provider_word(&f->small.host, 0) = 7;
		end(f, &inv);
		until_loads(f, 7);
	}
	__atomic_store_n(&s2_rseq_window, 0, __ATOMIC_RELAXED);
	end_thread(f);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	assert_false(atomic_load(&f->saw_canary));
}
#else
static void test_a_load_under_way_is_begun_anew(void **state)
{
	(void)state;
	print_message("this build cannot make a load slow\n");
	skip();
}
#endif

#ifdef S2_ARCH_HAS_RSEQ
static int unregister_rseq(void)
{
	void *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	long ret = syscall(SYS_rseq, area, __rseq_size < 32 ? 32 : __rseq_size,
			   RSEQ_FLAG_UNREGISTER, RSEQ_SIG);

	return ret ? -errno : 0;
}

/* As glibc without rseq, or another user of the system call, would leave the thread. */
static void *enter_unregistered(void *arg)
{
	struct fixture *f = arg;
	uint64_t value = 0;

	assert_int_equal(unregister_rseq(), 0);
	assert_int_equal(s2_vcpu_enter(f->vcpu), 0);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	atomic_store(&f->ready, true);
	until_true(&f->stop);
	assert_int_equal(s2_vcpu_load64(f->vcpu, 0, &value), 0);
	atomic_store(&f->latest, value);
	assert_int_equal(s2_vcpu_exit(f->vcpu), 0);
	return NULL;
}

struct exchanger {
	struct fixture *f;
	_Atomic pid_t tid;
	pthread_t thread;
};

static void *exchange(void *arg)
{
	struct exchanger *exchanger = arg;

	atomic_store(&exchanger->tid, gettid());
	exchange_frame(&exchanger->f->small, 0, FRAME_PAGES);
	return NULL;
}

static void test_a_thread_that_is_not_registered_has_safepoints(void **state)
{
	struct fixture *f = *state;
	struct exchanger exchanger = { .f = f };

	needs_rseq(f);
	/* A TLB filled by restartable accesses, none of whose tags the others may take. */
	assert_guest_reads(f->vcpu, 0, 0);
	begin_thread(f, enter_unregistered);
	assert_int_equal(pthread_create(&exchanger.thread, NULL, exchange, &exchanger), 0);
	until_asleep(exchanger.thread, &exchanger.tid);
	end_thread(f);
	assert_int_equal(atomic_load(&f->latest), 0);
	pthread_join(exchanger.thread, NULL);
	assert_guest_reads(f->vcpu, 0, FRAME_PAGES);
}
#else
static void test_a_thread_that_is_not_registered_has_safepoints(void **state)
{
	(void)state;
	print_message("no restartable sequences on this machine\n");
	skip();
}
#endif

#define SHOOTDOWN_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHOOTDOWN_TEST(test_a_vcpu_has_the_shootdown_it_was_created_with),
		SHOOTDOWN_TEST(test_a_config_that_is_not_known_is_refused),
		SHOOTDOWN_TEST(test_a_load_under_way_is_begun_anew),
		SHOOTDOWN_TEST(test_start_does_not_wait_for_a_vcpu_that_never_polls),
		SHOOTDOWN_TEST(test_between_start_and_end_the_page_is_not_used),
		SHOOTDOWN_TEST(test_start_does_not_wait_for_a_vcpu_that_does_something_else),
		SHOOTDOWN_TEST(test_a_vcpu_may_block_in_guest_mode),
		SHOOTDOWN_TEST(test_accesses_of_every_size_hit),
		SHOOTDOWN_TEST(test_what_was_only_loaded_misses_at_the_first_store),
		SHOOTDOWN_TEST(test_out_of_guest_mode_nothing_hits),
		SHOOTDOWN_TEST(test_a_flush_while_it_is_out_is_acted_on_when_it_enters),
		SHOOTDOWN_TEST(test_a_poll_acts_on_a_request),
		SHOOTDOWN_TEST(test_a_thread_that_is_not_registered_has_safepoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
