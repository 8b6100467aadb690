/* SPDX-License-Identifier: MIT */
/*
 * What the threads of a torture run share, and their bodies. Internal to torture*.c.
 */
#ifndef STAGE2_TOOLS_TORTURE_WORK_H
#define STAGE2_TOOLS_TORTURE_WORK_H

#include "torture.h"
#include "torture_watchdog.h"

#include <pthread.h>

/* gcc defines the one, clang has the other. */
#if defined(__SANITIZE_THREAD__)
#define TORTURE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TORTURE_THREAD_SANITIZER 1
#endif
#endif
#ifndef TORTURE_THREAD_SANITIZER
#define TORTURE_THREAD_SANITIZER 0
#endif

/* Of each VM and updater; slot 0 belongs to the first updater as well, and always stays. */
#define SLOTS_PER_UPDATER 2u

/*
 * Where a memslot is, in one word, so that a vCPU that finds the same word before and after an
 * access knows that it did not change meanwhile: flags, the window it shows and, above, a count
 * that changes with each update.
 */
#define SLOT_PRESENT 1u
#define SLOT_UPDATING 2u /* it may be as before or as after */
#define SLOT_SECOND 4u	 /* at the second of its two places in guest space */
#define SLOT_READONLY 8u
#define SLOT_WINDOW_SHIFT 4
#define SLOT_COUNT_SHIFT 16

static inline unsigned int slot_window(uint64_t where)
{
	return (unsigned int)(where >> SLOT_WINDOW_SHIFT) % ARENA_WINDOWS;
}

/* The slot has two places in guest space, one window each. */
static inline uint64_t slot_gpa(unsigned int id, bool second)
{
	return (2u * id + second) * ARENA_WINDOW_PAGES * S2_PAGE_SIZE;
}

/*
 * @log:     0: no dirty log; odd: it is being read; else the number of the log being written.
 * @written: for each page, the last log in which a store to it is known to have been completed.
 * The rest is the updater's.
 */
struct torture_slot {
	uint64_t where;
	uint64_t log;
	uint64_t written[ARENA_WINDOW_PAGES];
	uint64_t last_log;
};

struct torture_vm {
	struct s2_vm *vm;
	struct s2_vm_config config;
	unsigned int index;
	unsigned int nr_slots;
	struct torture_slot *slots;
};

/* An invalidation, and what of: it does not say itself. */
struct torture_pair {
	struct s2_invalidation inv;
	uint64_t start;
	uint64_t end;
};

/* An open invalidation on offer to whoever wants to end it. */
struct torture_handover {
	struct torture_pair pair;
	uint64_t full;
};

struct torture_worker {
	struct watch_record watch;
	struct torture *torture;
	void (*body)(struct torture_worker *worker);
	pthread_t thread;
	unsigned int index; /* among its kind */
	uint64_t random;
	struct torture_vm *vm; /* a vCPU's */
	struct torture_pool_guest *guest; /* the same of a pool's */
	struct s2_vcpu *vcpu;
	struct s2_window *window; /* or this, instead */
	uint64_t counts[TORTURE_NR_COUNTS];
};

struct torture {
	struct torture_options options;
	const struct torture_kind *kind;
	struct s2_mm *mm;
	struct torture_pool *pool;
	struct torture_arena arena;
	struct torture_vm *vms;
	struct torture_handover *handovers; /* one for each related thread */
	struct torture_worker *workers;
	struct watch_record **records;
	unsigned int nr_workers;
	uint64_t stop;
	int64_t error; /* of the first thread that could not go on */
	uint64_t violations[TORTURE_NR_VIOLATIONS];
	pthread_mutex_t examples_lock;
	unsigned int nr_examples;
	char examples[TORTURE_EXAMPLES][160];
};

/*
 * What providers differ in. The first two may fail.
 *
 * @create:  memory, s2_mm, VMs, and the workers by torture_add_worker(), of which it has asked
 *           for enough.
 * @check_the_end: when all workers are done.
 * @fill_counts: those that the workers do not count. May be called in a deadlock.
 * @destroy: all that create() may have made, and the s2_mm.
 */
