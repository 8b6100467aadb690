/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the public API as a sequence of calls, a few bytes each. Two
 * s2_mm, one on frames that the sequence exchanges and one on real pages of this
 * process that it maps and unmaps; a few VMs with memslots and vCPUs; a few
 * invalidations open at a time. One thread, so no call may ever wait for another:
 * -EDEADLK is an answer, a hang is a finding. What races with a fault is called from
 * inside the provider, after it has looked the page up.
 *
 * Beside the sanitizers it is the model below that finds faults: what the memslots
 * are, which pages are being invalidated, which frame is behind which page and
 * which pages were written to. scripts/mutants.py knows of which broken steps the
 * corpus makes it find.
 */
#include "counting_allocator.h"
#include "memslot/vm.h"

#include <errno.h>
#include <stage2/stage2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE S2_PAGE_SIZE
#define HUGE_SIZE (UINT64_C(1) << S2_HUGE_SHIFT)
#define PAGES 1024 /* of each primary MMU: two huge ones */
#define SPARES 16
#define HOLE UINT16_MAX /* in place of a frame */
#define SLOTS 6
#define VMS 4
#define VCPUS 6
#define TOKENS 6
#define MAX_CALLS 500

#define FRAMES_HVA (UINT64_C(1) << 40) /* never dereferenced */
/* Far from where the kernel puts mappings by itself: nothing else must fill a hole. */
#define ARENA_HVA UINT64_C(0x200000000000)

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth)) {                                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth);        \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct model_slot {
	uint64_t gfn;
	uint64_t npages;
	unsigned page; /* of the primary MMU */
	uint32_t flags;
	uint8_t written[PAGES]; /* must be in the next dirty log */
};

struct model_mm {
	struct s2_mm *mm;
	enum s2_gate gate;
	uint64_t hva;
	bool frames;
	bool exact; /* the in-flight table is large enough */
	bool released;
	uint64_t starts;
	uint64_t updates;
};

struct model_vm {
	struct s2_vm *vm;
	struct model_mm *mm;
	bool put;
	bool manual;
	unsigned vcpus;
	struct model_slot slots[SLOTS];
};

struct model_vcpu {
	struct s2_vcpu *vcpu;
	struct model_vm *vm;
	bool inside;
};

struct model_token {
	struct s2_invalidation inv;
	struct model_mm *mm;
	unsigned page;
	unsigned npages;
	bool open;
};

struct world {
	const uint8_t *data;
	size_t left;
	struct counting_allocator memory;
	bool may_fail; /* allocations have been made to fail */
	struct model_mm mms[2];
	struct model_vm vms[VMS];
	struct model_vcpu vcpus[VCPUS];
	struct model_token tokens[TOKENS];
	unsigned shift;
	bool read_only_reads;
	uint16_t frame_of[PAGES];
	bool tlbs_keep_old; /* pages that are not young, through which loads leave no trace */
	unsigned calls_in_fault; /* to be made in the next */
	bool in_fault;
};

static char frames[(PAGES + SPARES) * PAGE] __attribute__((aligned(1 << S2_HUGE_SHIFT)));
static struct world the_world;

static unsigned byte(struct world *w)
{
	if (!w->left)
		return 0;
	w->left--;
	return *w->data++;
}

static unsigned pick(struct world *w, unsigned n)
{
	return byte(w) % n;
}

static unsigned pick_page(struct world *w)
{
	unsigned b = byte(w);

	/* Mostly few pages, so that ranges meet; sometimes one beyond the first huge page. */
	return b < 224 ? b % 32 : 496 + b % 32;
}

static unsigned pick_npages(struct world *w)
{
	static const unsigned sizes[] = { 1, 2, 3, 4, 8, 16, 64, 65, 512, 1024 };

	return sizes[pick(w, sizeof(sizes) / sizeof(sizes[0]))];
}

/* ---- the frames ---- */

static void make_calls_in_fault(struct world *w);

static int frame_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	struct world *w = ctx;
	uint64_t nr = (hva - FRAMES_HVA) >> S2_PAGE_SHIFT;

	CHECK(hva >= FRAMES_HVA && nr < PAGES);
	if (w->shift == S2_PAGE_SHIFT)
		nr = w->frame_of[nr];
	make_calls_in_fault(w);
	if (nr == HOLE)
		return -EFAULT;
	page->shift = w->shift;
	page->writable = access == S2_ACCESS_WRITE || !w->read_only_reads;
	page->addr = frames + ((nr << S2_PAGE_SHIFT) >> w->shift << w->shift);
	return 0;
}

