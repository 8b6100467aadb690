/* SPDX-License-Identifier: MIT */
/*
 * The updaters of the torture test: threads that create, move, re-flag and delete memslots and
 * read their dirty logs. Each has slots of its own in each VM, which no other thread changes.
 * And the visitor: a VM that comes and goes while invalidations are in flight.
 */
#include "torture_work.h"

#include "clock.h"

#include <errno.h>
#include <inttypes.h>

int torture_set_region(struct torture_worker *w, struct s2_vm *vm, unsigned int vm_index,
		       const struct kvm_userspace_memory_region *region)
{
	uint64_t before = clock_ns(), ns;
	int error;

	watch_now(&w->watch, WATCH_UPDATE, region->slot, vm_index);
	error = s2_vm_set_memory_region(vm, region);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	ns = clock_ns() - before;
	if (ns > w->counts[TORTURE_UPDATER_MAX_WAIT_NS])
		count(w, TORTURE_UPDATER_MAX_WAIT_NS, ns - w->counts[TORTURE_UPDATER_MAX_WAIT_NS]);
	if (error)
		torture_violation(w, TORTURE_BAD_ERROR, "update of slot %u of VM %u failed with %d",
				  region->slot, vm_index, -error);
	else
		count(w, TORTURE_MEMSLOT_UPDATES, 1);
	return error;
}

static int set_region(struct torture_worker *w, const struct torture_vm *vm, unsigned int id,
		      uint64_t where, uint32_t flags, bool remove)
{
	unsigned int page = slot_window(where) * ARENA_WINDOW_PAGES;
	const struct kvm_userspace_memory_region region = {
		.slot = id,
		.flags = flags | (where & SLOT_READONLY ? KVM_MEM_READONLY : 0),
		.guest_phys_addr = slot_gpa(id, where & SLOT_SECOND),
		.memory_size = remove ? 0 : ARENA_WINDOW_PAGES * S2_PAGE_SIZE,
		.userspace_addr = torture_arena_hva(&w->torture->arena, page),
	};

	return torture_set_region(w, vm->vm, vm->index, &region);
}

void torture_announce(struct torture_slot *slot, uint64_t where, uint64_t flag)
{
	uint64_t nr = (slot->where >> SLOT_COUNT_SHIFT) + 1;

	where &= (UINT64_C(1) << SLOT_COUNT_SHIFT) - 1 - SLOT_UPDATING;
	/* Before an update a full fence must follow, which its first atomic operations are. */
	__atomic_store_n(&slot->where, where | flag | nr << SLOT_COUNT_SHIFT, __ATOMIC_SEQ_CST);
}

/* 0 while there is no log. Begins a new one, in which the vCPUs' stores count from now on. */
static void set_log(struct torture_slot *slot, bool on)
{
	slot->last_log += 2;
	__atomic_store_n(&slot->log, on ? slot->last_log : 0, __ATOMIC_RELEASE);
}

static uint32_t log_flag(const struct torture_slot *slot)
{
	return slot->log ? KVM_MEM_LOG_DIRTY_PAGES : 0;
}

int torture_create_slot(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	struct torture_slot *slot = &vm->slots[id];
	uint64_t where = SLOT_PRESENT | (uint64_t)pick(w, ARENA_WINDOWS) << SLOT_WINDOW_SHIFT;
	bool log = percent(w, 30);
	int error;

	if (id && percent(w, 50))
		where |= SLOT_SECOND;
	if (id && percent(w, 10))
		where |= SLOT_READONLY;
	torture_announce(slot, where, SLOT_UPDATING);
	error = set_region(w, vm, id, where, log ? KVM_MEM_LOG_DIRTY_PAGES : 0, false);
	torture_announce(slot, error ? 0 : where, 0);
	if (!error)
		set_log(slot, log);
	return error;
}

static void delete_slot(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	struct torture_slot *slot = &vm->slots[id];
	uint64_t where = slot->where;

	set_log(slot, false);
	torture_announce(slot, where, SLOT_UPDATING);
	if (w->torture->options.breaks & TORTURE_BREAK_DELETES) {
		torture_announce(slot, where & ~(uint64_t)SLOT_PRESENT, 0);
		torture_spin(w, 500);
		torture_announce(slot, where, 0);
	} else if (!set_region(w, vm, id, where, 0, true)) {
		torture_announce(slot, where & ~(uint64_t)SLOT_PRESENT, 0);
	}
}

/* The dirty log moves along. */
static void move_slot(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	struct torture_slot *slot = &vm->slots[id];
	uint64_t where = slot->where ^ SLOT_SECOND;

	torture_announce(slot, where, SLOT_UPDATING);
	if (set_region(w, vm, id, where, log_flag(slot), false))
		where ^= SLOT_SECOND;
	torture_announce(slot, where, 0);
}

/* Only flags change, so that vCPUs go on as if nothing was, and are checked as ever. */
static void reflag_slot(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	struct torture_slot *slot = &vm->slots[id];
	bool log = !slot->log;

	set_log(slot, false);
	if (!set_region(w, vm, id, slot->where, log ? KVM_MEM_LOG_DIRTY_PAGES : 0, false))
		set_log(slot, log);
}