struct torture_kind {
	int (*create)(struct torture *torture);
	void (*check_the_end)(struct torture *torture);
	void (*fill_counts)(struct torture *torture, uint64_t counts[TORTURE_NR_COUNTS]);
	void (*destroy)(struct torture *torture);
};

extern const struct torture_kind torture_pool_kind;

/* Room for @nr, of which the first, the main thread, is added. */
int torture_alloc_workers(struct torture *torture, unsigned int nr);
struct torture_worker *torture_add_worker(struct torture *torture, const char *kind,
					  unsigned int index,
					  void (*body)(struct torture_worker *));

/* The next random number (splitmix64: any seed will do). */
uint64_t torture_random(uint64_t *state);

static inline unsigned int pick(struct torture_worker *w, unsigned int below)
{
	return (unsigned int)(torture_random(&w->random) >> 32) % below;
}

static inline bool percent(struct torture_worker *w, unsigned int chance)
{
	return pick(w, 100) < chance;
}

static inline bool stopped(const struct torture *torture)
{
	return __atomic_load_n(&torture->stop, __ATOMIC_RELAXED);
}

/* Only the worker writes its counts, but the watchdog may read them. */
static inline void count(struct torture_worker *w, enum torture_count which, uint64_t by)
{
	__atomic_store_n(&w->counts[which], w->counts[which] + by, __ATOMIC_RELAXED);
}

void torture_violation(struct torture_worker *w, enum torture_violation kind, const char *format,
		       ...) __attribute__((format(printf, 3, 4)));
/* A system call or an allocation failed, which is nobody's violation: the run ends. */
void torture_give_up(struct torture_worker *w, int error);

/*
 * For who looks at something, and then whether it was still to be seen: the first look is a
 * load, which must not come after the second. ThreadSanitizer knows no fences, and runs on x86
 * only, where loads stay in order.
 */
static inline void torture_look_again(void)
{
#if TORTURE_THREAD_SANITIZER
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* A random while of @longest_us at most: running, since short sleeps are not short. */
void torture_spin(struct torture_worker *w, unsigned int longest_us);
/* What threads do between two operations, so that now and then nothing is in flight. */
void torture_pause(struct torture_worker *w);

/* torture_vcpu.c: the body of a vCPU thread, and one access of @w->vcpu to @slot of @vm. */
void torture_vcpu(struct torture_worker *w);
void torture_access(struct torture_worker *w, unsigned int slot);
void torture_publish_vcpu_stats(struct torture_worker *w, struct s2_vcpu_stats *before);
/* Loads from each page of slot 0, at the end: a count that was not dropped shows up here. */
void torture_final_check(struct torture_worker *w);

/* torture_churn.c */
void torture_unrelated(struct torture_worker *w);
void torture_related(struct torture_worker *w);
void torture_end_handovers(struct torture_worker *w);
/* start and end with counting, watch record and checks; false if there is no pair to end. */
bool torture_start(struct torture_worker *w, struct torture_pair *pair, uint64_t start,
		   uint64_t end, unsigned int flags);
void torture_end(struct torture_worker *w, struct torture_pair *pair);

/* torture_slots.c: updaters, the VM that comes and goes, and how a VM begins. */
void torture_updater(struct torture_worker *w);
void torture_visitor(struct torture_worker *w);
int torture_create_slot(struct torture_worker *w, struct torture_vm *vm, unsigned int id);
/* Announces @where as what is being changed to (@flag: SLOT_UPDATING), or as what is. */
void torture_announce(struct torture_slot *slot, uint64_t where, uint64_t flag);
/* s2_vm_set_memory_region(), watched and counted, and a violation if it fails. */
int torture_set_region(struct torture_worker *w, struct s2_vm *vm, unsigned int vm_index,
		       const struct kvm_userspace_memory_region *region);

#endif
