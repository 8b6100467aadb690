/* SPDX-License-Identifier: MIT */
/*
 * The notifications that are no pair: change_pte, clear_flush_young, clear_young,
 * test_young and release.
 */
#include "notifier/fixture.h"

#include "mmu/table.h"

static char *page_with(uint64_t value)
{
	void *page = NULL;

	assert_int_equal(posix_memalign(&page, PAGE, PAGE), 0);
	*(uint64_t *)page = value;
	return page;
}

static struct s2_page page_at(void *addr, bool writable)
{
	return (struct s2_page){ .addr = addr, .shift = S2_PAGE_SHIFT, .writable = writable };
}

static _Atomic uint64_t *spte_of(struct world *w, unsigned page)
{
	return s2_table_walk(w->vm->mmu_root, gpa_of(page) >> S2_PAGE_SHIFT).sptep;
}

/*
 * start() zaps and faults wait, so that no SPTE is in the range of an open pair;
 * which is why KVM dropped change_pte in the end. To see what it does with one,
 * the test puts one there.
 */
static void install_in_pair(struct world *w, unsigned page)
{
	s2_write_lock(&w->vm->mmu_lock);
	atomic_store(spte_of(w, page), hva_of(w, page) | S2_SPTE_PRESENT | S2_SPTE_LEAF |
					       S2_SPTE_WRITABLE | S2_SPTE_ACCESSED);
	w->vm->leaves_gone[0]--; /* no vCPU made it */
	s2_write_unlock(&w->vm->mmu_lock);
}

static void change_pte_points_the_spte_at_the_new_page_read_only(void **state)
{
	struct world *w = *state;
	char *new_page = page_with(0x2222);
	struct s2_page page = page_at(new_page, false);
	struct s2_invalidation inv;
	uint64_t spte;

	map_pages(w, 2);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	install_in_pair(w, 0);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva_of(w, 0), &page), 0);
	spte = atomic_load(spte_of(w, 0));
	assert_int_equal(s2_spte_addr(spte), address(new_page));
	assert_true(s2_spte_present(spte));
	assert_false(spte & S2_SPTE_WRITABLE);
	assert_int_equal(guest_read(w->vm, gpa_of(0)), 0x2222);
	end_pair(w, &inv);
	/* The page beside it was left alone. */
	assert_int_equal(s2_spte_addr(atomic_load(spte_of(w, 1))), hva_of(w, 1));
	free(new_page);
}

static void change_pte_to_a_writable_page_zaps_the_spte(void **state)
{
	struct world *w = *state;
	char *new_page = page_with(0x2222);
	struct s2_page page = page_at(new_page, true);
	struct s2_invalidation inv;

	map_pages(w, 1);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	install_in_pair(w, 0);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva_of(w, 0), &page), 0);
	assert_int_equal(atomic_load(spte_of(w, 0)), 0);
	assert_int_equal(pages_mapped(w->vm), 0);
	end_pair(w, &inv);
	free(new_page);
}

static void change_pte_maps_nothing_that_was_not_mapped(void **state)
{
	struct world *w = *state;
	char *new_page = page_with(0x2222);
	struct s2_page page = page_at(new_page, false);
	struct s2_invalidation inv;

	map_pages(w, 1);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva_of(w, 0), &page), 0);
	assert_int_equal(pages_mapped(w->vm), 0);
	end_pair(w, &inv);
	free(new_page);
}

struct change_task {
	struct task task;
	struct world *w;
	struct s2_invalidation *inv;
	struct s2_page page;
	int ret;
};

static void change_first_page(void *arg)
{
	struct change_task *ct = arg;

	ct->ret = s2_change_pte(ct->w->mm, ct->inv, hva_of(ct->w, 0), &ct->page);
}

