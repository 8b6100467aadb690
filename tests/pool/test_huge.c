/* SPDX-License-Identifier: MIT */
/*
 * 2 MiB at a time: pages that are collapsed, what vCPUs have of them, and who splits them again.
 *
 * A small leaf keeps a 2 MiB one out. So what is to be mapped by one is written by the host,
 * or its memslot is made anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "pool/pool_vm.h"
#include "sanitized.h"

#define CHUNK 512u
#define CHUNK_SIZE (CHUNK * S2_PAGE_SIZE)

static void begin(struct pool_vm *p, unsigned frames, uint64_t pages)
{
	pool_vm_begin(p, S2_GATE_RANGE, frames, pages, 0, 2);
}

/* The last page first: they do not lie in their order. */
static void fill(struct pool_vm *p, uint64_t pages, uint64_t generation)
{
	for (uint64_t gfn = pages; gfn-- > 0;)
		assert_int_equal(host_fill(p, gfn, generation), 0);
}

/* Without the small leaves that there are. */
static void map_anew(struct pool_vm *p)
{
	assert_int_equal(map_region(p->vm, 0, 0, 0, p->hva), 0);
	assert_int_equal(map_region(p->vm, 0, 0, p->pages, p->hva), 0);
}

static void assert_mapped(struct pool_vm *p, uint64_t huge, uint64_t small)
{
	struct s2_vm_stats stats = vm_stats(p->vm);

	assert_int_equal(stats.huge_mapped, huge);
	assert_int_equal(stats.pages_mapped, small);
}

/* One chunk, collapsed, and mapped by its leaf. */
static void begin_collapsed(struct pool_vm *p)
{
	begin(p, 3 * CHUNK, CHUNK);
	fill(p, CHUNK, 1);
	assert_int_equal(s2_pool_collapse(p->pool, p->hva, CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(p).collapsed, 1);
	assert_guest_has_pages(p->vcpu, 0, CHUNK, 1);
	assert_mapped(p, 1, 0);
}

static void test_a_collapsed_chunk_is_mapped_by_one_leaf(void **state)
{
	struct s2_pool_stats stats;
	struct pool_vm p;

	begin_collapsed(&p);
	stats = pool_stats(&p);
	assert_int_equal(stats.resident, CHUNK);
	assert_int_equal(stats.free_frames, 2 * CHUNK);
	assert_int_equal(stats.free_blocks, 2);
	assert_int_equal(stats.split, 0);
	assert_int_equal(memcg_stats(p.memcg).collapsed, 1);
	pool_vm_end(&p);
}

static void test_collapse_brings_everything_in(void **state)
{
	struct pool_vm p;

	begin(&p, 3 * CHUNK, 2 * CHUNK);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, 100 * S2_PAGE_SIZE, 0), 100 * S2_PAGE_SIZE);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, 2 * CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(&p).resident, 2 * CHUNK);
	assert_int_equal(pool_stats(&p).swapped, 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_guest_has_pages(p.vcpu, CHUNK, 2 * CHUNK, 0);
	assert_mapped(&p, 2, 0);
	pool_vm_end(&p);
}

static void test_a_collapsed_chunk_can_be_written_to(void **state)
{
	struct pool_vm p;

	begin_collapsed(&p);
	assert_int_equal(guest_fill(p.vcpu, 7, 2), 0);
	assert_int_equal(host_fill(&p, 8, 2), 0);
	assert_host_has(&p, 7, 2);
	assert_guest_has(p.vcpu, 8, 2);
	assert_mapped(&p, 1, 0);
	assert_int_equal(pool_stats(&p).split, 0);
	pool_vm_end(&p);
}

