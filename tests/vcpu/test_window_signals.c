/* SPDX-License-Identifier: MIT */
/*
 * SIGSEGV with windows: those that are the library's, and all others, which must find what was
 * there before as if the library were not. As the library installs its handler once for a
 * process, each case is a process of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "mmu/window_vm.h"
#include "sanitized.h"
#include "task_state.h"

#define PAGES 16u
#define FRAMES 64u

/* Without the handlers, which are the cases' own. */
static void begin(struct window_vm *w)
{
	pool_vm_begin(&w->p, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
	w->window = window_of(w->p.vm, 0, PAGES);
	w->addr = s2_window_addr(w->window);
}

/* What a handler found when it was called; all of a signal that is about this process alone. */
static struct {
	unsigned calls;
	int sig;
	int code;
	void *addr;
	pid_t pid;
	int error;
	bool context;
	sigset_t blocked;
	uintptr_t stack;
	sigjmp_buf back;
} seen;

static void look(int sig)
{
	char here;

	seen.calls++;
	seen.sig = sig;
	seen.error = s2_window_error();
	seen.stack = (uintptr_t)&here;
	pthread_sigmask(SIG_BLOCK, NULL, &seen.blocked);
}

static void look_closely(int sig, siginfo_t *info, void *context)
{
	look(sig);
	seen.code = info->si_code;
	seen.addr = info->si_addr;
	if (info->si_code == SI_USER || info->si_code == SI_TKILL)
		seen.pid = info->si_pid;
	/* Of the instruction that made the access, and not of one of the library's. */
	seen.context = context && !sigismember(&((ucontext_t *)context)->uc_sigmask, SIGSEGV);
}

static void look_and_leave(int sig, siginfo_t *info, void *context)
{
	look_closely(sig, info, context);
	siglongjmp(seen.back, 1);
}

static void look_plainly_and_leave(int sig)
{
	look(sig);
	siglongjmp(seen.back, 1);
}

static struct sigaction handler(void (*function)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = function, .sa_flags = SA_SIGINFO | flags };

	return action;
}

static struct sigaction plain_handler(void (*function)(int), int flags)
{
	struct sigaction action = { .sa_handler = function, .sa_flags = flags };

	return action;
}

/* Before the library's. */
static void install(const struct sigaction *action)
{
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(sigaction(SIGSEGV, action, NULL), 0);
	assert_int_equal(s2_window_handle_signals(), 0);
}

/* A page that nobody may touch. */
static char *bad_page(void)
{
	char *page = mmap(NULL, S2_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(page != MAP_FAILED);
	return page;
}

static void touch(const char *addr)
{
	(void)*(const volatile char *)addr;
}

static void touch_and_come_back(const char *addr)
{
	if (!sigsetjmp(seen.back, 1))
		touch(addr);
}

/* ---- signals that are not about windows ---- */

static void test_an_access_elsewhere_reaches_the_handler_before(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install(&action);
	touch_and_come_back(page + 123);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.sig, SIGSEGV);
	assert_int_equal(seen.code, SEGV_ACCERR);
	assert_ptr_equal(seen.addr, page + 123);
	assert_int_equal(seen.error, 0);
	assert_true(seen.context);
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

static void test_nothing_mapped_is_told_as_such(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	char *page = bad_page();

	munmap(page, S2_PAGE_SIZE);
	install(&action);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.code, SEGV_MAPERR);
	assert_ptr_equal(seen.addr, page);
}

static void test_a_handler_without_siginfo(void)
{
	const struct sigaction action = plain_handler(look_plainly_and_leave, 0);
	char *page = bad_page();

	install(&action);
	touch_and_come_back(page);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.sig, SIGSEGV);
	munmap(page, S2_PAGE_SIZE);
}

