/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the notifier share: a world of one s2_mm, one s2_vm and real
 * memory; a runner that gives each test each gate it is meant for; and tasks,
 * threads of which a test can say that they are blocked.
 *
 * Every world has an allocator that counts, and the teardown fails a test that
 * left something behind: the freeing of VMs, memslots and tables is tested by all.
 */
#ifndef TESTS_NOTIFIER_FIXTURE_H
#define TESTS_NOTIFIER_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "memslot/vm.h"
#include "mm/mm.h"
#include <stage2/stage2.h>

#define PAGE S2_PAGE_SIZE

/* The world's memslot 0, and where it is. */
#define GUEST_PAGES 64
#define GUEST_GPA UINT64_C(0x100000)
#define ELSEWHERE_PAGES 16
#define ELSEWHERE_GPA UINT64_C(0x40000000)

/*
 * @memory:    what memslot 0 maps; the page before it and the page behind it are
 *             mapped too, and in no memslot.
 * @elsewhere: mapped, and in no memslot until a test puts it into one.
 * @live:      allocations that have not been freed.
 * @watched:   an allocation whose freeing sets @watched_freed.
 */
struct world {
	enum s2_gate gate;
	struct s2_mm *mm;
	struct s2_vm *vm;
	char *memory;
	char *elsewhere;
	char *mapping;
	struct s2_allocator allocator;
	_Atomic long live;
	void *_Atomic watched;
	_Atomic bool watched_freed;
};

static inline void *world_alloc(void *ctx, size_t size, size_t align)
{
	struct world *w = ctx;
	void *ptr;

	if (posix_memalign(&ptr, align, size))
		return NULL;
	/* Not zero: nobody may rely on it. */
	memset(ptr, 0xa5, size);
	atomic_fetch_add(&w->live, 1);
	return ptr;
}

static inline void world_free(void *ctx, void *ptr)
{
	struct world *w = ctx;

	if (ptr == atomic_load(&w->watched))
		atomic_store(&w->watched_freed, true);
	atomic_fetch_sub(&w->live, 1);
	free(ptr);
}

static inline uint64_t address(const void *ptr)
{
	return (uint64_t)(uintptr_t)ptr;
}

/* The hva and the gpa of a page of memslot 0; -1 and GUEST_PAGES are its neighbours. */
static inline uint64_t hva_of(const struct world *w, int page)
{
	return address(w->memory) + (uint64_t)(int64_t)page * PAGE;
}

static inline uint64_t gpa_of(unsigned page)
{
	return GUEST_GPA + page * PAGE;
}

static inline struct kvm_userspace_memory_region region(unsigned slot, uint64_t gpa,
							const void *hva, unsigned pages)
{
	return (struct kvm_userspace_memory_region){
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = pages * PAGE,
		.userspace_addr = address(hva),
	};
}

static inline struct kvm_userspace_memory_region guest_region(const struct world *w)
{
	return region(0, GUEST_GPA, w->memory, GUEST_PAGES);
}

static inline struct kvm_userspace_memory_region elsewhere_region(const struct world *w)
{
	return region(1, ELSEWHERE_GPA, w->elsewhere, ELSEWHERE_PAGES);
}

static inline int set_region(struct s2_vm *vm, struct kvm_userspace_memory_region mem)
{
	return s2_vm_set_memory_region(vm, &mem);
}

static inline int delete_region(struct s2_vm *vm, unsigned slot)
{
	return set_region(vm, (struct kvm_userspace_memory_region){ .slot = slot });
}

/* A world of the config's gate; the config's allocator is the world's. */
static inline struct world *world_create(struct s2_mm_config config)
{
	size_t size = (GUEST_PAGES + ELSEWHERE_PAGES + 4) * PAGE;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->gate = config.gate;
	w->mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(w->mapping, MAP_FAILED);
	w->memory = w->mapping + PAGE;
	w->elsewhere = w->memory + (GUEST_PAGES + 2) * PAGE;
	w->allocator = (struct s2_allocator){ world_alloc, world_free, w };
	config.allocator = &w->allocator;
	assert_int_equal(s2_mm_create(&config, &w->mm), 0);
	assert_int_equal(s2_vm_create(w->mm, NULL, &w->vm), 0);
	assert_int_equal(set_region(w->vm, guest_region(w)), 0);
	return w;
}

