/* SPDX-License-Identifier: MIT */
/* The fixture of pool_vm.h. */
#include "pool/pool_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))

void pool_vm_begin_config(struct pool_vm *p, const struct s2_pool_config *base, uint64_t pages,
			  const struct s2_memcg_config *memcg, unsigned tiers)
{
	struct s2_pool_config config = *base;

	memset(p, 0, sizeof(*p));
	counting_allocator_init(&p->memory);
	config.allocator = &p->memory.ops;
	for (unsigned i = 0; i < 2; i++) {
		faulty_tier_init(&p->tiers[i], FAULTY_TIER_SLOTS);
		config.tiers[i] = i < tiers ? &p->tiers[i].tier : NULL;
	}
	p->pages = pages;
	assert_int_equal(s2_pool_create(&config, &p->pool), 0);
	assert_int_equal(s2_memcg_create(p->pool, memcg, &p->memcg), 0);
	assert_int_equal(s2_pool_map(p->pool, p->memcg, pages * S2_PAGE_SIZE, &p->hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(p->pool), NULL, &p->vm), 0);
	assert_int_equal(map_region(p->vm, 0, 0, pages, p->hva), 0);
	assert_int_equal(s2_vcpu_create(p->vm, test_vcpu_config(), &p->vcpu), 0);
}

void pool_vm_begin(struct pool_vm *p, enum s2_gate gate, unsigned frames, uint64_t pages,
		   uint64_t limit, unsigned tiers)
{
	const struct s2_pool_config config = { .size = frames * S2_PAGE_SIZE, .gate = gate };
	const struct s2_memcg_config memcg = { .limit = limit * S2_PAGE_SIZE };

	pool_vm_begin_config(p, &config, pages, &memcg, tiers);
}

void pool_vm_end(struct pool_vm *p)
{
	struct s2_pool_stats stats;

	assert_int_equal(s2_vcpu_destroy(p->vcpu), 0);
	s2_vm_put(p->vm);
	if (p->hva)
		assert_int_equal(s2_pool_unmap(p->pool, p->hva), 0);
	assert_int_equal(s2_memcg_get_stats(p->memcg, &stats), 0);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.shared, 0);
	assert_int_equal(stats.swapped, 0);
	assert_int_equal(s2_memcg_destroy(p->memcg), 0);
	stats = pool_stats(p);
	assert_int_equal(stats.free_frames, stats.frames);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.shared, 0);
	assert_int_equal(stats.shared_frames, 0);
	assert_int_equal(stats.swapped, 0);
	s2_pool_destroy(p->pool);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(faulty_tier_used(&p->tiers[i]), 0);
		faulty_tier_free(&p->tiers[i]);
	}
	assert_int_equal(p->memory.blocks, 0);
	assert_int_equal(p->memory.bytes, 0);
}

int map_region(struct s2_vm *vm, uint32_t id, uint64_t gfn, uint64_t pages, uint64_t hva)
{
	const struct kvm_userspace_memory_region mem = {
		.slot = id,
		.guest_phys_addr = gfn << S2_PAGE_SHIFT,
		.memory_size = pages << S2_PAGE_SHIFT,
		.userspace_addr = hva,
	};

	return s2_vm_set_memory_region(vm, &mem);
}

struct s2_pool_stats pool_stats(struct pool_vm *p)
{
	struct s2_pool_stats stats;

	assert_int_equal(s2_pool_get_stats(p->pool, &stats), 0);
	return stats;
}

struct s2_pool_stats memcg_stats(struct s2_memcg *memcg)
{
	struct s2_pool_stats stats;

	assert_int_equal(s2_memcg_get_stats(memcg, &stats), 0);
	return stats;
}

static uint64_t word_of(uint64_t gfn, uint64_t generation, uint64_t i)
{
	return generation ? gfn << 40 | generation << 16 | i : 0;
}

void page_fill(uint64_t *page, uint64_t gfn, uint64_t generation)
{
	for (uint64_t i = 0; i < WORDS; i++)
		page[i] = word_of(gfn, generation, i);
}

bool page_is(const uint64_t *page, uint64_t gfn, uint64_t generation)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (page[i] != word_of(gfn, generation, i))
			return false;
	return true;
}

int guest_fill(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t generation)
{
	uint64_t page[WORDS];

	page_fill(page, gfn, generation);
	return s2_vcpu_write(vcpu, gfn << S2_PAGE_SHIFT, page, sizeof(page));
}

void assert_guest_has(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t generation)
{
	uint64_t page[WORDS];

	assert_int_equal(s2_vcpu_read(vcpu, gfn << S2_PAGE_SHIFT, page, sizeof(page)), 0);
	assert_true(page_is(page, gfn, generation));
}

void guest_fill_pages(struct s2_vcpu *vcpu, uint64_t first, uint64_t end, uint64_t generation)
{
	for (uint64_t gfn = first; gfn < end; gfn++)
		assert_int_equal(guest_fill(vcpu, gfn, generation), 0);
}

void assert_guest_has_pages(struct s2_vcpu *vcpu, uint64_t first, uint64_t end, uint64_t generation)
{
	for (uint64_t gfn = first; gfn < end; gfn++)
		assert_guest_has(vcpu, gfn, generation);
}

int host_fill(struct pool_vm *p, uint64_t gfn, uint64_t generation)
{
	uint64_t page[WORDS];

	page_fill(page, gfn, generation);
	return s2_pool_write(p->pool, hva_of(p, gfn), page, sizeof(page));
}

void host_fill_pages(struct pool_vm *p, uint64_t first, uint64_t end, uint64_t generation)
{
	for (uint64_t gfn = first; gfn < end; gfn++)
		assert_int_equal(host_fill(p, gfn, generation), 0);
}

void assert_host_has(struct pool_vm *p, uint64_t gfn, uint64_t generation)
{
	uint64_t page[WORDS];

	assert_int_equal(s2_pool_read(p->pool, hva_of(p, gfn), page, sizeof(page)), 0);
	assert_true(page_is(page, gfn, generation));
}