static const struct s2_provider_ops frame_ops = { .name = "frames", .fault = frame_fault };

/* ---- what the model knows ---- */

static struct model_slot *slot_of(struct model_vm *vm, uint64_t gfn)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (gfn - vm->slots[i].gfn < vm->slots[i].npages)
			return &vm->slots[i];
	return NULL;
}

static bool ranges_meet(unsigned a, unsigned na, unsigned b, unsigned nb)
{
	return a < b + nb && b < a + na;
}

static bool alive(const struct model_vm *vm)
{
	return vm->vm && (!vm->put || vm->vcpus);
}

static bool related(struct world *w, struct model_mm *mm, unsigned page, unsigned npages)
{
	for (unsigned v = 0; v < VMS; v++) {
		struct model_vm *vm = &w->vms[v];

		if (!alive(vm) || vm->mm != mm)
			continue;
		for (unsigned i = 0; i < SLOTS; i++)
			if (ranges_meet(page, npages, vm->slots[i].page,
					(unsigned)vm->slots[i].npages))
				return true;
	}
	return false;
}

static bool has_vms(struct world *w, struct model_mm *mm)
{
	for (unsigned v = 0; v < VMS; v++)
		if (alive(&w->vms[v]) && w->vms[v].mm == mm)
			return true;
	return false;
}

static bool covered(struct world *w, struct model_mm *mm, unsigned page)
{
	for (unsigned t = 0; t < TOKENS; t++)
		if (w->tokens[t].open && w->tokens[t].mm == mm &&
		    ranges_meet(page, 1, w->tokens[t].page, w->tokens[t].npages))
			return true;
	return false;
}

static bool any_open(struct world *w, struct model_mm *mm)
{
	for (unsigned t = 0; t < TOKENS; t++)
		if (w->tokens[t].open && w->tokens[t].mm == mm)
			return true;
	return false;
}

static char *host_of(struct world *w, struct model_slot *slot, uint64_t gpa)
{
	uint64_t page = slot->page + ((gpa >> S2_PAGE_SHIFT) - slot->gfn);

	CHECK(w->frame_of[page] != HOLE);
	return frames + (size_t)w->frame_of[page] * PAGE + (gpa & (PAGE - 1));
}

/* ---- calls ---- */

/* Whoever is in a fault is out of guest mode already, and goes back by itself. */
static void leave_guest_mode(struct world *w)
{
	if (w->in_fault)
		return;
	for (unsigned i = 0; i < VCPUS; i++) {
		if (w->vcpus[i].inside)
			CHECK(s2_vcpu_exit(w->vcpus[i].vcpu) == 0);
		w->vcpus[i].inside = false;
	}
}

static void call_vm_create(struct world *w)
{
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	unsigned b = byte(w);
	const struct s2_vm_config config = {
		.mmu_lock = b & 2 ? S2_MMU_LOCK_MUTEX : S2_MMU_LOCK_RWLOCK,
		.manual_dirty_protect = b & 4,
		.dirty_initially_set = b & 8,
	};
	struct s2_vm *new = NULL;
	int ret;

	if (vm->vm)
		return;
	leave_guest_mode(w);
	memset(vm, 0, sizeof(*vm));
	vm->mm = &w->mms[b & 1];
	vm->manual = b & 4;
	ret = s2_vm_create(vm->mm->mm, &config, &new);
	if ((b & 12) == 8)
		CHECK(ret == -EINVAL);
	else if (ret == -EDEADLK)
		CHECK(vm->mm->gate != S2_GATE_RANGE && any_open(w, vm->mm));
	else
		CHECK(ret == 0 || (ret == -ENOMEM && w->may_fail));
	vm->vm = ret ? NULL : new;
}

static void call_vm_put(struct world *w)
{
	struct model_vm *vm = &w->vms[pick(w, VMS)];

	if (!vm->vm || vm->put)
		return;
	leave_guest_mode(w);
	vm->put = true;
	s2_vm_put(vm->vm);
	if (!vm->vcpus)
		vm->vm = NULL;
}

