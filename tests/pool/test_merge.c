/* SPDX-License-Identifier: MIT */
/*
 * Same-page merging: what becomes one frame, what does not, and what ends it. Two VMs with a
 * memcg and a region each, whose pages are equal where number and generation are.
 * With guests that write meanwhile: test_merge_stress.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
/* For the key that the digest is made with, which is no part of the library's interface. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memslot/vm.h"
#include "pool/pool.h"
#include "pool/pool_vm.h"

#define FRAMES 64u
#define PAGES 8u

struct twins {
	struct pool_vm p;
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t hva;
};

static void advise(struct twins *t, uint64_t hva, enum s2_pool_advice advice)
{
	assert_int_equal(s2_pool_advise(t->p.pool, hva, t->p.pages * S2_PAGE_SIZE, advice), 0);
}

static void begin_config(struct twins *t, enum s2_gate gate, unsigned frames, uint64_t pages)
{
	pool_vm_begin(&t->p, gate, frames, pages, 0, 1);
	assert_int_equal(s2_memcg_create(t->p.pool, NULL, &t->memcg), 0);
	assert_int_equal(s2_pool_map(t->p.pool, t->memcg, pages * S2_PAGE_SIZE, &t->hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(t->p.pool), NULL, &t->vm), 0);
	assert_int_equal(map_region(t->vm, 0, 0, pages, t->hva), 0);
	assert_int_equal(s2_vcpu_create(t->vm, test_vcpu_config(), &t->vcpu), 0);
	advise(t, t->p.hva, S2_POOL_MERGE);
	advise(t, t->hva, S2_POOL_MERGE);
}

static void begin(struct twins *t)
{
	begin_config(t, S2_GATE_RANGE, FRAMES, PAGES);
}

static void end(struct twins *t)
{
	assert_int_equal(s2_vcpu_destroy(t->vcpu), 0);
	s2_vm_put(t->vm);
	if (t->hva)
		assert_int_equal(s2_pool_unmap(t->p.pool, t->hva), 0);
	assert_int_equal(s2_memcg_destroy(t->memcg), 0);
	pool_vm_end(&t->p);
}

static uint64_t other_hva(const struct twins *t, uint64_t gfn)
{
	return t->hva + (gfn << S2_PAGE_SHIFT);
}

/* Pages [0, @n) of both. */
static void fill_both(struct twins *t, uint64_t n, uint64_t generation)
{
	for (uint64_t gfn = 0; gfn < n; gfn++) {
		assert_int_equal(guest_fill(t->p.vcpu, gfn, generation), 0);
		assert_int_equal(guest_fill(t->vcpu, gfn, generation), 0);
	}
}

static void assert_both_have(struct twins *t, uint64_t n, uint64_t generation)
{
	for (uint64_t gfn = 0; gfn < n; gfn++) {
		assert_guest_has(t->p.vcpu, gfn, generation);
		assert_guest_has(t->vcpu, gfn, generation);
	}
}

static int64_t scan(struct twins *t)
{
	return s2_pool_merge(t->p.pool, UINT64_MAX);
}

/* Twice: what the first has seen, and is still so, the second merges. */
static void assert_merged(struct twins *t, int64_t pages)
{
	assert_int_equal(scan(t), 0);
	assert_int_equal(scan(t), pages);
}

static void merge_all(struct twins *t)
{
	begin(t);
	fill_both(t, PAGES, 1);
	assert_merged(t, PAGES);
}

static void equal_pages_share(enum s2_gate gate)
{
	struct s2_pool_stats stats;
	struct twins t;

	begin_config(&t, gate, FRAMES, PAGES);
	fill_both(&t, PAGES, 1);
	assert_merged(&t, PAGES);
	assert_both_have(&t, PAGES, 1);
	stats = pool_stats(&t.p);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.shared, 2 * PAGES);
	assert_int_equal(stats.shared_frames, PAGES);
	assert_int_equal(stats.merged, PAGES);
	assert_int_equal(stats.free_frames, FRAMES - PAGES);
	stats = memcg_stats(t.p.memcg);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.shared, PAGES);
	assert_int_equal(stats.merged + memcg_stats(t.memcg).merged, PAGES);
	assert_int_equal(scan(&t), 0);
	end(&t);
}

