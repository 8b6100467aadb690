/* SPDX-License-Identifier: MIT */
/*
 * What tests of windows begin with: a pool's VM, a window that shows all of its memory, and a
 * handler of SIGSEGV that was there before the library's, to which it passes on what it cannot
 * resolve.
 */
#ifndef TESTS_MMU_WINDOW_VM_H
#define TESTS_MMU_WINDOW_VM_H

#include "pool/pool_vm.h"

#include <stage2/window.h>

struct window_vm {
	struct pool_vm p;
	struct s2_window *window;
	char *addr;
};

/* As pool_vm_begin(), with the window and the signals. */
void window_vm_begin(struct window_vm *w, enum s2_gate gate, unsigned frames, uint64_t pages,
		     uint64_t limit, unsigned tiers);
/* The same with w->p already there. */
void window_vm_show(struct window_vm *w);
void window_vm_end(struct window_vm *w);

/* One more window, of @pages from @gfn on. */
struct s2_window *window_of(struct s2_vm *vm, uint64_t gfn, uint64_t pages);

/* The handler that accesses below need, and the library's in front of it. */
void catch_signals(void);

/*
 * Plain accesses. 0; if the signal was passed on, the error that it was about, or
 * WINDOW_NOT_CONCERNED.
 */
#define WINDOW_NOT_CONCERNED 1
int window_load(const void *addr, uint64_t *value);
int window_store(void *addr, uint64_t value);

/* Whole pages, by plain accesses that must succeed. */
void window_fill(struct window_vm *w, uint64_t gfn, uint64_t generation);
void assert_window_has(struct window_vm *w, uint64_t gfn, uint64_t generation);
void assert_window_has_pages(struct window_vm *w, uint64_t first, uint64_t end,
			     uint64_t generation);

/* Where a guest frame is in the fixture's window. */
static inline uint64_t *window_page(const struct window_vm *w, uint64_t gfn)
{
	return (uint64_t *)(void *)(w->addr + (gfn << S2_PAGE_SHIFT));
}

struct s2_window_stats window_stats(struct s2_window *window);

/* How many mappings the kernel shows in a window of @pages. */
uint64_t kernel_mappings(const struct s2_window *window, uint64_t pages);

/* What the window says of itself is what the kernel shows. */
void assert_mappings_agree(struct s2_window *window, uint64_t pages);

/* A load in a thread of its own, which may be made to wait. */
struct window_access {
	const void *addr;
	uint64_t value;
	int ret;
	_Atomic pid_t tid;
	_Atomic bool done;
	pthread_t thread;
};

void window_access_begin(struct window_access *access, const void *addr);
int window_access_end(struct window_access *access);

#endif /* TESTS_MMU_WINDOW_VM_H */