static void call_vcpu_create(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	int ret;

	if (vcpu->vcpu || !vm->vm || vm->put)
		return;
	leave_guest_mode(w);
	ret = s2_vcpu_create(vm->vm, NULL, &vcpu->vcpu);
	CHECK(ret == 0 || (ret == -ENOMEM && w->may_fail));
	if (ret) {
		vcpu->vcpu = NULL;
		return;
	}
	vcpu->vm = vm;
	vm->vcpus++;
}

static void destroy_vcpu(struct model_vcpu *vcpu)
{
	CHECK(s2_vcpu_destroy(vcpu->vcpu) == 0);
	if (!--vcpu->vm->vcpus && vcpu->vm->put)
		vcpu->vm->vm = NULL;
	memset(vcpu, 0, sizeof(*vcpu));
}

static void call_vcpu_destroy(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];

	if (!vcpu->vcpu)
		return;
	if (vcpu->inside)
		CHECK(s2_vcpu_destroy(vcpu->vcpu) == -EBUSY);
	leave_guest_mode(w);
	destroy_vcpu(vcpu);
}

static void call_enter_or_exit(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];

	if (!vcpu->vcpu)
		return;
	if (vcpu->inside) {
		CHECK(s2_vcpu_enter(vcpu->vcpu) == -EBUSY);
		CHECK(s2_vcpu_exit(vcpu->vcpu) == 0);
	} else {
		CHECK(s2_vcpu_exit(vcpu->vcpu) == -EPERM);
		CHECK(s2_vcpu_enter(vcpu->vcpu) == 0);
	}
	vcpu->inside = !vcpu->inside;
}

static void call_poll(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];

	if (vcpu->vcpu && vcpu->inside)
		s2_vcpu_poll(vcpu->vcpu);
}

/* A memslot of the model is the library's once the call has succeeded. */
static void set_model(struct model_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	struct model_slot *slot = &vm->slots[mem->slot];

	/* The bits of a memslot that was there may be lost or kept; what must be there is less. */
	for (unsigned i = 0; i < SLOTS; i++)
		memset(vm->slots[i].written, 0, sizeof(vm->slots[i].written));
	slot->npages = mem->memory_size >> S2_PAGE_SHIFT;
	slot->gfn = mem->guest_phys_addr >> S2_PAGE_SHIFT;
	slot->page = (unsigned)((mem->userspace_addr - vm->mm->hva) >> S2_PAGE_SHIFT);
	slot->flags = mem->flags;
	if (!slot->npages)
		memset(slot, 0, sizeof(*slot));
}

/* One of the ways in which KVM refuses a memslot. */
static void spoil(struct kvm_userspace_memory_region *mem, unsigned how)
{
	switch (how) {
	case 0:
		mem->slot |= 0x10000;
		break;
	case 1:
		mem->slot = S2_USER_MEM_SLOTS;
		break;
	case 2:
		mem->flags = 0x80;
		break;
	case 3:
		mem->memory_size += 1;
		break;
	case 4:
		mem->userspace_addr += 8;
		break;
	case 5:
		mem->guest_phys_addr = UINT64_MAX - PAGE + 1;
		mem->memory_size = 2 * PAGE;
		break;
	default:
		mem->userspace_addr = UINT64_MAX - PAGE + 1;
		mem->memory_size = 2 * PAGE;
	}
}

static void call_set_region(struct world *w)
{
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	unsigned b = byte(w), page = pick_page(w), npages = pick_npages(w), gfn = byte(w);
	struct kvm_userspace_memory_region mem = {
		.slot = b % SLOTS,
		.flags = (b & 32 ? KVM_MEM_LOG_DIRTY_PAGES : 0) | (b & 64 ? KVM_MEM_READONLY : 0),
		.memory_size = b & 128 ? 0 : npages * PAGE,
	};
	int ret;

	if (!alive(vm) || vm->put)
		return;
	page = npages > PAGES - page ? PAGES - npages : page;
	mem.userspace_addr = vm->mm->hva + page * PAGE;
	/* The last ones are beyond what four levels reach, which a memslot may be. */
	mem.guest_phys_addr = (gfn < 240 ? gfn * 4 : (UINT64_C(1) << 36) - 248 + gfn) * PAGE;
	leave_guest_mode(w);
	if (gfn == 239) {
		spoil(&mem, b % 7);
		CHECK(s2_vm_set_memory_region(vm->vm, &mem) == -EINVAL);
		return;
	}
	ret = s2_vm_set_memory_region(vm->vm, &mem);
	CHECK(ret <= 0);
	if (ret == -EDEADLK)
		CHECK(any_open(w, vm->mm));
	if (ret == -ENOMEM)
		CHECK(w->may_fail);
	if (ret)
		return;
	vm->mm->updates++;
	set_model(vm, &mem);
}

