/* SPDX-License-Identifier: MIT */
/*
 * Guest accesses that the inline hit path cannot serve: misses, misaligned ones,
 * and copies.
 *
 * A miss walks the stage-2 table in guest mode, without a lock. What it finds may
 * go into the TLB because it was read in guest mode: whoever zaps it later asks
 * for a flush and waits for us. That is also why a fault maps the page, comes
 * back to guest mode and then walks, rather than bring the page along:
 *
 *	CPU 0 (vCPU)				CPU 1 (invalidation)
 *	------------				--------------------
 *	fault: installs SPTE
 *						zap, request a flush
 *						not in guest mode: do not wait
 *	guest mode: acts on the request
 *	would use the page it brought along: gone
 */
/* Of the inline copies, this file makes the functions. */
#define S2_INLINE_COPY

#include "vcpu/vcpu.h"

#include "base/mutant.h"
#include "base/schedule.h"
#include "mm/mm.h"

#include <errno.h>
#include <stage2/vcpu.h>
#include <string.h>

static struct s2_tlb_entry *tlb_entry(struct s2_full_vcpu *vcpu, uint64_t gpa)
{
	return &vcpu->guest.tlb[(gpa >> S2_PAGE_SHIFT) & (S2_TLB_ENTRIES - 1)];
}

static bool allows(uint64_t spte, unsigned access)
{
	return s2_spte_present(spte) && (access == S2_ACCESS_READ || (spte & S2_SPTE_WRITABLE));
}

/*
 * Sets the bits the processor would set, unless the SPTE has changed: then false,
 * and @found has what it is now. Compare-exchange, so that a zapped SPTE never
 * gets bits back.
 */
static bool mark_used(struct s2_walk_result *found, unsigned access)
{
	uint64_t used = found->spte | S2_SPTE_ACCESSED;

	if (access == S2_ACCESS_WRITE)
		used |= S2_SPTE_DIRTY;
	s2_schedule_point(S2_STEP_MISS_WALKED);
	if (S2_MUTANT(USED_BITS_STORED)) {
		atomic_store_explicit(found->sptep, used, memory_order_relaxed);
		return true;
	}
	return used == found->spte ||
	       atomic_compare_exchange_strong_explicit(found->sptep, &found->spte, used,
						       memory_order_relaxed, memory_order_relaxed);
}

/*
 * Stores go by the TLB only once the dirty bit is set, as in hardware; an entry made
 * for a load of a writable page lets the first store miss.
 */
static void set_tags(struct s2_full_vcpu *vcpu, struct s2_tlb_entry *entry, uint64_t page,
		     unsigned access)
{
	bool writes = access == S2_ACCESS_WRITE;

	if (vcpu->guest.restartable) {
		entry->ptag = page | (writes ? S2_TLB_PTAG_WRITABLE : 0);
		return;
	}
	entry->rtag = page;
	entry->wtag = writes ? page : UINT64_MAX;
}

static bool hits(struct s2_full_vcpu *vcpu, const struct s2_tlb_entry *entry, uint64_t page,
		 unsigned access)
{
	bool writes = access == S2_ACCESS_WRITE;

	if (vcpu->guest.restartable)
		return (entry->ptag & ~(writes ? 0 : S2_TLB_PTAG_WRITABLE)) ==
		       (page | (writes ? S2_TLB_PTAG_WRITABLE : 0));
	return (writes ? entry->wtag : entry->rtag) == page;
}

/* Walks, in guest mode; on success the TLB has the page. */
static bool fill_tlb(struct s2_full_vcpu *vcpu, uint64_t gpa, unsigned access)
{
	uint64_t gfn = gpa >> S2_PAGE_SHIFT, page = gpa & S2_TLB_PAGE_MASK, addr;
	struct s2_tlb_entry *entry = tlb_entry(vcpu, gpa);
	struct s2_walk_result found;

	if (gfn >= S2_GFN_LIMIT)
		return false;
	found = s2_table_walk(vcpu->vm->mmu_root, gfn);
	do {
		if (!allows(found.spte, access))
			return false;
	} while (!mark_used(&found, access));
	addr = s2_spte_addr(found.spte) + (page & ((UINT64_C(1) << found.shift) - 1));
	entry->addend = (uintptr_t)(addr - page);
	set_tags(vcpu, entry, page, access);
	return true;
}

static int fault(struct s2_full_vcpu *vcpu, uint64_t gfn, unsigned access)
{
	int ret;

	s2_guest_leave_all();
	ret = s2_mmu_fault(vcpu->vm, &vcpu->fault, gfn, access);
	s2_guest_return_all();
	return ret;
}

/*
 * The host address of @gpa for @access, good until the next safepoint. In guest
 * mode. Faults as often as it takes: an invalidation may come between the fault
 * and the walk.
 */
