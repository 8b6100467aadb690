/* SPDX-License-Identifier: MIT */
/*
 * Where the library gets its memory from. One allocator belongs to one s2_mm
 * and to everything created on it; there is no process-wide hook.
 */
#ifndef STAGE2_ALLOCATOR_H
#define STAGE2_ALLOCATOR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * @alloc: returns at least @size bytes aligned to @align (a power of two, at
 *         least sizeof(void *)), or NULL; the contents need not be zeroed.
 * @free:  takes back what @alloc returned; never called with NULL.
 * @ctx:   handed to both.
 *
 * Both may be called from any thread that calls the library, several at once, and
 * so must be thread-safe. Neither is ever called from s2_invalidate_range_start()
 * or s2_invalidate_range_end(), and both may themselves make invalidations, under
 * the range gate: no lock is held then that those could wait for.
 */
struct s2_allocator {
	void *(*alloc)(void *ctx, size_t size, size_t align);
	void (*free)(void *ctx, void *ptr);
	void *ctx;
};

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_ALLOCATOR_H */
