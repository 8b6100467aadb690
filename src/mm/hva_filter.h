/* SPDX-License-Identifier: MIT */
/*
 * A first look for the range gate: which 2 MiB chunks of the address space hold
 * guest memory at all, as a bit each in a bitmap small enough to stay in the
 * cache. It answers most unrelated invalidations in one load, however many
 * memslots there are; the hva index is asked only where a bit is set, by guest
 * memory or by a chunk a multiple of 512 GiB away, with which it shares the bit.
 * No hash spreads the chunks: a process's mappings lie close together, so that
 * neighbours have bits of their own, which a hash would give away.
 *
 * Bits take part in the race of mm/inflight.h as the index does: they are set
 * before the memslot's wait, and cleared after it has left the index. They are looked at
 * in <stage2/notifier-inline.h>.
 */
#ifndef S2_MM_HVA_FILTER_H
#define S2_MM_HVA_FILTER_H

#include <stage2/allocator.h>
#include <stage2/notifier.h>
#include <stdint.h>

/*
 * @bits:      read by every start(); written by memslot updates only.
 * @users:     how many memslots hold a bit set; one that has ever been at its
 *             maximum stays there, and its bit set. Under index_lock.
 * @unbounded: memslots too large to list by chunk; while there are any, every
 *             bit is set. Under index_lock.
 */
struct s2_hva_filter {
	uint64_t *bits;
	uint16_t *users;
	uint64_t unbounded;
};

int s2_hva_filter_init(struct s2_hva_filter *filter, const struct s2_allocator *a);
/* One that says yes to everything, for good: where there is no index it stands for. */
int s2_hva_filter_init_full(struct s2_hva_filter *filter, const struct s2_allocator *a);
void s2_hva_filter_free(struct s2_hva_filter *filter, const struct s2_allocator *a);

/* Caller holds index_lock. */
void s2_hva_filter_add(struct s2_hva_filter *filter, uint64_t start, uint64_t end);
void s2_hva_filter_remove(struct s2_hva_filter *filter, uint64_t start, uint64_t end);

#endif /* S2_MM_HVA_FILTER_H */
