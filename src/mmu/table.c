/* SPDX-License-Identifier: MIT */
/* Walking, growing and pruning the stage-2 table; what SPTEs mean is the callers' business. */
#include "mmu/table.h"

#include "base/alloc.h"
#include "memslot/vm.h"

static uint64_t pages_per_spte(unsigned level)
{
	return UINT64_C(1) << (9 * (level - 1));
}

struct s2_table *s2_table_alloc(const struct s2_allocator *a)
{
	return s2_zalloc(a, sizeof(struct s2_table), _Alignof(struct s2_table));
}

void s2_table_free_list(struct s2_table *list, const struct s2_allocator *a)
{
	while (list) {
		struct s2_table *next = list->next;

		s2_free(a, list);
		list = next;
	}
}

/* Hooks a spare table in at @sptep, unless another fault was faster. */
static uint64_t add_table(struct s2_vm *vm, _Atomic uint64_t *sptep, struct s2_table **spare)
{
	struct s2_table *table = *spare;
	uint64_t found = 0, spte;

	if (!table)
		return 0;
	*spare = table->next;
	table->next = NULL;
	spte = (uint64_t)(uintptr_t)table | S2_SPTE_PRESENT;
	/* Release pairs with s2_spte_load(). */
	if (atomic_compare_exchange_strong_explicit(sptep, &found, spte, memory_order_acq_rel,
						    memory_order_acquire)) {
		atomic_fetch_add_explicit(&vm->nr_tables, 1, memory_order_relaxed);
		return spte;
	}
	table->next = *spare;
	*spare = table;
	return found;
}

_Atomic uint64_t *s2_table_reach(struct s2_vm *vm, uint64_t gfn, unsigned level,
				 struct s2_table **spare)
{
	struct s2_table *table = vm->mmu_root;
	_Atomic uint64_t *sptep;

	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	for (unsigned at = S2_TABLE_LEVELS; at > level; at--) {
		uint64_t spte;

		sptep = &table->spte[s2_spte_index(gfn, at)];
		spte = s2_spte_load(sptep);
		if (!s2_spte_present(spte))
			spte = add_table(vm, sptep, spare);
		if (!s2_spte_present(spte) || s2_spte_is_leaf(spte, at))
			return NULL;
		table = s2_spte_child(spte);
	}
	sptep = &table->spte[s2_spte_index(gfn, level)];
	if (level == 2 && s2_spte_present(s2_spte_load(sptep)) && !s2_spte_is_leaf(s2_spte_load(sptep), 2))
		return NULL;
	return sptep;
}

/* Four levels deep at most. @start is where visit() has its gfn, and stays in that register. */
static bool visit_table(struct s2_vm *vm, struct s2_table *table, uint64_t start, uint64_t end,
			unsigned level, const struct s2_leaf_visit *visit)
{
	uint64_t step = pages_per_spte(level), next;
	bool ret = false;

	for (uint64_t gfn = start; gfn < end; gfn = next) {
		_Atomic uint64_t *sptep = &table->spte[s2_spte_index(gfn, level)];
		uint64_t spte = s2_spte_load(sptep);

		next = (gfn & ~(step - 1)) + step;
		if (!s2_spte_present(spte))
			continue;
		if (s2_spte_is_leaf(spte, level))
			ret |= visit->visit(vm, sptep, gfn,
					    level == 1 ? S2_PAGE_SHIFT : S2_HUGE_SHIFT, visit->arg);
		else
			ret |= visit_table(vm, s2_spte_child(spte), gfn, next < end ? next : end,
					   level - 1, visit);
	}
	return ret;
}

static uint64_t limit(uint64_t gfn)
{
	return gfn < S2_GFN_LIMIT ? gfn : S2_GFN_LIMIT;
}

bool s2_table_for_each_leaf(struct s2_vm *vm, uint64_t start, uint64_t end,
			    const struct s2_leaf_visit *visit)
{
	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	return visit_table(vm, vm->mmu_root, limit(start), limit(end), S2_TABLE_LEVELS, visit);
}

static bool empty(struct s2_table *table)
{
	for (unsigned i = 0; i < S2_TABLE_SPTES; i++)
		if (s2_spte_present(s2_spte_load(&table->spte[i])))
			return false;
	return true;
}

bool s2_table_is_hollow(struct s2_vm *vm, uint64_t gfn)
{
	struct s2_table *table = vm->mmu_root;

	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	for (unsigned level = S2_TABLE_LEVELS; level > 1; level--) {
		uint64_t spte = s2_spte_load(&table->spte[s2_spte_index(gfn, level)]);

		if (!s2_spte_present(spte) || s2_spte_is_leaf(spte, level))
			return false;
		table = s2_spte_child(spte);
	}
	return empty(table);
}

static void prune_table(struct s2_vm *vm, struct s2_table *table, unsigned level, uint64_t start,
			uint64_t end, struct s2_table **list)
{
	uint64_t step = pages_per_spte(level), next;

	for (uint64_t gfn = start; gfn < end; gfn = next) {
		_Atomic uint64_t *sptep = &table->spte[s2_spte_index(gfn, level)];
		uint64_t spte = s2_spte_load(sptep);

		next = (gfn & ~(step - 1)) + step;
		if (!s2_spte_present(spte) || s2_spte_is_leaf(spte, level))
			continue;
		/* Below level 2 there are only leaves. */
		if (level > 2)
			prune_table(vm, s2_spte_child(spte), level - 1, gfn, next < end ? next : end,
				    list);
		if (!empty(s2_spte_child(spte)))
			continue;
		atomic_store_explicit(sptep, 0, memory_order_relaxed);
		atomic_fetch_sub_explicit(&vm->nr_tables, 1, memory_order_relaxed);
		s2_spte_child(spte)->next = *list;
		*list = s2_spte_child(spte);
	}
}

struct s2_table *s2_table_prune(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	struct s2_table *list = NULL;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	prune_table(vm, vm->mmu_root, S2_TABLE_LEVELS, limit(start), limit(end), &list);
	return list;
}

static void collect(struct s2_table *table, unsigned level, struct s2_table **list)
{
	for (unsigned i = 0; level > 1 && i < S2_TABLE_SPTES; i++) {
		uint64_t spte = s2_spte_load(&table->spte[i]);

		if (s2_spte_present(spte) && !s2_spte_is_leaf(spte, level))
			collect(s2_spte_child(spte), level - 1, list);
	}
	table->next = *list;
	*list = table;
}

struct s2_table *s2_table_all(struct s2_table *root)
{
	struct s2_table *list = NULL;

	collect(root, S2_TABLE_LEVELS, &list);
	return list;
}