/* What the kernel would have it block: the mask it asked for, itself, and what was blocked. */
static void test_the_mask_that_the_handler_asked_for(void)
{
	struct sigaction action = handler(look_and_leave, 0);
	char *page = bad_page();
	sigset_t winch, before;

	sigemptyset(&winch);
	sigaddset(&winch, SIGWINCH);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &winch, &before), 0);
	sigaddset(&action.sa_mask, SIGUSR2);
	install(&action);
	touch_and_come_back(page);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
	assert_true(sigismember(&seen.blocked, SIGUSR2));
	assert_true(sigismember(&seen.blocked, SIGSEGV));
	assert_true(sigismember(&seen.blocked, SIGWINCH));
	/* ThreadSanitizer blocks all signals in handlers. */
	assert_int_equal(sigismember(&seen.blocked, SIGUSR1), WITH_THREAD_SANITIZER);
	assert_int_equal(sigismember(&seen.blocked, SIGTERM), WITH_THREAD_SANITIZER);
	munmap(page, S2_PAGE_SIZE);
}

static void test_a_handler_that_may_be_called_inside_itself(void)
{
	const struct sigaction action = handler(look_and_leave, SA_NODEFER);
	char *page = bad_page();

	install(&action);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(sigismember(&seen.blocked, SIGSEGV), WITH_THREAD_SANITIZER);
	munmap(page, S2_PAGE_SIZE);
}

static void make_readable(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr & ~(uintptr_t)(S2_PAGE_SIZE - 1);

	look_closely(sig, info, context);
	mprotect((void *)addr, S2_PAGE_SIZE, PROT_READ);
}

static void test_a_handler_that_returns(void)
{
	const struct sigaction action = handler(make_readable, 0);
	char *page = bad_page();
	sigset_t before, after;

	install(&action);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	touch(page);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	assert_int_equal(seen.calls, 1);
	for (int sig = 1; sig < SIGRTMAX; sig++)
		assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
	munmap(page, S2_PAGE_SIZE);
}

static void test_a_handler_on_its_own_stack(void)
{
	const struct sigaction action = handler(look_and_leave, SA_ONSTACK);
	const size_t size = 64 * S2_PAGE_SIZE;
	stack_t stack = { .ss_sp = malloc(size), .ss_size = size }, before;
	char *page = bad_page();

	assert_non_null(stack.ss_sp);
	assert_int_equal(sigaltstack(&stack, &before), 0);
	install(&action);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	/* AddressSanitizer may have a stack of its own for what is in a frame. */
	if (!WITH_ADDRESS_SANITIZER)
		assert_in_range(seen.stack, (uintptr_t)stack.ss_sp, (uintptr_t)stack.ss_sp + size);
	assert_int_equal(sigaltstack(&before, NULL), 0);
	free(stack.ss_sp);
	munmap(page, S2_PAGE_SIZE);
}

static void test_a_signal_that_was_sent(void)
{
	const struct sigaction action = handler(look_closely, 0);

	install(&action);
	assert_int_equal(raise(SIGSEGV), 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.code, SI_TKILL);
	assert_int_equal(seen.pid, getpid());
	assert_int_equal(seen.error, 0);
	assert_int_equal(kill(getpid(), SIGSEGV), 0);
	while (*(volatile unsigned *)&seen.calls < 2)
		sched_yield();
	assert_int_equal(seen.code, SI_USER);
}

/* Its number could be taken for an address of the window. */
static void test_a_signal_that_was_sent_with_a_value(void)
{
	const struct sigaction action = handler(look_closely, 0);
	struct window_vm w;

	begin(&w);
	install(&action);
	assert_int_equal(pthread_sigqueue(pthread_self(), SIGSEGV,
					  (union sigval){ .sival_ptr = w.addr }),
			 0);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.code, SI_QUEUE);
	assert_int_equal(seen.error, 0);
	window_vm_end(&w);
}

static void test_a_fault_before_does_not_count(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	install(&action);
	touch_and_come_back(w.addr);
	assert_int_equal(seen.error, -ENXIO);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.error, 0);
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

/* ---- windows' signals that cannot be resolved ---- */

