/* SPDX-License-Identifier: MIT */
/* The allocator of an s2_mm that was given none. */
#include "base/alloc.h"

#include <stdlib.h>

static void *libc_alloc(void *ctx, size_t size, size_t align)
{
	void *ptr;

	(void)ctx;
	return posix_memalign(&ptr, align, size) ? NULL : ptr;
}

static void libc_free(void *ctx, void *ptr)
{
	(void)ctx;
	free(ptr);
}

const struct s2_allocator s2_libc_allocator = { .alloc = libc_alloc, .free = libc_free };
