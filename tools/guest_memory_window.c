/* SPDX-License-Identifier: MIT */
/*
 * See guest_memory_window.h. Copies go by the vCPU, as a system call of the host's gets EFAULT from
 * a window where no page is mapped, and may get it anew each time it is tried.
 */
#include "guest_memory_window.h"

#include <errno.h>
#include <stdlib.h>

static struct guest_memory_window *to_window(struct guest_memory *memory)
{
	return (struct guest_memory_window *)memory;
}

static int window_read(struct guest_memory *memory, uint64_t gpa, void *data, size_t len)
{
	return s2_vcpu_read(to_window(memory)->vcpu, gpa, data, len);
}

static int window_write(struct guest_memory *memory, uint64_t gpa, const void *data, size_t len)
{
	return s2_vcpu_write(to_window(memory)->vcpu, gpa, data, len);
}

static int window_discard(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	return s2_pool_discard(to_window(memory)->pool, to_window(memory)->hva + gpa, size);
}

/* In the order that leaves nothing behind that something else still uses. */
static void window_destroy(struct guest_memory *memory)
{
	struct guest_memory_window *w = to_window(memory);

	s2_vcpu_destroy(w->vcpu);
	s2_window_destroy(w->window);
	s2_vm_put(w->vm);
	if (w->hva)
		s2_pool_unmap(w->pool, w->hva);
	s2_memcg_destroy(w->memcg);
	free(w);
}

static const struct guest_memory_ops window_ops = {
	.read = window_read,
	.write = window_write,
	.discard = window_discard,
	.destroy = window_destroy,
};

static int create_vm(struct guest_memory_window *w)
{
	const struct kvm_userspace_memory_region region = {
		.slot = GUEST_MEMORY_SLOT,
		.memory_size = w->memory.size,
		.userspace_addr = w->hva,
	};
	const struct s2_window_config config = { .size = w->memory.size };
	int error = s2_vm_create(s2_pool_mm(w->pool), NULL, &w->vm);

	if (!error)
		error = s2_vm_set_memory_region(w->vm, &region);
	if (!error)
		error = s2_window_create(w->vm, &config, &w->window);
	if (!error)
		error = s2_vcpu_create(w->vm, NULL, &w->vcpu);
	return error;
}

int guest_memory_window_create(struct s2_pool *pool, uint64_t size,
			       struct guest_memory_window **memory)
{
	struct guest_memory_window *w = calloc(1, sizeof(*w));
	int error;

	if (!w)
		return -ENOMEM;
	*w = (struct guest_memory_window){
		.memory = { .ops = &window_ops, .size = size },
		.pool = pool,
	};
	error = s2_memcg_create(pool, NULL, &w->memcg);
	if (!error)
		error = s2_pool_map(pool, w->memcg, size, &w->hva);
	if (!error)
		error = create_vm(w);
	if (error) {
		window_destroy(&w->memory);
		return error;
	}
	w->memory.base = s2_window_addr(w->window);
	*memory = w;
	return 0;
}
