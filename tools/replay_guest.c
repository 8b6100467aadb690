/* SPDX-License-Identifier: MIT */
/*
 * Each vCPU leaves guest mode every BATCH accesses, as a real one does for its exits, and yields
 * there: on a machine with fewer cores than vCPUs the replayed threads would otherwise wait for
 * the scheduler, not for the library.
 */
#include "replay_guest.h"

#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "shape.h"

#define BATCH 256
#define STACK_SIZE (256u << 10)

/* The pages of a memslot that are in the arena's working set. */
struct target {
	uint64_t first_gpa;
	uint64_t step;
	uint64_t pages;
};

struct guest_vcpu {
	struct guest *guest;
	struct s2_vcpu *vcpu;
	pthread_t thread;
	uint64_t random;
	uint64_t version; /* of the shape that the targets are from */
	struct target *targets;
	size_t nr_targets;
	uint64_t faults;
	struct guest_stats stats;
};

struct guest {
	const struct arena *arena;
	pthread_mutex_t lock; /* of shape and of what waits for it */
	pthread_cond_t changed;
	struct shape shape;
	atomic_uint_fast64_t version; /* raised, under the lock, when shape or stop changes */
	bool stop;
	unsigned int nr_vcpus;
	struct guest_vcpu vcpu[];
};

static uint64_t next_random(struct guest_vcpu *v)
{
	v->random ^= v->random << 13;
	v->random ^= v->random >> 7;
	v->random ^= v->random << 17;
	return v->random;
}

static bool target_of(const struct guest *guest, const struct kvm_userspace_memory_region *slot,
		      struct target *target)
{
	uint64_t phase, pages = slot->memory_size >> S2_PAGE_SHIFT;
	uint64_t stride = arena_stride(guest->arena, slot->userspace_addr, &phase);
	uint64_t first;

	if (!stride)
		return false;
	first = phase ? stride - phase : 0;
	if (first >= pages)
		return false;
	*target = (struct target){ .first_gpa = slot->guest_phys_addr + (first << S2_PAGE_SHIFT),
				   .step = stride << S2_PAGE_SHIFT,
				   .pages = (pages - first - 1) / stride + 1 };
	return true;
}

/* Called with the lock held. */
static void find_targets(struct guest_vcpu *v)
{
	struct guest *guest = v->guest;
	struct target *targets =
		reallocarray(v->targets, guest->shape.nr_slots + 1, sizeof(*targets));

	v->version = atomic_load_explicit(&guest->version, memory_order_relaxed);
	v->nr_targets = 0;
	if (!targets) {
		v->stats.error = -ENOMEM;
		return;
	}
	v->targets = targets;
	for (size_t i = 0; i < guest->shape.nr_slots; i++)
		v->nr_targets += target_of(guest, &guest->shape.slots[i], &targets[v->nr_targets]);
}

/* Out of guest mode. False when the vCPU is to stop. */
static bool wait_for_memory(struct guest_vcpu *v)
{
	struct guest *guest = v->guest;
	bool stop;

	pthread_mutex_lock(&guest->lock);
	find_targets(v);
	while (!guest->stop && !v->nr_targets) {
		pthread_cond_wait(&guest->changed, &guest->lock);
		find_targets(v);
	}
	stop = guest->stop;
	pthread_mutex_unlock(&guest->lock);
	return !stop;
}

static void access_memory(struct guest_vcpu *v)
{
	uint64_t random = next_random(v), value;
	const struct target *target = &v->targets[random % v->nr_targets];
	uint64_t page = next_random(v) % target->pages;
	uint64_t gpa = target->first_gpa + page * target->step + ((random >> 32) & 0xff8);
	uint64_t before = clock_ns(), after;
	struct s2_vcpu_stats stats;
	int error;

	/* One in four is a store. */
	if (random >> 62)
		error = s2_vcpu_load64(v->vcpu, gpa, &value);
	else
		error = s2_vcpu_store64(v->vcpu, gpa, random);
	after = clock_ns();
	v->stats.accesses++;
	if (s2_is_mmio(error)) {
		v->stats.mmio++;
	} else if (error && !v->stats.error) {
		v->stats.error = error;
		v->stats.error_gpa = gpa;
	}
	/* Whether it faulted is the library's to say: a slow hit is not a fault. */
	s2_vcpu_get_stats(v->vcpu, &stats);
	if (stats.faults != v->faults && !error)
		latency_add(&v->stats.fault_ns, after - before);
	v->faults = stats.faults;
}