static void test_equal_pages_share_range(void **state)
{
	equal_pages_share(S2_GATE_RANGE);
}

static void test_equal_pages_share_always(void **state)
{
	equal_pages_share(S2_GATE_ALWAYS);
}

static void test_equal_pages_share_rwsem(void **state)
{
	equal_pages_share(S2_GATE_RWSEM);
}

static void test_equal_pages_share_count(void **state)
{
	equal_pages_share(S2_GATE_COUNT);
}

static void test_a_third_page_joins(void **state)
{
	struct twins t;

	begin(&t);
	fill_both(&t, 1, 1);
	assert_merged(&t, 1);
	fill_both(&t, 1, 1);
	/* The second one was the last, and has taken the frame over. */
	assert_int_equal(pool_stats(&t.p).cow_breaks, 1);
	assert_int_equal(s2_pool_discard(t.p.pool, t.hva, S2_PAGE_SIZE), 0);
	/* Nobody was left that shared it. */
	assert_int_equal(pool_stats(&t.p).shared_frames, 0);
	fill_both(&t, 1, 1);
	assert_merged(&t, 1);
	assert_int_equal(guest_fill(t.vcpu, 0, 1), 0);
	assert_merged(&t, 1);
	assert_int_equal(pool_stats(&t.p).shared_frames, 1);
	assert_both_have(&t, 1, 1);
	end(&t);
}

static void test_pages_that_differ_stay_apart(void **state)
{
	struct twins t;

	begin(&t);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		assert_int_equal(guest_fill(t.p.vcpu, gfn, 1), 0);
		assert_int_equal(guest_fill(t.vcpu, gfn, 2), 0);
	}
	assert_merged(&t, 0);
	assert_int_equal(pool_stats(&t.p).resident, 2 * PAGES);
	assert_int_equal(pool_stats(&t.p).shared, 0);
	end(&t);
}

/*
 * Two words that meet in the same lane of XXH3, with lower halves that the key turns into
 * zeroes: then nothing counts of them but their sum.
 */
static void fill_colliding(struct twins *t, uint64_t hva, uint32_t upper)
{
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)] = { 0 }, key;

	memcpy(&key, XXH3_kSecret, sizeof(key));
	page[0] = (uint64_t)upper << 32 | (uint32_t)key;
	memcpy(&key, XXH3_kSecret + XXH_SECRET_CONSUME_RATE, sizeof(key));
	page[XXH_STRIPE_LEN / 8] = (uint64_t)-upper << 32 | (uint32_t)key;
	assert_int_equal(s2_pool_write(t->p.pool, hva, page, sizeof(page)), 0);
}

static uint64_t digest_at(struct twins *t, uint64_t hva)
{
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)];

	assert_int_equal(s2_pool_read(t->p.pool, hva, page, sizeof(page)), 0);
	return XXH3_64bits(page, sizeof(page));
}

static void test_the_same_digest_is_not_enough(void **state)
{
	struct twins t;

	begin(&t);
	fill_colliding(&t, hva_of(&t.p, 0), 1);
	fill_colliding(&t, other_hva(&t, 0), 2);
	assert_int_equal(digest_at(&t, t.p.hva), digest_at(&t, t.hva));
	assert_merged(&t, 0);
	assert_int_equal(pool_stats(&t.p).resident, 2);
	/* Nor for a page that is shared. */
	fill_colliding(&t, hva_of(&t.p, 1), 1);
	assert_merged(&t, 1);
	assert_int_equal(pool_stats(&t.p).resident, 1);
	fill_colliding(&t, other_hva(&t, 1), 2);
	assert_merged(&t, 1);
	assert_int_equal(pool_stats(&t.p).shared_frames, 2);
	end(&t);
}

static void test_only_what_is_advised_is_merged(void **state)
{
	struct twins t;

	begin(&t);
	advise(&t, t.hva, S2_POOL_DO_NOT_MERGE);
	fill_both(&t, PAGES, 1);
	assert_merged(&t, 0);
	assert_int_equal(s2_pool_advise(t.p.pool, other_hva(&t, 2), 3 * S2_PAGE_SIZE, S2_POOL_MERGE),
			 0);
	assert_merged(&t, 3);
	assert_int_equal(pool_stats(&t.p).shared_frames, 3);
	assert_both_have(&t, PAGES, 1);
	end(&t);
}