static int translate(struct s2_full_vcpu *vcpu, uint64_t gpa, unsigned access, char **host)
{
	struct s2_tlb_entry *entry = tlb_entry(vcpu, gpa);
	uint64_t page = gpa & S2_TLB_PAGE_MASK;

	if (!hits(vcpu, entry, page, access)) {
		vcpu->tlb_misses++;
		while (!fill_tlb(vcpu, gpa, access)) {
			int ret = fault(vcpu, gpa >> S2_PAGE_SHIFT, access);

			if (ret)
				return ret;
		}
	}
	*host = (char *)(entry->addend + gpa);
	return 0;
}

static size_t left_in_page(uint64_t gpa, size_t len)
{
	size_t left = S2_PAGE_SIZE - (gpa & (S2_PAGE_SIZE - 1));

	return len < left ? len : left;
}

/*
 * One page's share of a copy. Another vCPU, or the host, may be writing the same
 * bytes: as in hardware the result is some mixture, which is the guest's business.
 */
static int copy_in_page(struct s2_full_vcpu *vcpu, uint64_t gpa, char *data, size_t len,
			unsigned access)
{
	char *host;
	int ret = translate(vcpu, gpa, access, &host);

	if (ret)
		return ret;
	if (access == S2_ACCESS_READ)
		memcpy(data, host, len);
	else
		memcpy(host, data, len);
	return 0;
}

static int copy(struct s2_full_vcpu *vcpu, uint64_t gpa, char *data, size_t len, unsigned access)
{
	while (len) {
		size_t part = left_in_page(gpa, len);
		int ret = copy_in_page(vcpu, gpa, data, part, access);

		if (ret)
			return ret;
		gpa += part;
		data += part;
		len -= part;
		if (len)
			s2_vcpu_poll(&vcpu->guest.vcpu);
	}
	return 0;
}

static uint64_t faults_so_far(struct s2_full_vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->fault.counts.faults, memory_order_relaxed);
}

/*
 * A misaligned access may touch two pages; both must be there before the first
 * byte is stored, so that a store that fails has changed nothing. No safepoint
 * comes in between, but the second page's fault is one: then look again.
 */
static int misaligned(struct s2_full_vcpu *vcpu, uint64_t gpa, char *data, unsigned size,
		      unsigned access)
{
	size_t first = left_in_page(gpa, size);
	uint64_t faults;
	char *host[2];
	int ret;

	do {
		ret = translate(vcpu, gpa, access, &host[0]);
		if (ret)
			return ret;
		faults = faults_so_far(vcpu);
		if (first < size)
			ret = translate(vcpu, gpa + first, access, &host[1]);
		if (ret)
			return ret;
	} while (faults != faults_so_far(vcpu));
	for (unsigned i = 0; i < size; i++) {
		char *at = i < first ? host[0] + i : host[1] + (i - first);

		if (access == S2_ACCESS_READ)
			data[i] = __atomic_load_n(at, __ATOMIC_RELAXED);
		else
			__atomic_store_n(at, data[i], __ATOMIC_RELAXED);
	}
	return 0;
}

/* A restartable access that hits, of @size bytes. */
static bool load_restartable(struct s2_full_vcpu *vcpu, uint64_t gpa, void *value, unsigned size)
{
#ifdef S2_ARCH_HAS_RSEQ
	const struct s2_tlb_entry *const *live_tlb = (const void *)&vcpu->guest.live_tlb;

	if (!vcpu->guest.restartable)
		return false;
	if (size == 8)
		return s2_rseq_load64(live_tlb, gpa, value);
	switch (size) {
	case 1:
		return s2_rseq_load8(live_tlb, gpa, value);
	case 2:
		return s2_rseq_load16(live_tlb, gpa, value);
	default:
		return s2_rseq_load32(live_tlb, gpa, value);
	}
#else
	return false;
#endif
}

static bool store_restartable(struct s2_full_vcpu *vcpu, uint64_t gpa, const void *value,
			      unsigned size)
{
#ifdef S2_ARCH_HAS_RSEQ
	const struct s2_tlb_entry *const *live_tlb = (const void *)&vcpu->guest.live_tlb;

	if (!vcpu->guest.restartable)
		return false;
	if (size == 8)
		return s2_rseq_store64(live_tlb, gpa, *(const uint64_t *)value);
	switch (size) {
	case 1:
		return s2_rseq_store8(live_tlb, gpa, *(const uint8_t *)value);
	case 2:
		return s2_rseq_store16(live_tlb, gpa, *(const uint16_t *)value);
	default:
		return s2_rseq_store32(live_tlb, gpa, *(const uint32_t *)value);
	}
#else
	return false;
#endif
}

