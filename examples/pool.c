/* SPDX-License-Identifier: MIT */
/*
 * Guest memory larger than the host's: a guest of 64 MiB in a pool of 16 MiB. The guest
 * writes to every page and reads all of it back; what does not fit is kept by a tier,
 * here one in memory that this program brings along, so that it needs nothing else. Then
 * the VM is cloned, as a fuzzer does for each input: the clone has all of its memory, and
 * takes frames and slots for the pages only that it writes to.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stage2/stage2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUEST_SIZE (UINT64_C(64) << 20)
#define POOL_SIZE (UINT64_C(16) << 20)

static void check(int ret, const char *what)
{
	if (!ret)
		return;
	fprintf(stderr, "pool: %s failed: error %d\n", what, -ret);
	exit(1);
}

/* Each page that is swapped out is a block of the C library's; its address is the slot. */
static int keep(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	void *copy = malloc(S2_PAGE_SIZE);

	(void)tier;
	if (!copy)
		return -1;
	memcpy(copy, page, S2_PAGE_SIZE);
	*slot = (uintptr_t)copy;
	return 0;
}

static int give_back(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	(void)tier;
	memcpy(page, (void *)(uintptr_t)slot, S2_PAGE_SIZE);
	return 0;
}

static void forget(struct s2_pool_tier *tier, uint64_t slot)
{
	(void)tier;
	free((void *)(uintptr_t)slot);
}

static void end(struct s2_pool_tier *tier)
{
	(void)tier;
}

static const struct s2_pool_tier_ops blocks = {
	.name = "blocks",
	.store = keep,
	.load = give_back,
	.drop = forget,
	.destroy = end,
};

/* Guests keep polling, since invalidations wait for them. */
static void write_all(struct s2_vcpu *vcpu)
{
	for (uint64_t gpa = 0; gpa < GUEST_SIZE; gpa += S2_PAGE_SIZE) {
		check(s2_vcpu_store64(vcpu, gpa, ~gpa), "s2_vcpu_store64");
		s2_vcpu_poll(vcpu);
	}
}

static void read_all(struct s2_vcpu *vcpu)
{
	uint64_t gpa, value;

	for (gpa = 0; gpa < GUEST_SIZE; gpa += S2_PAGE_SIZE) {
		check(s2_vcpu_load64(vcpu, gpa, &value), "s2_vcpu_load64");
		if (value != ~gpa) {
			fprintf(stderr, "pool: the page at %#lx lost its contents\n",
				(unsigned long)gpa);
			exit(1);
		}
		s2_vcpu_poll(vcpu);
	}
}

static void *run_guest(void *arg)
{
	struct s2_vcpu *vcpu = arg;

	check(s2_vcpu_enter(vcpu), "s2_vcpu_enter");
	write_all(vcpu);
	read_all(vcpu);
	check(s2_vcpu_exit(vcpu), "s2_vcpu_exit");
	return NULL;
}

/* Reads what its original has written, then writes to a page in sixteen. */
static void *run_clone(void *arg)
{
	struct s2_vcpu *vcpu = arg;

	check(s2_vcpu_enter(vcpu), "s2_vcpu_enter");
	read_all(vcpu);
	for (uint64_t gpa = 0; gpa < GUEST_SIZE; gpa += 16 * S2_PAGE_SIZE) {
		check(s2_vcpu_store64(vcpu, gpa, 1), "s2_vcpu_store64");
		s2_vcpu_poll(vcpu);
	}
	check(s2_vcpu_exit(vcpu), "s2_vcpu_exit");
	return NULL;
}

static void run(void *(*guest)(void *), struct s2_vm *vm)
{
	struct s2_vcpu *vcpu;
	pthread_t thread;

	check(s2_vcpu_create(vm, NULL, &vcpu), "s2_vcpu_create");
	check(pthread_create(&thread, NULL, guest, vcpu), "pthread_create");
	pthread_join(thread, NULL);
	check(s2_vcpu_destroy(vcpu), "s2_vcpu_destroy");
}

static void end_vm(struct s2_pool *pool, struct s2_vm *vm)
{
	uint64_t hva;

	check(s2_vm_gfn_to_hva(vm, 0, &hva), "s2_vm_gfn_to_hva");
	s2_vm_put(vm);
	check(s2_pool_unmap(pool, hva), "s2_pool_unmap");
}

int main(void)
{
	struct s2_pool_tier tier = { .ops = &blocks };
	struct s2_pool_config config = { .size = POOL_SIZE, .tiers = { &tier } };
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	struct s2_pool_stats stats;
	struct s2_vm *vm, *clone;
	struct s2_pool *pool;
	uint64_t hva;

	check(s2_pool_create(&config, &pool), "s2_pool_create");
	check(s2_pool_map(pool, NULL, GUEST_SIZE, &hva), "s2_pool_map");
	check(s2_vm_create(s2_pool_mm(pool), NULL, &vm), "s2_vm_create");
	region.userspace_addr = hva;
	check(s2_vm_set_memory_region(vm, &region), "s2_vm_set_memory_region");
	run(run_guest, vm);
	check(s2_pool_get_stats(pool, &stats), "s2_pool_get_stats");
	printf("%lu pages of a guest in %lu frames: %lu swapped out, %lu swapped in\n",
	       (unsigned long)(GUEST_SIZE / S2_PAGE_SIZE), (unsigned long)stats.frames,
	       (unsigned long)stats.swap_outs, (unsigned long)stats.swap_ins);

	check(s2_pool_clone_vm(pool, NULL, vm, &clone), "s2_pool_clone_vm");
	run(run_clone, clone);
	run(run_guest, vm);
	check(s2_pool_get_stats(pool, &stats), "s2_pool_get_stats");
	printf("its clone and the guest again: %lu pages copied to be written to\n",
	       (unsigned long)stats.cow_breaks);
	end_vm(pool, clone);
	end_vm(pool, vm);
	s2_pool_destroy(pool);
	return 0;
}