/* There is no other block. */
static void test_pages_that_lie_in_order_stay(void **state)
{
	struct pool_vm p;

	begin(&p, CHUNK, CHUNK);
	for (uint64_t gfn = 0; gfn < CHUNK; gfn++)
		assert_int_equal(host_fill(&p, gfn, 1), 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

static void test_small_leaves_go(void **state)
{
	struct pool_vm p;

	begin(&p, 2 * CHUNK, CHUNK);
	fill(&p, CHUNK, 1);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 0, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_mapped(&p, 0, 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	map_anew(&p);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

/* A vCPU that goes on through all of it finds itself with one leaf. */
static void test_the_leaf_comes_while_the_guest_runs(void **state)
{
	struct pool_vm p;

	begin(&p, 2 * CHUNK, CHUNK);
	fill(&p, CHUNK, 1);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 0, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 3), S2_PAGE_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 3, 4, 0);
	assert_mapped(&p, 0, 1);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 4, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

static void test_collapsing_twice_is_once(void **state)
{
	struct pool_vm p;

	begin_collapsed(&p);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(&p).collapsed, 1);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

/* One page was taken away; the others are still where they were, and may be one again. */
static void assert_split(struct pool_vm *p, uint64_t gfn, uint64_t generation)
{
	assert_int_equal(pool_stats(p).split, 1);
	assert_mapped(p, 0, 0);
	assert_guest_has(p->vcpu, gfn, generation);
	assert_guest_has(p->vcpu, gfn + 1, 1);
	assert_mapped(p, 0, 2);
	assert_int_equal(s2_pool_collapse(p->pool, p->hva, CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(p).collapsed, 2);
	map_anew(p);
	assert_guest_has(p->vcpu, gfn, generation);
	assert_guest_has_pages(p->vcpu, gfn + 1, CHUNK, 1);
	assert_mapped(p, 1, 0);
}

static void test_reclaim_splits(void **state)
{
	struct pool_vm p;

	begin_collapsed(&p);
	assert_int_equal(s2_pool_reclaim(p.pool, 1, 0), S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).swapped, 1);
	assert_split(&p, 0, 1);
	pool_vm_end(&p);
}

/* One that has nothing in its TLB, and so sets the accessed bit. */
static void use_by_new_vcpu(struct pool_vm *p, uint64_t gfn)
{
	struct s2_vcpu *vcpu;
	uint64_t value;

	assert_int_equal(s2_vcpu_create(p->vm, test_vcpu_config(), &vcpu), 0);
	assert_int_equal(guest_load(vcpu, gfn, &value), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
}

/* The leaf's accessed bit is that of all its pages: none of them goes while others are idle. */
static void test_a_leaf_in_use_is_not_reclaimed(void **state)
{
	struct pool_vm p;
	uint64_t idle;

	begin_collapsed(&p);
	assert_int_equal(s2_pool_map(p.pool, NULL, 4 * CHUNK_SIZE, &idle), 0);
	for (uint64_t i = 0; i < 2 * CHUNK; i++)
		assert_int_equal(s2_pool_write(p.pool, idle + i * S2_PAGE_SIZE, &idle, 8), 0);
	assert_int_equal(pool_stats(&p).free_frames, 0);
	for (uint64_t i = 2 * CHUNK; i < 2 * CHUNK + 600; i++) {
		use_by_new_vcpu(&p, 7);
		assert_int_equal(s2_pool_write(p.pool, idle + i * S2_PAGE_SIZE, &idle, 8), 0);
	}
	assert_int_equal(pool_stats(&p).split, 0);
	assert_mapped(&p, 1, 0);
	assert_int_equal(s2_pool_unmap(p.pool, idle), 0);
	pool_vm_end(&p);
}

static void test_discard_splits(void **state)
{
	struct pool_vm p;

	begin_collapsed(&p);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 100), S2_PAGE_SIZE), 0);
	assert_split(&p, 100, 0);
	pool_vm_end(&p);
}

static void test_a_clone_splits(void **state)
{
	struct pool_vm p;
	uint64_t clone, value;

	begin_collapsed(&p);
	assert_int_equal(s2_pool_clone(p.pool, p.memcg, p.hva, &clone), 0);
	assert_int_equal(pool_stats(&p).shared, 2 * CHUNK);
	assert_int_equal(host_fill(&p, 9, 2), 0);
	assert_split(&p, 9, 2);
	assert_int_equal(s2_pool_read(p.pool, clone + 9 * S2_PAGE_SIZE, &value, sizeof(value)), 0);
	assert_int_equal(value, UINT64_C(9) << 40 | 1 << 16);
	/* Nobody shares with the clone any more, which is collapsed as any other. */
	assert_int_equal(pool_stats(&p).shared, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, clone, CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(&p).shared, 0);
	/* It has taken over what was shared, without copying it. */
	assert_int_equal(pool_stats(&p).cow_breaks, CHUNK);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	pool_vm_end(&p);
}

static void set_log(struct pool_vm *p, uint32_t flags)
{
	const struct kvm_userspace_memory_region mem = {
		.flags = flags,
		.memory_size = p->pages << S2_PAGE_SHIFT,
		.userspace_addr = p->hva,
	};

	assert_int_equal(s2_vm_set_memory_region(p->vm, &mem), 0);
}

static void test_with_a_dirty_log_leaves_are_small(void **state)
{
	uint64_t bits[CHUNK / 64];
	const struct kvm_dirty_log log = { .dirty_bitmap = bits };
	struct pool_vm p;

	begin_collapsed(&p);
	set_log(&p, KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(guest_fill(p.vcpu, 70, 2), 0);
	assert_guest_has(p.vcpu, 71, 1);
	assert_mapped(&p, 0, 2);
	assert_int_equal(s2_vm_get_dirty_log(p.vm, &log), 0);
	assert_int_equal(bits[0], 0);
	assert_int_equal(bits[1], UINT64_C(1) << 6);
	/* The pages lie as they did. */
	assert_int_equal(pool_stats(&p).split, 0);
	set_log(&p, 0);
	map_anew(&p);
	assert_guest_has(p.vcpu, 70, 2);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

static void test_only_whole_chunks_are_collapsed(void **state)
{
	struct pool_vm p;

	begin(&p, 4 * CHUNK, 2 * CHUNK + 100);
	assert_int_equal(s2_pool_collapse(p.pool, hva_of(&p, 1), 2 * CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(&p).collapsed, 1);
	assert_int_equal(pool_stats(&p).resident, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, hva_of(&p, 2 * CHUNK), 100 * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_collapse(p.pool, hva_of(&p, 1), CHUNK_SIZE), 0);
	assert_int_equal(pool_stats(&p).resident, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, p.pages * S2_PAGE_SIZE), 0);
	assert_int_equal(pool_stats(&p).collapsed, 2);
	assert_int_equal(pool_stats(&p).resident, 2 * CHUNK);
	pool_vm_end(&p);
}

static void test_ranges_that_are_refused(void **state)
{
	struct pool_vm p;

	begin(&p, 2 * CHUNK, CHUNK);
	assert_int_equal(s2_pool_collapse(NULL, p.hva, CHUNK_SIZE), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, 0), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva + 1, CHUNK_SIZE), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE - 1), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE + S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, -(uint64_t)S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva - S2_PAGE_SIZE, CHUNK_SIZE), -EINVAL);
	assert_int_equal(pool_stats(&p).resident, 0);
	pool_vm_end(&p);
}