/* Until the memslots change. */
static void run_guest(struct guest_vcpu *v)
{
	atomic_uint_fast64_t *version = &v->guest->version;

	/* Relaxed: what has changed is read under the lock. */
	while (atomic_load_explicit(version, memory_order_relaxed) == v->version) {
		s2_vcpu_enter(v->vcpu);
		for (unsigned int i = 0; i < BATCH; i++) {
			access_memory(v);
			s2_vcpu_poll(v->vcpu);
		}
		s2_vcpu_exit(v->vcpu);
		sched_yield();
	}
}

static void *vcpu_main(void *arg)
{
	struct guest_vcpu *v = arg;

	while (wait_for_memory(v))
		run_guest(v);
	v->stats.faults = v->faults;
	return NULL;
}

static int start_vcpu(struct guest *guest, struct s2_vm *vm, uint64_t seed)
{
	struct guest_vcpu *v = &guest->vcpu[guest->nr_vcpus];
	pthread_attr_t attr;
	int error;

	v->guest = guest;
	/* Any number but 0 will do for the generator. */
	v->random = (seed + guest->nr_vcpus + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	error = s2_vcpu_create(vm, NULL, &v->vcpu);
	if (error)
		return error;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	error = pthread_create(&v->thread, &attr, vcpu_main, v);
	pthread_attr_destroy(&attr);
	if (error) {
		s2_vcpu_destroy(v->vcpu);
		return -error;
	}
	guest->nr_vcpus++;
	return 0;
}

int guest_create(struct s2_vm *vm, const struct arena *arena, unsigned int vcpus, uint64_t seed,
		 struct guest **out)
{
	struct guest *guest = calloc(1, sizeof(*guest) + vcpus * sizeof(guest->vcpu[0]));

	if (!guest)
		return -ENOMEM;
	guest->arena = arena;
	pthread_mutex_init(&guest->lock, NULL);
	pthread_cond_init(&guest->changed, NULL);
	for (unsigned int i = 0; i < vcpus; i++) {
		int error = start_vcpu(guest, vm, seed);

		if (error) {
			guest_destroy(guest, NULL);
			return error;
		}
	}
	*out = guest;
	return 0;
}

static void announce_change(struct guest *guest)
{
	/* Relaxed: only tells that something has changed; the lock orders what. */
	atomic_fetch_add_explicit(&guest->version, 1, memory_order_relaxed);
	pthread_cond_broadcast(&guest->changed);
}

int guest_update(struct guest *guest, const struct kvm_userspace_memory_region *region)
{
	int error;

	pthread_mutex_lock(&guest->lock);
	error = shape_apply(&guest->shape, region);
	announce_change(guest);
	pthread_mutex_unlock(&guest->lock);
	return error;
}

void guest_add_stats(struct guest_stats *stats, const struct guest_stats *more)
{
	stats->accesses += more->accesses;
	stats->mmio += more->mmio;
	stats->faults += more->faults;
	latency_merge(&stats->fault_ns, &more->fault_ns);
	if (!stats->error) {
		stats->error = more->error;
		stats->error_gpa = more->error_gpa;
	}
}

void guest_destroy(struct guest *guest, struct guest_stats *stats)
{
	if (!guest)
		return;
	pthread_mutex_lock(&guest->lock);
	guest->stop = true;
	announce_change(guest);
	pthread_mutex_unlock(&guest->lock);
	for (unsigned int i = 0; i < guest->nr_vcpus; i++) {
		struct guest_vcpu *v = &guest->vcpu[i];

		pthread_join(v->thread, NULL);
		s2_vcpu_destroy(v->vcpu);
		if (stats)
			guest_add_stats(stats, &v->stats);
		free(v->targets);
	}
	pthread_cond_destroy(&guest->changed);
	pthread_mutex_destroy(&guest->lock);
	shape_clear(&guest->shape);
	free(guest);
}