static bool may_access(struct s2_full_vcpu *vcpu, uint64_t gpa, unsigned size, int *error)
{
	*error = !s2_vcpu_in_guest(vcpu) ? -EPERM : gpa > UINT64_MAX - (size - 1) ? -ENXIO : 0;
	return !*error;
}

static int load(struct s2_full_vcpu *vcpu, uint64_t gpa, void *value, unsigned size)
{
	char *host;
	int ret;

	if (gpa & (size - 1))
		return misaligned(vcpu, gpa, value, size, S2_ACCESS_READ);
	ret = translate(vcpu, gpa, S2_ACCESS_READ, &host);
	if (ret)
		return ret;
	switch (size) {
	case 1:
		*(uint8_t *)value = __atomic_load_n((uint8_t *)host, __ATOMIC_RELAXED);
		break;
	case 2:
		*(uint16_t *)value = __atomic_load_n((uint16_t *)(void *)host, __ATOMIC_RELAXED);
		break;
	case 4:
		*(uint32_t *)value = __atomic_load_n((uint32_t *)(void *)host, __ATOMIC_RELAXED);
		break;
	default:
		*(uint64_t *)value = __atomic_load_n((uint64_t *)(void *)host, __ATOMIC_RELAXED);
	}
	return 0;
}

static int store(struct s2_full_vcpu *vcpu, uint64_t gpa, const void *value, unsigned size)
{
	char *host;
	int ret;

	if (gpa & (size - 1))
		return misaligned(vcpu, gpa, (char *)value, size, S2_ACCESS_WRITE);
	ret = translate(vcpu, gpa, S2_ACCESS_WRITE, &host);
	if (ret)
		return ret;
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)host, *(const uint8_t *)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)(void *)host, *(const uint16_t *)value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)(void *)host, *(const uint32_t *)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)(void *)host, *(const uint64_t *)value, __ATOMIC_RELAXED);
	}
	return 0;
}

static __attribute__((noinline)) int load_missed(struct s2_full_vcpu *vcpu, uint64_t gpa, void *value,
						 unsigned size)
{
	int ret;

	if (!may_access(vcpu, gpa, size, &ret))
		return ret;
	s2_guest_begin_access(&vcpu->guest);
	ret = load(vcpu, gpa, value, size);
	s2_guest_end_access(&vcpu->guest);
	return ret;
}

static __attribute__((noinline)) int store_missed(struct s2_full_vcpu *vcpu, uint64_t gpa,
						  const void *value, unsigned size)
{
	int ret;

	if (!may_access(vcpu, gpa, size, &ret))
		return ret;
	s2_guest_begin_access(&vcpu->guest);
	ret = store(vcpu, gpa, value, size);
	s2_guest_end_access(&vcpu->guest);
	return ret;
}

/* For a restartable vCPU this is the way of every hit: leaf functions, that save no registers. */
int s2_vcpu_load_slow(struct s2_vcpu *vcpu, uint64_t gpa, void *value, unsigned size)
{
	struct s2_full_vcpu *full = s2_full(vcpu);

	return load_restartable(full, gpa, value, size) ? 0 : load_missed(full, gpa, value, size);
}

int s2_vcpu_store_slow(struct s2_vcpu *vcpu, uint64_t gpa, const void *value, unsigned size)
{
	struct s2_full_vcpu *full = s2_full(vcpu);

	return store_restartable(full, gpa, value, size) ? 0 : store_missed(full, gpa, value, size);
}

/* A copy enters guest mode by itself if its vCPU is out of it. */
static int copy_anywhere(struct s2_vcpu *vcpu, uint64_t gpa, char *data, size_t len, unsigned access)
{
	struct s2_full_vcpu *full = s2_full(vcpu);
	bool inside;
	int ret;

	if (!vcpu || !data || (len && gpa > UINT64_MAX - (len - 1)))
		return -EINVAL;
	inside = s2_vcpu_in_guest(full);
	if (!inside) {
		ret = s2_vcpu_enter(vcpu);
		if (ret)
			return ret;
	}
	s2_guest_begin_access(&full->guest);
	ret = copy(full, gpa, data, len, access);
	s2_guest_end_access(&full->guest);
	if (!inside)
		s2_vcpu_exit(vcpu);
	return ret;
}

int s2_vcpu_read_slow(struct s2_vcpu *vcpu, uint64_t gpa, void *data, size_t len)
{
	return copy_anywhere(vcpu, gpa, data, len, S2_ACCESS_READ);
}

int s2_vcpu_write_slow(struct s2_vcpu *vcpu, uint64_t gpa, const void *data, size_t len)
{
	return copy_anywhere(vcpu, gpa, (char *)data, len, S2_ACCESS_WRITE);
}