static void test_a_memcg_that_may_not_have_2_mib(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, 3 * CHUNK, CHUNK, CHUNK - 1, 1);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -ENOMEM);
	assert_int_equal(s2_memcg_set_limit(p.memcg, CHUNK_SIZE), 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_int_equal(memcg_stats(p.memcg).resident, CHUNK);
	pool_vm_end(&p);
}

static void test_a_pool_that_is_too_small(void **state)
{
	struct pool_vm p;

	begin(&p, CHUNK - 1, CHUNK);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -ENOMEM);
	pool_vm_end(&p);
	begin(&p, CHUNK + 100, CHUNK);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -ENOMEM);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	pool_vm_end(&p);
}

/* Two chunks, of which one in two pages is left, in all blocks. */
static void test_a_block_is_made_free(void **state)
{
	struct pool_vm p;

	begin(&p, 3 * CHUNK, 3 * CHUNK);
	fill(&p, 3 * CHUNK, 1);
	for (uint64_t gfn = CHUNK; gfn < 3 * CHUNK; gfn++)
		if (gfn % 2)
			assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, gfn), S2_PAGE_SIZE), 0);
	assert_int_equal(pool_stats(&p).free_blocks, 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_true(pool_stats(&p).migrated > 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	for (uint64_t gfn = CHUNK; gfn < 3 * CHUNK; gfn++)
		assert_guest_has(p.vcpu, gfn, gfn % 2 ? 0 : 1);
	pool_vm_end(&p);
}

static void test_a_tier_that_fails(void **state)
{
	struct pool_vm p;

	begin(&p, 3 * CHUNK, CHUNK);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, 10 * S2_PAGE_SIZE, 0), 10 * S2_PAGE_SIZE);
	atomic_store(&p.tiers[0].load_error, -EIO);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -EIO);
	atomic_store(&p.tiers[0].load_error, 0);
	atomic_store(&p.tiers[0].damage, true);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -EBADMSG);
	atomic_store(&p.tiers[0].damage, false);
	assert_int_equal(pool_stats(&p).collapsed, 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	assert_mapped(&p, 1, 0);
	pool_vm_end(&p);
}

