/* SPDX-License-Identifier: MIT */
/* Clones of regions: who sees what, what is shared and for how long, and what goes wrong on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "pool/pool.h"
#include "pool/pool_vm.h"
#include "sanitized.h"

#define FRAMES 64u
#define PAGES 12u

/* A clone in a memcg of its own, as the memory of a VM of its own. */
struct copy {
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t hva;
};

static void copy_begin(struct copy *copy, struct pool_vm *p, uint64_t hva)
{
	assert_int_equal(s2_memcg_create(p->pool, NULL, &copy->memcg), 0);
	assert_int_equal(s2_pool_clone(p->pool, copy->memcg, hva, &copy->hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(p->pool), NULL, &copy->vm), 0);
	assert_int_equal(map_region(copy->vm, 0, 0, p->pages, copy->hva), 0);
	assert_int_equal(s2_vcpu_create(copy->vm, test_vcpu_config(), &copy->vcpu), 0);
}

static void copy_end(struct copy *copy, struct pool_vm *p)
{
	assert_int_equal(s2_vcpu_destroy(copy->vcpu), 0);
	s2_vm_put(copy->vm);
	assert_int_equal(s2_pool_unmap(p->pool, copy->hva), 0);
	assert_int_equal(memcg_stats(copy->memcg).resident, 0);
	assert_int_equal(memcg_stats(copy->memcg).shared, 0);
	assert_int_equal(memcg_stats(copy->memcg).swapped, 0);
	assert_int_equal(s2_memcg_destroy(copy->memcg), 0);
}

static void begin_gate(struct pool_vm *p, enum s2_gate gate)
{
	pool_vm_begin(p, gate, FRAMES, PAGES, 0, 1);
	guest_fill_pages(p->vcpu, 0, PAGES, 1);
}

static void begin(struct pool_vm *p)
{
	begin_gate(p, S2_GATE_RANGE);
}

static void swap_out_all(struct pool_vm *p)
{
	s2_pool_reclaim(p->pool, UINT64_MAX, 0);
	assert_int_equal(pool_stats(p).free_frames, FRAMES);
}

static void assert_each_has_its_own(struct pool_vm *p, struct copy *copy)
{
	assert_guest_has_pages(p->vcpu, 0, 4, 2);
	assert_guest_has_pages(p->vcpu, 4, PAGES, 1);
	assert_guest_has_pages(copy->vcpu, 0, 2, 1);
	assert_guest_has_pages(copy->vcpu, 2, 6, 3);
	assert_guest_has_pages(copy->vcpu, 6, PAGES, 1);
}

static void neither_notices_the_other(enum s2_gate gate)
{
	struct copy copy;
	struct pool_vm p;

	begin_gate(&p, gate);
	copy_begin(&copy, &p, p.hva);
	assert_int_equal(pool_stats(&p).free_frames, FRAMES - PAGES);
	assert_guest_has_pages(copy.vcpu, 0, PAGES, 1);
	guest_fill_pages(p.vcpu, 0, 4, 2);
	guest_fill_pages(copy.vcpu, 2, 6, 3);
	assert_each_has_its_own(&p, &copy);
	swap_out_all(&p);
	assert_each_has_its_own(&p, &copy);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_neither_notices_the_other_range(void **state)
{
	neither_notices_the_other(S2_GATE_RANGE);
}

static void test_neither_notices_the_other_always(void **state)
{
	neither_notices_the_other(S2_GATE_ALWAYS);
}

static void test_neither_notices_the_other_rwsem(void **state)
{
	neither_notices_the_other(S2_GATE_RWSEM);
}

static void test_neither_notices_the_other_count(void **state)
{
	neither_notices_the_other(S2_GATE_COUNT);
}

static void test_what_is_absent_or_zero_is_so_in_the_clone(void **state)
{
	struct copy copy;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
	assert_guest_has_pages(p.vcpu, 0, PAGES / 2, 0);
	copy_begin(&copy, &p, p.hva);
	assert_int_equal(pool_stats(&p).shared, 0);
	guest_fill_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copy.vcpu, 0, PAGES, 0);
	guest_fill_pages(copy.vcpu, 0, PAGES, 2);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_the_clone_of_swapped_pages_brings_nothing_in(void **state)
{
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	swap_out_all(&p);
	copy_begin(&copy, &p, p.hva);
	assert_int_equal(pool_stats(&p).swap_ins, 0);
	assert_int_equal(pool_stats(&p).swapped, PAGES);
	assert_int_equal(memcg_stats(p.memcg).swapped, 0);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), PAGES);
	guest_fill_pages(copy.vcpu, 0, 4, 2);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copy.vcpu, 0, 4, 2);
	assert_guest_has_pages(copy.vcpu, 4, PAGES, 1);
	copy_end(&copy, &p);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	pool_vm_end(&p);
}

