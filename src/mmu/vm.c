/* SPDX-License-Identifier: MIT */
/* The beginning of a VM, where the layers are put together, and its stage-2 table's end. */
#include "memslot/vm.h"

#include "base/alloc.h"
#include "base/reserved.h"
#include "memslot/garbage.h"
#include "memslot/vm_list.h"
#include "mm/mm.h"
#include "mmu/flush.h"
#include "mmu/spte.h"
#include "mmu/table.h"

#include <errno.h>

static void destroy_table(struct s2_vm *vm)
{
	s2_table_free_list(s2_table_all(vm->mmu_root), &vm->mm->allocator);
}

static const struct s2_mmu_ops mmu_ops = {
	.unmap_gfn_range = s2_mmu_unmap_gfn_range,
	.set_spte_gfn = s2_mmu_set_spte_gfn,
	.age_gfn = s2_mmu_age_gfn,
	.test_age_gfn = s2_mmu_test_age_gfn,
	.write_protect = s2_mmu_write_protect,
	.zap_memslot = s2_mmu_zap_memslot,
	.flush_remote_tlbs = s2_flush_remote_tlbs,
	.destroy = destroy_table,
};

static bool config_allowed(const struct s2_vm_config *config)
{
	if ((unsigned)config->mmu_lock > S2_MMU_LOCK_MUTEX)
		return false;
	if (config->dirty_initially_set && !config->manual_dirty_protect)
		return false;
	return S2_RESERVED_UNUSED(config);
}

static void init(struct s2_vm *vm, struct s2_mm *mm, const struct s2_vm_config *config)
{
	vm->mm = mm;
	vm->ops = &mmu_ops;
	vm->manual_dirty_protect = config->manual_dirty_protect;
	vm->dirty_initially_set = config->dirty_initially_set;
	s2_mmu_lock_init(&vm->mmu_lock, config->mmu_lock);
	s2_mutex_init(&vm->slots_lock, S2_RANK_SLOTS_LOCK);
	s2_rwsem_init(&vm->mmu_notifier_slots_lock, S2_RANK_GATE);
	s2_spin_init(&vm->mn_invalidate_lock, S2_RANK_GATE);
	atomic_init(&vm->refs, 1);
	atomic_init(&vm->nr_tables, 1);
}

static struct s2_vm *alloc_vm(struct s2_mm *mm, const struct s2_vm_config *config)
{
	const struct s2_allocator *a = &mm->allocator;
	struct s2_vm *vm = s2_zalloc(a, sizeof(*vm), 64);

	if (!vm)
		return NULL;
	vm->mmu_root = s2_table_alloc(a);
	if (!vm->mmu_root) {
		s2_free(a, vm);
		return NULL;
	}
	init(vm, mm, config);
	return vm;
}

/*
 * Under the gates that ask each VM, an invalidation in flight knows nothing of a
 * VM that came after its start, nor that VM of it: so the VM waits until those
 * have ended, as mmu_notifier_register() keeps them out altogether.
 */
static bool waits_for_invalidations(const struct s2_mm *mm)
{
	return !mm->gate->shared_index;
}

int s2_vm_create(struct s2_mm *mm, const struct s2_vm_config *config, struct s2_vm **vm)
{
	static const struct s2_vm_config defaults;
	struct s2_mm_stats stats;
	struct s2_vm *new;

	config = config ? config : &defaults;
	if (!mm || !vm || !config_allowed(config))
		return -EINVAL;
	if (waits_for_invalidations(mm) && s2_inflight_owned(&mm->inflight, 0, UINT64_MAX))
		return -EDEADLK;
	new = alloc_vm(mm, config);
	if (!new)
		return -ENOMEM;
	if (s2_vm_list_add(mm, new)) {
		s2_table_free_list(new->mmu_root, &mm->allocator);
		s2_free(&mm->allocator, new);
		return -ENOMEM;
	}
	s2_mm_get(mm);
	s2_mm_reclaim(mm);
	if (waits_for_invalidations(mm))
		s2_inflight_wait(&mm->inflight, 0, UINT64_MAX);
	s2_mm_get_stats(mm, &stats);
	new->invalidations_before = stats.invalidations;
	*vm = new;
	return 0;
}