static void call_start(struct world *w)
{
	struct model_token *token = &w->tokens[pick(w, TOKENS)];
	unsigned b = byte(w), page = pick_page(w), npages = pick_npages(w);
	struct model_mm *mm = &w->mms[b & 1];
	unsigned flags = b & 2 ? S2_NONBLOCK : 0;
	struct s2_mm_stats before, after;
	uint64_t start = mm->hva + page * PAGE;
	bool elided;

	if (token->open)
		return;
	elided = mm->gate != S2_GATE_ALWAYS && !related(w, mm, page, npages) &&
		 !(mm->gate == S2_GATE_RWSEM && flags && has_vms(w, mm));
	CHECK(s2_mm_get_stats(mm->mm, &before) == 0);
	/* Nobody else holds a lock, so one that may not sleep need not. */
	CHECK(s2_invalidate_range_start(mm->mm, &token->inv, start, start + npages * PAGE, flags) == 0);
	CHECK(s2_mm_get_stats(mm->mm, &after) == 0);
	CHECK(w->may_fail || after.elided - before.elided == elided);
	mm->starts++;
	token->mm = mm;
	token->page = page;
	token->npages = npages;
	token->open = true;
}

/* With nothing in flight no count is up: it would cost time, or hang an update of gate count. */
static void check_counts(struct world *w, struct model_mm *mm)
{
	for (unsigned v = 0; v < VMS && !any_open(w, mm); v++) {
		struct model_vm *vm = &w->vms[v];

		if (!alive(vm) || vm->mm != mm)
			continue;
		CHECK(vm->vm->mmu_invalidate_in_progress == 0);
		CHECK(vm->vm->mn_active_invalidate_count == 0);
	}
}

static void end_token(struct world *w, struct model_token *token)
{
	s2_invalidate_range_end(token->mm->mm, &token->inv);
#if !S2_DEBUG_CHECKS
	/* Ignored; a debug build ends the program. */
	s2_invalidate_range_end(token->mm->mm, &token->inv);
#endif
	token->open = false;
	check_counts(w, token->mm);
}

static void call_end(struct world *w)
{
	struct model_token *token = &w->tokens[pick(w, TOKENS)];

	if (token->open)
		end_token(w, token);
}

/* A page is exchanged inside its invalidation, and told of or not. */
static void call_change_pte(struct world *w)
{
	struct model_token *token = &w->tokens[pick(w, TOKENS)];
	unsigned b = byte(w), page, frame;
	struct s2_page new;

	if (!token->open || !token->mm->frames || w->shift != S2_PAGE_SHIFT)
		return;
	page = token->page + b % token->npages;
	frame = byte(w);
	if (page >= PAGES)
		return;
	frame = frame == 255 ? HOLE : frame < 128 ? frame : PAGES + frame % SPARES;
	w->frame_of[page] = (uint16_t)frame;
	if ((b & 128) || frame == HOLE)
		return;
	new = (struct s2_page){
		.addr = frames + frame * PAGE,
		.shift = S2_PAGE_SHIFT,
		.writable = frame & 1,
	};
	CHECK(s2_change_pte(token->mm->mm, &token->inv, token->mm->hva + page * PAGE, &new) == 0);
	CHECK(s2_change_pte(token->mm->mm, &token->inv,
			    token->mm->hva + (token->page + token->npages) * PAGE, &new) == -EINVAL);
}

/* ---- guest accesses ---- */

/*
 * May the access have had this answer? Of a copy that failed half-way nothing is
 * said but that it failed.
 */
