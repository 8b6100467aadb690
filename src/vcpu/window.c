/* SPDX-License-Identifier: MIT */
/* The life of a window, and its faults. */
#include "vcpu/window.h"

#include "base/alloc.h"
#include "base/guest_mode.h"
#include "base/reserved.h"
#include "mm/mm.h"
#include "mmu/window.h"

#include <errno.h>

static bool config_allowed(const struct s2_window_config *config)
{
	const uint64_t end = S2_GFN_LIMIT << S2_PAGE_SHIFT;

	return config->size && !((config->gpa | config->size) & (S2_PAGE_SIZE - 1)) &&
	       config->gpa < end && config->size <= end - config->gpa && S2_RESERVED_UNUSED(config);
}

static void init(struct s2_window *window, struct s2_vm *vm, const struct s2_window_config *config)
{
	window->vm = vm;
	window->gfn = config->gpa >> S2_PAGE_SHIFT;
	window->npages = config->size >> S2_PAGE_SHIFT;
	s2_mutex_init(&window->lock, S2_RANK_WINDOW);
	for (unsigned i = 0; i < S2_WINDOW_READERS; i++)
		s2_mutex_init(&window->readers[i].lock, S2_RANK_WINDOW_READER);
}

int s2_window_create(struct s2_vm *vm, const struct s2_window_config *config,
		     struct s2_window **window)
{
	struct s2_window *new;
	int ret;

	if (!vm || !config || !window || !config_allowed(config))
		return -EINVAL;
	if (!vm->mm->provider->backing)
		return -ENOTSUP;
	new = s2_zalloc(&vm->mm->allocator, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	init(new, vm, config);
	ret = s2_window_reserve(new);
	if (ret)
		goto out_free;
	ret = s2_window_signals_add(new);
	if (ret)
		goto out_unreserve;
	s2_vm_get(vm);
	s2_window_link(new);
	*window = new;
	return 0;
out_unreserve:
	s2_window_unreserve(new);
out_free:
	s2_free(&vm->mm->allocator, new);
	return ret;
}

void s2_window_destroy(struct s2_window *window)
{
	struct s2_vm *vm;

	if (!window)
		return;
	vm = window->vm;
	s2_window_signals_remove(window);
	s2_window_unlink(window);
	s2_window_unreserve(window);
	s2_free(&vm->mm->allocator, window);
	s2_vm_drop(vm);
}

void *s2_window_addr(const struct s2_window *window)
{
	return window ? window->addr : NULL;
}

static uint64_t page_of(const struct s2_window *window, const void *addr)
{
	return ((uintptr_t)addr - (uintptr_t)window->addr) >> S2_PAGE_SHIFT;
}

bool s2_window_is_readable(struct s2_window *window, const void *addr)
{
	uint64_t spte = atomic_load_explicit(&window->spte[page_of(window, addr)],
					     memory_order_relaxed);

	return s2_spte_present(spte) && (spte & S2_SPTE_ACCESSED);
}

/* Many threads' faults are counted together; they take microseconds each. */
static void count(struct s2_window *window, struct s2_fault_counts *counts)
{
	atomic_fetch_add_explicit(&window->counts.faults,
				  atomic_load_explicit(&counts->faults, memory_order_relaxed),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&window->counts.retries,
				  atomic_load_explicit(&counts->retries, memory_order_relaxed),
				  memory_order_relaxed);
}

int s2_window_fault(struct s2_window *window, const void *addr, unsigned access)
{
	struct s2_fault_state state = { .window = window };
	uint64_t page;
	bool left;
	int ret;

	if (!window || (access != S2_ACCESS_READ && access != S2_ACCESS_WRITE))
		return -EINVAL;
	page = page_of(window, addr);
	if (page >= window->npages)
		return -EINVAL;
	left = s2_guest_leave_all();
	ret = s2_mmu_fault(window->vm, &state, window->gfn + page, access);
	count(window, &state.counts);
	if (left)
		s2_guest_return_all();
	return ret;
}

int s2_window_get_stats(struct s2_window *window, struct s2_window_stats *stats)
{
	uint64_t pages = 0;

	if (!window || !stats)
		return -EINVAL;
	s2_write_lock(&window->vm->mmu_lock);
	for (uint64_t i = 0; i << S2_WINDOW_CHUNK_SHIFT < window->npages; i++)
		pages += window->present[i];
	*stats = (struct s2_window_stats){
		.faults = atomic_load_explicit(&window->counts.faults, memory_order_relaxed),
		.fault_retries = atomic_load_explicit(&window->counts.retries, memory_order_relaxed),
		.pages_mapped = pages,
		.mappings = atomic_load_explicit(&window->mappings, memory_order_relaxed),
		.limit_zaps = window->limit_zaps,
	};
	s2_write_unlock(&window->vm->mmu_lock);
	return 0;
}
