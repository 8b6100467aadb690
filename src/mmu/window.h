/* SPDX-License-Identifier: MIT */
/*
 * The second kind of stage-2 mapping: a flat array of SPTEs for a range of gfns, each of which
 * is what the process has mapped at the page's place in a stretch of addresses. What the
 * handlers of the notifier do to SPTEs is done to these by the same functions (spte.c),
 * and their mappings follow before mmu_lock is dropped.
 *
 * There is no accessed bit that we could see: a page whose SPTE has none is mapped so that it
 * cannot be accessed, and the next access is a fault.
 */
#ifndef S2_MMU_WINDOW_H
#define S2_MMU_WINDOW_H

#include "memslot/vm.h"
#include "mmu/fault.h"
#include "mmu/table.h"

#include <stage2/window.h>

/* Nothing of a chunk without a present SPTE is looked at. */
#define S2_WINDOW_CHUNK_SHIFT 9

/*
 * Who faults in a window is no vCPU, and has no side of mmu_lock of its own: for the moment that
 * it holds that shared it takes one of these. Not for longer: it may be waiting for somebody
 * who faults as well.
 */
#define S2_WINDOW_READERS 8

struct s2_window_reader {
	struct s2_mutex lock;
	struct s2_brlock_reader reader;
} __attribute__((aligned(64)));

/*
 * @lock:     faults hold mmu_lock shared; so this makes an SPTE and its mapping one. Zaps, which
 *            hold mmu_lock for write, do without.
 * @spte:     of each page; @present: how many of each chunk are present. Both changed with
 *            mmu_lock for write, or shared with @lock.
 * @counts:   leaves are counted with @lock held, faults when they are over.
 * @mappings: the kernel's, in the window; changed as @spte, read by all.
 * @in_tatters: no SPTE is present, but mappings are there that could not be removed; as @spte.
 * @next:     of the VM's, under its mmu_lock; @next_of_mm: under windows_lock.
 */
struct s2_window {
	struct s2_vm *vm;
	char *addr;
	uint64_t gfn;
	uint64_t npages;
	_Atomic uint64_t *spte;
	uint16_t *present;
	struct s2_mutex lock;
	_Atomic uint64_t mappings;
	uint64_t limit_zaps;
	bool in_tatters;
	struct s2_window *next;
	struct s2_window *next_of_mm;
	struct s2_window *prev_of_mm;
	struct s2_fault_counts counts;
	struct s2_window_reader readers[S2_WINDOW_READERS];
};

/* Of a mapping where nothing is; all of these become one. */
#define S2_WINDOW_VOID (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* Reserves the addresses, and memory for the SPTEs. 0 or -errno. */
int s2_window_reserve(struct s2_window *window);
/* The reverse; nothing is mapped any more. */
void s2_window_unreserve(struct s2_window *window);

/* Makes it one of its VM's and of its s2_mm's; and no longer, with its pages zapped. Takes locks. */
void s2_window_link(struct s2_window *window);
void s2_window_unlink(struct s2_window *window);

/*
 * What a fault installs: @n pages from @gfn on, of which @spte is the first one's, and the others'
 * 4 KiB apart. More than one if they were found together, @huge if they are 2 MiB.
 */
struct s2_mapping {
	uint64_t gfn;
	uint64_t n;
	uint64_t spte;
	bool huge;
};

/* A side of the VM's mmu_lock, for a short time; and back. */
struct s2_window_reader *s2_window_reader_get(struct s2_window *window);
void s2_window_reader_put(struct s2_window_reader *reader);

/*
 * Maps the page at @gfn, which is one of *@mapping, and as many of the others as are in the window
 * and nothing is in the way of. -EBUSY: another page is in the way, which has to be zapped;
 * -ENOSPC: there are too many mappings; or what the provider's backing() says. The caller holds
 * mmu_lock, shared at least.
 */
int s2_window_install(struct s2_window *window, uint64_t gfn, const struct s2_mapping *mapping);

/*
 * As s2_table_for_each_leaf(), of all windows of @vm. Their translations are gone from every core
 * when it returns: the answers of visits that only say that a flush is due are for nobody.
 */
bool s2_windows_for_each_leaf(struct s2_vm *vm, uint64_t start, uint64_t end,
			      const struct s2_leaf_visit *visit);

/* Takes all of it away; never fails. Caller holds mmu_lock for write. */
void s2_window_zap(struct s2_window *window);

/* The window has @n mappings more, modulo 2^64. As the SPTEs are changed. */
void s2_window_add_mappings(struct s2_window *window, uint64_t n);

/* May a fault take no more of them? A hint. */
bool s2_windows_are_too_many(struct s2_mm *mm);

/* How many mappings the windows of @mm have. */
uint64_t s2_windows_mappings(struct s2_mm *mm);

/*
 * After -ENOSPC, with @before as it was before that: zaps the window that has most mappings,
 * unless there are fewer by now, or some were given up meanwhile. false if none has any, or the
 * kernel does not let go of them. Takes locks.
 */
struct s2_windows_room {
	uint64_t mappings;
	uint64_t give_ups;
};

struct s2_windows_room s2_windows_room(struct s2_mm *mm);
bool s2_windows_make_room(struct s2_mm *mm, const struct s2_windows_room *before);

#endif /* S2_MMU_WINDOW_H */