static void test_a_clone_of_a_clone(void **state)
{
	struct copy first, second;
	struct pool_vm p;

	begin(&p);
	copy_begin(&first, &p, p.hva);
	guest_fill_pages(first.vcpu, 0, 3, 2);
	copy_begin(&second, &p, first.hva);
	guest_fill_pages(second.vcpu, 2, 5, 3);
	guest_fill_pages(p.vcpu, 4, 6, 4);
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	assert_guest_has_pages(p.vcpu, 4, 6, 4);
	assert_guest_has_pages(first.vcpu, 0, 3, 2);
	assert_guest_has_pages(first.vcpu, 3, PAGES, 1);
	assert_guest_has_pages(second.vcpu, 0, 2, 2);
	assert_guest_has_pages(second.vcpu, 2, 5, 3);
	assert_guest_has_pages(second.vcpu, 5, PAGES, 1);
	copy_end(&first, &p);
	assert_guest_has_pages(second.vcpu, 0, 2, 2);
	copy_end(&second, &p);
	pool_vm_end(&p);
}

static void test_what_is_shared_is_counted(void **state)
{
	struct s2_pool_stats stats;
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	stats = pool_stats(&p);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.shared, 2 * PAGES);
	assert_int_equal(stats.shared_frames, PAGES);
	assert_int_equal(memcg_stats(p.memcg).shared, PAGES);
	guest_fill_pages(copy.vcpu, 0, 5, 2);
	stats = pool_stats(&p);
	assert_int_equal(stats.cow_breaks, 5);
	assert_int_equal(stats.shared, 2 * PAGES - 5);
	assert_int_equal(stats.shared_frames, PAGES);
	assert_int_equal(memcg_stats(copy.memcg).cow_breaks, 5);
	assert_int_equal(memcg_stats(copy.memcg).resident, 5);
	assert_int_equal(memcg_stats(p.memcg).cow_breaks, 0);
	/* The last one that shares a page, and writes to it, leaves nothing behind. */
	guest_fill_pages(p.vcpu, 0, 5, 3);
	stats = pool_stats(&p);
	assert_int_equal(stats.shared_frames, PAGES - 5);
	assert_int_equal(stats.free_frames, FRAMES - PAGES - 5);
	assert_guest_has_pages(p.vcpu, 0, 5, 3);
	assert_guest_has_pages(copy.vcpu, 0, 5, 2);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_the_original_may_go_first(void **state)
{
	struct copy copies[2];
	struct pool_vm p;
	uint64_t original;

	begin(&p);
	copy_begin(&copies[0], &p, p.hva);
	copy_begin(&copies[1], &p, p.hva);
	original = p.hva;
	p.hva = 0;
	assert_int_equal(s2_pool_unmap(p.pool, original), 0);
	assert_int_equal(guest_store(p.vcpu, 0, 1), -EFAULT);
	for (unsigned i = 0; i < 2; i++) {
		assert_guest_has_pages(copies[i].vcpu, 0, PAGES, 1);
		guest_fill_pages(copies[i].vcpu, 0, PAGES / 2, 2 + i);
	}
	assert_guest_has_pages(copies[0].vcpu, 0, PAGES / 2, 2);
	copy_end(&copies[0], &p);
	assert_guest_has_pages(copies[1].vcpu, 0, PAGES / 2, 3);
	assert_guest_has_pages(copies[1].vcpu, PAGES / 2, PAGES, 1);
	copy_end(&copies[1], &p);
	pool_vm_end(&p);
}

