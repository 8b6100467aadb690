/* SPDX-License-Identifier: MIT */
/*
 * The updaters of torture on a pool. Memslot 0 shows all of a guest's memory and stays, but for
 * its dirty log, which is turned on and off under running vCPUs. Each updater has a memslot
 * more in each guest, a window that comes, goes, moves, and shows other pages each time, which
 * then are mapped twice.
 */
#include "torture_pool.h"

#include <errno.h>

int torture_pool_map_guest(struct torture_worker *w, struct torture_pool_guest *guest, bool log)
{
	const struct kvm_userspace_memory_region region = {
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.memory_size = guest->nr_pages * S2_PAGE_SIZE,
		.userspace_addr = guest->hva,
	};

	return torture_set_region(w, guest->vm, guest->index, &region);
}

uint64_t torture_pool_window_gpa(const struct torture_pool_guest *guest, unsigned int updater,
				 bool second)
{
	return (guest->nr_pages + (2u * updater + second) * POOL_WINDOW_PAGES) * S2_PAGE_SIZE;
}

static int set_window(struct torture_worker *w, struct torture_pool_guest *guest, uint64_t where,
		      bool remove)
{
	unsigned int page = torture_pool_window(where) * POOL_WINDOW_PAGES;
	const struct kvm_userspace_memory_region region = {
		.slot = 1 + w->index,
		.guest_phys_addr = torture_pool_window_gpa(guest, w->index, where & SLOT_SECOND),
		.memory_size = remove ? 0 : POOL_WINDOW_PAGES * S2_PAGE_SIZE,
		.userspace_addr = torture_pool_hva(guest, page),
	};

	return torture_set_region(w, guest->vm, guest->index, &region);
}

static void show_window(struct torture_worker *w, struct torture_pool_guest *guest)
{
	struct torture_slot *slot = &guest->windows[w->index];
	uint64_t where = SLOT_PRESENT | (percent(w, 50) ? SLOT_SECOND : 0) |
			 (uint64_t)pick(w, guest->nr_pages / POOL_WINDOW_PAGES)
				 << SLOT_WINDOW_SHIFT;

	torture_announce(slot, where, SLOT_UPDATING);
	torture_announce(slot, set_window(w, guest, where, false) ? 0 : where, 0);
}

static void hide_window(struct torture_worker *w, struct torture_pool_guest *guest)
{
	struct torture_slot *slot = &guest->windows[w->index];
	uint64_t where = slot->where;

	torture_announce(slot, where, SLOT_UPDATING);
	if (!set_window(w, guest, where, true))
		torture_announce(slot, where & ~(uint64_t)SLOT_PRESENT, 0);
}

static void move_window(struct torture_worker *w, struct torture_pool_guest *guest)
{
	struct torture_slot *slot = &guest->windows[w->index];
	uint64_t where = slot->where ^ SLOT_SECOND;

	torture_announce(slot, where, SLOT_UPDATING);
	if (set_window(w, guest, where, false))
		where ^= SLOT_SECOND;
	torture_announce(slot, where, 0);
}

void torture_pool_updater(struct torture_worker *w)
{
	struct torture_pool *pool = w->torture->pool;

	while (!stopped(w->torture)) {
		struct torture_pool_guest *guest = &pool->guests[pick(w, pool->nr_guests)];
		unsigned int chance = pick(w, 100);

		if (chance < 5 && !w->index) {
			guest->logging = !guest->logging;
			torture_pool_map_guest(w, guest, guest->logging);
		} else if (!(guest->windows[w->index].where & SLOT_PRESENT)) {
			show_window(w, guest);
		} else if (chance < 50) {
			hide_window(w, guest);
		} else {
			move_window(w, guest);
		}
		torture_pause(w);
	}
}
