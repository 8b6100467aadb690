/* SPDX-License-Identifier: MIT */
/* Changing the list of an s2_mm's VMs under invalidations that read it. */
#include "memslot/vm_list.h"

#include "base/alloc.h"
#include "memslot/garbage.h"
#include "mm/mm.h"

#include <errno.h>

static struct s2_vm_list *new_list(struct s2_mm *mm, unsigned nr)
{
	struct s2_vm_list *list = mm->allocator.alloc(mm->allocator.ctx,
						      sizeof(*list) + nr * sizeof(list->vms[0]),
						      sizeof(void *));

	if (list)
		list->nr = 0;
	return list;
}

/* Copies the list without @skip, adds @add if it is one, and publishes the copy. */
static int replace_list(struct s2_mm *mm, struct s2_vm *skip, struct s2_vm *add)
{
	struct s2_vm_list *old, *list;

	s2_mutex_lock(&mm->index_lock);
	old = atomic_load_explicit(&mm->vms, memory_order_relaxed);
	list = new_list(mm, old->nr + 1);
	if (list) {
		for (unsigned i = 0; i < old->nr; i++)
			if (old->vms[i] != skip)
				list->vms[list->nr++] = old->vms[i];
		if (add)
			list->vms[list->nr++] = add;
		/* Release pairs with the load in pinned_view(). */
		atomic_store_explicit(&mm->vms, list, memory_order_release);
		s2_garbage_vm_list(mm, old);
	}
	s2_mutex_unlock(&mm->index_lock);
	return list ? 0 : -ENOMEM;
}

int s2_vm_list_add(struct s2_mm *mm, struct s2_vm *vm)
{
	return replace_list(mm, NULL, vm);
}

int s2_vm_list_remove(struct s2_mm *mm, struct s2_vm *vm)
{
	return replace_list(mm, vm, NULL);
}