/* Without another frame, and without a copy; vCPUs that had it read-only go on. */
static void test_the_last_one_takes_the_frame_over(void **state)
{
	struct pool_vm p;
	uint64_t clone;

	begin(&p);
	assert_int_equal(s2_pool_clone(p.pool, NULL, p.hva, &clone), 0);
	assert_guest_has_pages(p.vcpu, 0, 2, 1);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	assert_int_equal(pool_stats(&p).resident, 0);
	assert_int_equal(pool_stats(&p).shared_frames, PAGES);
	assert_int_equal(guest_store(p.vcpu, 0, 5), 0);
	assert_int_equal(host_fill(&p, 1, 2), 0);
	assert_guest_reads(p.vcpu, 0, 5);
	assert_guest_has(p.vcpu, 1, 2);
	assert_int_equal(pool_stats(&p).cow_breaks, 0);
	assert_int_equal(pool_stats(&p).shared_frames, PAGES - 2);
	assert_int_equal(memcg_stats(p.memcg).resident, 2);
	assert_int_equal(pool_stats(&p).free_frames, FRAMES - PAGES);
	pool_vm_end(&p);
}

static void test_a_shared_page_comes_back_for_all(void **state)
{
	struct copy copies[2];
	struct pool_vm p;

	begin(&p);
	copy_begin(&copies[0], &p, p.hva);
	copy_begin(&copies[1], &p, p.hva);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copies[0].vcpu, 0, PAGES, 1);
	swap_out_all(&p);
	assert_int_equal(pool_stats(&p).swap_outs, PAGES);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copies[0].vcpu, 0, PAGES, 1);
	assert_int_equal(pool_stats(&p).swap_ins, PAGES);
	assert_int_equal(pool_stats(&p).shared_frames, PAGES);
	swap_out_all(&p);
	guest_fill_pages(copies[1].vcpu, 0, PAGES, 2);
	assert_int_equal(pool_stats(&p).swapped, PAGES);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copies[1].vcpu, 0, PAGES, 2);
	copy_end(&copies[1], &p);
	copy_end(&copies[0], &p);
	pool_vm_end(&p);
}

/* Each of those that share it gets the error, and nothing else has happened. */
static void assert_all_fail(struct pool_vm *p, struct copy *copy, int error)
{
	uint64_t value;

	assert_int_equal(guest_load(p->vcpu, 1, &value), error);
	assert_int_equal(guest_store(p->vcpu, 1, 1), error);
	assert_int_equal(guest_load(copy->vcpu, 1, &value), error);
	assert_int_equal(guest_store(copy->vcpu, 1, 1), error);
	assert_int_equal(s2_pool_read(p->pool, hva_of(p, 1), &value, sizeof(value)), error);
	assert_int_equal(s2_pool_write(p->pool, copy->hva + S2_PAGE_SIZE, &value, 1), error);
	assert_int_equal(pool_stats(p).shared, 2 * PAGES);
	assert_int_equal(pool_stats(p).free_frames, FRAMES);
	assert_int_equal(memcg_stats(p->memcg).resident, 0);
}

