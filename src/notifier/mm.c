/* SPDX-License-Identifier: MIT */
/* The life of an s2_mm. */
#include "mm/mm.h"

#include "base/alloc.h"
#include "base/reserved.h"
#include "memslot/garbage.h"
#include "memslot/vm.h"

#include <errno.h>

static const struct s2_gate_ops *const gates[S2_NR_GATES] = {
	[S2_GATE_RANGE] = &s2_gate_range,
	[S2_GATE_ALWAYS] = &s2_gate_always,
	[S2_GATE_RWSEM] = &s2_gate_rwsem,
	[S2_GATE_COUNT] = &s2_gate_count,
};

const char *s2_gate_name(enum s2_gate gate)
{
	return (unsigned)gate < S2_NR_GATES ? gates[gate]->name : NULL;
}

static bool config_allowed(const struct s2_mm_config *config)
{
	unsigned entries = config->inflight_entries;

	if ((unsigned)config->gate >= S2_NR_GATES)
		return false;
	if (config->provider && !config->provider->fault)
		return false;
	if (config->provider && config->huge_pages)
		return false;
	if (config->allocator && (!config->allocator->alloc || !config->allocator->free))
		return false;
	if (entries > S2_INFLIGHT_MAX || (entries & (entries - 1)))
		return false;
	return S2_RESERVED_UNUSED(config);
}

static int init(struct s2_mm *mm, const struct s2_mm_config *config, const struct s2_allocator *a)
{
	struct s2_vm_list *nobody;
	int ret;

	mm->allocator = *a;
	mm->gate_kind = config->gate;
	mm->gate = gates[config->gate];
	mm->provider = config->provider ? config->provider : &s2_process_provider;
	mm->huge_pages = config->huge_pages;
	mm->provider_ctx = config->provider ? config->provider_ctx : mm;
	s2_mutex_init(&mm->index_lock, S2_RANK_INDEX_LOCK);
	s2_mutex_init(&mm->windows_lock, S2_RANK_WINDOWS);
	atomic_init(&mm->refs, 1);
	nobody = s2_zalloc(a, sizeof(*nobody), sizeof(void *));
	if (!nobody)
		return -ENOMEM;
	ret = s2_inflight_init(&mm->inflight, a,
			       config->inflight_entries ? config->inflight_entries :
							  S2_INFLIGHT_DEFAULT);
	if (!ret)
		ret = mm->gate->shared_index ? s2_hva_filter_init(&mm->filter, a) :
					       s2_hva_filter_init_full(&mm->filter, a);
	if (!ret) {
		atomic_init(&mm->vms, nobody);
		mm->pairs = (struct s2_mm_pairs){
			.entries = mm->inflight.entries,
			.filter = mm->filter.bits,
			.mask = mm->inflight.mask,
		};
		return 0;
	}
	s2_inflight_free(&mm->inflight, a);
	s2_free(a, nobody);
	return ret;
}

int s2_mm_create(const struct s2_mm_config *config, struct s2_mm **mm)
{
	static const struct s2_mm_config defaults;
	const struct s2_allocator *a;
	struct s2_mm *new;
	int ret;

	config = config ? config : &defaults;
	if (!mm || !config_allowed(config))
		return -EINVAL;
	a = config->allocator ? config->allocator : &s2_libc_allocator;
	new = s2_zalloc(a, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	ret = init(new, config, a);
	if (ret)
		s2_free(a, new);
	else
		*mm = new;
	return ret;
}

void s2_mm_get(struct s2_mm *mm)
{
	atomic_fetch_add_explicit(&mm->refs, 1, memory_order_relaxed);
}

/* VMs that memory never sufficed to unlink; nobody looks any more, so they need not be. */
static void free_zombies(struct s2_mm *mm)
{
	struct s2_vm *vm = mm->zombies;

	while (vm) {
		struct s2_vm *next = vm->retired;

		s2_vm_free(vm);
		vm = next;
	}
}

static void free_mm(struct s2_mm *mm)
{
	const struct s2_allocator a = mm->allocator;

	/* What a pair in flight would touch later is not freed under it, whoever's mistake it is. */
	s2_inflight_grace_begin(&mm->inflight);
	S2_RULE(s2_inflight_grace_passed(&mm->inflight), "an s2_mm ends with invalidations in flight");
	if (!s2_inflight_grace_passed(&mm->inflight))
		return;
	s2_mm_reclaim_all(mm);
	free_zombies(mm);
	s2_itree_reserve_drain(&mm->node_pool, &a);
	s2_itree_free_all(atomic_load_explicit(&mm->hva_root, memory_order_relaxed), &a);
	s2_free(&a, atomic_load_explicit(&mm->vms, memory_order_relaxed));
	s2_inflight_free(&mm->inflight, &a);
	s2_hva_filter_free(&mm->filter, &a);
	s2_free(&a, mm);
}

void s2_mm_put(struct s2_mm *mm)
{
	/* Release and acquire: what others did with the s2_mm comes before its end. */
	if (mm && atomic_fetch_sub_explicit(&mm->refs, 1, memory_order_acq_rel) == 1)
		free_mm(mm);
}

int s2_mm_get_stats(struct s2_mm *mm, struct s2_mm_stats *stats)
{
	if (!mm || !stats)
		return -EINVAL;
	*stats = (struct s2_mm_stats){
		.nonblock_failed = atomic_load_explicit(&mm->nonblock_failed, memory_order_relaxed),
		.memslot_updates = atomic_load_explicit(&mm->memslot_updates, memory_order_relaxed),
	};
	s2_inflight_stats(&mm->inflight, stats);
	return 0;
}