static void check_page(struct world *w, struct model_vm *vm, uint64_t gpa, bool store, int ret)
{
	struct model_slot *slot = slot_of(vm, gpa >> S2_PAGE_SHIFT);
	unsigned page;

	if (!slot || gpa >> S2_PAGE_SHIFT >= UINT64_C(1) << 36) {
		CHECK(ret == -ENXIO);
		return;
	}
	if (store && (slot->flags & KVM_MEM_READONLY)) {
		CHECK(ret == -EROFS);
		return;
	}
	page = slot->page + (unsigned)((gpa >> S2_PAGE_SHIFT) - slot->gfn);
	if (covered(w, vm->mm, page)) {
		CHECK(ret == -EDEADLK);
		return;
	}
	if (ret == -EDEADLK)
		CHECK(!vm->mm->exact && any_open(w, vm->mm));
	else if (vm->mm->released)
		CHECK(ret == -EFAULT || (ret == -ENOMEM && w->may_fail));
	else if (ret == -ENOMEM)
		CHECK(w->may_fail);
	else if (vm->mm->frames)
		CHECK(ret == (w->frame_of[page] == HOLE ? -EFAULT : 0));
	if (!ret && store && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		slot->written[page - slot->page] = 1;
}

static void check_bytes(struct world *w, struct model_vm *vm, uint64_t gpa, const void *data,
			size_t len)
{
	const char *bytes = data;

	for (size_t i = 0; vm->mm->frames && i < len; i++)
		CHECK(bytes[i] == *host_of(w, slot_of(vm, (gpa + i) >> S2_PAGE_SHIFT), gpa + i));
}

static int access_guest(struct s2_vcpu *vcpu, uint64_t gpa, unsigned size, bool store, void *data)
{
	uint64_t word = 0;
	int ret;

	memcpy(&word, data, size);
	switch (size) {
	case 1:
		return store ? s2_vcpu_store8(vcpu, gpa, (uint8_t)word) :
			       s2_vcpu_load8(vcpu, gpa, data);
	case 2:
		return store ? s2_vcpu_store16(vcpu, gpa, (uint16_t)word) :
			       s2_vcpu_load16(vcpu, gpa, data);
	case 4:
		return store ? s2_vcpu_store32(vcpu, gpa, (uint32_t)word) :
			       s2_vcpu_load32(vcpu, gpa, data);
	default:
		ret = store ? s2_vcpu_store64(vcpu, gpa, word) : s2_vcpu_load64(vcpu, gpa, data);
		return ret;
	}
}

/* A page's first bytes mostly; across its end sometimes. */
static uint64_t pick_gpa(struct world *w)
{
	unsigned gfn = byte(w), b = byte(w);
	uint64_t page = gfn < 240 ? gfn * 4 + b % 4 : (UINT64_C(1) << 36) - 248 + gfn;

	return page * PAGE + (b < 224 ? (b >> 2) * 4 : PAGE - 256 + b);
}

static void call_access(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];
	unsigned b = byte(w), size = 1u << (b & 3);
	uint64_t gpa = pick_gpa(w), data = b * UINT64_C(0x0101010101010101), last;
	bool store = b & 4;
	int ret;

	if (!vcpu->vcpu)
		return;
	ret = access_guest(vcpu->vcpu, gpa, size, store, &data);
	if (!vcpu->inside) {
		CHECK(ret == -EPERM);
		return;
	}
	last = (gpa + size - 1) >> S2_PAGE_SHIFT << S2_PAGE_SHIFT;
	if (last <= gpa)
		check_page(w, vcpu->vm, gpa, store, ret);
	else if (!ret) {
		check_page(w, vcpu->vm, gpa, store, ret);
		check_page(w, vcpu->vm, last, store, ret);
	}
	if (!ret)
		check_bytes(w, vcpu->vm, gpa, &data, size);
}

static void call_copy(struct world *w)
{
	static char buffer[4 * PAGE];
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];
	unsigned b = byte(w);
	uint64_t gpa = pick_gpa(w);
	size_t len = byte(w) * (b & 8 ? 60 : 1);
	bool store = b & 4;
	int ret;

	if (!vcpu->vcpu)
		return;
	memset(buffer, (int)b, len);
	ret = store ? s2_vcpu_write(vcpu->vcpu, gpa, buffer, len) :
		      s2_vcpu_read(vcpu->vcpu, gpa, buffer, len);
	CHECK(ret <= 0 && (len || !ret));
	if (ret || !len)
		return;
	for (uint64_t at = gpa; at < gpa + len; at = (at | (PAGE - 1)) + 1)
		check_page(w, vcpu->vm, at, store, 0);
	check_bytes(w, vcpu->vm, gpa, buffer, len);
}

/* ---- ages, logs, and the rest ---- */

