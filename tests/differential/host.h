/* SPDX-License-Identifier: MIT */
/*
 * A primary MMU: host pages, each with the frame it has now. The library and the
 * flat model have one each, so that what they stored can be compared. With huge
 * pages, a block of 512 pages is one 2 MiB page until one of its frames is exchanged.
 */
#ifndef TESTS_DIFFERENTIAL_HOST_H
#define TESTS_DIFFERENTIAL_HOST_H

#include <stage2/mm.h>

#define HOST_HVA (UINT64_C(1) << 40) /* never dereferenced */
#define HOST_HVA_OF(page) (HOST_HVA + (uint64_t)(page)*S2_PAGE_SIZE)
#define HOST_BLOCK_PAGES 512
#define HOST_BLOCKS 2
#define HOST_PAGES (HOST_BLOCKS * HOST_BLOCK_PAGES)
#define HOST_SPARES 32
#define HOST_FRAMES (HOST_PAGES + HOST_SPARES)
#define HOST_HOLE UINT32_MAX
/* Guests touch this much of both ends of a page: what is filled at first and compared at last. */
#define HOST_EDGE 64

struct host {
	struct s2_provider_ops ops;
	char *frames;
	uint32_t frame_of[HOST_PAGES];
	bool split[HOST_BLOCKS];
	bool huge;
};

/* @host->frames may be there from the last time. */
void host_reset(struct host *host, bool huge);
void host_free(struct host *host);

void host_exchange(struct host *host, uint64_t page, uint32_t frame);
/* Gives a block its own frames back, in one 2 MiB piece. */
void host_collapse(struct host *host, unsigned block);

/* Where the page is now, or NULL. */
char *host_page(const struct host *host, uint64_t hva);
bool host_equal(const struct host *a, const struct host *b);

#endif /* TESTS_DIFFERENTIAL_HOST_H */