/* Returns how many allocations were left behind. */
static inline long world_destroy(struct world *w)
{
	long left;

	s2_vm_put(w->vm);
	s2_mm_put(w->mm);
	left = atomic_load(&w->live);
	munmap(w->mapping, (GUEST_PAGES + ELSEWHERE_PAGES + 4) * PAGE);
	free(w);
	return left;
}

/* Gates a test is meant for. */
#define RANGE (1u << S2_GATE_RANGE)
#define ALWAYS (1u << S2_GATE_ALWAYS)
#define RWSEM (1u << S2_GATE_RWSEM)
#define COUNT (1u << S2_GATE_COUNT)
#define EVERY_GATE (RANGE | ALWAYS | RWSEM | COUNT)
#define ELIDING (RANGE | RWSEM | COUNT)

struct gated_test {
	const char *name;
	CMUnitTestFunction run;
	unsigned gates;
};

#define GATED(test, gate_mask) { #test, test, gate_mask }

static inline int setup_world(void **state)
{
	struct s2_mm_config config = { .gate = (enum s2_gate)(uintptr_t)*state };

	*state = world_create(config);
	return 0;
}

static inline int teardown_world(void **state)
{
	long left = world_destroy(*state);

	if (left)
		print_error("%ld allocations were never freed\n", left);
	return left ? -1 : 0;
}

/* Each test once for each of its gates, in a new world each time. */
static inline int run_gated(const char *group, const struct gated_test *tests, size_t nr)
{
	struct CMUnitTest *units = calloc(nr * S2_NR_GATES, sizeof(*units));
	size_t n = 0;
	int failed;

	for (size_t i = 0; i < nr; i++) {
		for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
			char *name;

			if (!(tests[i].gates & (1u << gate)))
				continue;
			if (asprintf(&name, "%s [%s]", tests[i].name,
				     s2_gate_name((enum s2_gate)gate)) < 0)
				abort();
			units[n++] = (struct CMUnitTest){
				.name = name,
				.test_func = tests[i].run,
				.setup_func = setup_world,
				.teardown_func = teardown_world,
				.initial_state = (void *)(uintptr_t)gate,
			};
		}
	}
	failed = _cmocka_run_group_tests(group, units, n, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		free((char *)units[i].name);
	free(units);
	return failed;
}

#define RUN_GATED(group, tests) run_gated(group, tests, sizeof(tests) / sizeof((tests)[0]))

/*
 * Gives others time to do what they must not do. Only ever in the direction in
 * which a correct library passes however long, or short, it takes.
 */
static inline void grace(void)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (unsigned i = 0; i < 100; i++) {
		sched_yield();
		nanosleep(&pause, NULL);
	}
}

/* Waits for something that a correct library lets happen. */
#define AWAIT(condition)                                                                           \
	do {                                                                                       \
		while (!(condition))                                                               \
			sched_yield();                                                             \
	} while (0)

/* A thread that a test can ask whether it is through. */
struct task {
	pthread_t thread;
	void (*run)(void *arg);
	void *arg;
	_Atomic pid_t tid;
	_Atomic bool done;
};

static inline void *task_main(void *arg)
{
	struct task *task = arg;

	atomic_store(&task->tid, gettid());
	task->run(task->arg);
	atomic_store(&task->done, true);
	return NULL;
}

static inline void task_start(struct task *task, void (*run)(void *arg), void *arg)
{
	task->run = run;
	task->arg = arg;
	atomic_store(&task->tid, 0);
	atomic_store(&task->done, false);
	assert_int_equal(pthread_create(&task->thread, NULL, task_main, task), 0);
}

static inline void task_join(struct task *task)
{
	assert_int_equal(pthread_join(task->thread, NULL), 0);
}

static inline bool task_blocked(struct task *task)
{
	grace();
	return !atomic_load(&task->done);
}

/* A memslot update on a thread of its own. */
struct update {
	struct task task;
	struct s2_vm *vm;
	struct kvm_userspace_memory_region mem;
	int ret;
};

