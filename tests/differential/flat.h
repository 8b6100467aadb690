/* SPDX-License-Identifier: MIT */
/*
 * What the library does, told as simply as can be: a flat array of memslots, a
 * flat array of pages in each, and everything looked up again on every access.
 * No table, no TLB, no index and no lock: calls come one at a time. All of them are
 * by one thread, which therefore gets -EDEADLK where it would wait for itself.
 *
 * Its answers come from the documentation in <stage2/...> and KVM's, not from src/.
 */
#ifndef TESTS_DIFFERENTIAL_FLAT_H
#define TESTS_DIFFERENTIAL_FLAT_H

#include "differential/host.h"
#include "differential/op.h"

#include <stage2/stage2.h>

#define FLAT_SLOTS 16

/* A TLB may hide an access from clear_young(): not everything is known. */
enum flat_young { FLAT_OLD, FLAT_MAY_BE_YOUNG, FLAT_YOUNG };

struct flat_page {
	bool dirty;
	bool cached; /* perhaps in a TLB */
	enum flat_young young;
};

struct flat_slot {
	bool used;
	uint32_t id;
	uint32_t flags;
	uint64_t gfn;
	uint64_t npages;
	uint64_t hva;
	struct flat_page pages[OP_MAX_PAGES];
};

struct flat_vm {
	struct flat_slot slots[FLAT_SLOTS];
	uint64_t generation;
};

struct flat_range {
	bool open;
	uint64_t start;
	uint64_t end;
};

struct flat {
	enum s2_gate gate;
	bool manual;
	bool initially_set;
	bool released;
	uint64_t invalidations;
	uint64_t elided;
	uint64_t updates;
	struct flat_vm vms[OP_VMS];
	struct flat_range ranges[OP_TOKENS];
	struct host host;
};

struct flat_slot *flat_slot_by_id(struct flat *flat, unsigned vm, uint32_t id);
struct flat_slot *flat_slot_of_gfn(struct flat *flat, unsigned vm, uint64_t gfn);
/* Is the page inside an invalidation that is open? */
bool flat_covered(const struct flat *flat, uint64_t hva);
bool flat_any_open(const struct flat *flat);
/* Would another thread than the one that is to end the invalidations wait in this access? */
bool flat_would_wait(struct flat *flat, unsigned vm, uint64_t gpa, unsigned size);

int flat_set_memory_region(struct flat *flat, unsigned vm,
			   const struct kvm_userspace_memory_region *mem);
int flat_start(struct flat *flat, unsigned token, uint64_t start, uint64_t end, unsigned flags);
/* A start() that gave up, and yet may have dropped translations on the way. */
void flat_failed_start(struct flat *flat, uint64_t start, uint64_t end);
void flat_end(struct flat *flat, unsigned token);
int flat_change_pte(struct flat *flat, unsigned token, uint64_t hva, const struct s2_page *page);
int flat_access(struct flat *flat, unsigned vm, uint64_t gpa, unsigned size, bool store,
		uint64_t *value);
int flat_get_dirty_log(struct flat *flat, unsigned vm, const struct kvm_dirty_log *log);
int flat_clear_dirty_log(struct flat *flat, unsigned vm, const struct kvm_clear_dirty_log *log);
enum flat_young flat_clear_young(struct flat *flat, uint64_t start, uint64_t end, bool flush);
enum flat_young flat_test_young(struct flat *flat, uint64_t hva);
void flat_release(struct flat *flat);

#endif /* TESTS_DIFFERENTIAL_FLAT_H */
