/* SPDX-License-Identifier: MIT */
/*
 * The order of dirty bit and SPTE in a fault. A log that is only copied, as under
 * manual_dirty_protect, takes no mmu_lock, so that nothing but that order keeps this
 * from happening:
 *
 *	vCPU 0				vCPU 1				get
 *	------				------				---
 *	store: faults
 *	installs the writable SPTE
 *					store: by that SPTE
 *									copies the log
 *	marks the page
 *
 * vCPU 1's store was complete before get was called and is not in the log. Whoever
 * copies the guest's memory in rounds has not copied it in this one, and may have
 * stopped looking by the next.
 *
 * To stop a fault where it marks its page, the log lies in memory that cannot be
 * written to: the signal comes in the faulting thread, between the two steps or
 * before them, and its handler waits there. Reading the log goes on as ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memslot/vm.h"
#include "mmu/table.h"
#include "small_vm.h"

#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SLOT_PAGES 8

struct fixture {
	struct small_vm small;
	struct s2_memslot *slot;
	_Atomic uint64_t *own_log; /* the library's, of the memslot */
	struct s2_vcpu *second;
	pthread_t thread;
	int ret;
};

/* A signal handler is handed nothing, so this is where it finds what it needs. */
static struct {
	char *log; /* a page */
	sem_t marks;
	sem_t go_on;
	volatile sig_atomic_t stopped;
} stop;

static void stop_at_the_mark(int nr, siginfo_t *info, void *context)
{
	char *at = info->si_addr;

	if (at < stop.log || at >= stop.log + S2_PAGE_SIZE) {
		signal(nr, SIG_DFL);
		return;
	}
	stop.stopped = 1;
	sem_post(&stop.marks);
	while (sem_wait(&stop.go_on))
		;
}

static const struct s2_vm_config with_rwlock = { .manual_dirty_protect = true };
static const struct s2_vm_config with_mutex = {
	.mmu_lock = S2_MMU_LOCK_MUTEX,
	.manual_dirty_protect = true,
};

static void put_log_where_it_can_be_guarded(struct fixture *f)
{
	stop.log = mmap(NULL, S2_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	assert_ptr_not_equal(stop.log, MAP_FAILED);
	f->slot = s2_gfn_to_memslot(f->small.vm, 0);
	f->own_log = f->slot->dirty_bitmap;
	f->slot->dirty_bitmap = (_Atomic uint64_t *)(void *)stop.log;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	small_vm_begin(&f->small, S2_GATE_RANGE, *state);
	assert_int_equal(s2_vcpu_create(f->small.vm, NULL, &f->second), 0);
	assert_int_equal(set_slot(f->small.vm, 0, 0, SLOT_PAGES, 0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	put_log_where_it_can_be_guarded(f);
	sem_init(&stop.marks, 0, 0);
	sem_init(&stop.go_on, 0, 0);
	stop.stopped = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->slot->dirty_bitmap = f->own_log;
	munmap(stop.log, S2_PAGE_SIZE);
	sem_destroy(&stop.marks);
	sem_destroy(&stop.go_on);
	assert_int_equal(s2_vcpu_destroy(f->second), 0);
	small_vm_end(&f->small);
	free(f);
	return 0;
}

static void guard_log(int protection)
{
	assert_int_equal(mprotect(stop.log, S2_PAGE_SIZE, protection), 0);
}

static void *store_to_page_0(void *arg)
{
	struct fixture *f = arg;

	f->ret = guest_store(f->small.vcpu, 0, 1);
	/* If nothing stopped it, the test must not wait for ever. */
	sem_post(&stop.marks);
	return NULL;
}

/* vCPU 0 stores to page 0, and stops when it is about to mark it. */
static void begin_store(struct fixture *f)
{
	/* Here, since cmocka has a handler of its own around each setup and each test. */
	const struct sigaction action = {
		.sa_sigaction = stop_at_the_mark,
		.sa_flags = SA_SIGINFO,
	};

	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	guard_log(PROT_READ);
	assert_int_equal(pthread_create(&f->thread, NULL, store_to_page_0, f), 0);
	while (sem_wait(&stop.marks))
		;
}

static void finish_store(struct fixture *f)
{
	guard_log(PROT_READ | PROT_WRITE);
	sem_post(&stop.go_on);
	pthread_join(f->thread, NULL);
	assert_int_equal(f->ret, 0);
}

static bool another_vcpu_can_store(struct fixture *f)
{
	uint64_t spte = s2_table_walk(f->small.vm->mmu_root, 0).spte;

	return s2_spte_present(spte) && (spte & S2_SPTE_WRITABLE);
}

static bool log_has_page_0(struct fixture *f)
{
	uint64_t bits = 0;
	const struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &bits };

	assert_int_equal(s2_vm_get_dirty_log(f->small.vm, &log), 0);
	return bits & 1;
}

/* Without a SPTE the other vCPU would fault, and mark the page by itself. */
static void show_that_no_store_is_missing(struct fixture *f)
{
	bool missing = false;

	begin_store(f);
	if (another_vcpu_can_store(f))
		missing = guest_store(f->second, 0, 2) || !log_has_page_0(f);
	finish_store(f);
	assert_true(stop.stopped);
	assert_false(missing);
	assert_true(log_has_page_0(f));
}

static void test_a_page_is_in_the_log_before_others_can_store_to_it(void **state)
{
	show_that_no_store_is_missing(*state);
}

static void test_so_is_one_that_was_read_before(void **state)
{
	struct fixture *f = *state;

	assert_guest_reads(f->small.vcpu, 0, 0);
	show_that_no_store_is_missing(f);
}

/* clang-format off */
#define WITH_EACH_LOCK(function)                                                              \
	{ #function " (rwlock)", function, setup, teardown, (void *)(uintptr_t)&with_rwlock }, \
	{ #function " (mutex)", function, setup, teardown, (void *)(uintptr_t)&with_mutex }
/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_EACH_LOCK(test_a_page_is_in_the_log_before_others_can_store_to_it),
		WITH_EACH_LOCK(test_so_is_one_that_was_read_before),
	};

	return cmocka_run_group_tests_name("dirty bit before SPTE", tests, NULL, NULL);
}