static void test_what_cannot_be_resolved_is_passed_on(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	struct window_vm w;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	install(&action);
	touch_and_come_back(w.addr + 5 * S2_PAGE_SIZE + 7);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.sig, SIGSEGV);
	assert_ptr_equal(seen.addr, w.addr + 5 * S2_PAGE_SIZE + 7);
	assert_int_equal(seen.error, -ENXIO);
	assert_true(seen.context);
	window_vm_end(&w);
}

/* Nothing there is executable; a page that is mapped is no reason to try again and again. */
static void test_code_is_not_executed(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	struct window_vm w;

	begin(&w);
	install(&action);
	window_fill(&w, 5, 1);
	if (!sigsetjmp(seen.back, 1))
		((void (*)(void))window_page(&w, 5))();
	assert_int_equal(seen.calls, 1);
	assert_ptr_equal(seen.addr, window_page(&w, 5));
	assert_int_equal(seen.error, -EACCES);
	if (!sigsetjmp(seen.back, 1))
		((void (*)(void))window_page(&w, 6))();
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.error, -EACCES);
	window_vm_end(&w);
}

static struct window_vm *resolved;

static void give_memory_back(int sig, siginfo_t *info, void *context)
{
	look_closely(sig, info, context);
	map_region(resolved->p.vm, 0, 0, PAGES, resolved->p.hva);
}

static void test_a_handler_may_resolve_it_and_return(void)
{
	const struct sigaction action = handler(give_memory_back, 0);
	struct window_vm w;

	begin(&w);
	assert_int_equal(guest_fill(w.p.vcpu, 5, 1), 0);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	resolved = &w;
	install(&action);
	assert_window_has(&w, 5, 1);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.error, -ENXIO);
	window_vm_end(&w);
}

/* ---- signals that end the process ---- */