static void change_pte_waits_for_vcpus_to_drop_the_old_page(void **state)
{
	struct world *w = *state;
	char *new_page = page_with(0x2222);
	struct s2_invalidation inv;
	struct change_task ct = { .w = w, .inv = &inv, .page = page_at(new_page, false) };
	struct guest guest = { 0 };

	map_pages(w, 1);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	install_in_pair(w, 0);
	guest_start(&guest, w->vm, gpa_of(0));
	task_start(&ct.task, change_first_page, &ct);
	assert_true(task_blocked(&ct.task));
	guest_poll(&guest);
	task_join(&ct.task);
	assert_int_equal(ct.ret, 0);
	end_pair(w, &inv);
	guest_finish(&guest);
	free(new_page);
}

static void change_pte_is_skipped_in_an_elided_pair(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_page page = page_at(w->memory, false);
	struct s2_invalidation inv;

	/* It would have to wait for the lock, for ever. */
	mmu_lock_hold(&holder, w->vm);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(s2_change_pte(w->mm, &inv, address(w->elsewhere), &page), 0);
	end_pair(w, &inv);
	mmu_lock_drop(&holder);
}

/* Looking again, it would find the memslot, and that its VM's count was never raised. */
static void change_pte_is_skipped_for_a_memslot_that_came_since(void **state)
{
	struct world *w = *state;
	struct s2_page page = page_at(w->memory, false);
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	/* Found, the memslot would make it wait for the lock, for ever. */
	mmu_lock_hold(&holder, w->vm);
	assert_int_equal(s2_change_pte(w->mm, &inv, address(w->elsewhere), &page), 0);
	mmu_lock_drop(&holder);
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
}

static void change_pte_refuses_bad_arguments(void **state)
{
	struct world *w = *state;
	struct s2_page page = page_at(w->memory, false), bad;
	struct s2_invalidation inv, closed = { 0 };
	uint64_t hva = hva_of(w, 4);

	assert_int_equal(start_pages(w, &inv, 4, 2, 0), 0);
	assert_int_equal(s2_change_pte(NULL, &inv, hva, &page), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, NULL, hva, &page), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, NULL), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &closed, hva, &page), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva + 1, &page), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva - PAGE, &page), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva + 2 * PAGE, &page), -EINVAL);
	bad = page;
	bad.shift = S2_HUGE_SHIFT;
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, &bad), -EINVAL);
	bad = page_at(NULL, false);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, &bad), -EINVAL);
	bad = page_at(w->memory + 8, false);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, &bad), -EINVAL);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, &page), 0);
	end_pair(w, &inv);
	assert_int_equal(s2_change_pte(w->mm, &inv, hva, &page), -EINVAL);
}

static void test_young_tells_an_accessed_page_and_leaves_it_so(void **state)
{
	struct world *w = *state;

	map_pages(w, 1);
	assert_true(s2_test_young(w->mm, hva_of(w, 0)));
	assert_true(s2_test_young(w->mm, hva_of(w, 0)));
	assert_false(s2_test_young(w->mm, hva_of(w, 1)));
}

static void clear_young_makes_pages_old(void **state)
{
	struct world *w = *state;

	map_pages(w, 3);
	assert_true(s2_clear_young(w->mm, hva_of(w, 0), hva_of(w, 2)));
	assert_false(s2_clear_young(w->mm, hva_of(w, 0), hva_of(w, 2)));
	assert_false(s2_test_young(w->mm, hva_of(w, 0)));
	assert_false(s2_test_young(w->mm, hva_of(w, 1)));
	assert_true(s2_test_young(w->mm, hva_of(w, 2)));
	assert_int_equal(pages_mapped(w->vm), 3);
}

static void clear_young_waits_for_no_vcpu(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_vcpu_stats stats;

	guest_start(&guest, w->vm, gpa_of(0));
	assert_true(s2_clear_young(w->mm, hva_of(w, 0), hva_of(w, 1)));
	guest_poll(&guest);
	atomic_store(&guest.wanted, 3);
	task_join(&guest.task);
	assert_int_equal(s2_vcpu_get_stats(guest.vcpu, &stats), 0);
	assert_int_equal(stats.tlb_flushes, 0);
	assert_int_equal(s2_vcpu_destroy(guest.vcpu), 0);
}