static void test_who_may_not_be_merged_gets_frames_back(void **state)
{
	struct s2_pool_stats stats;
	struct twins t;

	merge_all(&t);
	advise(&t, t.hva, S2_POOL_DO_NOT_MERGE);
	stats = memcg_stats(t.memcg);
	assert_int_equal(stats.resident, PAGES);
	assert_int_equal(stats.shared, 0);
	assert_int_equal(stats.cow_breaks, PAGES);
	assert_int_equal(memcg_stats(t.p.memcg).shared, PAGES);
	assert_merged(&t, 0);
	assert_both_have(&t, PAGES, 1);
	end(&t);
}

static void test_a_write_ends_the_sharing(void **state)
{
	struct s2_pool_stats stats;
	struct twins t;

	merge_all(&t);
	assert_int_equal(guest_fill(t.vcpu, 3, 2), 0);
	assert_guest_has(t.p.vcpu, 3, 1);
	assert_guest_has(t.vcpu, 3, 2);
	stats = pool_stats(&t.p);
	assert_int_equal(stats.cow_breaks, 1);
	assert_int_equal(stats.resident, 1);
	assert_int_equal(stats.shared, 2 * PAGES - 1);
	assert_int_equal(stats.shared_frames, PAGES);
	assert_int_equal(memcg_stats(t.memcg).cow_breaks, 1);
	/* By the host as well. */
	assert_int_equal(host_fill(&t.p, 4, 2), 0);
	assert_guest_has(t.p.vcpu, 4, 2);
	assert_guest_has(t.vcpu, 4, 1);
	end(&t);
}

static void test_pages_of_zeroes_give_up_their_frames(void **state)
{
	struct s2_pool_stats stats;
	struct twins t;

	begin(&t);
	fill_both(&t, PAGES, 1);
	fill_both(&t, 3, 0);
	assert_int_equal(scan(&t), 6);
	stats = pool_stats(&t.p);
	assert_int_equal(stats.zero, 6);
	assert_int_equal(stats.resident, 2 * (PAGES - 3));
	assert_int_equal(stats.free_frames, FRAMES - 2 * (PAGES - 3));
	assert_int_equal(stats.shared, 0);
	assert_int_equal(memcg_stats(t.memcg).zero, 3);
	assert_both_have(&t, 3, 0);
	fill_both(&t, 3, 2);
	assert_both_have(&t, 3, 2);
	end(&t);
}

static void test_a_page_that_keeps_changing_is_let_alone(void **state)
{
	struct twins t;

	begin(&t);
	for (uint64_t generation = 1; generation < 10; generation++) {
		fill_both(&t, PAGES, generation);
		assert_int_equal(scan(&t), 0);
	}
	assert_int_equal(scan(&t), PAGES);
	end(&t);
}

/* Scans as many pages as are the first region's: these are candidates then, and no more. */
static void find_candidates(struct twins *t)
{
	begin(t);
	fill_both(t, PAGES, 1);
	assert_int_equal(scan(t), 0);
	assert_int_equal(s2_pool_merge(t->p.pool, PAGES), 0);
}

static void test_a_candidate_that_has_changed_is_none(void **state)
{
	struct twins t;

	find_candidates(&t);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_int_equal(guest_fill(t.p.vcpu, gfn, 2), 0);
	assert_int_equal(s2_pool_merge(t.p.pool, PAGES), 0);
	assert_int_equal(pool_stats(&t.p).resident, 2 * PAGES);
	end(&t);
}