/* All pages in one call: as the pages that are asked about one by one. */
static void check_young_pages(struct model_mm *mm, uint64_t start, unsigned npages, unsigned page)
{
	uint64_t bits[PAGES / 64], end = start + npages * PAGE;
	bool any = false;
	int ret;

	memset(bits, 0xa5, sizeof(bits));
	ret = s2_test_young_pages(mm->mm, start, end, bits);
	for (unsigned i = 0; i < (npages + 63) / 64; i++)
		any |= bits[i] != 0;
	CHECK(ret == any);
	CHECK(npages % 64 == 0 || !(bits[npages / 64] >> (npages % 64)));
	CHECK(s2_test_young(mm->mm, start + page * PAGE) == (bits[page / 64] >> (page % 64) & 1));
}

static void call_young(struct world *w)
{
	struct model_vcpu *vcpu = &w->vcpus[pick(w, VCPUS)];
	struct model_mm *mm = &w->mms[pick(w, 2)];
	unsigned b = byte(w), page = pick_page(w), npages = pick_npages(w);
	uint64_t start = mm->hva + page * PAGE, value, none[PAGES / 64];

	check_young_pages(mm, start, npages, (b >> 1) % npages);
	if (b & 1)
		s2_clear_young(mm->mm, start, start + npages * PAGE);
	else
		s2_clear_flush_young(mm->mm, start, start + npages * PAGE);
	CHECK(!s2_test_young(mm->mm, start));
	CHECK(s2_test_young_pages(mm->mm, start, start + npages * PAGE, none) == 0);
	w->tlbs_keep_old |= b & 1;
	if (w->tlbs_keep_old || !vcpu->vcpu || !vcpu->inside || vcpu->vm->mm != mm)
		return;
	for (unsigned i = 0; i < SLOTS; i++) {
		struct model_slot *slot = &vcpu->vm->slots[i];

		if (page - slot->page < slot->npages &&
		    !s2_vcpu_load64(vcpu->vcpu, (slot->gfn + page - slot->page) * PAGE, &value))
			CHECK(s2_test_young(mm->mm, start));
	}
}

static void check_log(struct model_vm *vm, struct model_slot *slot, const uint64_t *bits)
{
	for (unsigned page = 0; page < slot->npages; page++) {
		if (slot->written[page])
			CHECK(bits[page / 64] >> (page % 64) & 1);
		if (!vm->manual)
			slot->written[page] = 0;
	}
}

static void call_get_log(struct world *w)
{
	uint64_t bits[PAGES / 64];
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	unsigned id = pick(w, SLOTS + 1);
	struct kvm_dirty_log log = { .slot = id, .dirty_bitmap = bits };
	int ret;

	if (!vm->vm || vm->put)
		return;
	leave_guest_mode(w);
	ret = s2_vm_get_dirty_log(vm->vm, &log);
	if (ret == -EDEADLK || ret == -ENOMEM)
		CHECK(ret == -ENOMEM ? w->may_fail : any_open(w, vm->mm));
	else if (id >= SLOTS || !(vm->slots[id].flags & KVM_MEM_LOG_DIRTY_PAGES))
		CHECK(ret == -ENOENT);
	else
		CHECK(ret == 0);
	if (!ret)
		check_log(vm, &vm->slots[id], bits);
}

static void call_clear_log(struct world *w)
{
	uint64_t bits[PAGES / 64];
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	unsigned id = pick(w, SLOTS), pattern = byte(w), first = 64 * pick(w, 17), b = byte(w);
	struct model_slot *slot = &vm->slots[id];
	struct kvm_clear_dirty_log log = {
		.slot = id,
		.first_page = first,
		.num_pages = b < 250 ? 64 * (b % 17) : slot->npages - first,
		.dirty_bitmap = bits,
	};

	if (!vm->vm || vm->put || log.num_pages > PAGES)
		return;
	leave_guest_mode(w);
	memset(bits, (int)pattern, sizeof(bits));
	if (s2_vm_clear_dirty_log(vm->vm, &log))
		return;
	for (unsigned i = 0; i < log.num_pages && first + i < slot->npages; i++)
		if (bits[i / 64] >> (i % 64) & 1)
			slot->written[first + i] = 0;
}