static inline void update_run(void *arg)
{
	struct update *up = arg;

	up->ret = s2_vm_set_memory_region(up->vm, &up->mem);
}

static inline void update_start(struct update *up, struct s2_vm *vm,
				struct kvm_userspace_memory_region mem)
{
	up->vm = vm;
	up->mem = mem;
	task_start(&up->task, update_run, up);
}

/* Does the kernel say that the thread sleeps? */
static inline bool task_asleep(struct task *task)
{
	char path[64], line[512], *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)atomic_load(&task->tid));
	file = fopen(path, "r");
	if (!file)
		return false;
	state = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return state && state[1] == ' ' && state[2] == 'S';
}

static inline bool somebody_queues(struct s2_rwsem *sem)
{
	bool queue;

	s2_spin_lock(&sem->wait_lock);
	queue = sem->first;
	s2_spin_unlock(&sem->wait_lock);
	return queue;
}

/* Is the update past everything that comes before its wait? */
static inline bool update_reached_its_wait(struct update *up)
{
	struct s2_vm *vm = up->vm;
	uint64_t start = up->mem.userspace_addr;

	switch (vm->mm->gate_kind) {
	case S2_GATE_RANGE:
		return s2_itree_overlaps(atomic_load(&vm->mm->hva_root), start,
					 start + up->mem.memory_size);
	case S2_GATE_RWSEM:
		return somebody_queues(&vm->mmu_notifier_slots_lock);
	case S2_GATE_COUNT:
		return atomic_load(&vm->mn_memslots_update_rcuwait);
	default:
		return false;
	}
}

/* Waits until the update is through, or sleeps in the gate; then stays it there? */
static inline bool update_blocked(struct update *up)
{
	AWAIT(atomic_load(&up->task.done) ||
	      (update_reached_its_wait(up) && task_asleep(&up->task)));
	return task_blocked(&up->task);
}

static inline int update_finish(struct update *up)
{
	task_join(&up->task);
	return up->ret;
}

/*
 * A vCPU's thread: enters, loads, and then stays in guest mode without a safepoint
 * until it is told to poll; from then on it polls until it is told to leave.
 */
struct guest {
	struct task task;
	struct s2_vcpu *vcpu;
	uint64_t gpa;
	bool writes;
	uint64_t value; /* what it loaded first */
	int ret;
	_Atomic int reached; /* 1: has loaded, 2: has polled */
	_Atomic int wanted;
};

static inline void guest_run(void *arg)
{
	struct guest *g = arg;

	s2_vcpu_enter(g->vcpu);
	g->ret = s2_vcpu_load64(g->vcpu, g->gpa, &g->value);
	if (!g->ret && g->writes)
		g->ret = s2_vcpu_store64(g->vcpu, g->gpa, g->value + 1);
	atomic_store(&g->reached, 1);
	AWAIT(atomic_load(&g->wanted) >= 2);
	s2_vcpu_poll(g->vcpu);
	atomic_store(&g->reached, 2);
	while (atomic_load(&g->wanted) < 3) {
		s2_vcpu_poll(g->vcpu);
		sched_yield();
	}
	s2_vcpu_exit(g->vcpu);
}

/* Returns when the vCPU has loaded, and sits in guest mode. */
static inline void guest_start(struct guest *g, struct s2_vm *vm, uint64_t gpa)
{
	g->gpa = gpa;
	assert_int_equal(s2_vcpu_create(vm, NULL, &g->vcpu), 0);
	task_start(&g->task, guest_run, g);
	AWAIT(atomic_load(&g->reached) == 1);
	assert_int_equal(g->ret, 0);
}

static inline void guest_poll(struct guest *g)
{
	atomic_store(&g->wanted, 2);
	AWAIT(atomic_load(&g->reached) == 2);
}

static inline void guest_finish(struct guest *g)
{
	atomic_store(&g->wanted, 3);
	task_join(&g->task);
	assert_int_equal(s2_vcpu_destroy(g->vcpu), 0);
}