static void test_a_memcg_that_was_killed(void **state)
{
	const struct s2_pool_config config = { .size = 2 * CHUNK_SIZE };
	const struct s2_memcg_config victim = { .oom_priority = 1 };
	struct pool_vm p;
	uint64_t hva;

	pool_vm_begin_config(&p, &config, CHUNK, &victim, 0);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_guest_has(p.vcpu, 0, 1);
	assert_mapped(&p, 1, 0);
	assert_int_equal(s2_pool_map(p.pool, NULL, 2 * CHUNK_SIZE, &hva), 0);
	for (uint64_t i = 0; i < 2 * CHUNK; i++)
		assert_int_equal(s2_pool_write(p.pool, hva + i * S2_PAGE_SIZE, &i, sizeof(i)), 0);
	assert_int_equal(pool_stats(&p).oom_kills, 1);
	assert_mapped(&p, 0, 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), -EFAULT);
	assert_int_equal(s2_pool_unmap(p.pool, hva), 0);
	pool_vm_end(&p);
}

static void test_collapse_from_guest_mode(void **state)
{
	struct pool_vm p;
	uint64_t value;

	begin(&p, 3 * CHUNK, CHUNK);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_vcpu_enter(p.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 0, &value), 0);
	assert_int_equal(s2_pool_collapse(p.pool, p.hva, CHUNK_SIZE), 0);
	assert_int_equal(s2_vcpu_store64(p.vcpu, 0, value), 0);
	assert_int_equal(s2_vcpu_exit(p.vcpu), 0);
	assert_guest_has_pages(p.vcpu, 0, CHUNK, 1);
	pool_vm_end(&p);
}

#define READERS 2u
#define ROUNDS (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 200u : 1000u)

/* Faults on pages of a chunk, other than the first, whenever it has lost its leaf. */
struct reader {
	struct s2_vcpu *vcpu;
	_Atomic bool *stop;
	int ret;
	pthread_t thread;
};

static void *run_reader(void *arg)
{
	struct reader *reader = arg;
	uint64_t value, gfn = 1;

	while (!atomic_load(reader->stop) && (!reader->ret || reader->ret == -ENXIO)) {
		reader->ret = guest_load(reader->vcpu, gfn, &value);
		gfn = gfn % (CHUNK - 1) + 1;
	}
	return NULL;
}

static void begin_readers(struct pool_vm *p, struct reader readers[], _Atomic bool *stop)
{
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .stop = stop };
		assert_int_equal(s2_vcpu_create(p->vm, test_vcpu_config(), &readers[i].vcpu), 0);
		assert_int_equal(pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]),
				 0);
	}
}

static void end_readers(struct reader readers[], _Atomic bool *stop)
{
	atomic_store(stop, true);
	for (unsigned i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_true(!readers[i].ret || readers[i].ret == -ENXIO);
		assert_int_equal(s2_vcpu_destroy(readers[i].vcpu), 0);
	}
}