static void test_a_tiers_error_reaches_all(void **state)
{
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	swap_out_all(&p);
	atomic_store(&p.tiers[0].load_error, -ETIMEDOUT);
	assert_all_fail(&p, &copy, -EIO);
	atomic_store(&p.tiers[0].load_error, 0);
	atomic_store(&p.tiers[0].damage, true);
	assert_all_fail(&p, &copy, -EBADMSG);
	atomic_store(&p.tiers[0].damage, false);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(copy.vcpu, 0, PAGES, 1);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_shared_pages_no_tier_takes_stay(void **state)
{
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	atomic_store(&p.tiers[0].store_error, -EIO);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(pool_stats(&p).shared_frames, PAGES);
	assert_guest_has_pages(copy.vcpu, 0, PAGES, 1);
	assert_guest_has_pages(p.vcpu, 0, PAGES, 1);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_the_host_reads_and_writes(void **state)
{
	struct copy copy;
	struct pool_vm p;
	uint64_t value;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	swap_out_all(&p);
	assert_host_has(&p, 3, 1);
	assert_int_equal(s2_pool_read(p.pool, copy.hva + 3 * S2_PAGE_SIZE + 8, &value, 8), 0);
	assert_int_equal(value, UINT64_C(3) << 40 | 1 << 16 | 1);
	assert_int_equal(pool_stats(&p).cow_breaks, 0);
	assert_int_equal(host_fill(&p, 3, 2), 0);
	assert_int_equal(pool_stats(&p).cow_breaks, 1);
	assert_guest_has(copy.vcpu, 3, 1);
	assert_guest_has(p.vcpu, 3, 2);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_discarding_shared_pages(void **state)
{
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, 4 * S2_PAGE_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 0, 4, 0);
	assert_guest_has_pages(copy.vcpu, 0, PAGES, 1);
	swap_out_all(&p);
	assert_int_equal(s2_pool_discard(p.pool, copy.hva, 8 * S2_PAGE_SIZE), 0);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), PAGES - 4);
	assert_guest_has_pages(copy.vcpu, 0, 8, 0);
	assert_guest_has_pages(p.vcpu, 4, PAGES, 1);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

static void test_a_memcg_with_a_clone_is_busy(void **state)
{
	struct s2_memcg *memcg;
	struct pool_vm p;
	uint64_t clone;

	begin(&p);
	assert_int_equal(s2_memcg_create(p.pool, NULL, &memcg), 0);
	assert_int_equal(s2_pool_clone(p.pool, memcg, p.hva, &clone), 0);
	assert_int_equal(s2_memcg_destroy(memcg), -EBUSY);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	assert_int_equal(s2_memcg_destroy(memcg), 0);
	pool_vm_end(&p);
}

/* In a pool that is full, and with the limit of a memcg that has nothing of its own. */
static void test_writing_to_a_clone_in_a_full_pool(void **state)
{
	const struct s2_memcg_config limited = { .limit = 2 * S2_PAGE_SIZE };
	struct s2_memcg *memcg;
	struct pool_vm p;
	uint64_t clone;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 1);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(s2_memcg_create(p.pool, &limited, &memcg), 0);
	assert_int_equal(s2_pool_clone(p.pool, memcg, p.hva, &clone), 0);
	assert_int_equal(map_region(p.vm, 1, 1000, POOL_FRAMES, clone), 0);
	for (uint64_t i = 0; i < POOL_FRAMES; i++)
		assert_int_equal(guest_store(p.vcpu, 1000 + i, i + 1), 0);
	assert_true(memcg_stats(memcg).resident <= 2);
	for (uint64_t i = 0; i < POOL_FRAMES; i++)
		assert_guest_reads(p.vcpu, 1000 + i, i + 1);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	assert_int_equal(s2_memcg_destroy(memcg), 0);
	pool_vm_end(&p);
}

/* With the @n-th allocation failing; false if there are not so many. */
static bool clone_fails_at(long n)
{
	const uint64_t pages = 2100; /* three chunks of the table of shared pages */
	const struct s2_pool_config config = { .size = 1024 * S2_PAGE_SIZE };
	struct pool_vm p;
	uint64_t clone;
	int ret;

	pool_vm_begin_config(&p, &config, pages, NULL, 2);
	guest_fill_pages(p.vcpu, 0, pages, 1);
	counting_allocator_fail_at(&p.memory, n);
	ret = s2_pool_clone(p.pool, p.memcg, p.hva, &clone);
	counting_allocator_fail_at(&p.memory, 0);
	if (ret)
		assert_int_equal(ret, -ENOMEM);
	else
		assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	guest_fill_pages(p.vcpu, 0, pages, 2);
	assert_guest_has_pages(p.vcpu, 0, pages, 2);
	assert_int_equal(pool_stats(&p).shared, 0);
	pool_vm_end(&p);
	return ret;
}

static void test_out_of_memory_leaves_the_original_whole(void **state)
{
	long n = 1;

	while (clone_fails_at(n))
		n++;
	assert_true(n > 4);
}

