/* SPDX-License-Identifier: MIT */
/*
 * A page's contents in 64 bits. Guests may be writing to it, and then it is the digest of some
 * mixture; the library function is not built with our sanitizers, which need not tell.
 */
#ifndef S2_POOL_PAGE_DIGEST_H
#define S2_POOL_PAGE_DIGEST_H

#include <stage2/pool.h>

#ifdef S2_HAVE_XXH_DISPATCH
/* The same digests by the widest vectors of the processor: XXH3_64bits() has those of SSE2. */
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

static inline uint64_t s2_page_digest(const void *page)
{
	return XXH3_64bits(page, S2_PAGE_SIZE);
}

#endif /* S2_POOL_PAGE_DIGEST_H */