/* In guest mode with a translation: an access after clear_young() hits in the TLB, unseen. */
static void an_access_after_clear_flush_young_is_seen(void **state)
{
	struct world *w = *state;
	struct s2_vcpu *vcpu;
	uint64_t value;

	assert_int_equal(s2_vcpu_create(w->vm, NULL, &vcpu), 0);
	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	assert_int_equal(s2_vcpu_load64(vcpu, gpa_of(0), &value), 0);
	assert_true(s2_clear_flush_young(w->mm, hva_of(w, 0), hva_of(w, 1)));
	assert_false(s2_test_young(w->mm, hva_of(w, 0)));
	assert_int_equal(s2_vcpu_load64(vcpu, gpa_of(0), &value), 0);
	assert_true(s2_test_young(w->mm, hva_of(w, 0)));
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
}

struct young_task {
	struct task task;
	struct world *w;
	bool young;
};

static void clear_flush_first_page(void *arg)
{
	struct young_task *yt = arg;

	yt->young = s2_clear_flush_young(yt->w->mm, hva_of(yt->w, 0), hva_of(yt->w, 1));
}

static void clear_flush_young_waits_for_vcpus(void **state)
{
	struct young_task yt = { .w = *state };
	struct guest guest = { 0 };

	guest_start(&guest, yt.w->vm, gpa_of(0));
	task_start(&yt.task, clear_flush_first_page, &yt);
	assert_true(task_blocked(&yt.task));
	guest_poll(&guest);
	task_join(&yt.task);
	assert_true(yt.young);
	guest_finish(&guest);
}

static void old_pages_are_not_flushed(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };

	map_pages(w, 2);
	guest_start(&guest, w->vm, gpa_of(1));
	assert_true(s2_clear_young(w->mm, hva_of(w, 0), hva_of(w, 1)));
	/* The vCPU does not poll: this would not return. */
	assert_false(s2_clear_flush_young(w->mm, hva_of(w, 0), hva_of(w, 1)));
	guest_poll(&guest);
	guest_finish(&guest);
}

static void nothing_is_young_where_no_memslot_is(void **state)
{
	struct world *w = *state;

	assert_false(s2_test_young(w->mm, address(w->elsewhere)));
	assert_false(s2_clear_young(w->mm, hva_of(w, -1), hva_of(w, 0)));
	assert_false(
		s2_clear_flush_young(w->mm, hva_of(w, GUEST_PAGES), hva_of(w, GUEST_PAGES + 1)));
}

static void bad_arguments_are_not_young(void **state)
{
	struct world *w = *state;
	uint64_t hva = hva_of(w, 0);

	map_pages(w, 1);
	assert_false(s2_test_young(NULL, hva));
	assert_false(s2_test_young(w->mm, hva + 8));
	assert_false(s2_test_young(w->mm, -PAGE));
	assert_false(s2_clear_young(NULL, hva, hva + PAGE));
	assert_false(s2_clear_young(w->mm, hva, hva));
	assert_false(s2_clear_young(w->mm, hva + PAGE, hva));
	assert_false(s2_clear_flush_young(w->mm, hva, hva + 1));
	assert_true(s2_test_young(w->mm, hva));
}

static void young_calls_are_no_invalidations(void **state)
{
	struct world *w = *state;

	map_pages(w, 1);
	s2_clear_flush_young(w->mm, hva_of(w, 0), hva_of(w, 1));
	s2_clear_young(w->mm, hva_of(w, 0), hva_of(w, 1));
	s2_test_young(w->mm, hva_of(w, 0));
	assert_int_equal(stats_of(w).invalidations, 0);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 0);
	assert_int_equal(sequence(w->vm), 0);
	assert_int_equal(pages_mapped(w->vm), 1);
}

static void release_zaps_every_vm(void **state)
{
	struct world *w = *state;
	struct s2_vm *other;

	assert_int_equal(s2_vm_create(w->mm, NULL, &other), 0);
	assert_int_equal(set_region(other, elsewhere_region(w)), 0);
	map_pages(w, 4);
	(void)guest_read(other, ELSEWHERE_GPA);
	s2_release(w->mm);
	assert_int_equal(pages_mapped(w->vm), 0);
	assert_int_equal(pages_mapped(other), 0);
	s2_vm_put(other);
}

