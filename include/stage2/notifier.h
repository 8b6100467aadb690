/* SPDX-License-Identifier: MIT */
/*
 * What the primary MMU tells the secondary ones. The names, and what each call
 * means, are those of struct mmu_notifier_ops in <linux/mmu_notifier.h>.
 */
#ifndef STAGE2_NOTIFIER_H
#define STAGE2_NOTIFIER_H

#include <stage2/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* start() must not sleep: it succeeds or returns -EAGAIN (mmu_notifier_range_blockable() false). */
#define S2_NONBLOCK 1u

/*
 * One invalidation in flight. The caller owns the memory, which must stay where
 * it is from start() to end(), and a copy of it is none; the fields are the library's. It
 * may be on the stack, in thread-local storage or in an allocator's own header.
 */
struct s2_invalidation {
	uintptr_t token;    /* the s2_mm, and what start() decided; 0 if it is not open */
	void *entry;        /* where the range is published, or NULL for the overflow */
	/* Not filled in where [start, end) is published and start() was elided: */
	const void *view;   /* the version of the memslots start() saw, pinned until end() */
	uint64_t start;
	uint64_t end;
	uint32_t flags;
	uint32_t overflow;
	uint32_t owner_slot;
};

/*
 * Opens an invalidation of [@start, @end): from its return until end(), no vCPU
 * of any VM on @mm uses, or can get, a translation to a page in the range. Call
 * it before the primary MMU changes.
 *
 * @start, @end: host virtual addresses, multiples of 4 KiB, @start < @end.
 * @flags:       0 or S2_NONBLOCK.
 *
 * If the range overlaps no memslot it takes no lock, allocates nothing and makes
 * no system call (range gate); then, and only then, it is async-signal-safe, may
 * be called from inside malloc, and is elided; a signal handler that interrupts it comes back
 * to it, and the child of a fork() leaves its parent's s2_mm alone. Otherwise it takes the mmu_lock of
 * each VM concerned and may sleep, until their vCPUs have left guest mode or
 * passed s2_vcpu_poll(). Pairs may nest and overlap, and end() may be called by
 * another thread; under S2_GATE_RWSEM a pair inside a pair deadlocks if a memslot
 * update comes between them, which is the patch's defect and is kept.
 *
 * -EINVAL: a NULL pointer, a range that is empty, wraps or is misaligned, or
 *          unknown flags; nothing has happened and end() must not be called.
 * -EAGAIN: S2_NONBLOCK was given and the call would have had to sleep; as above.
 * Kernel: kvm_mmu_notifier_invalidate_range_start().
 */
S2_API int s2_invalidate_range_start(struct s2_mm *mm, struct s2_invalidation *inv, uint64_t start,
				     uint64_t end, unsigned flags);

/*
 * Closes what start() opened, after the primary MMU has changed: exactly once,
 * on any thread. It acts on exactly what start() acted on, whatever became of
 * the memslots or their VM meanwhile. Sleeps at most for a mmu_lock, and not at
 * all if the pair was elided, when it is async-signal-safe as start() is. A NULL @mm
 * or @inv is ignored; so is an @inv that is not open, which a debug build reports.
 * Kernel: kvm_mmu_notifier_invalidate_range_end().
 */
S2_API void s2_invalidate_range_end(struct s2_mm *mm, struct s2_invalidation *inv);

/*
 * Tells that the page at @hva was replaced by *@page, inside the bracket @inv:
 * SPTEs of @hva are pointed at the new page, read-only, or zapped if the new
 * page is writable (the next fault maps it). Does nothing if @inv was elided:
 * no memslot is there; and as a rule finds nothing to do otherwise, since start()
 * has zapped the range and faults wait for end(), which is why Linux has dropped
 * the call since. May sleep.
 *
 * -EINVAL: a NULL pointer, @inv is not open on @mm, @hva is not a multiple of
 *          4 KiB or not inside @inv, or @page is not a 4 KiB page.
 * Kernel: kvm_mmu_notifier_change_pte().
 */
S2_API int s2_change_pte(struct s2_mm *mm, struct s2_invalidation *inv, uint64_t hva,
			 const struct s2_page *page);

/*
 * Was any page in [@start, @end) accessed by a guest since the last clear? The
 * accessed bits are cleared; clear_flush_young also flushes the vCPUs' TLBs if it
 * cleared any, so that the next access is seen, and may sleep for that;
 * clear_young does not, and accesses that hit in a TLB are missed after it; test_young only looks, at one page.
 * False for a NULL, misaligned or empty argument. All may sleep for a mmu_lock.
 * Kernel: kvm_mmu_notifier_clear_flush_young(), _clear_young(), _test_young().
 */
S2_API bool s2_clear_flush_young(struct s2_mm *mm, uint64_t start, uint64_t end);
S2_API bool s2_clear_young(struct s2_mm *mm, uint64_t start, uint64_t end);
S2_API bool s2_test_young(struct s2_mm *mm, uint64_t hva);

/*
 * test_young of each page of [@start, @end), in one walk: 1 if any was accessed, by
 * whichever guest, 0 if none. It clears no accessed bit. A 2 MiB leaf has one such bit,
 * which is that of all of its pages.
 *
 * @bitmap: bit i % 64 of word i / 64 is page i's, counted from @start; of as many words as
 *          hold the bits of the range, which are written whole, so that the bits beyond the
 *          last page are 0. What was in it before does not matter.
 *
 * The mmu_lock of a VM is taken once, not once for each page (or once more, for memslots
 * of its with others' in between), and held throughout, so that faults wait: a range of
 * many GiB is better asked about in parts. May sleep for it.
 *
 * -EINVAL: a NULL pointer, or a range that is empty, wraps or is misaligned; @bitmap is as it was.
 * Kernel: has none. mmu_notifier_test_clear_young(), proposed in 2023 (Yu Zhao, "mm/kvm: add
 * mmu_notifier_test_clear_young()") and not merged, took a bitmap too; it counted from
 * the end, and could clear what it found.
 */
S2_API int s2_test_young_pages(struct s2_mm *mm, uint64_t start, uint64_t end, uint64_t *bitmap);

/*
 * The address space is going away: zaps every SPTE of every VM, and every later
 * fault fails with -EFAULT. Memslots stay until their VMs go. Calling it again
 * does nothing; NULL is ignored. May sleep.
 * Kernel: kvm_mmu_notifier_release().
 */
S2_API void s2_release(struct s2_mm *mm);

#ifdef __cplusplus
}
#endif

#include <stage2/notifier-inline.h>

#endif /* STAGE2_NOTIFIER_H */
