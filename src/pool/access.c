/* SPDX-License-Identifier: MIT */
/* What the host does to pages: reads, writes, discards. With the page locked, so that it stays. */
#include "pool/pool.h"

#include "base/guest_mode.h"

#include <errno.h>
#include <string.h>

/* The region that has all of [@hva, @hva + @size), with a reference. */
static struct s2_pool_region *region_of_range(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);

	if (region && size > s2_pool_region_end(region) - hva) {
		s2_pool_region_put(region);
		return NULL;
	}
	return region;
}

static int copy_in_page(struct s2_pool *pool, struct s2_pool_region *region, uint64_t hva,
			char *data, size_t len, unsigned access)
{
	struct s2_pool_page *page = s2_pool_page_at(region, hva);
	uint64_t word;
	uint32_t frame;
	char *addr;
	int ret = s2_pool_page_in(pool, region, page, access, &word);

	if (ret)
		return ret;
	/* A page that was not brought in reads as the zero frame does. */
	frame = s2_pool_state(word) == S2_POOL_RESIDENT ? (uint32_t)s2_pool_payload(word) : 0;
	addr = (char *)s2_pool_frame_addr(&pool->frames, frame) + (hva & (S2_PAGE_SIZE - 1));
	if (access == S2_ACCESS_WRITE)
		memcpy(addr, data, len);
	else
		memcpy(data, addr, len);
	s2_pool_page_unlock(page, word);
	return 0;
}

/* @data is only read if @access is S2_ACCESS_WRITE, and only written to otherwise. */
static int copy(struct s2_pool *pool, uint64_t hva, char *data, size_t len, unsigned access)
{
	struct s2_pool_region *region;
	bool left;
	int ret = 0;

	if (!pool || !data)
		return -EINVAL;
	region = region_of_range(pool, hva, len);
	if (!region)
		return -EINVAL;
	left = s2_guest_leave_all();
	while (len && !ret) {
		size_t in_page = S2_PAGE_SIZE - (hva & (S2_PAGE_SIZE - 1));

		in_page = len < in_page ? len : in_page;
		ret = copy_in_page(pool, region, hva, data, in_page, access);
		hva += in_page;
		data += in_page;
		len -= in_page;
	}
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return ret;
}

int s2_pool_read(struct s2_pool *pool, uint64_t hva, void *data, size_t len)
{
	return copy(pool, hva, data, len, S2_ACCESS_READ);
}

int s2_pool_write(struct s2_pool *pool, uint64_t hva, const void *data, size_t len)
{
	return copy(pool, hva, (char *)(uintptr_t)data, len, S2_ACCESS_WRITE);
}

/* A page that is ZERO stays so: it reads as zeroes, whoever has the zero frame for it. */
void s2_pool_drop_page(struct s2_pool *pool, struct s2_pool_region *region,
		       struct s2_pool_page *page)
{
	uint64_t hva = s2_pool_page_hva(region, page), word = s2_pool_page_lock(page);
	struct s2_invalidation inv;

	switch (s2_pool_state(word)) {
	case S2_POOL_RESIDENT:
		s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
		s2_pool_give_frame(pool, region, (uint32_t)s2_pool_payload(word));
		s2_invalidate_range_end(pool->mm, &inv);
		word = S2_POOL_ABSENT;
		break;
	case S2_POOL_SWAPPED:
		s2_pool_drop_slot(pool, region, word);
		word = S2_POOL_ABSENT;
		break;
	case S2_POOL_ABSENT:
	case S2_POOL_ZERO:
		break;
	}
	s2_pool_page_unlock(page, word);
}

int s2_pool_discard(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_pool_region *region;
	bool left;

	if (!pool || !size || ((hva | size) & (S2_PAGE_SIZE - 1)))
		return -EINVAL;
	region = region_of_range(pool, hva, size);
	if (!region)
		return -EINVAL;
	left = s2_guest_leave_all();
	for (uint64_t end = hva + size; hva < end; hva += S2_PAGE_SIZE)
		s2_pool_drop_page(pool, region, s2_pool_page_at(region, hva));
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return 0;
}