static void call_look(struct world *w)
{
	struct model_vm *vm = &w->vms[pick(w, VMS)];
	uint64_t gfn = byte(w) * UINT64_C(2), hva = 0;
	struct model_slot *slot;
	struct s2_vm_stats stats;
	int ret;

	if (!vm->vm || vm->put)
		return;
	leave_guest_mode(w);
	slot = slot_of(vm, gfn);
	ret = s2_vm_gfn_to_hva(vm->vm, gfn, &hva);
	CHECK(ret == (slot ? 0 : -ENOENT));
	CHECK(!slot || hva == vm->mm->hva + (slot->page + gfn - slot->gfn) * PAGE);
	CHECK(s2_vm_get_stats(vm->vm, &stats) == 0);
	CHECK(stats.pages_mapped <= SLOTS * PAGES && stats.huge_mapped <= SLOTS * PAGES / 512);
	CHECK(!(s2_vm_memslots_generation(vm->vm) & S2_MEMSLOT_GEN_UPDATE_IN_PROGRESS));
}

static void call_release(struct world *w)
{
	struct model_mm *mm = &w->mms[pick(w, 2)];

	/* Seldom: nothing much happens on an s2_mm afterwards. */
	if (byte(w) != 'r')
		return;
	s2_release(mm->mm);
	mm->released = true;
}

static void call_fail(struct world *w)
{
	unsigned b = byte(w);

	if (b < 128)
		return;
	w->may_fail = true;
	counting_allocator_fail_at(&w->memory, b - 127);
}

/* ---- the process's own pages ---- */

static const int advices[] = { MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_WILLNEED, MADV_COLD, 9999 };
static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, 0x1000000 };

/*
 * Nothing here moves memory out of the arena, or anything else into it. The s2_mm on
 * frames is never told in place of the one that has the pages: for that one's vCPUs
 * it would be a change without notice.
 */
static void call_process(struct world *w)
{
	struct s2_mm *mm = pick(w, 2) ? w->mms[1].mm : NULL;
	unsigned b = byte(w), page = pick_page(w), npages = pick_npages(w), target = pick_page(w);
	char *addr = (char *)(uintptr_t)(ARENA_HVA + page * PAGE);
	char *to = (char *)(uintptr_t)(ARENA_HVA + target * PAGE);
	size_t len;
	void *at;
	int ret;

	npages = npages > PAGES - page ? PAGES - page : npages;
	npages = npages > PAGES - target ? PAGES - target : npages;
	len = npages * PAGE - (b & 128 ? 17 : 0);
	switch (b % 6) {
	case 0:
		ret = s2_munmap(mm, addr, len);
		break;
	case 1:
		ret = s2_mprotect(mm, addr, len, protections[target % 4]);
		break;
	case 2:
		ret = s2_madvise(mm, addr, len, advices[target % 6]);
		break;
	case 3:
		ret = s2_mremap(mm, addr, len, len / (1 + b % 5) + 1, 0, NULL, &at);
		break;
	case 4:
		ret = s2_mremap(mm, addr, b & 64 ? 0 : len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to, &at);
		break;
	default:
		ret = s2_mmap(mm, addr, len, protections[1 + target % 2],
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &at);
	}
	CHECK(mm || ret == -EINVAL);
}

/* ---- what races with a fault ---- */

/* None that access memory, or end a VM or vCPU that may be the one that faults. */
static void (*const calls_in_fault[])(struct world *w) = {
	call_start,   call_end,	     call_change_pte, call_set_region,
	call_get_log, call_clear_log, call_release,
};

static void make_calls_in_fault(struct world *w)
{
	unsigned nr = w->calls_in_fault;

	w->calls_in_fault = 0;
	w->in_fault = true;
	while (nr--)
		calls_in_fault[pick(w, sizeof(calls_in_fault) / sizeof(calls_in_fault[0]))](w);
	w->in_fault = false;
}

/* If the page is there already, nothing races. */
static void call_racing_access(struct world *w)
{
	w->calls_in_fault = 1 + pick(w, 6);
	call_access(w);
	w->calls_in_fault = 0;
}

/* ---- the run ---- */

static void (*const calls[])(struct world *w) = {
	call_vm_create, call_vcpu_create,   call_set_region, call_start,	 call_end,
	call_access,	call_enter_or_exit, call_copy,	     call_change_pte,	 call_set_region,
	call_access,	call_young,	    call_get_log,    call_clear_log,	 call_process,
	call_poll,	call_look,	    call_vm_put,     call_vcpu_destroy,	 call_release,
	call_fail,	call_start,	    call_end,	     call_racing_access,
};