/* One guest load on a thread of its own, from outside guest mode and back. */
struct load {
	struct task task;
	struct s2_vcpu *vcpu;
	uint64_t gpa;
	uint64_t value;
	int ret;
};

static inline void load_run(void *arg)
{
	struct load *load = arg;

	load->ret = s2_vcpu_read(load->vcpu, load->gpa, &load->value, sizeof(load->value));
}

static inline void load_start(struct load *load, struct s2_vm *vm, uint64_t gpa)
{
	load->gpa = gpa;
	assert_int_equal(s2_vcpu_create(vm, NULL, &load->vcpu), 0);
	task_start(&load->task, load_run, load);
}

static inline void load_finish(struct load *load)
{
	task_join(&load->task);
	assert_int_equal(load->ret, 0);
	assert_int_equal(s2_vcpu_destroy(load->vcpu), 0);
}

/* The guest's view of 8 bytes, by a vCPU made for it. */
static inline uint64_t guest_read(struct s2_vm *vm, uint64_t gpa)
{
	struct s2_vcpu *vcpu;
	uint64_t value = 0;

	assert_int_equal(s2_vcpu_create(vm, NULL, &vcpu), 0);
	assert_int_equal(s2_vcpu_read(vcpu, gpa, &value, sizeof(value)), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	return value;
}

/* Maps the first @pages pages of memslot 0 in the VM's stage-2 table. */
static inline void map_pages(struct world *w, unsigned pages)
{
	for (unsigned page = 0; page < pages; page++)
		(void)guest_read(w->vm, gpa_of(page));
}

/* Holds a VM's mmu_lock for write on a thread of its own. */
struct mmu_lock_holder {
	struct task task;
	struct s2_vm *vm;
	_Atomic bool holds;
	_Atomic bool drop;
};

static inline void mmu_lock_holder_run(void *arg)
{
	struct mmu_lock_holder *holder = arg;

	s2_write_lock(&holder->vm->mmu_lock);
	atomic_store(&holder->holds, true);
	AWAIT(atomic_load(&holder->drop));
	s2_write_unlock(&holder->vm->mmu_lock);
}

static inline void mmu_lock_hold(struct mmu_lock_holder *holder, struct s2_vm *vm)
{
	holder->vm = vm;
	task_start(&holder->task, mmu_lock_holder_run, holder);
	AWAIT(atomic_load(&holder->holds));
}

static inline void mmu_lock_drop(struct mmu_lock_holder *holder)
{
	atomic_store(&holder->drop, true);
	task_join(&holder->task);
}

static inline int start_pages(struct world *w, struct s2_invalidation *inv, int first, int nr,
			      unsigned flags)
{
	return s2_invalidate_range_start(w->mm, inv, hva_of(w, first), hva_of(w, first + nr),
					 flags);
}

static inline int start_elsewhere(struct world *w, struct s2_invalidation *inv, unsigned flags)
{
	uint64_t start = address(w->elsewhere);

	return s2_invalidate_range_start(w->mm, inv, start, start + ELSEWHERE_PAGES * PAGE, flags);
}

static inline void end_pair(struct world *w, struct s2_invalidation *inv)
{
	s2_invalidate_range_end(w->mm, inv);
}

static inline uint64_t in_progress(struct s2_vm *vm)
{
	return atomic_load(&vm->mmu_invalidate_in_progress);
}

static inline uint32_t sequence(struct s2_vm *vm)
{
	return atomic_load(&vm->mmu_invalidate_seq);
}

static inline struct s2_mm_stats stats_of(struct world *w)
{
	struct s2_mm_stats stats;

	assert_int_equal(s2_mm_get_stats(w->mm, &stats), 0);
	return stats;
}

static inline uint64_t pages_mapped(struct s2_vm *vm)
{
	struct s2_vm_stats stats;

	assert_int_equal(s2_vm_get_stats(vm, &stats), 0);
	return stats.pages_mapped;
}

/* Another page at the same address, with @value in its first 8 bytes; the caller brackets it. */
static inline void replace_page(void *at, uint64_t value)
{
	void *new = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0);

	assert_ptr_equal(new, at);
	*(uint64_t *)at = value;
}

#endif /* TESTS_NOTIFIER_FIXTURE_H */