static void test_a_candidate_that_is_gone_is_none(void **state)
{
	struct twins t;

	find_candidates(&t);
	assert_int_equal(s2_pool_reclaim(t.p.pool, 2 * S2_PAGE_SIZE, 0), 2 * S2_PAGE_SIZE);
	assert_int_equal(s2_pool_discard(t.p.pool, hva_of(&t.p, 2), S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_advise(t.p.pool, hva_of(&t.p, 3), S2_PAGE_SIZE,
					S2_POOL_DO_NOT_MERGE),
			 0);
	assert_true(s2_pool_merge(t.p.pool, PAGES) <= PAGES - 2);
	assert_int_equal(map_region(t.p.vm, 0, 0, 0, 0), 0);
	assert_int_equal(s2_pool_unmap(t.p.pool, t.p.hva), 0);
	t.p.hva = 0;
	assert_int_equal(scan(&t), 0);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(t.vcpu, gfn, 1);
	end(&t);
}

static void test_the_scan_goes_on_where_it_ended(void **state)
{
	static const int64_t freed[] = { 0, 0, 0, 0, 0, 0, PAGES / 2, PAGES / 2, 0, 0 };
	struct twins t;

	begin(&t);
	fill_both(&t, PAGES, 1);
	for (unsigned i = 0; i < sizeof(freed) / sizeof(*freed); i++)
		assert_int_equal(s2_pool_merge(t.p.pool, PAGES / 2), freed[i]);
	assert_int_equal(s2_pool_merge(t.p.pool, 0), 0);
	end(&t);
}

static void test_a_shared_page_takes_only_so_many(void **state)
{
	const uint64_t pages = 300;
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)] = { 1 };
	struct twins t;

	begin_config(&t, S2_GATE_RANGE, 2 * pages, pages);
	for (uint64_t gfn = 0; gfn < pages; gfn++)
		assert_int_equal(s2_pool_write(t.p.pool, hva_of(&t.p, gfn), page, sizeof(page)), 0);
	assert_merged(&t, pages - 2);
	assert_int_equal(pool_stats(&t.p).shared_frames, 2);
	assert_int_equal(memcg_stats(t.p.memcg).shared, pages);
	end(&t);
}

static void test_merged_pages_are_swapped_and_come_back(void **state)
{
	struct s2_pool_stats stats;
	struct twins t;

	merge_all(&t);
	assert_int_equal(s2_pool_reclaim(t.p.pool, UINT64_MAX, 0), PAGES * S2_PAGE_SIZE);
	stats = pool_stats(&t.p);
	assert_int_equal(stats.swapped, PAGES);
	assert_int_equal(stats.shared, 2 * PAGES);
	assert_int_equal(stats.shared_frames, 0);
	assert_int_equal(stats.free_frames, FRAMES);
	assert_int_equal(faulty_tier_used(&t.p.tiers[0]), PAGES);
	assert_both_have(&t, PAGES, 1);
	stats = pool_stats(&t.p);
	assert_int_equal(stats.swap_ins, PAGES);
	assert_int_equal(stats.swapped, 0);
	assert_int_equal(stats.shared_frames, PAGES);
	end(&t);
}

