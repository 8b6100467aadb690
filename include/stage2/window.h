/* SPDX-License-Identifier: MIT */
/*
 * s2_window: guest memory through plain pointers.
 *
 * A window is a stretch of this process's address space that shows a range of a VM's guest
 * physical addresses. It is a second stage-2 table beside that of the vCPUs: an SPTE of it is
 * a real mapping of a frame of the provider's, made by the access that finds none; what takes
 * a page away from vCPUs takes its mapping away, and the kernel's own TLB shootdown is the flush.
 * Native code, a JIT or a device model uses it, by as many threads as it likes and
 * without a vCPU; an invalidation waits for none of them.
 *
 * An access that finds no mapping is a SIGSEGV, which s2_window_handle_signals()
 * makes a fault of: the handler brings the page in, and the access is made again. So it may
 * sleep, and must not happen with a lock held that the provider, or another's fault, needs: not
 * inside a call of this library, above all; a buffer that is passed to one is no place in a
 * window. A system call that is passed a pointer into a window gets EFAULT where no
 * page is mapped, and may find it gone when it is tried again: copy, by s2_vcpu_read() and
 * s2_vcpu_write().
 *
 * Only providers that say where their pages come from can be seen through windows, as the pool's
 * does (struct s2_provider_ops, backing()).
 *
 * The kernel allows a process some 65,000 mappings (vm.max_map_count); pages of neighbouring
 * frames share one. All windows of one s2_mm together use half of them at most: beyond that, a
 * fault zaps the window that has most, which costs its users faults and nothing else.
 */
#ifndef STAGE2_WINDOW_H
#define STAGE2_WINDOW_H

#include <stage2/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct s2_window;

/*
 * @gpa, @size: what the window shows; multiples of 4 KiB, @size at least that, the end at 2^48
 *              at most. Memslots need not be there, and may come and go.
 */
struct s2_window_config {
	uint64_t gpa;
	uint64_t size;
	uint64_t reserved[4]; /* must be zero */
};

/*
 * Reserves the addresses; takes 8 bytes of memory for each page. The window keeps @vm alive.
 * -EINVAL: NULL, or a range that is not allowed; -ENOTSUP: the provider does not say where its
 * pages come from; -ENOMEM, or what mmap(2) says. May sleep. Kernel: has none; the nearest is
 * what a VMM has when it maps a guest's memory once more.
 */
S2_API int s2_window_create(struct s2_vm *vm, const struct s2_window_config *config,
			    struct s2_window **window);

/* Nobody uses the window's addresses any more. NULL is allowed. May sleep. */
S2_API void s2_window_destroy(struct s2_window *window);

/* Where config.gpa is; aligned to 2 MiB as that is. NULL for NULL. Async-signal-safe. */
S2_API void *s2_window_addr(const struct s2_window *window);

/*
 * Makes SIGSEGV the library's, once for the process: those of windows become faults, any other
 * goes to the handler that was there before, with the signals blocked that it asked for; so does
 * one of a window that cannot be resolved, about which s2_window_error() tells. A handler that is
 * installed later has to pass on to this one what it does not know; or the function is called
 * again, and makes it the one that was there before. It may be both: what it passes on then goes
 * to those that were there before it. If this one's is in place, nothing happens. -ENOSPC: eight
 * handlers, each different from the others, were there before; -errno of sigaction(2). May sleep.
 */
S2_API int s2_window_handle_signals(void);

/*
 * What the access makes of itself: maps the page at @addr for @access (S2_ACCESS_READ or
 * S2_ACCESS_WRITE), for who wants the error and no signal. It may be gone again at any moment.
 * -EINVAL: @addr is not in the window, or no such access; otherwise what s2_vcpu_load8() and the
 * like say. May sleep. Kernel: KVM_PRE_FAULT_MEMORY.
 */
S2_API int s2_window_fault(struct s2_window *window, const void *addr, unsigned access);

/*
 * For a handler of SIGSEGV, to which one was passed on: why the fault of the calling thread's last
 * access to a window failed, as of s2_window_fault(), or -EACCES: it was to execute what is there;
 * 0: the signal is about no window.
 * Async-signal-safe.
 */
S2_API int s2_window_error(void);

struct s2_window_stats {
	uint64_t faults;       /* by signal or by call */
	uint64_t fault_retries;
	uint64_t pages_mapped; /* now */
	uint64_t mappings;     /* of the kernel's, now; those without a page included */
	uint64_t limit_zaps;   /* times it gave up its pages because all windows had too many */
};

/* -EINVAL: a NULL argument. May sleep for mmu_lock. */
S2_API int s2_window_get_stats(struct s2_window *window, struct s2_window_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_WINDOW_H */
