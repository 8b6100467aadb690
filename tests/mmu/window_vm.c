/* SPDX-License-Identifier: MIT */
/* The fixture of window_vm.h. */
#include "mmu/window_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "sanitized.h"

#if WITH_THREAD_SANITIZER
/* A fault allocates, in the handler of a signal that comes where the test could as well. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}
#endif

/* Of the access that the thread is making, if it may fail; volatile as the access is. */
static __thread sigjmp_buf *volatile landing;
static __thread int landed_with;

static void land(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (!landing) {
		signal(sig, SIG_DFL);
		return;
	}
	landed_with = s2_window_error();
	if (!landed_with)
		landed_with = WINDOW_NOT_CONCERNED;
	siglongjmp(*landing, 1);
}

/* cmocka installs handlers of its own before each test, and the library its own only once. */
void catch_signals(void)
{
	const struct sigaction action = { .sa_sigaction = land, .sa_flags = SA_SIGINFO };
	static struct sigaction library;
	static bool installed;

	if (!installed) {
		assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
		assert_int_equal(s2_window_handle_signals(), 0);
		assert_int_equal(sigaction(SIGSEGV, NULL, &library), 0);
		installed = true;
	}
	assert_int_equal(sigaction(SIGSEGV, &library, NULL), 0);
}

/* One of the two is in the window. */
static int copy_word(volatile uint64_t *to, const volatile uint64_t *from)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		landing = NULL;
		return landed_with;
	}
	landing = &here;
	*to = *from;
	landing = NULL;
	return 0;
}

int window_load(const void *addr, uint64_t *value)
{
	return copy_word(value, addr);
}

int window_store(void *addr, uint64_t value)
{
	return copy_word(addr, &value);
}

struct s2_window *window_of(struct s2_vm *vm, uint64_t gfn, uint64_t pages)
{
	const struct s2_window_config config = {
		.gpa = gfn << S2_PAGE_SHIFT,
		.size = pages << S2_PAGE_SHIFT,
	};
	struct s2_window *window = NULL;

	assert_int_equal(s2_window_create(vm, &config, &window), 0);
	return window;
}

void window_vm_begin(struct window_vm *w, enum s2_gate gate, unsigned frames, uint64_t pages,
		     uint64_t limit, unsigned tiers)
{
	pool_vm_begin(&w->p, gate, frames, pages, limit, tiers);
	window_vm_show(w);
}

void window_vm_show(struct window_vm *w)
{
	w->window = window_of(w->p.vm, 0, w->p.pages);
	w->addr = s2_window_addr(w->window);
	catch_signals();
}

void window_vm_end(struct window_vm *w)
{
	s2_window_destroy(w->window);
	pool_vm_end(&w->p);
}

void window_fill(struct window_vm *w, uint64_t gfn, uint64_t generation)
{
	page_fill(window_page(w, gfn), gfn, generation);
}

void assert_window_has(struct window_vm *w, uint64_t gfn, uint64_t generation)
{
	assert_true(page_is(window_page(w, gfn), gfn, generation));
}

void assert_window_has_pages(struct window_vm *w, uint64_t first, uint64_t end, uint64_t generation)
{
	for (uint64_t gfn = first; gfn < end; gfn++)
		assert_window_has(w, gfn, generation);
}

struct s2_window_stats window_stats(struct s2_window *window)
{
	struct s2_window_stats stats;

	assert_int_equal(s2_window_get_stats(window, &stats), 0);
	return stats;
}

uint64_t kernel_mappings(const struct s2_window *window, uint64_t pages)
{
	uint64_t low = (uintptr_t)s2_window_addr(window), high = low + (pages << S2_PAGE_SHIFT);
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t start, end, n = 0;
	char line[4096 + 128];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2)
			n += start < high && end > low;
	fclose(maps);
	return n;
}

void assert_mappings_agree(struct s2_window *window, uint64_t pages)
{
	assert_int_equal(window_stats(window).mappings,
			 kernel_mappings(window, pages));
}

static void *access_thread(void *arg)
{
	struct window_access *access = arg;

	atomic_store(&access->tid, gettid());
	access->ret = window_load(access->addr, &access->value);
	atomic_store(&access->done, true);
	return NULL;
}

void window_access_begin(struct window_access *access, const void *addr)
{
	access->addr = addr;
	access->value = 0;
	atomic_init(&access->tid, 0);
	atomic_init(&access->done, false);
	assert_int_equal(pthread_create(&access->thread, NULL, access_thread, access), 0);
}

int window_access_end(struct window_access *access)
{
	assert_int_equal(pthread_join(access->thread, NULL), 0);
	return access->ret;
}
