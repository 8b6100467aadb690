/* SPDX-License-Identifier: MIT */
/* The primary MMU of host.h, and the provider that shows it to the library. */
#include "differential/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *frame_at(const struct host *host, uint32_t frame)
{
	return host->frames + ((size_t)frame << S2_PAGE_SHIFT);
}

char *host_page(const struct host *host, uint64_t hva)
{
	uint64_t nr = (hva - HOST_HVA) >> S2_PAGE_SHIFT;

	if (hva < HOST_HVA || nr >= HOST_PAGES || host->frame_of[nr] == HOST_HOLE)
		return NULL;
	return frame_at(host, host->frame_of[nr]);
}

/* Some pages are not writable before they are written to, as zero pages and COW are. */
static int host_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	const struct host *host = ctx;
	uint64_t nr = (hva - HOST_HVA) >> S2_PAGE_SHIFT;
	char *addr = host_page(host, hva);
	uint64_t block;

	if (!addr)
		return -EFAULT;
	block = nr / HOST_BLOCK_PAGES;
	if (host->huge && !host->split[block])
		*page = (struct s2_page){
			.addr = frame_at(host, (uint32_t)block * HOST_BLOCK_PAGES),
			.shift = S2_HUGE_SHIFT,
			.writable = access == S2_ACCESS_WRITE || block % 2 == 0,
		};
	else
		*page = (struct s2_page){
			.addr = addr,
			.shift = S2_PAGE_SHIFT,
			.writable = access == S2_ACCESS_WRITE || host->frame_of[nr] % 4 != 3,
		};
	return 0;
}

static void fill_frames(struct host *host)
{
	uint64_t words[HOST_EDGE / 8];

	for (uint32_t frame = 0; frame < HOST_FRAMES; frame++) {
		for (unsigned i = 0; i < HOST_EDGE / 8; i++)
			words[i] = (frame + 1) * UINT64_C(0x0001000300050007) + i;
		memcpy(frame_at(host, frame), words, HOST_EDGE);
		memcpy(frame_at(host, frame) + S2_PAGE_SIZE - HOST_EDGE, words, HOST_EDGE);
	}
}

void host_reset(struct host *host, bool huge)
{
	void *frames;

	host->ops = (struct s2_provider_ops){ .name = "differential", .fault = host_fault };
	host->huge = huge;
	if (!host->frames) {
		size_t size = (size_t)HOST_FRAMES << S2_PAGE_SHIFT;

		if (posix_memalign(&frames, (size_t)1 << S2_HUGE_SHIFT, size))
			abort();
		memset(frames, 0, size);
		host->frames = frames;
	}
	fill_frames(host);
	for (uint32_t page = 0; page < HOST_PAGES; page++)
		host->frame_of[page] = page;
	memset(host->split, 0, sizeof(host->split));
}

void host_free(struct host *host)
{
	free(host->frames);
	host->frames = NULL;
}

void host_exchange(struct host *host, uint64_t page, uint32_t frame)
{
	host->frame_of[page] = frame;
	host->split[page / HOST_BLOCK_PAGES] = true;
}

void host_collapse(struct host *host, unsigned block)
{
	for (uint32_t i = 0; i < HOST_BLOCK_PAGES; i++)
		host->frame_of[block * HOST_BLOCK_PAGES + i] = block * HOST_BLOCK_PAGES + i;
	host->split[block] = false;
}

bool host_equal(const struct host *a, const struct host *b)
{
	for (uint32_t frame = 0; frame < HOST_FRAMES; frame++) {
		const char *x = frame_at(a, frame), *y = frame_at(b, frame);
		size_t tail = S2_PAGE_SIZE - HOST_EDGE;

		if (memcmp(x, y, HOST_EDGE) || memcmp(x + tail, y + tail, HOST_EDGE))
			return false;
	}
	return true;
}
