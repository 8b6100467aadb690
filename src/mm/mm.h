/* SPDX-License-Identifier: MIT */
/*
 * struct s2_mm, the primary MMU as the library sees it: which gate, which
 * provider, and the two indexes that invalidations read. Creation and end are in
 * notifier/mm.c, above the gates they choose from.
 */
#ifndef S2_MM_MM_H
#define S2_MM_MM_H

#include "base/itree.h"
#include "base/lock.h"
#include "mm/gate.h"
#include "mm/hva_filter.h"
#include "mm/inflight.h"

#include <stage2/mm.h>
#include <stdatomic.h>

struct s2_memslot;
struct s2_vm;
struct s2_window;

/* An immutable list of the VMs on an s2_mm; every change publishes a new one. */
struct s2_vm_list {
	struct s2_vm_list *retired; /* link while it waits to be freed; readers do not look at it */
	unsigned nr;
	struct s2_vm *vms[];
};

/*
 * What updates have replaced and readers may still hold. It goes through two
 * grace periods: first that of the invalidations in flight, which read the hva
 * index and the VM list, then RCU's, for vCPUs, which read the gfn index. Nodes of
 * the hva index are done after the first.
 */
struct s2_garbage {
	struct s2_itree_reserve hva_nodes;
	struct s2_itree_reserve gfn_nodes;
	struct s2_memslot *memslots;
	struct s2_vm_list *vm_lists;
	struct s2_vm *vms;
	uint64_t bytes; /* how much it is, about, without @hva_nodes */
};

/*
 * The first line is read by every start() and written by updates only; that, and
 * the entries of @inflight, are all an unrelated pair touches.
 *
 * @pairs:      the same of @inflight and @filter, for <stage2/notifier-inline.h>.
 * @filter:     a first look before @hva_root.
 * @hva_root:   every memslot of every VM by hva; both used by the range gate alone.
 * @vms:        every VM, for the gates that ask each, and for release().
 * @released:   s2_release() was called.
 * @index_lock: protects the changing of @filter, @hva_root and @vms, and the garbage.
 */
struct s2_mm {
	struct s2_mm_pairs pairs;
	const struct s2_gate_ops *gate;
	struct s2_hva_filter filter;
	_Atomic(struct s2_itree_node *) hva_root;
	_Atomic(struct s2_vm_list *) vms;
	struct s2_inflight inflight;

	struct s2_mutex index_lock __attribute__((aligned(64)));
	struct s2_garbage fresh;   /* replaced since the present grace period began */
	struct s2_garbage waiting; /* for the invalidations of the present grace period */
	struct s2_garbage passed;  /* no invalidation holds it; waits for RCU */
	bool grace_open;
	struct s2_itree_reserve node_pool; /* memslot/node_pool.h */
	struct s2_vm *zombies; /* VMs that could not be unlinked for want of memory; tried again */

	_Atomic bool released;
	const struct s2_provider_ops *provider;
	void *provider_ctx;
	struct s2_allocator allocator;
	enum s2_gate gate_kind;
	bool huge_pages;

	struct s2_mutex windows_lock; /* protects the list, and keeps what is in it */
	struct s2_window *windows;
	uint64_t window_limit;            /* mappings of the kernel's that all of them may have; */
	_Atomic uint64_t window_mappings; /* they have so many */
	_Atomic uint64_t window_give_ups; /* how often one has given up its pages for want of them */

	_Atomic uint64_t refs;
	_Atomic uint64_t nonblock_failed;
	_Atomic uint64_t memslot_updates;
};

/* The provider of an s2_mm that was given none: madvise(MADV_POPULATE_READ, _WRITE). */
extern const struct s2_provider_ops s2_process_provider;

void s2_mm_get(struct s2_mm *mm);

#endif /* S2_MM_MM_H */
