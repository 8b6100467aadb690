/* SPDX-License-Identifier: MIT */
/*
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG. The order that loses no write:
 *
 *	CPU 0 (get)				CPU 1 (vCPU)
 *	-----------				------------
 *	take the bits, all under mmu_lock
 *	write-protect their pages
 *						store through the TLB: not in any log
 *	flush TLBs
 *						store: faults, marks the page
 *	return: the caller copies the page
 *
 * The store in between needs no bit: it is there before get returns, so whoever
 * copies the page afterwards copies it too. A bit is set under mmu_lock, held
 * shared, in the fault that makes the page writable; so never between the taking
 * of the bits and the protection.
 */
#include "base/alloc.h"
#include "base/mutant.h"
#include "base/schedule.h"
#include "memslot/vm.h"
#include "mm/mm.h"

#include <errno.h>

/* The memslot of the log, or an error. Caller holds slots_lock. */
static int find_logged(struct s2_vm *vm, uint32_t id, struct s2_memslot **slot)
{
	S2_ASSERT_HELD(&vm->slots_lock);
	*slot = s2_vm_slot_by_id(vm, id);
	return *slot && (*slot)->dirty_bitmap ? 0 : -ENOENT;
}

static bool bad_id(uint32_t id)
{
	return (id >> 16) || id >= S2_USER_MEM_SLOTS;
}

/*
 * Write-protects the pages whose bits are set in @mask, neighbours at once: one
 * descent in the table for each run of them. Caller holds mmu_lock for write.
 */
static bool protect_masked(struct s2_vm *vm, struct s2_memslot *slot, uint64_t first, uint64_t mask)
{
	bool flush = false;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	while (mask) {
		unsigned bit = (unsigned)__builtin_ctzll(mask);
		uint64_t after = ~(mask | ((UINT64_C(1) << bit) - 1));
		unsigned end = after ? (unsigned)__builtin_ctzll(after) : 64;
		struct s2_gfn_range range = {
			.slot = slot,
			.start = slot->base_gfn + first + bit,
			.end = slot->base_gfn + first + end,
		};

		flush |= vm->ops->write_protect(vm, &range);
		mask = end < 64 ? mask & (UINT64_MAX << end) : 0;
	}
	return flush;
}

static uint64_t log_word(struct s2_memslot *slot, uint64_t word)
{
	return atomic_load_explicit(&slot->dirty_bitmap[word], memory_order_relaxed);
}

/* To anywhere, so without asking for alignment. */
static void copy_log(struct s2_memslot *slot, char *to)
{
	for (uint64_t word = 0; word < s2_bitmap_words(slot->npages); word++) {
		uint64_t bits = log_word(slot, word);

		memcpy(to + word * sizeof(bits), &bits, sizeof(bits));
	}
}

/* A cache line of the log: most logs are clean for the most part, and are passed over in these. */
#define LINE_WORDS 8

static bool line_is_clean(struct s2_memslot *slot, uint64_t first)
{
	uint64_t any = 0;

	for (uint64_t word = first; word < first + LINE_WORDS; word++)
		any |= log_word(slot, word);
	return !any;
}

/* The bits of one word, taken and their pages protected. Caller holds mmu_lock for write. */
static bool take_word(struct s2_vm *vm, struct s2_memslot *slot, uint64_t word, uint64_t *bits)
{
	uint64_t taken = atomic_exchange_explicit(&slot->dirty_bitmap[word], 0,
						  memory_order_relaxed);

	s2_schedule_point(S2_STEP_LOG_TAKEN);
	if (!S2_MUTANT(DIRTY_BITS_LOST))
		*bits = taken;
	return !S2_MUTANT(LOG_NOT_PROTECTED) && protect_masked(vm, slot, word * 64, *bits);
}

/*
 * @bits is zero where the log is. The bits go to the caller's memory only after
 * the lock is dropped: that memory may be anything, a page the caller's other
 * thread is invalidating included.
 */