static void faults_after_release_fail(void **state)
{
	struct world *w = *state;
	struct s2_vcpu *vcpu;
	uint64_t value, hva;

	assert_int_equal(s2_vcpu_create(w->vm, NULL, &vcpu), 0);
	assert_int_equal(s2_vcpu_read(vcpu, gpa_of(0), &value, sizeof(value)), 0);
	s2_release(w->mm);
	assert_int_equal(s2_vcpu_read(vcpu, gpa_of(0), &value, sizeof(value)), -EFAULT);
	assert_int_equal(s2_vcpu_write(vcpu, gpa_of(1), &value, sizeof(value)), -EFAULT);
	/* The memslots are there still. */
	assert_int_equal(s2_vcpu_read(vcpu, 0, &value, sizeof(value)), -ENXIO);
	assert_int_equal(s2_vm_gfn_to_hva(w->vm, GUEST_GPA / PAGE, &hva), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
}

static void faults_fail_in_memslots_added_after_release(void **state)
{
	struct world *w = *state;
	struct s2_vcpu *vcpu;
	uint64_t value;

	s2_release(w->mm);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	assert_int_equal(s2_vcpu_create(w->vm, NULL, &vcpu), 0);
	assert_int_equal(s2_vcpu_read(vcpu, ELSEWHERE_GPA, &value, sizeof(value)), -EFAULT);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
}

struct release_task {
	struct task task;
	struct s2_mm *mm;
};

static void release_mm(void *arg)
{
	struct release_task *rt = arg;

	s2_release(rt->mm);
}

static void release_waits_for_vcpus(void **state)
{
	struct world *w = *state;
	struct release_task rt = { .mm = w->mm };
	struct guest guest = { 0 };

	guest_start(&guest, w->vm, gpa_of(0));
	task_start(&rt.task, release_mm, &rt);
	assert_true(task_blocked(&rt.task));
	guest_poll(&guest);
	task_join(&rt.task);
	guest_finish(&guest);
}

static void release_may_come_twice_and_in_a_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	map_pages(w, 1);
	s2_release(NULL);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	s2_release(w->mm);
	s2_release(w->mm);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static const struct gated_test tests[] = {
	GATED(change_pte_points_the_spte_at_the_new_page_read_only, EVERY_GATE),
	GATED(change_pte_to_a_writable_page_zaps_the_spte, EVERY_GATE),
	GATED(change_pte_maps_nothing_that_was_not_mapped, EVERY_GATE),
	GATED(change_pte_waits_for_vcpus_to_drop_the_old_page, EVERY_GATE),
	GATED(change_pte_is_skipped_in_an_elided_pair, ELIDING),
	GATED(change_pte_is_skipped_for_a_memslot_that_came_since, ELIDING),
	GATED(change_pte_refuses_bad_arguments, EVERY_GATE),
	GATED(test_young_tells_an_accessed_page_and_leaves_it_so, EVERY_GATE),
	GATED(clear_young_makes_pages_old, EVERY_GATE),
	GATED(clear_young_waits_for_no_vcpu, EVERY_GATE),
	GATED(an_access_after_clear_flush_young_is_seen, EVERY_GATE),
	GATED(clear_flush_young_waits_for_vcpus, EVERY_GATE),
	GATED(old_pages_are_not_flushed, EVERY_GATE),
	GATED(nothing_is_young_where_no_memslot_is, EVERY_GATE),
	GATED(bad_arguments_are_not_young, EVERY_GATE),
	GATED(young_calls_are_no_invalidations, EVERY_GATE),
	GATED(release_zaps_every_vm, EVERY_GATE),
	GATED(faults_after_release_fail, EVERY_GATE),
	GATED(faults_fail_in_memslots_added_after_release, EVERY_GATE),
	GATED(release_waits_for_vcpus, EVERY_GATE),
	GATED(release_may_come_twice_and_in_a_pair, EVERY_GATE),
};

int main(void)
{
	return RUN_GATED("page events", tests);
}