/* The first page loses its frame to another region's, and gets one elsewhere. */
static void take_first_away(struct pool_vm *p, uint64_t other, uint64_t generation)
{
	uint64_t value = UINT64_MAX;
	int ret;

	map_anew(p);
	while ((ret = s2_pool_collapse(p->pool, p->hva, CHUNK_SIZE)))
		assert_int_equal(ret, -EAGAIN);
	assert_int_equal(s2_pool_discard(p->pool, p->hva, S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_write(p->pool, other, &value, sizeof(value)), 0);
	assert_int_equal(host_fill(p, 0, generation), 0);
	assert_guest_has(p->vcpu, 0, generation);
	assert_int_equal(s2_pool_discard(p->pool, other, S2_PAGE_SIZE), 0);
}

/* The race that is drawn in huge.c. */
static void test_no_leaf_has_a_page_that_was_taken_away(void **state)
{
	struct reader readers[READERS];
	_Atomic bool stop = false;
	struct pool_vm p;
	uint64_t other;

	begin(&p, 3 * CHUNK, CHUNK);
	fill(&p, CHUNK, 1);
	assert_int_equal(s2_pool_map(p.pool, NULL, S2_PAGE_SIZE, &other), 0);
	begin_readers(&p, readers, &stop);
	for (unsigned i = 0; i < ROUNDS; i++)
		take_first_away(&p, other, i + 1);
	end_readers(readers, &stop);
	assert_guest_has_pages(p.vcpu, 1, CHUNK, 1);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	pool_vm_end(&p);
}

#define CHUNKS 3u
#define PAGES (CHUNKS * CHUNK)
#define VCPUS 3u
#define OTHERS 5u
#define STEPS (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 3000u : 15000u)

/* Everything at once. Each page belongs to one vCPU, which knows what must be in it. */
struct stress {
	struct pool_vm p;
	bool errors;        /* accesses may fail */
	unsigned collapses; /* as many are waited for */
	_Atomic unsigned collapsed;
	_Atomic bool stop;
	_Atomic unsigned wrong;
};

struct worker {
	struct stress *stress;
	struct s2_vcpu *vcpu;
	unsigned nr;
	uint64_t random;
	uint64_t generation[PAGES]; /* of the pages that are its own */
	pthread_t thread;
};

static void expect(struct stress *stress, bool right)
{
	if (!right)
		atomic_fetch_add(&stress->wrong, 1);
}

static bool may_happen(struct stress *stress, int ret)
{
	expect(stress, !ret || ret == -ENOMEM || (stress->errors && (ret == -EIO || ret == -EBADMSG)));
	return !ret;
}

/* The memslot may be gone for a moment. */
static int fill_page(struct worker *w, uint64_t gfn, uint64_t generation, bool host)
{
	int ret;

	if (host)
		return host_fill(&w->stress->p, gfn, generation);
	while ((ret = guest_fill(w->vcpu, gfn, generation)) == -ENXIO)
		sched_yield();
	return ret;
}

static int read_page(struct worker *w, uint64_t gfn, void *page, bool host)
{
	struct pool_vm *p = &w->stress->p;
	int ret;

	if (host)
		return s2_pool_read(p->pool, hva_of(p, gfn), page, S2_PAGE_SIZE);
	while ((ret = s2_vcpu_read(w->vcpu, gfn << S2_PAGE_SHIFT, page, S2_PAGE_SIZE)) == -ENXIO)
		sched_yield();
	return ret;
}

static void step(struct worker *w)
{
	uint64_t random = test_random(&w->random), page[S2_PAGE_SIZE / sizeof(uint64_t)];
	uint64_t gfn = random % (PAGES / VCPUS) * VCPUS + w->nr;
	uint64_t next = w->generation[gfn] % 1000 + 1;
	unsigned what = random >> 32 & 31;
	struct pool_vm *p = &w->stress->p;

	if (what == 0) {
		if (may_happen(w->stress, s2_pool_discard(p->pool, hva_of(p, gfn), S2_PAGE_SIZE)))
			w->generation[gfn] = 0;
	} else if (what < 12) {
		if (may_happen(w->stress, fill_page(w, gfn, next, what < 3)))
			w->generation[gfn] = next;
	} else if (may_happen(w->stress, read_page(w, gfn, page, what < 14))) {
		expect(w->stress, page_is(page, gfn, w->generation[gfn]));
	}
}

static void *run_vcpu(void *arg)
{
	struct worker *w = arg;

	/* With rseq an invalidation interrupts every core. */
	for (unsigned i = test_vcpu_config() ? 9 * STEPS / 10 : 0;
	     i < STEPS || atomic_load(&w->stress->collapsed) < w->stress->collapses; i++)
		step(w);
	return NULL;
}

static void *run_collapser(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint64_t gfn = test_random(&w->random) % CHUNKS * CHUNK;
		int ret = s2_pool_collapse(w->stress->p.pool, hva_of(&w->stress->p, gfn), CHUNK_SIZE);

		if (ret != -EAGAIN && may_happen(w->stress, ret))
			atomic_fetch_add(&w->stress->collapsed, 1);
		sched_yield();
	}
	return NULL;
}