/* How a process ends that does @what. */
static int end_of(void (*what)(struct window_vm *w), struct window_vm *w)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		const struct rlimit none = { 0 };

		/* Its death is no news. */
		setrlimit(RLIMIT_CORE, &none);
		what(w);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void assert_killed(void (*what)(struct window_vm *w), struct window_vm *w)
{
	int status = end_of(what, w);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void assert_survived(void (*what)(struct window_vm *w), struct window_vm *w)
{
	int status = end_of(what, w);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void touch_elsewhere(struct window_vm *w)
{
	touch(bad_page());
}

static void touch_where_no_memory_is(struct window_vm *w)
{
	map_region(w->p.vm, 0, 0, 0, w->p.hva);
	touch(w->addr);
}

static void send_signal(struct window_vm *w)
{
	raise(SIGSEGV);
}

static void test_by_default_it_kills(void)
{
	const struct sigaction action = plain_handler(SIG_DFL, 0);
	struct window_vm w;

	begin(&w);
	install(&action);
	assert_killed(touch_elsewhere, &w);
	assert_killed(touch_where_no_memory_is, &w);
	assert_killed(send_signal, &w);
	window_vm_end(&w);
}

/* An access cannot be ignored. */
static void test_what_is_ignored_kills_if_it_is_an_access(void)
{
	const struct sigaction action = plain_handler(SIG_IGN, 0);
	struct window_vm w;

	begin(&w);
	install(&action);
	assert_killed(touch_elsewhere, &w);
	assert_killed(touch_where_no_memory_is, &w);
	assert_survived(send_signal, &w);
	window_vm_end(&w);
}

static void touch_elsewhere_twice(struct window_vm *w)
{
	char *page = bad_page();

	touch_and_come_back(page);
	if (seen.calls != 1)
		_exit(1);
	touch_and_come_back(page);
}

/* The first time it is called, the second time nobody is there. */
static void test_a_handler_for_once(void)
{
	const struct sigaction action = handler(look_and_leave, SA_RESETHAND);
	struct window_vm w;

	begin(&w);
	install(&action);
	assert_killed(touch_elsewhere_twice, &w);
	window_vm_end(&w);
}

static void test_a_windows_faults_do_not_use_it_up(void)
{
	const struct sigaction action = handler(look_and_leave, SA_RESETHAND);
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install(&action);
	window_fill(&w, 3, 1);
	assert_window_has_pages(&w, 4, PAGES, 0);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

static void overflow_stack(unsigned pages)
{
	volatile char page[S2_PAGE_SIZE];

	/* Or clang would make a loop of it. */
	__asm__ volatile("" : : "r"(page) : "memory");
	page[0] = 0;
	if (pages)
		overflow_stack(pages - 1);
	page[1] = page[0];
}

static void exit_with_2(int sig, siginfo_t *info, void *context)
{
	_exit(2);
}

/* The program's handler has a stack for that; so the library's handler must use it, too. */
static void overflow_with_a_handler(struct window_vm *w)
{
	const struct sigaction action = handler(exit_with_2, SA_ONSTACK);
	static char memory[64 * S2_PAGE_SIZE];
	const stack_t stack = { .ss_sp = memory, .ss_size = sizeof(memory) };
	const struct rlimit small = { 1 << 20, 1 << 20 };

	setrlimit(RLIMIT_STACK, &small);
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	s2_window_handle_signals();
	overflow_stack(1 << 14);
}

static void test_an_overflow_of_the_stack_can_be_handled(void)
{
	struct window_vm w;
	int status;

	/* They have stacks and limits of their own. */
	if (WITH_ADDRESS_SANITIZER || WITH_THREAD_SANITIZER)
		return;
	begin(&w);
	status = end_of(overflow_with_a_handler, &w);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 2);
	window_vm_end(&w);
}

/* ---- who installs what, and when ---- */

static struct sigaction before_later;

static void later(int sig, siginfo_t *info, void *context)
{
	look_closely(sig, info, context);
	before_later.sa_sigaction(sig, info, context);
}

/* Over the library's, which has taken the place of one. */
static void install_later(void)
{
	const struct sigaction first = handler(look_and_leave, 0), action = handler(later, 0);

	install(&first);
	assert_int_equal(sigaction(SIGSEGV, &action, &before_later), 0);
	assert_true(before_later.sa_flags & SA_SIGINFO);
}

static void test_a_handler_that_came_later_passes_on(void)
{
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install_later();
	window_fill(&w, 3, 1);
	assert_int_equal(seen.calls, 1);
	assert_guest_has(w.p.vcpu, 3, 1);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 3);
	window_vm_end(&w);
}

static void test_another_handler_becomes_the_one_before(void)
{
	const struct sigaction one = handler(exit_with_2, 0), two = handler(look_and_leave, 0);
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install(&one);
	install(&two);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	window_fill(&w, 3, 1);
	assert_int_equal(seen.calls, 1);
	window_vm_end(&w);
}

/* To the library's function, which then passes on to the one before that: each is called once. */
static void test_a_handler_that_passes_on_can_become_the_one_before(void)
{
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install_later();
	assert_int_equal(s2_window_handle_signals(), 0);
	window_fill(&w, 3, 1);
	assert_int_equal(seen.calls, 0);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.error, 0);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	touch_and_come_back(w.addr);
	assert_int_equal(seen.calls, 4);
	assert_int_equal(seen.error, -ENXIO);
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

/* One that differs from others by a signal that it wants blocked. */
static struct sigaction handler_of_many(int n)
{
	struct sigaction action = handler(look_and_leave, 0);

	sigaddset(&action.sa_mask, SIGRTMIN + n);
	return action;
}

static void test_there_is_room_for_eight_handlers(void)
{
	struct sigaction action, after;
	char *page = bad_page();

	for (int n = 0; n < 8; n++) {
		action = handler_of_many(n);
		install(&action);
	}
	action = handler_of_many(8);
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	assert_int_equal(s2_window_handle_signals(), -ENOSPC);
	assert_int_equal(sigaction(SIGSEGV, NULL, &after), 0);
	assert_ptr_equal(after.sa_sigaction, look_and_leave);
	action = handler_of_many(3);
	install(&action);
	touch_and_come_back(page);
	assert_true(sigismember(&seen.blocked, SIGRTMIN + 3));
	munmap(page, S2_PAGE_SIZE);
}

static void test_the_same_handler_needs_room_once(void)
{
	const struct sigaction action = handler(look_and_leave, 0);

	for (unsigned i = 0; i < 20; i++)
		install(&action);
}

static void test_a_handler_for_once_can_be_installed_again(void)
{
	const struct sigaction action = handler(look_and_leave, SA_RESETHAND);
	char *page = bad_page();

	for (unsigned i = 0; i < 3; i++) {
		install(&action);
		touch_and_come_back(page);
		assert_int_equal(seen.calls, 1);
	}
	munmap(page, S2_PAGE_SIZE);
}

static void test_asking_again_changes_nothing(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	struct sigaction first, second;
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	install(&action);
	assert_int_equal(sigaction(SIGSEGV, NULL, &first), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(s2_window_handle_signals(), 0);
	assert_int_equal(sigaction(SIGSEGV, NULL, &second), 0);
	assert_ptr_equal(first.sa_sigaction, second.sa_sigaction);
	touch_and_come_back(page);
	assert_int_equal(seen.calls, 1);
	window_fill(&w, 3, 1);
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

static void test_without_the_handler_calls_still_fault(void)
{
	const struct sigaction action = handler(look_and_leave, 0);
	struct window_vm w;

	begin(&w);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	touch_and_come_back(w.addr);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.error, 0);
	assert_int_equal(s2_window_fault(w.window, w.addr, S2_ACCESS_READ), 0);
	touch_and_come_back(w.addr);
	assert_int_equal(seen.calls, 1);
	window_vm_end(&w);
}

/* ---- threads, and signals inside of signals ---- */

static void test_many_threads_at_the_same_page(void)
{
	struct window_access access[12];
	struct window_vm w;

	begin(&w);
	catch_signals();
	for (unsigned round = 0; round < 50; round++) {
		window_fill(&w, 3, round + 1);
		assert_true(s2_pool_reclaim(w.p.pool, UINT64_MAX, 0) > 0);
		for (unsigned i = 0; i < 12; i++)
			window_access_begin(&access[i], window_page(&w, 3) + i);
		for (unsigned i = 0; i < 12; i++) {
			assert_int_equal(window_access_end(&access[i]), 0);
			assert_int_equal(access[i].value,
					 UINT64_C(3) << 40 | (uint64_t)(round + 1) << 16 | i);
		}
	}
	window_vm_end(&w);
}

static uint64_t *used_by_handler;
static _Atomic uint64_t handler_saw;

static void use_window(int sig)
{
	atomic_store(&handler_saw, *(volatile uint64_t *)used_by_handler);
}

/* Its thread is in the middle of a fault, and comes out of it before or after. */
static void test_another_signals_handler_may_use_a_window(void)
{
	const struct sigaction action = plain_handler(use_window, 0);
	struct sigaction before;
	struct window_access access;
	struct s2_invalidation inv;
	struct window_vm w;

	begin(&w);
	catch_signals();
	assert_int_equal(host_fill(&w.p, 5, 1), 0);
	assert_int_equal(host_fill(&w.p, 6, 1), 0);
	used_by_handler = window_page(&w, 6);
	atomic_store(&handler_saw, 0);
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 5),
						   hva_of(&w.p, 6), 0),
			 0);
	window_access_begin(&access, window_page(&w, 5));
	until_asleep(access.thread, &access.tid);
	assert_int_equal(pthread_kill(access.thread, SIGUSR1), 0);
	until_asleep(access.thread, &access.tid);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	assert_int_equal(window_access_end(&access), 0);
	assert_int_equal(access.value, UINT64_C(5) << 40 | 1 << 16);
	assert_int_equal(atomic_load(&handler_saw), UINT64_C(6) << 40 | 1 << 16);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	window_vm_end(&w);
}

