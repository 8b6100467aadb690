/* SPDX-License-Identifier: MIT */
/* The model of flat.h. */
#include "differential/flat.h"

#include <errno.h>
#include <string.h>

/* Limits as documented, not as the library's own headers have them. */
#define MAX_GFN ((UINT64_C(1) << 40) - 1)
#define HVA_LIMIT ((UINT64_C(1) << 47) - 4096)
#define MAX_PAGES ((UINT64_C(1) << 31) - 1)

static bool overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
	return a < b_end && b < a_end;
}

static uint64_t hva_end(const struct flat_slot *slot)
{
	return slot->hva + slot->npages * S2_PAGE_SIZE;
}

struct flat_slot *flat_slot_by_id(struct flat *flat, unsigned vm, uint32_t id)
{
	for (unsigned i = 0; i < FLAT_SLOTS; i++) {
		struct flat_slot *slot = &flat->vms[vm].slots[i];

		if (slot->used && slot->id == id)
			return slot;
	}
	return NULL;
}

struct flat_slot *flat_slot_of_gfn(struct flat *flat, unsigned vm, uint64_t gfn)
{
	for (unsigned i = 0; i < FLAT_SLOTS; i++) {
		struct flat_slot *slot = &flat->vms[vm].slots[i];

		if (slot->used && gfn >= slot->gfn && gfn < slot->gfn + slot->npages)
			return slot;
	}
	return NULL;
}

static bool any_open(const struct flat *flat, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < OP_TOKENS; i++) {
		const struct flat_range *range = &flat->ranges[i];

		if (range->open && overlap(range->start, range->end, start, end))
			return true;
	}
	return false;
}

bool flat_covered(const struct flat *flat, uint64_t hva)
{
	return any_open(flat, hva, hva + S2_PAGE_SIZE);
}

bool flat_any_open(const struct flat *flat)
{
	return any_open(flat, 0, UINT64_MAX);
}

bool flat_would_wait(struct flat *flat, unsigned vm, uint64_t gpa, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		uint64_t gfn = (gpa + i) / S2_PAGE_SIZE;
		struct flat_slot *slot = flat_slot_of_gfn(flat, vm, gfn);

		if (slot && flat_covered(flat, slot->hva + (gfn - slot->gfn) * S2_PAGE_SIZE))
			return true;
	}
	return false;
}

/* ---- memslots ---- */