static void take_log(struct s2_vm *vm, struct s2_memslot *slot, uint64_t *bits)
{
	uint64_t words = s2_bitmap_words(slot->npages), word = 0;
	bool flush = false;

	if (S2_MUTANT(DIRTY_BITS_LOST))
		copy_log(slot, (char *)bits);
	s2_schedule_point(S2_STEP_LOG_BEGIN);
	s2_write_lock(&vm->mmu_lock);
	while (word < words) {
		if (word + LINE_WORDS <= words && line_is_clean(slot, word)) {
			word += LINE_WORDS;
			continue;
		}
		/* A look before the exchange, which costs twenty times as much. */
		if (log_word(slot, word))
			flush |= take_word(vm, slot, word, &bits[word]);
		word++;
	}
	s2_schedule_point(S2_STEP_LOG_PROTECTED);
	s2_flush_if(vm, flush, true);
	s2_write_unlock(&vm->mmu_lock);
}

static int get_locked(struct s2_vm *vm, const struct kvm_dirty_log *log)
{
	const struct s2_allocator *a = &vm->mm->allocator;
	struct s2_memslot *slot;
	uint64_t *bits;
	size_t size;
	int ret = find_logged(vm, log->slot, &slot);

	if (ret)
		return ret;
	if (vm->manual_dirty_protect) {
		copy_log(slot, log->dirty_bitmap);
		return 0;
	}
	size = s2_bitmap_words(slot->npages) * sizeof(*bits);
	bits = s2_zalloc(a, size, sizeof(*bits));
	if (!bits)
		return -ENOMEM;
	take_log(vm, slot, bits);
	memcpy(log->dirty_bitmap, bits, size);
	s2_free(a, bits);
	return 0;
}

int s2_vm_get_dirty_log(struct s2_vm *vm, const struct kvm_dirty_log *log)
{
	int ret;

	if (!vm || !log || !log->dirty_bitmap || bad_id(log->slot))
		return -EINVAL;
	ret = s2_lock_slots(vm);
	if (ret)
		return ret;
	ret = get_locked(vm, log);
	s2_mutex_unlock(&vm->slots_lock);
	return ret;
}

static bool bad_clear(const struct s2_memslot *slot, uint64_t first, uint64_t num)
{
	return first > slot->npages || num > slot->npages - first ||
	       (num < slot->npages - first && (num & 63));
}

static void clear_log(struct s2_vm *vm, struct s2_memslot *slot, uint64_t first, uint64_t num,
		      const uint64_t *bits)
{
	bool flush = false;

	s2_write_lock(&vm->mmu_lock);
	for (uint64_t word = 0; word < s2_bitmap_words(num); word++) {
		uint64_t mask = bits[word] & log_word(slot, first / 64 + word);

		if (!mask)
			continue;
		/* Bits beyond the end mean nothing; the last word may have some. */
		if (num - word * 64 < 64)
			mask &= (UINT64_C(1) << (num - word * 64)) - 1;
		mask &= atomic_fetch_and_explicit(&slot->dirty_bitmap[first / 64 + word], ~mask,
						  memory_order_relaxed);
		flush |= protect_masked(vm, slot, first + word * 64, mask);
	}
	s2_flush_if(vm, flush, true);
	s2_write_unlock(&vm->mmu_lock);
}

static int clear_locked(struct s2_vm *vm, const struct kvm_clear_dirty_log *log)
{
	const struct s2_allocator *a = &vm->mm->allocator;
	struct s2_memslot *slot;
	uint64_t *bits;
	size_t size;
	int ret = find_logged(vm, log->slot, &slot);

	if (ret)
		return ret;
	if (bad_clear(slot, log->first_page, log->num_pages))
		return -EINVAL;
	if (!log->num_pages)
		return 0;
	size = s2_bitmap_words(log->num_pages) * sizeof(*bits);
	bits = a->alloc(a->ctx, size, sizeof(*bits));
	if (!bits)
		return -ENOMEM;
	memcpy(bits, log->dirty_bitmap, size);
	clear_log(vm, slot, log->first_page, log->num_pages, bits);
	s2_free(a, bits);
	return 0;
}

int s2_vm_clear_dirty_log(struct s2_vm *vm, const struct kvm_clear_dirty_log *log)
{
	int ret;

	if (!vm || !log || bad_id(log->slot) || (log->first_page & 63))
		return -EINVAL;
	if (!log->dirty_bitmap && log->num_pages)
		return -EINVAL;
	ret = s2_lock_slots(vm);
	if (ret)
		return ret;
	ret = clear_locked(vm, log);
	s2_mutex_unlock(&vm->slots_lock);
	return ret;
}
