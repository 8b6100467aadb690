/* SPDX-License-Identifier: MIT */
/*
 * Windows' SPTEs and their mappings. A page is in one of three states, of which neighbours
 * share a mapping of the kernel's if they can: nothing is there; a page of zeroes without a
 * frame; a frame of the provider's file.
 *
 *	guard | void void zero zero frame7 frame8 frame3 void | guard
 *	      |     1    |    2    |      3      |   4  |  5  |
 *
 * The guards are window_space.c's business, and how many mappings there may be is window_limit.c's.
 */
#include "mmu/window.h"

#include "base/mutant.h"
#include "mm/mm.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What tells one mapping from another; none is 0. */
static uint64_t mapping_of(uint64_t spte)
{
	bool accessed = spte & S2_SPTE_ACCESSED;

	/* A page of zeroes that cannot be accessed is to the kernel what nothing is. */
	if (!s2_spte_present(spte) || ((spte & S2_SPTE_ZERO) && !accessed))
		return 0;
	if (!accessed)
		spte &= ~S2_SPTE_WRITABLE;
	return spte & ~(S2_SPTE_DIRTY | S2_SPTE_LEAF);
}

/* Not accessed is not accessible: the next access shall be noticed. */
static int protection(uint64_t mapping)
{
	if (!(mapping & S2_SPTE_ACCESSED))
		return PROT_NONE;
	return mapping & S2_SPTE_WRITABLE ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Do two neighbours share a mapping? */
static bool shared_mapping(uint64_t left, uint64_t right)
{
	uint64_t step = left && !(left & S2_SPTE_ZERO) ? S2_PAGE_SIZE : 0;

	return right == left + step;
}

static uint64_t spte_at(const struct s2_window *window, uint64_t page)
{
	return atomic_load_explicit(&window->spte[page], memory_order_relaxed);
}

/* How many of the pages [first, end) share no mapping with the one before. */
static uint64_t count_borders(const struct s2_window *window, uint64_t first, uint64_t end)
{
	uint64_t borders = 0;

	for (uint64_t page = first ? first : 1; page < end && page < window->npages; page++)
		borders += !shared_mapping(mapping_of(spte_at(window, page - 1)),
					   mapping_of(spte_at(window, page)));
	return borders;
}

static uint64_t nr_mappings(const struct s2_window *window)
{
	return atomic_load_explicit(&window->mappings, memory_order_relaxed);
}

void s2_window_add_mappings(struct s2_window *window, uint64_t n)
{
	if (!n)
		return;
	atomic_fetch_add_explicit(&window->mappings, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&window->vm->mm->window_mappings, n, memory_order_relaxed);
}

static char *addr_of(const struct s2_window *window, uint64_t page)
{
	return window->addr + (page << S2_PAGE_SHIFT);
}

static void set_spte(struct s2_window *window, uint64_t page, uint64_t spte)
{
	uint64_t old = spte_at(window, page);

	window->present[page >> S2_WINDOW_CHUNK_SHIFT] +=
		(uint16_t)(s2_spte_present(spte) - s2_spte_present(old));
	atomic_store_explicit(&window->spte[page], spte, memory_order_relaxed);
}

/*
 * The system call itself: what ThreadSanitizer has in front of mmap() would take each change of
 * a mapping for a write to the guest's memory. 0 or -errno, with everything as it was.
 */
static int map(struct s2_window *window, uint64_t page, uint64_t n, int prot, int flags,
	       const struct s2_backing *backing)
{
	long ret = syscall(SYS_mmap, addr_of(window, page), n << S2_PAGE_SHIFT, prot,
			   flags | MAP_FIXED, backing->fd, backing->offset);

	return ret == -1 ? -errno : 0;
}

static int map_void(struct s2_window *window, uint64_t page, uint64_t n)
{
	const struct s2_backing nothing = { .fd = -1 };

	return map(window, page, n, PROT_NONE, S2_WINDOW_VOID, &nothing);
}

static int protect_pages(struct s2_window *window, uint64_t page, uint64_t n, int prot)
{
	return mprotect(addr_of(window, page), n << S2_PAGE_SHIFT, prot) ? -errno : 0;
}

/* Nothing of what the window has is mapped any more, nor anything else. */
static int unmap_whole(struct s2_window *window)
{
	int ret = map_void(window, 0, window->npages);

	if (ret)
		return ret;
	s2_window_add_mappings(window, 1 - nr_mappings(window));
	window->in_tatters = false;
	return 0;
}

static void clear_sptes(struct s2_window *window)
{
	for (uint64_t chunk = 0; chunk << S2_WINDOW_CHUNK_SHIFT < window->npages; chunk++)
		for (uint64_t page = chunk << S2_WINDOW_CHUNK_SHIFT; window->present[chunk]; page++) {
			window->vm->leaves_gone[0] += s2_spte_present(spte_at(window, page));
			set_spte(window, page, 0);
		}
}

/*
 * Zaps all of it. Never fails: it splits no mapping. Yet mmap() refuses everything if there is
 * one mapping too many, to which mmap() itself can bring it; then what is there stays mapped
 * without access, which adds none, until somebody faults. For the few bytes that the
 * kernel may lack at the moment it is asked again. Caller holds mmu_lock for write.
 */
void s2_window_zap(struct s2_window *window)
{
	S2_ASSERT_MMU_LOCK_WRITE(&window->vm->mmu_lock);
	window->in_tatters = true;
	while (unmap_whole(window) && protect_pages(window, 0, window->npages, PROT_NONE))
		sched_yield();
	clear_sptes(window);
}

/*
 * Neighbours whose SPTEs a handler has changed in the same way, and whose mapping is as before.
 *
 * @prot:    what may be done with them from now on, or
 * ZAPPED:   there is nothing any more.
 * @refused: the kernel would not split a mapping. There remains a way that needs no splitting:
 *           to zap the whole window. Its other pages come back by faults.
 */
#define ZAPPED (-1)
struct s2_window_run {
	uint64_t first;
	uint64_t n;
	int prot;
	bool refused;
};

static bool left_out(const struct s2_window_run *run)
{
	return run->prot == ZAPPED    ? S2_MUTANT(WINDOW_ZAP_KEEPS_MAPPING) :
	       run->prot == PROT_NONE ? S2_MUTANT(WINDOW_AGE_KEEPS_MAPPING) :
					S2_MUTANT(WINDOW_STAYS_WRITABLE);
}

static void apply(struct s2_window *window, struct s2_window_run *run)
{
	int ret = 0;

	if (run->n && !left_out(run))
		ret = run->prot == ZAPPED ?
			      map_void(window, run->first, run->n) :
			      protect_pages(window, run->first, run->n, run->prot);
	run->n = 0;
	if (ret)
		run->refused = true;
}

/* A page has changed; unless it belongs to the run, that is done now. */
static void extend(struct s2_window *window, struct s2_window_run *run, uint64_t page,
		   uint64_t mapping)
{
	int prot = mapping ? protection(mapping) : ZAPPED;

	if (run->prot != prot || run->first + run->n != page)
		apply(window, run);
	if (!run->n) {
		run->first = page;
		run->prot = prot;
	}
	run->n++;
}

/* Pages of one chunk. */
static bool visit_chunk(struct s2_window *window, uint64_t page, uint64_t end,
			const struct s2_leaf_visit *visit, struct s2_window_run *run)
{
	uint64_t first = page, borders = count_borders(window, first, end + 1);
	bool ret = false;

	for (; page < end; page++) {
		uint64_t before = spte_at(window, page), after;

		if (!s2_spte_present(before))
			continue;
		ret |= visit->visit(window->vm, &window->spte[page], window->gfn + page,
				    S2_PAGE_SHIFT, visit->arg);
		after = spte_at(window, page);
		if (!s2_spte_present(after))
			window->present[page >> S2_WINDOW_CHUNK_SHIFT]--;
		if (mapping_of(after) != mapping_of(before))
			extend(window, run, page, mapping_of(after));
	}
	s2_window_add_mappings(window, count_borders(window, first, end + 1) - borders);
	return ret;
}

static bool visit_pages(struct s2_window *window, uint64_t first, uint64_t end,
			const struct s2_leaf_visit *visit)
{
	struct s2_window_run run = { 0 };
	bool ret = false;
	uint64_t next;

	for (uint64_t page = first; page < end; page = next) {
		uint64_t chunk = page >> S2_WINDOW_CHUNK_SHIFT;

		next = (chunk + 1) << S2_WINDOW_CHUNK_SHIFT;
		next = next < end ? next : end;
		if (window->present[chunk])
			ret |= visit_chunk(window, page, next, visit, &run);
	}
	apply(window, &run);
	if (run.refused && !S2_MUTANT(WINDOW_REFUSAL_IGNORED))
		s2_window_zap(window);
	return ret;
}

bool s2_windows_for_each_leaf(struct s2_vm *vm, uint64_t start, uint64_t end,
			      const struct s2_leaf_visit *visit)
{
	bool ret = false;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	for (struct s2_window *window = vm->windows; window; window = window->next) {
		uint64_t first = start > window->gfn ? start - window->gfn : 0;
		uint64_t last = end > window->gfn ? end - window->gfn : 0;

		last = last < window->npages ? last : window->npages;
		if (first < last)
			ret |= visit_pages(window, first, last, visit);
		if (S2_MUTANT(WINDOW_SECOND_FORGOTTEN))
			break;
	}
	return ret;
}

/* Pages [first, end) that a fault at @page may map at once; @spte is what @page will be. */
struct s2_window_fault {
	uint64_t first;
	uint64_t end;
	uint64_t page;
	uint64_t spte;
};

static uint64_t new_spte(const struct s2_window_fault *fault, uint64_t page)
{
	return fault->spte + ((page - fault->page) << S2_PAGE_SHIFT);
}

static bool same_place(const struct s2_window *window, const struct s2_window_fault *fault,
		       uint64_t page)
{
	return s2_spte_addr(spte_at(window, page)) == s2_spte_addr(new_spte(fault, page));
}

/*
 * Only where nothing is. One that has merely not been accessed stays so until it is: of such
 * pages the working set is known.
 */
static bool may_join(const struct s2_window *window, uint64_t page)
{
	return !s2_spte_present(spte_at(window, page)) || S2_MUTANT(WINDOW_JOINS_MAPPED);
}

/* As far as they may, and stay together with the one that is asked for. */
static void choose_pages(const struct s2_window *window, struct s2_window_fault *fault)
{
	uint64_t first = fault->page, end = fault->page + 1;

	while (first > fault->first && may_join(window, first - 1))
		first--;
	while (end < fault->end && may_join(window, end))
		end++;
	fault->first = first;
	fault->end = end;
}

/*
 * @backing: where the first page comes from. Nothing is populated: that takes the process's
 * mmap_lock once more, the access that is waiting does not.
 */
static int change_mapping(struct s2_window *window, const struct s2_window_fault *fault,
			  const struct s2_backing *backing)
{
	uint64_t mapping = mapping_of(new_spte(fault, fault->first)), n = fault->end - fault->first;
	int ret;

	/* Somebody else's fault has been faster. */
	if (n == 1 && mapping == mapping_of(spte_at(window, fault->page)))
		return 0;
	if (s2_windows_are_too_many(window->vm->mm))
		return -ENOSPC;
	/* It is there, and only must not be used. */
	if (n == 1 && same_place(window, fault, fault->page))
		ret = protect_pages(window, fault->page, n, protection(mapping));
	else
		ret = map(window, fault->first, n, protection(mapping),
			  backing->fd < 0 ? S2_WINDOW_VOID : MAP_SHARED, backing);
	return ret == -ENOMEM ? -ENOSPC : ret;
}

static uint64_t set_sptes(struct s2_window *window, const struct s2_window_fault *fault)
{
	uint64_t borders = count_borders(window, fault->first, fault->end + 1), made = 0;

	for (uint64_t page = fault->first; page < fault->end; page++) {
		made += !s2_spte_present(spte_at(window, page));
		set_spte(window, page, new_spte(fault, page));
	}
	s2_window_add_mappings(window, count_borders(window, fault->first, fault->end + 1) - borders);
	return made;
}

static int install_locked(struct s2_window *window, struct s2_window_fault *fault)
{
	const struct s2_mm *mm = window->vm->mm;
	uint64_t old = spte_at(window, fault->page);
	struct s2_backing backing;
	int ret;

	S2_ASSERT_HELD(&window->lock);
	if (window->in_tatters && unmap_whole(window))
		return -ENOSPC;
	if (s2_spte_present(old) && !same_place(window, fault, fault->page))
		return -EBUSY;
	/* A fault before this one may have made it writable, which this one does not ask for. */
	if (old & ~fault->spte & S2_SPTE_WRITABLE) {
		fault->spte |= S2_SPTE_WRITABLE;
		fault->first = fault->page;
		fault->end = fault->page + 1;
	}
	choose_pages(window, fault);
	ret = mm->provider->backing(mm->provider_ctx,
				    (void *)s2_spte_addr(new_spte(fault, fault->first)), &backing);
	if (ret)
		return ret;
	if (backing.fd < 0)
		fault->spte |= S2_SPTE_ZERO;
	ret = change_mapping(window, fault, &backing);
	if (!ret)
		s2_count(&window->counts.leaves_made[0], set_sptes(window, fault));
	return ret;
}

int s2_window_install(struct s2_window *window, uint64_t gfn, const struct s2_mapping *mapping)
{
	uint64_t end = mapping->gfn + mapping->n - window->gfn;
	struct s2_window_fault fault = {
		.first = mapping->gfn > window->gfn ? mapping->gfn - window->gfn : 0,
		.end = end < window->npages ? end : window->npages,
		.page = gfn - window->gfn,
		.spte = mapping->spte + ((gfn - mapping->gfn) << S2_PAGE_SHIFT),
	};
	int ret;

	S2_ASSERT_MMU_LOCK(&window->vm->mmu_lock);
	s2_mutex_lock(&window->lock);
	ret = install_locked(window, &fault);
	s2_mutex_unlock(&window->lock);
	return ret;
}

/* One that nobody uses, from the thread's own on; or its own, when that comes free. */
struct s2_window_reader *s2_window_reader_get(struct s2_window *window)
{
	unsigned own = s2_thread_hash() % S2_WINDOW_READERS;

	for (unsigned i = 0; i < S2_WINDOW_READERS; i++) {
		struct s2_window_reader *reader = &window->readers[(own + i) % S2_WINDOW_READERS];

		if (s2_mutex_trylock(&reader->lock))
			return reader;
	}
	s2_mutex_lock(&window->readers[own].lock);
	return &window->readers[own];
}

void s2_window_reader_put(struct s2_window_reader *reader)
{
	s2_mutex_unlock(&reader->lock);
}
