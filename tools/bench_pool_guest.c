/* SPDX-License-Identifier: MIT */
/* See bench_pool_guest.h. */
#include "bench_pool_guest.h"
#include "bench_pages.h"
#include "bench_pairs.h"
#include "bench_pool_tiers.h"

#include <errno.h>
#include <stdio.h>

/*
 * A frame that is used for the first time is made by the kernel, which takes several times as
 * long as what is to be measured.
 */
static int touch_frames(struct s2_pool *pool, uint64_t size)
{
	uint64_t hva, touched;
	int error = s2_pool_map(pool, NULL, size, &hva);

	if (error)
		return error;
	for (touched = 0; !error && touched < size; touched += S2_PAGE_SIZE)
		error = s2_pool_write(pool, hva + touched, "", 1);
	s2_pool_unmap(pool, hva);
	return error;
}

int bench_pool_create(const struct bench *bench, struct s2_pool_config *config, uint64_t pages,
		      struct s2_pool **pool)
{
	int error = bench_tiers_lz4(pages, config->tiers);

	if (!error)
		error = s2_pool_create(config, pool);
	if (!error) {
		error = touch_frames(*pool, config->size);
		if (!error)
			return 0;
		s2_pool_destroy(*pool);
		return bench_fail(bench, error, "cannot use a pool");
	}
	bench_tiers_destroy(config->tiers);
	if (error != -ENOTSUP)
		return bench_fail(bench, error, "cannot create a pool");
	fprintf(stderr, "%s: %s: left out: this build has no LZ4 (liblz4-dev)\n",
		bench_suite.program, bench->name);
	return BENCH_SKIPPED;
}

int bench_guest_create(struct bench_guest *guest, struct s2_pool *pool, uint64_t pages,
		       unsigned int vcpus)
{
	int error = s2_memcg_create(pool, NULL, &guest->memcg);

	guest->pool = pool;
	guest->pages = pages;
	if (!error)
		error = s2_pool_map(pool, guest->memcg, pages * S2_PAGE_SIZE, &guest->hva);
	if (!error)
		error = s2_vm_create(s2_pool_mm(pool), NULL, &guest->vm);
	if (!error)
		error = bench_set_memslot(guest->vm, 0, 0, pages, guest->hva);
	for (unsigned int i = 0; !error && i < vcpus; i++)
		error = s2_vcpu_create(guest->vm, NULL, &guest->vcpus[i]);
	return error;
}

void bench_guest_destroy(struct bench_guest *guest)
{
	for (unsigned int i = 0; i < BENCH_MAX_CPUS && guest->vcpus[i]; i++)
		s2_vcpu_destroy(guest->vcpus[i]);
	s2_vm_put(guest->vm);
	if (guest->hva)
		s2_pool_unmap(guest->pool, guest->hva);
	s2_memcg_destroy(guest->memcg);
	*guest = (struct bench_guest){ 0 };
}

int bench_region_fill(struct s2_pool *pool, uint64_t hva, uint64_t pages, uint64_t nr)
{
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)];
	int error = 0;

	for (uint64_t i = 0; !error && i < pages; i++) {
		bench_page_fill(page, nr + i);
		error = s2_pool_write(pool, hva + i * S2_PAGE_SIZE, page, sizeof(page));
	}
	return error;
}

int bench_guest_fill(const struct bench_guest *guest, uint64_t nr)
{
	return bench_region_fill(guest->pool, guest->hva, guest->pages, nr);
}

int bench_guest_write_all(const struct bench_guest *guest)
{
	int error = s2_vcpu_enter(guest->vcpus[0]);

	/* The last word of each is zero. */
	for (uint64_t i = 1; !error && i <= guest->pages; i++) {
		error = s2_vcpu_store64(guest->vcpus[0], i * S2_PAGE_SIZE - sizeof(uint64_t), 0);
		s2_vcpu_poll(guest->vcpus[0]);
	}
	s2_vcpu_exit(guest->vcpus[0]);
	return error;
}

int bench_guest_swap_out(const struct bench_guest *guest)
{
	struct s2_pool_stats stats;
	int64_t freed = s2_memcg_reclaim(guest->memcg, UINT64_MAX, 0);
	int error = freed < 0 ? (int)freed : s2_memcg_get_stats(guest->memcg, &stats);

	if (!error && stats.resident > guest->pages / 16)
		error = -ENOSPC;
	return error;
}