static void *run_compactor(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		expect(w->stress, s2_pool_compact(w->stress->p.pool) >= 0);
		sched_yield();
	}
	return NULL;
}

static void *run_reclaimer(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint64_t random = test_random(&w->random);

		expect(w->stress, !s2_pool_age(w->stress->p.pool));
		expect(w->stress, s2_pool_reclaim(w->stress->p.pool, random % 16 * S2_PAGE_SIZE,
						  random >> 32 & 3) >= 0);
		sched_yield();
	}
	return NULL;
}

/* Whatever is in a clone's page, in parts perhaps older and newer: it is that page's. */
static void check_clone(struct worker *w, uint64_t clone)
{
	uint64_t gfn = test_random(&w->random) % PAGES, value[2] = { 0 };
	int ret = s2_pool_read(w->stress->p.pool, clone + gfn * S2_PAGE_SIZE + 8, value,
			       sizeof(value));

	if (!may_happen(w->stress, ret))
		return;
	for (unsigned i = 0; i < 2; i++)
		expect(w->stress, !value[i] || (value[i] >> 40 == gfn && (uint16_t)value[i] == i + 1));
}

/* What has just been cloned is collapsed in vain: now and then is enough. */
static void *run_cloner(void *arg)
{
	struct worker *w = arg;
	struct s2_pool *pool = w->stress->p.pool;
	unsigned last = 0, collapsed;
	uint64_t clone;

	while (!atomic_load(&w->stress->stop)) {
		collapsed = atomic_load(&w->stress->collapsed);
		if (collapsed < last + 3 && w->stress->collapses) {
			sched_yield();
			continue;
		}
		last = collapsed;
		if (!may_happen(w->stress, s2_pool_clone(pool, NULL, w->stress->p.hva, &clone)))
			continue;
		for (unsigned i = 0; i < 50; i++)
			check_clone(w, clone);
		expect(w->stress, !s2_pool_unmap(pool, clone));
	}
	return NULL;
}

static int set_chunk(struct pool_vm *p, uint32_t chunk, uint64_t pages)
{
	return map_region(p->vm, chunk, chunk * CHUNK, pages, hva_of(p, chunk * CHUNK));
}

/* Each chunk is a memslot of its own, which is made anew so that large leaves find room. */
static void *run_mapper(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint32_t chunk = test_random(&w->random) % CHUNKS;

		expect(w->stress, !set_chunk(&w->stress->p, chunk, 0));
		expect(w->stress, !set_chunk(&w->stress->p, chunk, CHUNK));
		for (unsigned i = 0; i < 10; i++)
			sched_yield();
	}
	return NULL;
}