/* KVM's order: what is wrong with the call, with the memslot, with its neighbours, with its end. */
static int check_call(const struct kvm_userspace_memory_region *mem)
{
	uint64_t all = mem->memory_size | mem->guest_phys_addr | mem->userspace_addr;

	if (mem->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (all % S2_PAGE_SIZE || mem->slot >= S2_USER_MEM_SLOTS)
		return -EINVAL;
	if (mem->userspace_addr > HVA_LIMIT || mem->memory_size > HVA_LIMIT - mem->userspace_addr)
		return -EINVAL;
	if (mem->guest_phys_addr + mem->memory_size < mem->guest_phys_addr)
		return -EINVAL;
	return mem->memory_size / S2_PAGE_SIZE > MAX_PAGES ? -EINVAL : 0;
}

static int check_place(struct flat *flat, unsigned vm,
		       const struct kvm_userspace_memory_region *mem)
{
	uint64_t gfn = mem->guest_phys_addr / S2_PAGE_SIZE;
	uint64_t end = gfn + mem->memory_size / S2_PAGE_SIZE;

	for (unsigned i = 0; i < FLAT_SLOTS; i++) {
		const struct flat_slot *slot = &flat->vms[vm].slots[i];

		if (slot->used && slot->id != mem->slot &&
		    overlap(slot->gfn, slot->gfn + slot->npages, gfn, end))
			return -EEXIST;
	}
	return end - 1 > MAX_GFN ? -EINVAL : 0;
}

/* Would the calling thread wait for an invalidation of its own? All that are open are. */
static bool waits_for_itself(struct flat *flat, const struct kvm_userspace_memory_region *mem,
			     bool appears)
{
	if (flat->gate == S2_GATE_ALWAYS)
		return false;
	if (flat->gate != S2_GATE_RANGE)
		return flat_any_open(flat);
	return appears &&
	       any_open(flat, mem->userspace_addr, mem->userspace_addr + mem->memory_size);
}

static void forget_translations(struct flat_slot *slot)
{
	for (uint64_t i = 0; i < slot->npages; i++) {
		slot->pages[i].young = FLAT_OLD;
		slot->pages[i].cached = false;
	}
}

static void set_flags(struct flat *flat, struct flat_slot *slot, uint32_t flags)
{
	bool begins = flags & ~slot->flags & KVM_MEM_LOG_DIRTY_PAGES;

	for (uint64_t i = 0; begins && i < slot->npages; i++)
		slot->pages[i].dirty = flat->initially_set;
	slot->flags = flags;
}

static int create(struct flat *flat, unsigned vm, const struct kvm_userspace_memory_region *mem)
{
	struct flat_slot *slot = flat->vms[vm].slots;
	int ret = check_place(flat, vm, mem);

	if (ret)
		return ret;
	if (waits_for_itself(flat, mem, true))
		return -EDEADLK;
	while (slot->used)
		if (++slot == flat->vms[vm].slots + FLAT_SLOTS)
			return -ENOSPC; /* more than the model has: no sequence should */
	memset(slot, 0, sizeof(*slot));
	slot->used = true;
	slot->id = mem->slot;
	slot->gfn = mem->guest_phys_addr / S2_PAGE_SIZE;
	slot->npages = mem->memory_size / S2_PAGE_SIZE;
	slot->hva = mem->userspace_addr;
	set_flags(flat, slot, mem->flags);
	flat->vms[vm].generation++;
	return 0;
}

static int change(struct flat *flat, unsigned vm, struct flat_slot *slot,
		  const struct kvm_userspace_memory_region *mem)
{
	bool moves = mem->guest_phys_addr / S2_PAGE_SIZE != slot->gfn;
	int ret = 0;

	if (mem->userspace_addr != slot->hva || mem->memory_size != slot->npages * S2_PAGE_SIZE ||
	    ((mem->flags ^ slot->flags) & KVM_MEM_READONLY))
		return -EINVAL;
	if (!moves && mem->flags == slot->flags)
		return 0;
	if (moves)
		ret = check_place(flat, vm, mem);
	if (!ret && waits_for_itself(flat, mem, moves))
		ret = -EDEADLK;
	if (ret)
		return ret;
	slot->gfn = mem->guest_phys_addr / S2_PAGE_SIZE;
	if (moves)
		forget_translations(slot);
	set_flags(flat, slot, mem->flags);
	flat->vms[vm].generation++;
	return 0;
}

int flat_set_memory_region(struct flat *flat, unsigned vm,
			   const struct kvm_userspace_memory_region *mem)
{
	int ret = check_call(mem);
	struct flat_slot *slot = flat_slot_by_id(flat, vm, mem->slot);

	if (ret)
		return ret;
	if (mem->memory_size)
		ret = slot ? change(flat, vm, slot, mem) : create(flat, vm, mem);
	else if (!slot)
		ret = -EINVAL;
	else if (waits_for_itself(flat, mem, false))
		ret = -EDEADLK;
	else
		slot->used = false;
	if (!ret && !mem->memory_size)
		flat->vms[vm].generation++;
	if (!ret)
		flat->updates++;
	return ret;
}

/* ---- pages by hva ---- */

typedef void page_fn(struct flat_page *page, void *arg);

/* Calls @fn for each page of each memslot of the VM in the range; false if no memslot is there. */
static bool for_each_page_of(struct flat_vm *vm, uint64_t start, uint64_t end, page_fn *fn,
			     void *arg)
{
	bool found = false;

	for (unsigned i = 0; i < FLAT_SLOTS; i++) {
		struct flat_slot *slot = &vm->slots[i];

		if (!slot->used || !overlap(slot->hva, hva_end(slot), start, end))
			continue;
		found = true;
		for (uint64_t page = 0; fn && page < slot->npages; page++) {
			uint64_t hva = slot->hva + page * S2_PAGE_SIZE;

			if (hva >= start && hva < end)
				fn(&slot->pages[page], arg);
		}
	}
	return found;
}

static bool for_each_page(struct flat *flat, uint64_t start, uint64_t end, page_fn *fn, void *arg)
{
	bool found = false;

	for (unsigned i = 0; i < OP_VMS; i++)
		found |= for_each_page_of(&flat->vms[i], start, end, fn, arg);
	return found;
}

static void unmap(struct flat_page *page, void *arg)
{
	page->young = FLAT_OLD;
	page->cached = false;
}

static bool is_elided(struct flat *flat, uint64_t start, uint64_t end, unsigned flags)
{
	if (flat->gate == S2_GATE_ALWAYS || (flat->gate == S2_GATE_RWSEM && (flags & S2_NONBLOCK)))
		return false;
	return !for_each_page(flat, start, end, NULL, NULL);
}

int flat_start(struct flat *flat, unsigned token, uint64_t start, uint64_t end, unsigned flags)
{
	if (start >= end)
		return -EINVAL;
	flat->ranges[token] = (struct flat_range){ true, start, end };
	for_each_page(flat, start, end, unmap, NULL);
	flat->invalidations++;
	flat->elided += is_elided(flat, start, end, flags);
	return 0;
}

static void maybe_unmapped(struct flat_page *page, void *arg)
{
	if (page->young == FLAT_YOUNG)
		page->young = FLAT_MAY_BE_YOUNG;
}

void flat_failed_start(struct flat *flat, uint64_t start, uint64_t end)
{
	for_each_page(flat, start, end, maybe_unmapped, NULL);
}

void flat_end(struct flat *flat, unsigned token)
{
	flat->ranges[token].open = false;
}

/* start() has dropped all translations, and there are none before end(): nothing to change. */
int flat_change_pte(struct flat *flat, unsigned token, uint64_t hva, const struct s2_page *page)
{
	const struct flat_range *range = &flat->ranges[token];

	if (!range->open || hva < range->start || hva >= range->end || !page->addr)
		return -EINVAL;
	return 0;
}

static void test_page(struct flat_page *page, void *arg)
{
	enum flat_young *found = arg;

	if (page->young > *found)
		*found = page->young;
}

static void clear_page(struct flat_page *page, void *arg)
{
	const bool *flushed = arg;

	page->young = FLAT_OLD;
	if (*flushed)
		page->cached = false;
}

/* A VM's TLBs are flushed if a page of its was young. */
enum flat_young flat_clear_young(struct flat *flat, uint64_t start, uint64_t end, bool flush)
{
	enum flat_young found = FLAT_OLD;

	for (unsigned i = 0; i < OP_VMS && start < end; i++) {
		enum flat_young here = FLAT_OLD;
		bool flushed;

		for_each_page_of(&flat->vms[i], start, end, test_page, &here);
		flushed = flush && here == FLAT_YOUNG;
		for_each_page_of(&flat->vms[i], start, end, clear_page, &flushed);
		if (here > found)
			found = here;
	}
	return found;
}

enum flat_young flat_test_young(struct flat *flat, uint64_t hva)
{
	enum flat_young found = FLAT_OLD;

	for_each_page(flat, hva, hva + S2_PAGE_SIZE, test_page, &found);
	return found;
}

void flat_release(struct flat *flat)
{
	flat->released = true;
	for_each_page(flat, 0, UINT64_MAX, unmap, NULL);
}

/* ---- guest accesses ---- */

static int find_byte(struct flat *flat, unsigned vm, uint64_t gpa, bool store, char **byte)
{
	uint64_t gfn = gpa / S2_PAGE_SIZE;
	struct flat_slot *slot = flat_slot_of_gfn(flat, vm, gfn);
	struct flat_page *page;
	uint64_t hva;

	if (!slot || gpa >> 48)
		return -ENXIO;
	if (store && (slot->flags & KVM_MEM_READONLY))
		return -EROFS;
	hva = slot->hva + (gfn - slot->gfn) * S2_PAGE_SIZE;
	if (flat_covered(flat, hva))
		return -EDEADLK;
	*byte = host_page(&flat->host, hva);
	if (!*byte || flat->released)
		return -EFAULT;
	*byte += gpa % S2_PAGE_SIZE;
	page = &slot->pages[gfn - slot->gfn];
	page->dirty |= store;
	/* Through a TLB an access may leave no trace. */
	if (page->young == FLAT_OLD)
		page->young = page->cached ? FLAT_MAY_BE_YOUNG : FLAT_YOUNG;
	page->cached = true;
	return 0;
}

/* Byte by byte: a store that cannot be made in full is not made, though its first page is dirty. */
int flat_access(struct flat *flat, unsigned vm, uint64_t gpa, unsigned size, bool store,
		uint64_t *value)
{
	char *bytes[8];
	int ret = 0;

	for (unsigned i = 0; i < size && !ret; i++)
		ret = find_byte(flat, vm, gpa + i, store, &bytes[i]);
	if (ret)
		return ret;
	if (!store)
		*value = 0;
	for (unsigned i = 0; i < size; i++) {
		if (store)
			*bytes[i] = (char)(*value >> (8 * i));
		else
			*value |= (uint64_t)(unsigned char)*bytes[i] << (8 * i);
	}
	return 0;
}

/* ---- the dirty log ---- */

static struct flat_slot *logged_slot(struct flat *flat, unsigned vm, uint32_t id)
{
	struct flat_slot *slot = flat_slot_by_id(flat, vm, id);

	return slot && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) ? slot : NULL;
}

