/* SPDX-License-Identifier: MIT */
/*
 * The process provider: the primary MMU is this process's own address space.
 * Each call below is the system call of its name inside an invalidation of what
 * it takes away. Memory changed without them, or without s2_invalidate_range_start()
 * and end() around it, leaves vCPUs with translations to pages that are gone.
 *
 * All of them may sleep. Errors are the system call's own, as negative errno,
 * plus -EINVAL for a NULL @mm; the mapping is then as the kernel left it. The
 * s2_mm need not have the process provider: the brackets work on any.
 */
#ifndef STAGE2_PROCESS_H
#define STAGE2_PROCESS_H

#include <stage2/mm.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * mmap(); the address goes to *@mapped (-EINVAL if that is NULL). Only with
 * MAP_FIXED does it invalidate, namely what was at [@addr, @addr + @length).
 */
S2_API int s2_mmap(struct s2_mm *mm, void *addr, size_t length, int prot, int flags, int fd,
		   off_t offset, void **mapped);

/* munmap(). Invalidates [@addr, @addr + @length), in bytes, rounded out to pages. */
S2_API int s2_munmap(struct s2_mm *mm, void *addr, size_t length);

/*
 * mremap(); the address goes to *@mapped (-EINVAL if that is NULL). Invalidates
 * the old range, or its tail if it only shrinks; with MREMAP_FIXED, one range that
 * spans old and new, since two brackets around one call would be a pair inside a
 * pair.
 */
S2_API int s2_mremap(struct s2_mm *mm, void *old_addr, size_t old_size, size_t new_size, int flags,
		     void *new_addr, void **mapped);

/*
 * madvise(). Invalidates [@addr, @addr + @length), rounded out to pages, for the
 * advice that takes pages away: MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE,
 * MADV_REMOVE, MADV_GUARD_INSTALL.
 */
S2_API int s2_madvise(struct s2_mm *mm, void *addr, size_t length, int advice);

/* mprotect(). Invalidates [@addr, @addr + @length), in bytes, rounded out to pages. */
S2_API int s2_mprotect(struct s2_mm *mm, void *addr, size_t length, int prot);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_PROCESS_H */
