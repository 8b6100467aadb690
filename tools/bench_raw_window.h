/* SPDX-License-Identifier: MIT */
/*
 * A window as the library's, without the library: pages of a memory file, mapped one by one by the
 * accesses that find none, in each of the ways the kernel has to tell of such an access and to
 * take a page away again. What the library does is one of them, chosen by these numbers.
 *
 * As a rule the frames lie the other way round than the pages, so that no two mappings are merged.
 */
#ifndef STAGE2_TOOLS_BENCH_RAW_WINDOW_H
#define STAGE2_TOOLS_BENCH_RAW_WINDOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who is told of an access to a page that is not mapped. */
enum raw_teller {
	RAW_TOLD_NOBODY, /* there is no such access: who wants a page maps it first */
	RAW_TOLD_BY_SIGNAL,
	RAW_TOLD_BY_USERFAULTFD, /* a thread that waits for it */
	RAW_TOLD_BY_SIGBUS,      /* userfaultfd, which sends a signal to the thread itself */
};

/* How a page is taken away. */
enum raw_zap {
	RAW_ZAP_MMAP,     /* another mapping in its place, with PROT_NONE */
	RAW_ZAP_MPROTECT, /* the same mapping, with PROT_NONE */
	RAW_ZAP_MUNMAP,   /* none, which leaves the addresses to whoever wants some */
};

/*
 * @populate:   have mmap() fill the page table, or leave that to the first access.
 * @neighbours: frames lie as the pages do, and all mappings become one.
 * @reprotects: pages stay mapped, and are only protected.
 * @uffd:       -1 if @teller has none.
 */
struct raw_window {
	enum raw_teller teller;
	bool populate;
	bool neighbours;
	bool reprotects;
	char *base;
	size_t pages;
	int memory;
	int uffd;
	bool served;
	pthread_t server;
};

/*
 * All pages unmapped, in a window with room for one more. -errno: -EPERM and -ENOSYS are
 * userfaultfd's. What was made so far is for raw_window_destroy() to take down.
 */
int raw_window_create(struct raw_window *window);
void raw_window_destroy(struct raw_window *window);

/* What the access makes happen. */
int raw_window_map(const struct raw_window *window, size_t page);

int raw_window_zap(const struct raw_window *window, size_t page, size_t nr, enum raw_zap how);

/* The calling thread's signals are about @window, until that is NULL. */
void raw_window_use(const struct raw_window *window);

/* Handlers for the signals, and back to what was there before. */
int raw_window_begin_signals(void);
void raw_window_end_signals(void);

static inline volatile uint64_t *raw_window_page(const struct raw_window *window, size_t page)
{
	return (volatile uint64_t *)(window->base + page * 4096);
}

#endif