int flat_get_dirty_log(struct flat *flat, unsigned vm, const struct kvm_dirty_log *log)
{
	struct flat_slot *slot;
	uint64_t *words = log->dirty_bitmap;

	if (log->slot >= S2_USER_MEM_SLOTS)
		return -EINVAL;
	slot = logged_slot(flat, vm, log->slot);
	if (!slot)
		return -ENOENT;
	for (uint64_t i = 0; i < slot->npages; i++) {
		if (i % 64 == 0)
			words[i / 64] = 0;
		words[i / 64] |= (uint64_t)slot->pages[i].dirty << (i % 64);
		if (!flat->manual)
			slot->pages[i].dirty = false;
	}
	return 0;
}

int flat_clear_dirty_log(struct flat *flat, unsigned vm, const struct kvm_clear_dirty_log *log)
{
	const uint64_t *words = log->dirty_bitmap;
	struct flat_slot *slot;

	if (log->slot >= S2_USER_MEM_SLOTS || log->first_page % 64)
		return -EINVAL;
	slot = logged_slot(flat, vm, log->slot);
	if (!slot)
		return -ENOENT;
	if (log->first_page > slot->npages || log->num_pages > slot->npages - log->first_page)
		return -EINVAL;
	if (log->num_pages % 64 && log->num_pages < slot->npages - log->first_page)
		return -EINVAL;
	for (uint64_t i = 0; i < log->num_pages; i++)
		if (words[i / 64] >> (i % 64) & 1)
			slot->pages[log->first_page + i].dirty = false;
	return 0;
}
