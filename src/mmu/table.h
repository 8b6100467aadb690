/* SPDX-License-Identifier: MIT */
/*
 * The stage-2 table: four levels of 512 SPTEs, leaves of 4 KiB and 2 MiB, for
 * 48 bits of guest physical address.
 *
 * Written under mmu_lock: by faults, which may hold it shared and so install with
 * compare-exchange, and by zaps, which hold it for write. Read without it by
 * vCPUs in guest mode, on a TLB miss: a table is freed only after a flush, and a
 * vCPU that was inside it has left guest mode, or passed a safepoint, by then.
 */
#ifndef S2_MMU_TABLE_H
#define S2_MMU_TABLE_H

#include <stage2/mm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct s2_vm;

#define S2_TABLE_SPTES 512
#define S2_TABLE_LEVELS 4
#define S2_GFN_LIMIT (UINT64_C(1) << (9 * S2_TABLE_LEVELS))

/*
 * An SPTE: a host address, and in the low bits what may be done with it. A 2 MiB
 * leaf is an SPTE of level 2 with S2_SPTE_LEAF; so is every SPTE of level 1. The
 * others point at the table below.
 */
#define S2_SPTE_PRESENT UINT64_C(1)
#define S2_SPTE_WRITABLE UINT64_C(2)
#define S2_SPTE_ACCESSED UINT64_C(4)
#define S2_SPTE_DIRTY UINT64_C(8)
#define S2_SPTE_LEAF UINT64_C(16)
#define S2_SPTE_ZERO UINT64_C(32) /* of windows: a page of zeroes that is in no file */
#define S2_SPTE_FLAGS UINT64_C(63)

struct s2_table {
	_Atomic uint64_t spte[S2_TABLE_SPTES];
	struct s2_table *next; /* in a list of tables to be freed, or of spare ones */
} __attribute__((aligned(64)));

/* One leaf, or the place of one. */
struct s2_walk_result {
	_Atomic uint64_t *sptep; /* NULL if the table it would be in is missing */
	uint64_t spte;
	unsigned shift; /* S2_PAGE_SHIFT or S2_HUGE_SHIFT */
};

/* What is done to the leaves of a range: zapped, aged, ... */
struct s2_leaf_visit {
	/*
	 * Called for every present leaf, with the first gfn of the range that it maps;
	 * returns whether a flush is due, or the page is young.
	 */
	bool (*visit)(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		      void *arg);
	void *arg;
};

struct s2_table *s2_table_alloc(const struct s2_allocator *a);
void s2_table_free_list(struct s2_table *list, const struct s2_allocator *a);

/*
 * Makes the tables above @gfn's SPTE of the given level (1 or 2), out of *@spare,
 * and returns that SPTE's place; NULL if a 2 MiB leaf (level 1) or a table (level 2) is in
 * its way, or if the spare tables did not suffice. Caller holds mmu_lock.
 */
_Atomic uint64_t *s2_table_reach(struct s2_vm *vm, uint64_t gfn, unsigned level,
				 struct s2_table **spare);

/* Visits the present leaves of [start, end). Caller holds mmu_lock for write. */
bool s2_table_for_each_leaf(struct s2_vm *vm, uint64_t start, uint64_t end,
			    const struct s2_leaf_visit *visit);

/*
 * Is what keeps a 2 MiB leaf out at @gfn a table without a present SPTE? Caller holds mmu_lock.
 */
bool s2_table_is_hollow(struct s2_vm *vm, uint64_t gfn);

/*
 * Unhooks the tables of [start, end) that have no present SPTE any more, for the
 * caller to free after a flush. Caller holds mmu_lock for write.
 */
struct s2_table *s2_table_prune(struct s2_vm *vm, uint64_t start, uint64_t end);

/* Every table below @root, @root included, as a list to be freed. */
struct s2_table *s2_table_all(struct s2_table *root);

static inline bool s2_spte_present(uint64_t spte)
{
	return spte & S2_SPTE_PRESENT;
}

static inline uint64_t s2_spte_addr(uint64_t spte)
{
	return spte & ~S2_SPTE_FLAGS;
}

static inline unsigned s2_spte_index(uint64_t gfn, unsigned level)
{
	return (gfn >> (9 * (level - 1))) % S2_TABLE_SPTES;
}

static inline bool s2_spte_is_leaf(uint64_t spte, unsigned level)
{
	return level == 1 || (spte & S2_SPTE_LEAF);
}

static inline struct s2_table *s2_spte_child(uint64_t spte)
{
	return (struct s2_table *)(uintptr_t)s2_spte_addr(spte);
}

/* Acquire pairs with the release of who hooked a table in: its SPTEs were cleared before. */
static inline uint64_t s2_spte_load(_Atomic uint64_t *sptep)
{
	return atomic_load_explicit(sptep, memory_order_acquire);
}

/*
 * Takes no lock: the caller holds mmu_lock, shared at least, or is in guest mode.
 * Inline, so that the result stays in registers: this is half of a TLB miss.
 */
static inline struct s2_walk_result s2_table_walk(struct s2_table *root, uint64_t gfn)
{
	struct s2_table *table = root;

	for (unsigned level = S2_TABLE_LEVELS;; level--) {
		_Atomic uint64_t *sptep = &table->spte[s2_spte_index(gfn, level)];
		uint64_t spte = s2_spte_load(sptep);

		if (s2_spte_is_leaf(spte, level))
			return (struct s2_walk_result){
				sptep, spte, level == 1 ? S2_PAGE_SHIFT : S2_HUGE_SHIFT
			};
		if (!s2_spte_present(spte))
			return (struct s2_walk_result){ 0 };
		table = s2_spte_child(spte);
	}
}

#endif /* S2_MMU_TABLE_H */