static void test_the_mask_is_as_it_was_after_a_fault(void)
{
	sigset_t set, before, after;
	struct window_vm w;

	begin(&w);
	catch_signals();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	window_fill(&w, 3, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int sig = 1; sig < SIGRTMAX; sig++)
		assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	window_vm_end(&w);
}

struct outsider {
	struct window_vm *w;
	char *page;
	unsigned index;
	unsigned passed_on;
	pthread_t thread;
};

static void *touch_both(void *arg)
{
	struct outsider *o = arg;
	uint64_t value;

	for (unsigned i = 0; i < 2000; i++) {
		o->passed_on += window_load(o->page, &value) == WINDOW_NOT_CONCERNED;
		s2_pool_discard(o->w->p.pool, hva_of(&o->w->p, i % PAGES), S2_PAGE_SIZE);
		if (window_store(window_page(o->w, i % PAGES) + o->index, i))
			break;
	}
	return NULL;
}

static void test_each_thread_has_its_own_error(void)
{
	struct outsider outsiders[4];
	char *page = bad_page();
	struct window_vm w;

	begin(&w);
	catch_signals();
	for (unsigned i = 0; i < 4; i++) {
		outsiders[i] = (struct outsider){ .w = &w, .page = page, .index = i };
		assert_int_equal(pthread_create(&outsiders[i].thread, NULL, touch_both,
						&outsiders[i]),
				 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(outsiders[i].thread, NULL), 0);
		assert_int_equal(outsiders[i].passed_on, 2000);
	}
	munmap(page, S2_PAGE_SIZE);
	window_vm_end(&w);
}

