/* SPDX-License-Identifier: MIT */
/*
 * The tier that copies. Its slots are a list of free ones under a lock, last in first out, so that
 * it is in nobody's way more than a real tier would have to be.
 */
#include "bench_pool_tiers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct copy_tier {
	struct s2_pool_tier tier;
	pthread_mutex_t lock;
	char *memory;
	uint64_t pages;
	uint64_t nr_free;
	uint32_t free[];
};

static struct copy_tier *to_copy(struct s2_pool_tier *tier)
{
	return (struct copy_tier *)tier;
}

static bool take_slot(struct copy_tier *c, uint64_t *slot)
{
	bool found;

	pthread_mutex_lock(&c->lock);
	found = c->nr_free > 0;
	if (found)
		*slot = c->free[--c->nr_free];
	pthread_mutex_unlock(&c->lock);
	return found;
}

static int copy_store(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	struct copy_tier *c = to_copy(tier);

	if (!take_slot(c, slot))
		return -ENOSPC;
	memcpy(c->memory + *slot * S2_PAGE_SIZE, page, S2_PAGE_SIZE);
	return 0;
}

static int copy_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	memcpy(page, to_copy(tier)->memory + slot * S2_PAGE_SIZE, S2_PAGE_SIZE);
	return 0;
}

static void copy_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	struct copy_tier *c = to_copy(tier);

	pthread_mutex_lock(&c->lock);
	c->free[c->nr_free++] = (uint32_t)slot;
	pthread_mutex_unlock(&c->lock);
}

static void copy_destroy(struct s2_pool_tier *tier)
{
	struct copy_tier *c = to_copy(tier);

	munmap(c->memory, c->pages * S2_PAGE_SIZE);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static const struct s2_pool_tier_ops copy_ops = {
	.name = "copy",
	.store = copy_store,
	.load = copy_load,
	.drop = copy_drop,
	.destroy = copy_destroy,
};

/* The kernel's pages are there from the beginning: they are not what is measured. */
static char *map_pages(uint64_t pages)
{
	void *memory = mmap(NULL, pages * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int bench_tier_copy(uint64_t pages, struct s2_pool_tier **tier)
{
	struct copy_tier *c = malloc(sizeof(*c) + pages * sizeof(c->free[0]));

	if (!c)
		return -ENOMEM;
	c->tier.ops = &copy_ops;
	c->pages = c->nr_free = pages;
	c->memory = map_pages(pages);
	if (!c->memory) {
		free(c);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < pages; i++)
		c->free[i] = (uint32_t)(pages - 1 - i);
	pthread_mutex_init(&c->lock, NULL);
	*tier = &c->tier;
	return 0;
}