static void test_a_thousand_clones(void **state)
{
	const uint64_t pages = 16384; /* 64 MiB */
	const unsigned clones = WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 100 : 1000;
	const struct s2_pool_config config = { .size = 256 * S2_PAGE_SIZE };
	uint64_t *hvas = calloc(clones, sizeof(*hvas));
	struct pool_vm p;

	assert_non_null(hvas);
	pool_vm_begin_config(&p, &config, pages, NULL, 1);
	for (uint64_t gfn = 0; gfn < pages; gfn += 64)
		guest_fill_pages(p.vcpu, gfn, gfn + 1, 1);
	for (unsigned i = 0; i < clones; i++) {
		assert_int_equal(s2_pool_clone(p.pool, p.memcg, i ? hvas[i / 2] : p.hva, &hvas[i]), 0);
		assert_int_equal(s2_pool_write(p.pool, hvas[i] + 100 * S2_PAGE_SIZE, &i, sizeof(i)), 0);
	}
	for (unsigned i = 0; i < clones; i++) {
		uint64_t gfn = i % (pages / 64) * 64, word;
		unsigned nr;

		assert_int_equal(s2_pool_read(p.pool, hvas[i] + gfn * S2_PAGE_SIZE, &word, 8), 0);
		assert_int_equal(word, gfn << 40 | 1 << 16);
		assert_int_equal(s2_pool_read(p.pool, hvas[i] + 100 * S2_PAGE_SIZE, &nr, sizeof(nr)), 0);
		assert_int_equal(nr, i);
	}
	for (unsigned i = 0; i < clones; i++)
		assert_int_equal(s2_pool_unmap(p.pool, hvas[(i * 7 + 3) % clones]), 0);
	for (uint64_t gfn = 0; gfn < pages; gfn += 64)
		assert_guest_has(p.vcpu, gfn, 1);
	pool_vm_end(&p);
	free(hvas);
}

struct writer {
	struct s2_vcpu *vcpu;
	unsigned nr;
	_Atomic bool *stop;
	_Atomic unsigned *wrong;
	pthread_t thread;
};

/* Stores the same number to a page's first word, and then to its last. */
static void *count_up(void *arg)
{
	struct writer *w = arg;

	if (s2_vcpu_enter(w->vcpu))
		atomic_fetch_add(w->wrong, 1);
	for (uint64_t i = 1; !atomic_load(w->stop); i++) {
		for (uint64_t gfn = w->nr; gfn < PAGES; gfn += 2) {
			uint64_t gpa = gfn << S2_PAGE_SHIFT;

			if (s2_vcpu_store64(w->vcpu, gpa, i) ||
			    s2_vcpu_store64(w->vcpu, gpa + S2_PAGE_SIZE - 8, i))
				atomic_fetch_add(w->wrong, 1);
			s2_vcpu_poll(w->vcpu);
		}
	}
	if (s2_vcpu_exit(w->vcpu))
		atomic_fetch_add(w->wrong, 1);
	return NULL;
}

/* As the page was at some moment, and as it stays. */
static void assert_is_a_moment(struct pool_vm *p, uint64_t clone)
{
	uint64_t words[PAGES][2], again;

	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
			for (unsigned i = 0; i < 2; i++) {
				assert_int_equal(s2_pool_read(p->pool,
							      clone + gfn * S2_PAGE_SIZE +
								      i * (S2_PAGE_SIZE - 8),
							      &again, 8), 0);
				if (round)
					assert_int_equal(again, words[gfn][i]);
				words[gfn][i] = again;
			}
			assert_true(words[gfn][0] - words[gfn][1] <= 1);
		}
		sched_yield();
	}
}

static void clones_of_a_running_guest(enum s2_gate gate)
{
	_Atomic bool stop = false;
	_Atomic unsigned wrong = 0;
	struct writer writers[2];
	struct pool_vm p;

	pool_vm_begin(&p, gate, FRAMES, PAGES, 0, 1);
	for (unsigned i = 0; i < 2; i++) {
		writers[i] = (struct writer){ .nr = i, .stop = &stop, .wrong = &wrong };
		assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &writers[i].vcpu), 0);
		assert_int_equal(pthread_create(&writers[i].thread, NULL, count_up, &writers[i]), 0);
	}
	for (unsigned i = 0; i < (test_vcpu_config() ? 20 : 60); i++) {
		uint64_t clone;

		assert_int_equal(s2_pool_clone(p.pool, NULL, p.hva, &clone), 0);
		if (i % 4 == 3)
			s2_pool_reclaim(p.pool, UINT64_MAX, 0);
		assert_is_a_moment(&p, clone);
		assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
		assert_int_equal(s2_vcpu_destroy(writers[i].vcpu), 0);
	}
	assert_int_equal(wrong, 0);
	pool_vm_end(&p);
}

