/* SPDX-License-Identifier: MIT */
/*
 * The addresses of a window, and the memory for its SPTEs. Beside the addresses are guards,
 * because neighbours outside of the window must never share a mapping with it: then, at the limit
 * of mappings, where an unmapping that would split one fails, the window as a whole still can be
 * unmapped.
 */
#include "mmu/window.h"

#include <errno.h>
#include <sys/mman.h>

#define HUGE_SIZE (UINT64_C(1) << S2_HUGE_SHIFT)

static uint64_t table_size(const struct s2_window *window)
{
	return window->npages * sizeof(window->spte[0]) +
	       ((window->npages >> S2_WINDOW_CHUNK_SHIFT) + 1) * sizeof(window->present[0]);
}

/* Not from the allocator: of a sparse window only what is used shall take memory. */
static int reserve_table(struct s2_window *window)
{
	void *table = mmap(NULL, table_size(window), PROT_READ | PROT_WRITE, S2_WINDOW_VOID, -1, 0);

	if (table == MAP_FAILED)
		return -errno;
	window->spte = table;
	window->present = (void *)(window->spte + window->npages);
	return 0;
}

static bool map_guard(char *addr)
{
	/* Of a file of its own, so that it is one mapping with nobody. */
	return mmap(addr, S2_PAGE_SIZE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	       MAP_FAILED;
}

/* With a guard on both sides, and as far from 2 MiB as the guest's addresses are. */
static int reserve_addresses(struct s2_window *window)
{
	uint64_t size = window->npages << S2_PAGE_SHIFT;
	uint64_t reserved = size + HUGE_SIZE + 2 * S2_PAGE_SIZE;
	uint64_t offset = (window->gfn << S2_PAGE_SHIFT) & (HUGE_SIZE - 1);
	char *start = mmap(NULL, reserved, PROT_NONE, S2_WINDOW_VOID, -1, 0), *addr;
	int ret;

	if (start == MAP_FAILED)
		return -errno;
	addr = start + S2_PAGE_SIZE;
	addr += (offset - (uintptr_t)addr) & (HUGE_SIZE - 1);
	if (!map_guard(addr - S2_PAGE_SIZE) || !map_guard(addr + size)) {
		ret = -errno;
		munmap(start, reserved);
		return ret;
	}
	if (addr - S2_PAGE_SIZE > start)
		munmap(start, (size_t)(addr - S2_PAGE_SIZE - start));
	if (addr + size + S2_PAGE_SIZE < start + reserved)
		munmap(addr + size + S2_PAGE_SIZE,
		       (size_t)(start + reserved - (addr + size + S2_PAGE_SIZE)));
	window->addr = addr;
	return 0;
}

int s2_window_reserve(struct s2_window *window)
{
	int ret = reserve_table(window);

	if (ret)
		return ret;
	ret = reserve_addresses(window);
	if (ret)
		munmap(window->spte, table_size(window));
	return ret;
}

void s2_window_unreserve(struct s2_window *window)
{
	munmap(window->addr - S2_PAGE_SIZE,
	       (window->npages << S2_PAGE_SHIFT) + 2 * S2_PAGE_SIZE);
	munmap(window->spte, table_size(window));
}
