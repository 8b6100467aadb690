/* SPDX-License-Identifier: MIT */
/*
 * s2_mm: a primary MMU. It owns the gate that pairs every invalidation's start
 * with its end while memslots change, and the provider that makes pages present.
 * It corresponds to what struct mm_struct and its mmu_notifier_subscriptions are
 * to KVM.
 */
#ifndef STAGE2_MM_H
#define STAGE2_MM_H

#include <stage2/allocator.h>
#include <stage2/api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define S2_PAGE_SHIFT 12
#define S2_PAGE_SIZE (UINT64_C(1) << S2_PAGE_SHIFT)
#define S2_HUGE_SHIFT 21

struct s2_mm;

/*
 * The four gates; docs/protocol.md tells their story. They behave the same but
 * for cost and liveness.
 */
enum s2_gate {
	S2_GATE_RANGE,  /* the default: no deadlock, no starvation, one lookup for all VMs */
	S2_GATE_ALWAYS, /* before the patch: each invalidation takes each VM's mmu_lock */
	S2_GATE_RWSEM,  /* the patch as it was posted: mmu_notifier_slots_lock */
	S2_GATE_COUNT,  /* as Linux merged it: mn_active_invalidate_count */
};

#define S2_NR_GATES 4

/* The gate's name as the program prints it, "range" for S2_GATE_RANGE; NULL for any other value. */
S2_API const char *s2_gate_name(enum s2_gate gate);

#define S2_ACCESS_READ 1u
#define S2_ACCESS_WRITE 2u

/* What a provider's fault() found: the twin of what hva_to_pfn() gives KVM. */
struct s2_page {
	void *addr;     /* host address of the page's first byte, aligned to 1 << shift */
	unsigned shift; /* S2_PAGE_SHIFT or S2_HUGE_SHIFT */
	bool writable;  /* the guest may write to it without another fault() */
	unsigned after; /* so many pages of 4 KiB after it are as it is, each behind the other in
			   memory: a window maps them at once. 0 will do, and is best with 2 MiB */
};

/*
 * Where a page comes from, for those who map it once more: an open file, to be mapped shared
 * at @offset, a multiple of 4 KiB; or, with an @fd of -1, it is one of zeroes for reading.
 */
struct s2_backing {
	int fd;
	uint64_t offset;
};

/*
 * A provider of pages.
 *
 * @fault: makes the page that holds @hva present for @access (S2_ACCESS_READ or
 *         S2_ACCESS_WRITE) and describes it in *@page, the block of 1 << shift
 *         bytes around @hva. Called from vCPU threads with no lock held; may
 *         sleep; several calls run at once. Returns 0 or a negative errno, which
 *         the vCPU's caller gets to see. What it returns may be stale by then:
 *         the library throws it away if an invalidation overlapped.
 * @backing: where what fault() found at @addr comes from; pages that were found together follow
 *         each other there as well. Called with locks held, must not sleep. Returns 0 or a
 *         negative errno. NULL: there are no windows (window.h).
 */
struct s2_provider_ops {
	const char *name;
	int (*fault)(void *ctx, uint64_t hva, unsigned access, struct s2_page *page);
	int (*backing)(void *ctx, const void *addr, struct s2_backing *backing);
};

/*
 * Zero-initialise, then set what you need: zero is the default everywhere.
 *
 * @gate:             see enum s2_gate.
 * @provider:         NULL for the process provider (process.h).
 * @provider_ctx:     handed to the provider's calls.
 * @allocator:        NULL for the C library's. Must outlive the s2_mm.
 * @huge_pages:       process provider: try to back and map 2 MiB at a time.
 * @inflight_entries: how many invalidations can be in flight before start()
 *                    takes a slower path; 0 for 256. A power of two up to 65536.
 *                    64 bytes each.
 */
struct s2_mm_config {
	enum s2_gate gate;
	const struct s2_provider_ops *provider;
	void *provider_ctx;
	const struct s2_allocator *allocator;
	bool huge_pages;
	unsigned inflight_entries;
	uint64_t reserved[8]; /* must be zero */
};

/*
 * Creates a primary MMU. @config may be NULL: the process provider with the
 * range gate. -EINVAL: @mm is NULL or the config holds a value that is not
 * allowed; -ENOMEM. Does not sleep beyond allocating.
 * Kernel: the notifier half of mm_init() and mmu_notifier_register().
 */
S2_API int s2_mm_create(const struct s2_mm_config *config, struct s2_mm **mm);

/*
 * Drops the caller's reference; NULL is allowed. The s2_mm lives on while it has
 * VMs. No invalidation may be in flight. May sleep.
 * Kernel: mmput().
 */
S2_API void s2_mm_put(struct s2_mm *mm);

/* Counters since creation, each exact once the threads that raise it have stopped. */
struct s2_mm_stats {
	uint64_t invalidations;     /* pairs started */
	uint64_t elided;            /* ... that took no VM's mmu_lock; always 0 under S2_GATE_ALWAYS */
	uint64_t mmu_lock_acquired; /* acquisitions of any VM's mmu_lock by start() and end() */
	uint64_t nonblock_failed;   /* S2_NONBLOCK starts that returned -EAGAIN */
	uint64_t overflows;         /* starts that found the in-flight table full */
	uint64_t memslot_updates;   /* successful s2_vm_set_memory_region() calls */
};

/* -EINVAL: a NULL argument. Does not sleep. Kernel: none; KVM counts per VM. */
S2_API int s2_mm_get_stats(struct s2_mm *mm, struct s2_mm_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_MM_H */