/* Between inaccessible pages, so that nothing grows beyond it. */
static void map_arena(void)
{
	char *begin = (char *)(uintptr_t)ARENA_HVA - PAGE;
	size_t size = PAGES * PAGE;

	CHECK(mmap(begin, size + 2 * PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == begin);
	CHECK(!mprotect(begin + PAGE, size, PROT_READ | PROT_WRITE));
}

static void create_mms(struct world *w)
{
	static const unsigned entries[] = { 0, 0, 1, 2 };
	unsigned gates = byte(w), b = byte(w);

	w->shift = b & 1 ? S2_HUGE_SHIFT : S2_PAGE_SHIFT;
	w->read_only_reads = b & 2;
	for (unsigned i = 0; i < 2; i++) {
		struct model_mm *mm = &w->mms[i];
		const struct s2_mm_config config = {
			.gate = mm->gate = (enum s2_gate)(gates >> (2 * i) & 3),
			.provider = i ? NULL : &frame_ops,
			.provider_ctx = w,
			.allocator = &w->memory.ops,
			.huge_pages = i && (b & 4),
			.inflight_entries = entries[b >> (4 + 2 * i) & 3],
		};

		mm->frames = !i;
		mm->hva = i ? ARENA_HVA : FRAMES_HVA;
		mm->exact = !config.inflight_entries;
		CHECK(s2_mm_create(&config, &mm->mm) == 0);
	}
}

static void begin(struct world *w, const uint8_t *data, size_t size)
{
	memset(w, 0, sizeof(*w));
	w->data = data;
	w->left = size;
	counting_allocator_init(&w->memory);
	for (unsigned i = 0; i < PAGES; i++)
		w->frame_of[i] = (uint16_t)i;
	for (unsigned i = 0; i < PAGES + SPARES; i++)
		if (i < 64 || i >= PAGES)
			memcpy(frames + i * PAGE, &i, sizeof(i));
	map_arena();
	create_mms(w);
}

/* With nothing in flight every page can be had again: no count is left up. */
static void check_balanced(struct world *w)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		struct model_vcpu *vcpu = &w->vcpus[i];

		for (unsigned s = 0; vcpu->vcpu && s < SLOTS; s++) {
			struct model_slot *slot = &vcpu->vm->slots[s];
			char found;
			int ret;

			if (!slot->npages)
				continue;
			ret = s2_vcpu_read(vcpu->vcpu, slot->gfn * PAGE, &found, 1);
			check_page(w, vcpu->vm, slot->gfn * PAGE, false, ret);
		}
	}
}

static void check_stats(struct model_mm *mm)
{
	struct s2_mm_stats stats;

	CHECK(s2_mm_get_stats(mm->mm, &stats) == 0);
	CHECK(stats.invalidations >= mm->starts && stats.elided <= stats.invalidations);
	CHECK(stats.memslot_updates == mm->updates);
	CHECK(stats.nonblock_failed == 0);
	CHECK(!mm->exact || stats.overflows == 0);
	CHECK(mm->gate != S2_GATE_ALWAYS || stats.elided == 0);
}

static void end(struct world *w)
{
	for (unsigned i = 0; i < TOKENS; i++)
		if (w->tokens[i].open)
			end_token(w, &w->tokens[i]);
	leave_guest_mode(w);
	counting_allocator_fail_at(&w->memory, 0);
	check_balanced(w);
	for (unsigned i = 0; i < VCPUS; i++)
		if (w->vcpus[i].vcpu)
			destroy_vcpu(&w->vcpus[i]);
	for (unsigned i = 0; i < VMS; i++)
		if (w->vms[i].vm)
			s2_vm_put(w->vms[i].vm);
	for (unsigned i = 0; i < 2; i++) {
		check_stats(&w->mms[i]);
		s2_mm_put(w->mms[i].mm);
	}
	CHECK(w->memory.blocks == 0 && w->memory.bytes == 0);
	munmap((char *)(uintptr_t)ARENA_HVA - PAGE, (PAGES + 2) * PAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = &the_world;

	begin(w, data, size);
	for (unsigned i = 0; i < MAX_CALLS && w->left; i++)
		calls[pick(w, sizeof(calls) / sizeof(calls[0]))](w);
	end(w);
	return 0;
}