static void check_log(struct torture_worker *w, const struct torture_vm *vm, unsigned int id,
		      const bool *expected, uint64_t bits)
{
	if (w->torture->options.breaks & TORTURE_BREAK_DIRTY_LOG)
		bits = 0;
	for (unsigned int i = 0; i < ARENA_WINDOW_PAGES; i++)
		if (expected[i] && !(bits >> i & 1))
			torture_violation(w, TORTURE_DIRTY_LOST,
					  "page %u of slot %u of VM %u, window %u", i, id,
					  vm->index, slot_window(vm->slots[id].where));
}

static int read_log(const struct torture_vm *vm, unsigned int id, uint64_t *bits)
{
	struct kvm_dirty_log get = { .slot = id, .dirty_bitmap = bits };
	struct kvm_clear_dirty_log clear = {
		.slot = id,
		.num_pages = ARENA_WINDOW_PAGES,
		.dirty_bitmap = bits,
	};
	int error = s2_vm_get_dirty_log(vm->vm, &get);

	if (!error && vm->config.manual_dirty_protect)
		error = s2_vm_clear_dirty_log(vm->vm, &clear);
	return error;
}

static void read_dirty_log(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	struct torture_slot *slot = &vm->slots[id];
	bool expected[ARENA_WINDOW_PAGES];
	uint64_t bits = 0;
	int error;

	for (unsigned int i = 0; i < ARENA_WINDOW_PAGES; i++)
		expected[i] = __atomic_load_n(&slot->written[i], __ATOMIC_ACQUIRE) == slot->log;
	__atomic_store_n(&slot->log, slot->log | 1, __ATOMIC_SEQ_CST);
	watch_now(&w->watch, WATCH_DIRTY_LOG, id, vm->index);
	error = read_log(vm, id, &bits);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	if (error)
		torture_violation(w, TORTURE_BAD_ERROR, "dirty log of slot %u of VM %u: %d", id,
				  vm->index, -error);
	else
		check_log(w, vm, id, expected, bits);
	count(w, TORTURE_DIRTY_LOGS, 1);
	set_log(slot, true);
}

static void update(struct torture_worker *w, struct torture_vm *vm, unsigned int id)
{
	const struct torture_slot *slot = &vm->slots[id];
	unsigned int chance = pick(w, 100);

	if (!(slot->where & SLOT_PRESENT))
		torture_create_slot(w, vm, id);
	else if (chance < 25 && id)
		delete_slot(w, vm, id);
	else if (chance < 50 && id)
		move_slot(w, vm, id);
	else if (chance < 65 || !slot->log)
		reflag_slot(w, vm, id);
	else
		read_dirty_log(w, vm, id);
}

void torture_updater(struct torture_worker *w)
{
	while (!stopped(w->torture)) {
		struct torture_vm *vm = &w->torture->vms[pick(w, w->torture->options.vms)];
		unsigned int id = pick(w, SLOTS_PER_UPDATER + !w->index);

		update(w, vm, id < SLOTS_PER_UPDATER ? 1 + w->index * SLOTS_PER_UPDATER + id : 0);
		torture_pause(w);
	}
}

/* One life of a VM; it ends while an invalidation of its memory is in flight. */
static int visit(struct torture_worker *w, struct torture_vm *vm)
{
	uint64_t start = torture_arena_hva(&w->torture->arena, pick(w, ARENA_PAGES - 32));
	struct s2_vcpu_stats stats = { 0 };
	struct torture_pair pair;
	bool open;
	int error;

	watch_now(&w->watch, WATCH_VM_CREATE, 0, 0);
	error = s2_vm_create(w->torture->mm, &vm->config, &vm->vm);
	if (error)
		return error;
	error = torture_create_slot(w, vm, 0);
	if (!error)
		error = s2_vcpu_create(vm->vm, NULL, &w->vcpu);
	if (!error) {
		s2_vcpu_enter(w->vcpu);
		for (unsigned int i = pick(w, 64); i; i--) {
			torture_access(w, 0);
			s2_vcpu_poll(w->vcpu);
		}
		s2_vcpu_exit(w->vcpu);
		torture_publish_vcpu_stats(w, &stats);
		count(w, TORTURE_VMS_CREATED, 1);
	}
	open = percent(w, 80) && torture_start(w, &pair, start, start + 32 * S2_PAGE_SIZE, 0);
	watch_now(&w->watch, WATCH_VM_PUT, 0, 0);
	s2_vm_put(vm->vm);
	vm->vm = NULL;
	if (!error)
		s2_vcpu_destroy(w->vcpu);
	torture_announce(&vm->slots[0], 0, 0);
	if (open)
		torture_end(w, &pair);
	return error;
}

void torture_visitor(struct torture_worker *w)
{
	struct torture_vm *vm = w->vm;
	int error = 0;

	while (!error && !stopped(w->torture)) {
		vm->config.mmu_lock = percent(w, 50) ? S2_MMU_LOCK_MUTEX : S2_MMU_LOCK_RWLOCK;
		error = visit(w, vm);
		torture_pause(w);
	}
	if (error)
		torture_give_up(w, error);
}
