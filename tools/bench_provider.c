/* SPDX-License-Identifier: MIT */
/* See bench_provider.h. */
#include "bench_provider.h"

static int describe(void *addr, struct s2_page *page)
{
	page->addr = addr;
	page->shift = S2_PAGE_SHIFT;
	page->writable = true;
	return 0;
}

static int provide(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	(void)ctx;
	(void)access;
	return describe((void *)(uintptr_t)(hva & ~(S2_PAGE_SIZE - 1)), page);
}

static int provide_aliased(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	struct bench_aliased *aliased = ctx;

	(void)access;
	return describe(aliased->memory + (hva & (BENCH_ALIASED_SIZE - S2_PAGE_SIZE)), page);
}

const struct s2_provider_ops bench_provider = { .name = "bench", .fault = provide };

const struct s2_provider_ops bench_provider_aliased = { .name = "bench, aliased",
							.fault = provide_aliased };
