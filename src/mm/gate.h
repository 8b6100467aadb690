/* SPDX-License-Identifier: MIT */
/*
 * What a gate has to say, and where it is asked. Each gate is one file of
 * src/notifier/, gate_*.c; the notifier and the memslot updates know it only
 * through this.
 */
#ifndef S2_MM_GATE_H
#define S2_MM_GATE_H

#include <stage2/notifier.h>
#include <stdbool.h>
#include <stdint.h>

struct s2_vm;

/* For whose end() a memslot update may wait, and so for whom a thread must not be waiting itself. */
enum s2_update_waits {
	S2_WAITS_FOR_NOBODY,
	S2_WAITS_FOR_OVERLAPPING, /* when it adds or moves a memslot */
	S2_WAITS_FOR_ALL,
};

/*
 * @shared_index: one hva index serves all VMs of the s2_mm, and there is nothing
 *                to do per VM; vm_begin and vm_end are then not called.
 * @elides:       start() may get by without mmu_lock.
 * @must_lock:    takes mmu_lock of every VM without looking, given start()'s flags:
 *                kvm_hva_range's must_lock.
 * @vm_begin:     start()'s part for one VM, before its memslots are looked at.
 * @vm_end:       end()'s part for one VM, after its memslots were looked at; also
 *                undoes vm_begin.
 * @swap_begin:   before memslots are swapped, with slots_lock held; may sleep.
 * @swap_end:     after.
 * @wait:         between the publication of a new or moved memslot in the hva
 *                index and that in the gfn index: waits for the invalidations
 *                that may not have seen the first.
 */
struct s2_gate_ops {
	const char *name;
	bool shared_index;
	bool elides;
	enum s2_update_waits waits;
	bool (*must_lock)(unsigned flags);
	void (*vm_begin)(struct s2_vm *vm, unsigned flags);
	void (*vm_end)(struct s2_vm *vm, unsigned flags);
	void (*swap_begin)(struct s2_vm *vm);
	void (*swap_end)(struct s2_vm *vm);
	void (*wait)(struct s2_vm *vm, uint64_t hva_start, uint64_t hva_end);
};

extern const struct s2_gate_ops s2_gate_range;
extern const struct s2_gate_ops s2_gate_always;
extern const struct s2_gate_ops s2_gate_rwsem;
extern const struct s2_gate_ops s2_gate_count;

#endif /* S2_MM_GATE_H */
