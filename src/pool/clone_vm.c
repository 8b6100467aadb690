/* SPDX-License-Identifier: MIT */
/*
 * Clones of whole VMs: the memslots of one, over clones of the regions that they point into.
 * What fuzzers and sandboxes start from: a guest that has booted, a thousand times.
 */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/guest_mode.h"
#include "memslot/vm.h"

#include <errno.h>

/*
 * @slots:   of the original, as they were when it was looked at.
 * @regions: where what they point into begins, and where its clone does.
 */
struct copied_region {
	uint64_t hva;
	uint64_t clone;
};

struct blueprint {
	struct s2_vm_config config;
	unsigned nr_slots;
	unsigned nr_regions;
	struct kvm_userspace_memory_region *slots;
	struct copied_region *regions;
};

static unsigned count_slots(struct s2_vm *vm)
{
	struct s2_itree_iter it;
	unsigned n = 0;

	S2_ASSERT_HELD_WRITE(&vm->slots_lock);
	s2_itree_iter_init(&it, atomic_load_explicit(&vm->gfn_root, memory_order_relaxed), 0,
			   UINT64_MAX);
	while (s2_itree_iter_next(&it))
		n++;
	return n;
}

static void copy_slots(struct s2_vm *vm, struct blueprint *print)
{
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	S2_ASSERT_HELD_WRITE(&vm->slots_lock);
	s2_itree_iter_init(&it, atomic_load_explicit(&vm->gfn_root, memory_order_relaxed), 0,
			   UINT64_MAX);
	while ((iv = s2_itree_iter_next(&it))) {
		const struct s2_memslot *slot = iv->value;

		print->slots[print->nr_slots++] = (struct kvm_userspace_memory_region){
			.slot = slot->id,
			.flags = slot->flags,
			.guest_phys_addr = slot->base_gfn << S2_PAGE_SHIFT,
			.memory_size = slot->npages << S2_PAGE_SHIFT,
			.userspace_addr = slot->hva,
		};
	}
}

static void free_blueprint(struct s2_pool *pool, struct blueprint *print)
{
	s2_free(&pool->allocator, print->slots);
	s2_free(&pool->allocator, print->regions);
}

static int alloc_blueprint(struct s2_pool *pool, unsigned slots, struct blueprint *print)
{
	const struct s2_allocator *a = &pool->allocator;

	if (!slots)
		return 0;
	print->slots = s2_zalloc(a, slots * sizeof(*print->slots), _Alignof(uint64_t));
	print->regions = s2_zalloc(a, slots * sizeof(*print->regions), _Alignof(uint64_t));
	return print->slots && print->regions ? 0 : -ENOMEM;
}

static int draw(struct s2_pool *pool, struct s2_vm *vm, struct blueprint *print)
{
	int ret = s2_lock_slots(vm);

	if (ret)
		return ret;
	print->config = (struct s2_vm_config){
		.mmu_lock = vm->mmu_lock.kind,
		.manual_dirty_protect = vm->manual_dirty_protect,
		.dirty_initially_set = vm->dirty_initially_set,
	};
	ret = alloc_blueprint(pool, count_slots(vm), print);
	if (!ret)
		copy_slots(vm, print);
	s2_mutex_unlock(&vm->slots_lock);
	return ret;
}

/* Clones the region that @hva is in, unless a memslot before was in it too. */
static int find_clone(struct s2_pool *pool, struct s2_memcg *memcg, struct blueprint *print,
		      uint64_t hva, struct copied_region *found)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	int ret;

	if (!region)
		return -EFAULT;
	found->hva = region->hva;
	s2_pool_region_put(region);
	for (unsigned i = 0; i < print->nr_regions; i++) {
		if (print->regions[i].hva == found->hva) {
			*found = print->regions[i];
			return 0;
		}
	}
	ret = s2_pool_clone(pool, memcg, found->hva, &found->clone);
	if (!ret)
		print->regions[print->nr_regions++] = *found;
	return ret;
}

static int build_slot(struct s2_pool *pool, struct s2_memcg *memcg, struct blueprint *print,
		      unsigned i, struct s2_vm *vm)
{
	struct kvm_userspace_memory_region slot = print->slots[i];
	struct copied_region region;
	int ret = find_clone(pool, memcg, print, slot.userspace_addr, &region);

	if (ret)
		return ret;
	slot.userspace_addr += region.clone - region.hva;
	return s2_vm_set_memory_region(vm, &slot);
}

static int build(struct s2_pool *pool, struct s2_memcg *memcg, struct blueprint *print,
		 struct s2_vm **vm)
{
	struct s2_vm *new;
	int ret = s2_vm_create(pool->mm, &print->config, &new);

	for (unsigned i = 0; !ret && i < print->nr_slots; i++) {
		ret = build_slot(pool, memcg, print, i, new);
		if (ret)
			s2_vm_put(new);
	}
	if (!ret) {
		*vm = new;
		return 0;
	}
	while (print->nr_regions)
		s2_pool_unmap(pool, print->regions[--print->nr_regions].clone);
	return ret;
}

int s2_pool_clone_vm(struct s2_pool *pool, struct s2_memcg *memcg, struct s2_vm *vm,
		     struct s2_vm **clone)
{
	struct blueprint print = { 0 };
	bool left;
	int ret;

	if (!pool || !vm || !clone || vm->mm != pool->mm || (memcg && memcg->pool != pool))
		return -EINVAL;
	left = s2_guest_leave_all();
	ret = draw(pool, vm, &print);
	if (!ret)
		ret = build(pool, memcg, &print, clone);
	free_blueprint(pool, &print);
	if (left)
		s2_guest_return_all();
	return ret;
}