static void test_clones_of_a_running_guest_range(void **state)
{
	clones_of_a_running_guest(S2_GATE_RANGE);
}

static void test_clones_of_a_running_guest_always(void **state)
{
	clones_of_a_running_guest(S2_GATE_ALWAYS);
}

static void test_clones_of_a_running_guest_rwsem(void **state)
{
	clones_of_a_running_guest(S2_GATE_RWSEM);
}

static void test_clones_of_a_running_guest_count(void **state)
{
	clones_of_a_running_guest(S2_GATE_COUNT);
}

/* Another vCPU has the shared frame, read-only, and does not leave guest mode. */
struct watcher {
	struct s2_vcpu *vcpu;
	_Atomic bool has_old;
	uint64_t old;
	uint64_t seen;
	int ret;
	pthread_t thread;
};

static void *watch_page(void *arg)
{
	struct watcher *w = arg;

	w->ret = s2_vcpu_enter(w->vcpu);
	while (!w->ret && !(w->ret = s2_vcpu_load64(w->vcpu, 0, &w->seen)) && w->seen == w->old) {
		atomic_store(&w->has_old, true);
		s2_vcpu_poll(w->vcpu);
	}
	s2_vcpu_exit(w->vcpu);
	return NULL;
}

static void test_other_vcpus_lose_the_shared_frame(void **state)
{
	struct watcher watcher = { .old = 1 << 16 };
	struct copy copy;
	struct pool_vm p;

	begin(&p);
	assert_int_equal(guest_fill(p.vcpu, 0, 1), 0);
	copy_begin(&copy, &p, p.hva);
	assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &watcher.vcpu), 0);
	assert_int_equal(pthread_create(&watcher.thread, NULL, watch_page, &watcher), 0);
	while (!atomic_load(&watcher.has_old))
		sched_yield();
	assert_int_equal(guest_store(p.vcpu, 0, 5), 0);
	assert_int_equal(pthread_join(watcher.thread, NULL), 0);
	assert_int_equal(watcher.ret, 0);
	assert_int_equal(watcher.seen, 5);
	assert_int_equal(s2_vcpu_destroy(watcher.vcpu), 0);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

/* It keeps no frame that is another page's by now. */
static void test_no_vcpu_keeps_a_shared_frame_that_was_reclaimed(void **state)
{
	struct watcher watcher = { .old = 1 << 16 };
	struct copy copy;
	struct pool_vm p;
	uint64_t other;

	begin(&p);
	copy_begin(&copy, &p, p.hva);
	watcher.vcpu = copy.vcpu;
	assert_int_equal(pthread_create(&watcher.thread, NULL, watch_page, &watcher), 0);
	while (!atomic_load(&watcher.has_old))
		sched_yield();
	assert_int_equal(s2_pool_map(p.pool, NULL, FRAMES * S2_PAGE_SIZE, &other), 0);
	for (unsigned round = 0; round < 20; round++) {
		s2_pool_reclaim(p.pool, UINT64_MAX, 0);
		for (uint64_t i = 0; i < FRAMES; i++)
			assert_int_equal(s2_pool_write(p.pool, other + i * S2_PAGE_SIZE, &other, 8), 0);
	}
	/* Its own write is what ends it. */
	assert_int_equal(s2_pool_write(p.pool, copy.hva, "end", 4), 0);
	assert_int_equal(pthread_join(watcher.thread, NULL), 0);
	assert_int_equal(watcher.ret, 0);
	assert_memory_equal(&watcher.seen, "end", 4);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	copy_end(&copy, &p);
	pool_vm_end(&p);
}

/*
 * A page of the original is being brought in, for which the clone waits, while an OOM killer
 * takes the others away.
 */
struct killed {
	struct pool_vm p;
	_Atomic bool loading;
	_Atomic bool go_on;
	uint64_t clone;
	int ret;
};

static void load_for_long(void *arg)
{
	struct killed *k = arg;

	atomic_store(&k->loading, true);
	while (!atomic_load(&k->go_on))
		sched_yield();
}

