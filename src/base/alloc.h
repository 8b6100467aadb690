/* SPDX-License-Identifier: MIT */
/* Memory through the allocator the s2_mm was given. */
#ifndef S2_BASE_ALLOC_H
#define S2_BASE_ALLOC_H

#include <stage2/allocator.h>
#include <string.h>

extern const struct s2_allocator s2_libc_allocator;

/* @align: a power of two, at least sizeof(void *). NULL if there is no memory. */
static inline void *s2_zalloc(const struct s2_allocator *a, size_t size, size_t align)
{
	void *ptr = a->alloc(a->ctx, size, align);

	return ptr ? memset(ptr, 0, size) : NULL;
}

static inline void s2_free(const struct s2_allocator *a, void *ptr)
{
	if (ptr)
		a->free(a->ctx, ptr);
}

#endif /* S2_BASE_ALLOC_H */
