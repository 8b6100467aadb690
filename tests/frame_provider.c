/* SPDX-License-Identifier: MIT */
/* The provider of frame_provider.h. */
#include "frame_provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NR_FRAMES (FRAME_PAGES + FRAME_SPARES)

static void wait_if_stopped(struct frame_provider *host)
{
	pthread_mutex_lock(&host->lock);
	host->inside++;
	pthread_cond_broadcast(&host->changed);
	while (host->stopped)
		pthread_cond_wait(&host->changed, &host->lock);
	host->inside--;
	pthread_mutex_unlock(&host->lock);
}

static int frame_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	struct frame_provider *host = ctx;
	uint64_t nr = (hva - FRAME_HVA) >> S2_PAGE_SHIFT;
	int error = atomic_load(&host->error);

	atomic_fetch_add(&host->faults, 1);
	if (hva < FRAME_HVA || nr >= FRAME_PAGES)
		return -EFAULT;
	page->shift = host->shift;
	page->writable = access == S2_ACCESS_WRITE || !host->read_only_reads;
	if (host->shift == S2_PAGE_SHIFT)
		nr = atomic_load(&host->frame_of[nr]);
	page->addr = host->frames + ((nr << S2_PAGE_SHIFT) >> host->shift << host->shift);
	wait_if_stopped(host);
	return error;
}

void frame_provider_init(struct frame_provider *host)
{
	void *frames;

	memset(host, 0, sizeof(*host));
	host->ops = (struct s2_provider_ops){ .name = "frames", .fault = frame_fault };
	host->shift = S2_PAGE_SHIFT;
	pthread_mutex_init(&host->lock, NULL);
	pthread_cond_init(&host->changed, NULL);
	if (posix_memalign(&frames, (size_t)1 << S2_HUGE_SHIFT, (size_t)NR_FRAMES << S2_PAGE_SHIFT))
		abort();
	host->frames = frames;
	memset(host->frames, 0, (size_t)NR_FRAMES << S2_PAGE_SHIFT);
	for (unsigned i = 0; i < FRAME_PAGES; i++)
		atomic_init(&host->frame_of[i], i);
	for (unsigned i = 0; i < NR_FRAMES; i++)
		*frame_provider_word(host, i) = i;
}

void frame_provider_free(struct frame_provider *host)
{
	pthread_mutex_destroy(&host->lock);
	pthread_cond_destroy(&host->changed);
	free(host->frames);
}

uint64_t *frame_provider_word(struct frame_provider *host, unsigned frame)
{
	return (uint64_t *)(void *)(host->frames + ((size_t)frame << S2_PAGE_SHIFT));
}

void frame_provider_stop(struct frame_provider *host)
{
	pthread_mutex_lock(&host->lock);
	host->stopped = true;
	pthread_mutex_unlock(&host->lock);
}

void frame_provider_await(struct frame_provider *host, unsigned nr)
{
	pthread_mutex_lock(&host->lock);
	while (host->inside < nr)
		pthread_cond_wait(&host->changed, &host->lock);
	pthread_mutex_unlock(&host->lock);
}

void frame_provider_go(struct frame_provider *host)
{
	pthread_mutex_lock(&host->lock);
	host->stopped = false;
	pthread_cond_broadcast(&host->changed);
	pthread_mutex_unlock(&host->lock);
}
