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
	for (unsigned i = 0; i < S2_WINDOW_FAULTERS; i++) {
		s2_mutex_init(&window->faulters[i].lock, S2_RANK_WINDOW_FAULTER);
		window->faulters[i].state.window = window;
	}
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

bool s2_window_is_readable(struct s2_window *window, const void *addr)
{
	uint64_t page = ((uintptr_t)addr - (uintptr_t)window->addr) >> S2_PAGE_SHIFT;
	uint64_t spte = atomic_load_explicit(&window->spte[page], memory_order_relaxed);

	return s2_spte_present(spte) && (spte & S2_SPTE_ACCESSED);
}

/* One that nobody uses, from the thread's own on; or its own, when that comes free. */
static struct s2_window_faulter *lock_faulter(struct s2_window *window)
{
	/* Threads' addresses differ by a stack at least. */
	unsigned home = (unsigned)((s2_thread_self() * UINT64_C(0x9e3779b97f4a7c15)) >> 32) %
			S2_WINDOW_FAULTERS;

	for (unsigned i = 0; i < S2_WINDOW_FAULTERS; i++) {
		struct s2_window_faulter *faulter =
			&window->faulters[(home + i) % S2_WINDOW_FAULTERS];

		if (s2_mutex_trylock(&faulter->lock))
			return faulter;
	}
	s2_mutex_lock(&window->faulters[home].lock);
	return &window->faulters[home];
}

int s2_window_fault(struct s2_window *window, const void *addr, unsigned access)
{
	struct s2_window_faulter *faulter;
	uint64_t page;
	bool left;
	int ret;

	if (!window || (access != S2_ACCESS_READ && access != S2_ACCESS_WRITE))
		return -EINVAL;
	page = ((uintptr_t)addr - (uintptr_t)window->addr) >> S2_PAGE_SHIFT;
	if (page >= window->npages)
		return -EINVAL;
	left = s2_guest_leave_all();
	faulter = lock_faulter(window);
	ret = s2_mmu_fault(window->vm, &faulter->state, window->gfn + page, access);
	s2_mutex_unlock(&faulter->lock);
	if (left)
		s2_guest_return_all();
	return ret;
}

int s2_window_get_stats(struct s2_window *window, struct s2_window_stats *stats)
{
	struct s2_fault_counts sum = { 0 };
	uint64_t pages = 0;

	if (!window || !stats)
		return -EINVAL;
	s2_write_lock(&window->vm->mmu_lock);
	s2_window_add_counts(window, &sum);
	for (uint64_t i = 0; i << S2_WINDOW_CHUNK_SHIFT < window->npages; i++)
		pages += window->present[i];
	*stats = (struct s2_window_stats){
		.faults = sum.faults,
		.fault_retries = sum.retries,
		.pages_mapped = pages,
		.mappings = atomic_load_explicit(&window->mappings, memory_order_relaxed),
		.limit_zaps = window->limit_zaps,
	};
	s2_write_unlock(&window->vm->mmu_lock);
	return 0;
}