static void test_nobody_joins_a_page_that_is_swapped(void **state)
{
	struct twins t;

	begin(&t);
	fill_both(&t, 1, 1);
	assert_merged(&t, 1);
	assert_int_equal(s2_pool_reclaim(t.p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_int_equal(guest_fill(t.vcpu, 0, 1), 0);
	assert_merged(&t, 0);
	assert_int_equal(pool_stats(&t.p).resident, 1);
	assert_guest_has(t.p.vcpu, 0, 1);
	assert_int_equal(scan(&t), 1);
	assert_both_have(&t, 1, 1);
	end(&t);
}

static void test_who_is_unmapped_leaves_the_others_theirs(void **state)
{
	struct twins t;

	merge_all(&t);
	assert_int_equal(map_region(t.p.vm, 0, 0, 0, 0), 0);
	assert_int_equal(s2_pool_unmap(t.p.pool, t.p.hva), 0);
	t.p.hva = 0;
	assert_int_equal(pool_stats(&t.p).shared, PAGES);
	assert_int_equal(pool_stats(&t.p).shared_frames, PAGES);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(t.vcpu, gfn, 1);
	end(&t);
}

static void test_clones_share_with_what_was_merged(void **state)
{
	uint64_t clone, value = 7;
	struct twins t;

	merge_all(&t);
	assert_int_equal(s2_pool_clone(t.p.pool, NULL, t.hva, &clone), 0);
	assert_int_equal(pool_stats(&t.p).shared, 3 * PAGES);
	assert_int_equal(pool_stats(&t.p).shared_frames, PAGES);
	assert_int_equal(s2_pool_write(t.p.pool, clone, &value, sizeof(value)), 0);
	assert_both_have(&t, PAGES, 1);
	/* It has the advice of its original. */
	assert_int_equal(guest_fill(t.vcpu, 1, 1), 0);
	assert_int_equal(s2_pool_write(t.p.pool, clone + S2_PAGE_SIZE, &value, sizeof(value)), 0);
	assert_int_equal(host_fill(&t.p, 1, 2), 0);
	assert_int_equal(guest_fill(t.vcpu, 0, 1), 0);
	assert_merged(&t, 1);
	assert_int_equal(s2_pool_unmap(t.p.pool, clone), 0);
	assert_guest_has(t.p.vcpu, 1, 2);
	assert_guest_has(t.vcpu, 1, 1);
	end(&t);
}

static void test_a_vcpu_in_guest_mode_may_merge(void **state)
{
	struct twins t;

	begin(&t);
	fill_both(&t, 1, 1);
	assert_int_equal(s2_vcpu_enter(t.vcpu), 0);
	assert_merged(&t, 1);
	assert_int_equal(s2_vcpu_exit(t.vcpu), 0);
	assert_both_have(&t, 1, 1);
	end(&t);
}

/* What the VM is told, on its way to the stage-2 table. */
static struct {
	const struct s2_mmu_ops *ops;
	const void *frame;
	unsigned change_ptes;
	char *write_to;
} told;

static bool count_change_pte(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	told.change_ptes++;
	told.frame = range->arg.page->addr;
	assert_false(range->arg.page->writable);
	return told.ops->set_spte_gfn(vm, range);
}

static bool write_first(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	if (told.write_to)
		*told.write_to ^= 1;
	return told.ops->unmap_gfn_range(vm, range);
}

/* The second VM's, whose pages the scanner finds the first one's equal to. */
static void listen(struct twins *t, struct s2_mmu_ops *ops)
{
	memset(&told, 0, sizeof(told));
	told.ops = t->vm->ops;
	*ops = *t->vm->ops;
	ops->set_spte_gfn = count_change_pte;
	ops->unmap_gfn_range = write_first;
	t->vm->ops = ops;
}

static char *frame_of(struct twins *t, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(t->p.pool, hva);
	uint64_t word = atomic_load(&s2_pool_page_at(region, hva)->word);

	s2_pool_region_put(region);
	assert_int_equal(s2_pool_state(word), S2_POOL_RESIDENT);
	return s2_pool_frame_addr(&t->p.pool->frames, (uint32_t)s2_pool_payload(word));
}

static void test_vcpus_are_told_by_change_pte(void **state)
{
	struct s2_mmu_ops ops;
	struct twins t;
	char *frame;

	begin(&t);
	fill_both(&t, 1, 1);
	frame = frame_of(&t, t.p.hva);
	listen(&t, &ops);
	assert_merged(&t, 1);
	assert_int_equal(told.change_ptes, 1);
	assert_ptr_equal(told.frame, frame);
	assert_int_equal(guest_fill(t.vcpu, 0, 0), 0);
	assert_int_equal(scan(&t), 1);
	assert_int_equal(told.change_ptes, 2);
	assert_ptr_equal(told.frame, s2_pool_frame_addr(&t.p.pool->frames, 0));
	t.vm->ops = told.ops;
	end(&t);
}

/* As a guest could until the invalidation has taken the page away from it. */
static void test_what_is_written_last_is_compared(void **state)
{
	struct s2_mmu_ops ops;
	struct twins t;

	begin(&t);
	fill_both(&t, 1, 1);
	assert_int_equal(scan(&t), 0);
	listen(&t, &ops);
	told.write_to = frame_of(&t, t.hva) + 100;
	assert_int_equal(scan(&t), 0);
	assert_int_equal(pool_stats(&t.p).resident, 2);
	assert_int_equal(told.change_ptes, 0);
	told.write_to = NULL;
	t.vm->ops = told.ops;
	assert_guest_has(t.p.vcpu, 0, 1);
	end(&t);
}

static void test_zeroes_that_are_written_to_last_stay(void **state)
{
	struct s2_mmu_ops ops;
	uint64_t value;
	struct twins t;

	begin(&t);
	assert_int_equal(guest_fill(t.vcpu, 0, 0), 0);
	listen(&t, &ops);
	told.write_to = frame_of(&t, t.hva);
	assert_int_equal(scan(&t), 0);
	t.vm->ops = told.ops;
	assert_int_equal(guest_load(t.vcpu, 0, &value), 0);
	assert_int_equal(value, 1);
	end(&t);
}

static void set_huge(struct twins *t, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(t->p.pool, hva);

	atomic_store(region->huge, 1);
	s2_pool_region_put(region);
}

/* Nobody looks at the 2 MiB, which these pages are not, until they are merged. */
static void test_what_is_mapped_by_2_mib_is_split(void **state)
{
	struct twins t;

	begin(&t);
	fill_both(&t, 2, 1);
	set_huge(&t, t.p.hva);
	set_huge(&t, t.hva);
	assert_merged(&t, 2);
	assert_int_equal(memcg_stats(t.p.memcg).split, 1);
	assert_int_equal(memcg_stats(t.memcg).split, 1);
	assert_both_have(&t, 2, 1);
	end(&t);
}

static void test_without_memory_all_stays(void **state)
{
	struct twins t;

	begin(&t);
	fill_both(&t, 2, 1);
	for (long n = 1; n <= 3; n++) {
		counting_allocator_fail_at(&t.p.memory, n);
		assert_int_equal(scan(&t), -ENOMEM);
	}
	assert_int_equal(scan(&t), 0);
	/* The first shared page. */
	counting_allocator_fail_at(&t.p.memory, 1);
	assert_int_equal(scan(&t), -ENOMEM);
	assert_int_equal(pool_stats(&t.p).resident, 4);
	assert_int_equal(pool_stats(&t.p).shared, 0);
	assert_both_have(&t, 2, 1);
	assert_true(scan(&t) + scan(&t) == 2);
	end(&t);
}

static void test_bad_arguments(void **state)
{
	assert_int_equal(s2_pool_merge(NULL, 1), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_pages_share_range),
		cmocka_unit_test(test_equal_pages_share_always),
		cmocka_unit_test(test_equal_pages_share_rwsem),
		cmocka_unit_test(test_equal_pages_share_count),
		cmocka_unit_test(test_a_third_page_joins),
		cmocka_unit_test(test_pages_that_differ_stay_apart),
		cmocka_unit_test(test_the_same_digest_is_not_enough),
		cmocka_unit_test(test_only_what_is_advised_is_merged),
		cmocka_unit_test(test_who_may_not_be_merged_gets_frames_back),
		cmocka_unit_test(test_a_write_ends_the_sharing),
		cmocka_unit_test(test_pages_of_zeroes_give_up_their_frames),
		cmocka_unit_test(test_a_page_that_keeps_changing_is_let_alone),
		cmocka_unit_test(test_a_candidate_that_has_changed_is_none),
		cmocka_unit_test(test_a_candidate_that_is_gone_is_none),
		cmocka_unit_test(test_the_scan_goes_on_where_it_ended),
		cmocka_unit_test(test_a_shared_page_takes_only_so_many),
		cmocka_unit_test(test_merged_pages_are_swapped_and_come_back),
		cmocka_unit_test(test_nobody_joins_a_page_that_is_swapped),
		cmocka_unit_test(test_who_is_unmapped_leaves_the_others_theirs),
		cmocka_unit_test(test_clones_share_with_what_was_merged),
		cmocka_unit_test(test_a_vcpu_in_guest_mode_may_merge),
		cmocka_unit_test(test_vcpus_are_told_by_change_pte),
		cmocka_unit_test(test_what_is_written_last_is_compared),
		cmocka_unit_test(test_zeroes_that_are_written_to_last_stay),
		cmocka_unit_test(test_what_is_mapped_by_2_mib_is_split),
		cmocka_unit_test(test_without_memory_all_stays),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