static void *clone_it(void *arg)
{
	struct killed *k = arg;

	k->ret = s2_pool_clone(k->p.pool, NULL, k->p.hva, &k->clone);
	return NULL;
}

static void await_waiter(struct pool_vm *p)
{
	struct s2_pool_region *region = s2_pool_region_get(p->pool, p->hva);

	while (!(atomic_load(&region->pages[0].word) & S2_POOL_AWAITED))
		sched_yield();
	s2_pool_region_put(region);
}

static void test_what_an_oom_killer_took_is_not_cloned(void **state)
{
	const struct s2_pool_config config = { .size = POOL_FRAMES * S2_PAGE_SIZE };
	const struct s2_memcg_config victim = { .oom_priority = 1 };
	struct killed k = { .clone = 0 };
	struct guest_access access = { .gfn = 0 };
	pthread_t thread;
	uint64_t other;

	pool_vm_begin_config(&k.p, &config, 8, &victim, 1);
	guest_fill_pages(k.p.vcpu, 0, 1, 1);
	assert_int_equal(s2_pool_reclaim(k.p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	guest_fill_pages(k.p.vcpu, 1, 8, 1);
	k.p.tiers[0].in_load = load_for_long;
	k.p.tiers[0].arg = &k;
	access.vcpu = k.p.vcpu;
	guest_access_begin(&access);
	while (!atomic_load(&k.loading))
		sched_yield();
	assert_int_equal(pthread_create(&thread, NULL, clone_it, &k), 0);
	await_waiter(&k.p);
	assert_int_equal(s2_pool_map(k.p.pool, NULL, POOL_FRAMES * S2_PAGE_SIZE, &other), 0);
	for (uint64_t i = 0; pool_stats(&k.p).free_frames; i++)
		assert_int_equal(s2_pool_write(k.p.pool, other + i * S2_PAGE_SIZE, "x", 1), 0);
	assert_true(s2_pool_out_of_memory(k.p.pool));
	atomic_store(&k.go_on, true);
	/* Its fault begins anew after what has happened meanwhile. */
	assert_int_equal(guest_access_end(&access), -EFAULT);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(k.ret, -EFAULT);
	assert_int_equal(s2_pool_unmap(k.p.pool, other), 0);
	pool_vm_end(&k.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_neither_notices_the_other_range),
		cmocka_unit_test(test_neither_notices_the_other_always),
		cmocka_unit_test(test_neither_notices_the_other_rwsem),
		cmocka_unit_test(test_neither_notices_the_other_count),
		cmocka_unit_test(test_what_is_absent_or_zero_is_so_in_the_clone),
		cmocka_unit_test(test_the_clone_of_swapped_pages_brings_nothing_in),
		cmocka_unit_test(test_a_clone_of_a_clone),
		cmocka_unit_test(test_what_is_shared_is_counted),
		cmocka_unit_test(test_the_original_may_go_first),
		cmocka_unit_test(test_the_last_one_takes_the_frame_over),
		cmocka_unit_test(test_a_shared_page_comes_back_for_all),
		cmocka_unit_test(test_a_tiers_error_reaches_all),
		cmocka_unit_test(test_shared_pages_no_tier_takes_stay),
		cmocka_unit_test(test_the_host_reads_and_writes),
		cmocka_unit_test(test_discarding_shared_pages),
		cmocka_unit_test(test_a_memcg_with_a_clone_is_busy),
		cmocka_unit_test(test_writing_to_a_clone_in_a_full_pool),
		cmocka_unit_test(test_out_of_memory_leaves_the_original_whole),
		cmocka_unit_test(test_a_thousand_clones),
		cmocka_unit_test(test_clones_of_a_running_guest_range),
		cmocka_unit_test(test_clones_of_a_running_guest_always),
		cmocka_unit_test(test_clones_of_a_running_guest_rwsem),
		cmocka_unit_test(test_clones_of_a_running_guest_count),
		cmocka_unit_test(test_other_vcpus_lose_the_shared_frame),
		cmocka_unit_test(test_no_vcpu_keeps_a_shared_frame_that_was_reclaimed),
		cmocka_unit_test(test_what_an_oom_killer_took_is_not_cloned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