static void begin_worker(struct worker *w, struct stress *stress, unsigned nr, uint64_t seed,
			 void *(*run)(void *))
{
	w->stress = stress;
	w->nr = nr;
	w->random = seed + nr;
	if (nr < VCPUS)
		assert_int_equal(s2_vcpu_create(stress->p.vm, test_vcpu_config(), &w->vcpu), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
}

static void stress(enum s2_gate gate, unsigned frames, unsigned one_in, unsigned collapses)
{
	void *(*const runs[])(void *) = { run_collapser, run_compactor, run_reclaimer, run_cloner,
					  run_mapper };
	uint64_t seed = test_seed();
	struct stress *s = calloc(1, sizeof(*s));
	struct worker *workers = calloc(VCPUS + OTHERS, sizeof(*workers));

	assert_non_null(s);
	assert_non_null(workers);
	pool_vm_begin(&s->p, gate, frames, PAGES, 0, 2);
	s->errors = one_in;
	s->collapses = collapses;
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&s->p.tiers[i].random, seed);
		atomic_store(&s->p.tiers[i].one_in, one_in);
	}
	assert_int_equal(map_region(s->p.vm, 0, 0, 0, s->p.hva), 0);
	for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
		assert_int_equal(set_chunk(&s->p, chunk, CHUNK), 0);
	for (unsigned i = 0; i < VCPUS + OTHERS; i++)
		begin_worker(&workers[i], s, i, seed, i < VCPUS ? run_vcpu : runs[i - VCPUS]);
	for (unsigned i = 0; i < VCPUS + OTHERS; i++) {
		if (i == VCPUS)
			atomic_store(&s->stop, true);
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	}
	assert_int_equal(s->wrong, 0);
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&s->p.tiers[i].one_in, 0);
	for (unsigned i = 0; i < VCPUS; i++) {
		for (uint64_t gfn = i; gfn < PAGES; gfn += VCPUS)
			assert_guest_has(workers[i].vcpu, gfn, workers[i].generation[gfn]);
		assert_int_equal(s2_vcpu_destroy(workers[i].vcpu), 0);
	}
	pool_vm_end(&s->p);
	free(workers);
	free(s);
}

static void test_stress(void **state)
{
	stress(S2_GATE_RANGE, 5 * CHUNK, 0, 30);
}

/* Half of the memory, which is seldom enough for a block. */
static void test_stress_with_little_memory(void **state)
{
	stress(S2_GATE_RANGE, 2 * CHUNK, 0, 0);
}

static void test_stress_with_tiers_that_fail(void **state)
{
	stress(S2_GATE_RANGE, 5 * CHUNK, 100, 5);
}

static void test_stress_rwsem(void **state)
{
	stress(S2_GATE_RWSEM, 5 * CHUNK, 0, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_collapsed_chunk_is_mapped_by_one_leaf),
		cmocka_unit_test(test_collapse_brings_everything_in),
		cmocka_unit_test(test_a_collapsed_chunk_can_be_written_to),
		cmocka_unit_test(test_pages_that_lie_in_order_stay),
		cmocka_unit_test(test_small_leaves_go),
		cmocka_unit_test(test_the_leaf_comes_while_the_guest_runs),
		cmocka_unit_test(test_collapsing_twice_is_once),
		cmocka_unit_test(test_reclaim_splits),
		cmocka_unit_test(test_a_leaf_in_use_is_not_reclaimed),
		cmocka_unit_test(test_discard_splits),
		cmocka_unit_test(test_a_clone_splits),
		cmocka_unit_test(test_with_a_dirty_log_leaves_are_small),
		cmocka_unit_test(test_only_whole_chunks_are_collapsed),
		cmocka_unit_test(test_ranges_that_are_refused),
		cmocka_unit_test(test_a_memcg_that_may_not_have_2_mib),
		cmocka_unit_test(test_a_pool_that_is_too_small),
		cmocka_unit_test(test_a_block_is_made_free),
		cmocka_unit_test(test_a_tier_that_fails),
		cmocka_unit_test(test_a_memcg_that_was_killed),
		cmocka_unit_test(test_collapse_from_guest_mode),
		cmocka_unit_test(test_no_leaf_has_a_page_that_was_taken_away),
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_stress_with_little_memory),
		cmocka_unit_test(test_stress_with_tiers_that_fail),
		cmocka_unit_test(test_stress_rwsem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
