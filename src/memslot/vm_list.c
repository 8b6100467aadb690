/* SPDX-License-Identifier: MIT */
/* Changing the list of an s2_mm's VMs under invalidations that read it. */
#include "memslot/vm_list.h"

#include "base/alloc.h"
#include "memslot/garbage.h"
#include "mm/mm.h"

#include <errno.h>

static struct s2_vm_list *current_list(struct s2_mm *mm)
{
	S2_ASSERT_HELD(&mm->index_lock);
	return atomic_load_explicit(&mm->vms, memory_order_relaxed);
}

static struct s2_vm_list *new_list(struct s2_mm *mm, unsigned room)
{
	return mm->allocator.alloc(mm->allocator.ctx,
				   sizeof(struct s2_vm_list) + room * sizeof(struct s2_vm *),
				   sizeof(void *));
}

static void fill_list(struct s2_vm_list *list, const struct s2_vm_list *old, struct s2_vm *skip,
		      struct s2_vm *add)
{
	list->nr = 0;
	for (unsigned i = 0; i < old->nr; i++)
		if (old->vms[i] != skip)
			list->vms[list->nr++] = old->vms[i];
	if (add)
		list->vms[list->nr++] = add;
}

/*
 * Copies the list without @skip, adds @add if it is one, and publishes the copy.
 * The allocator is not called under the lock: it may call us, and wait for an
 * updater that waits for the lock. So the list may grow in between; then again.
 */
static int replace_list(struct s2_mm *mm, struct s2_vm *skip, struct s2_vm *add)
{
	struct s2_vm_list *list = NULL, *old;
	unsigned room = 0;

	s2_mutex_lock(&mm->index_lock);
	while (old = current_list(mm), old->nr + 1 > room) {
		room = old->nr + 1;
		s2_mutex_unlock(&mm->index_lock);
		s2_free(&mm->allocator, list);
		list = new_list(mm, room);
		if (!list)
			return -ENOMEM;
		s2_mutex_lock(&mm->index_lock);
	}
	fill_list(list, old, skip, add);
	/* Release pairs with the load in pinned_view(). */
	atomic_store_explicit(&mm->vms, list, memory_order_release);
	s2_garbage_vm_list(mm, old);
	s2_mutex_unlock(&mm->index_lock);
	return 0;
}

int s2_vm_list_add(struct s2_mm *mm, struct s2_vm *vm)
{
	return replace_list(mm, NULL, vm);
}

int s2_vm_list_remove(struct s2_mm *mm, struct s2_vm *vm)
{
	return replace_list(mm, vm, NULL);
}