/* The prestate is the case, which ends its process if it fails. */
static void in_its_own_process(void **state)
{
	void (*run)(void) = (void (*)(void))*state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define SIGNAL_TEST(function) { #function, in_its_own_process, NULL, NULL, (void *)function }

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIGNAL_TEST(test_an_access_elsewhere_reaches_the_handler_before),
		SIGNAL_TEST(test_nothing_mapped_is_told_as_such),
		SIGNAL_TEST(test_a_handler_without_siginfo),
		SIGNAL_TEST(test_the_mask_that_the_handler_asked_for),
		SIGNAL_TEST(test_a_handler_that_may_be_called_inside_itself),
		SIGNAL_TEST(test_a_handler_that_returns),
		SIGNAL_TEST(test_a_handler_on_its_own_stack),
		SIGNAL_TEST(test_a_signal_that_was_sent),
		SIGNAL_TEST(test_a_signal_that_was_sent_with_a_value),
		SIGNAL_TEST(test_a_fault_before_does_not_count),
		SIGNAL_TEST(test_what_cannot_be_resolved_is_passed_on),
		SIGNAL_TEST(test_code_is_not_executed),
		SIGNAL_TEST(test_a_handler_may_resolve_it_and_return),
		SIGNAL_TEST(test_by_default_it_kills),
		SIGNAL_TEST(test_what_is_ignored_kills_if_it_is_an_access),
		SIGNAL_TEST(test_a_handler_for_once),
		SIGNAL_TEST(test_a_windows_faults_do_not_use_it_up),
		SIGNAL_TEST(test_an_overflow_of_the_stack_can_be_handled),
		SIGNAL_TEST(test_a_handler_that_came_later_passes_on),
		SIGNAL_TEST(test_asking_again_changes_nothing),
		SIGNAL_TEST(test_another_handler_becomes_the_one_before),
		SIGNAL_TEST(test_a_handler_that_passes_on_can_become_the_one_before),
		SIGNAL_TEST(test_there_is_room_for_eight_handlers),
		SIGNAL_TEST(test_the_same_handler_needs_room_once),
		SIGNAL_TEST(test_a_handler_for_once_can_be_installed_again),
		SIGNAL_TEST(test_without_the_handler_calls_still_fault),
		SIGNAL_TEST(test_many_threads_at_the_same_page),
		SIGNAL_TEST(test_another_signals_handler_may_use_a_window),
		SIGNAL_TEST(test_the_mask_is_as_it_was_after_a_fault),
		SIGNAL_TEST(test_each_thread_has_its_own_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
