/* SPDX-License-Identifier: MIT */
/*
 * Embedding stage2: one VM with 1 MiB of this process's memory, one vCPU that
 * counts in it, and a main thread that takes pages away underneath. Whatever the
 * main thread drops reads as zero from then on; nothing stale is ever seen.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stage2/stage2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define GUEST_SIZE (UINT64_C(1) << 20)

static void check(int ret, const char *what)
{
	if (!ret)
		return;
	fprintf(stderr, "embed: %s failed: error %d\n", what, -ret);
	exit(1);
}

/* The guest: increments a counter in each page, over and over. */
static void *run_guest(void *arg)
{
	struct s2_vcpu *vcpu = arg;

	check(s2_vcpu_enter(vcpu), "s2_vcpu_enter");
	for (int round = 0; round < 1000; round++) {
		for (uint64_t gpa = 0; gpa < GUEST_SIZE; gpa += S2_PAGE_SIZE) {
			uint64_t count;

			check(s2_vcpu_load64(vcpu, gpa, &count), "s2_vcpu_load64");
			check(s2_vcpu_store64(vcpu, gpa, count + 1), "s2_vcpu_store64");
		}
		s2_vcpu_poll(vcpu);
	}
	check(s2_vcpu_exit(vcpu), "s2_vcpu_exit");
	return NULL;
}

int main(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	struct s2_mm_stats stats;
	struct s2_vcpu *vcpu;
	struct s2_mm *mm;
	struct s2_vm *vm;
	pthread_t guest;
	uint64_t count;
	void *memory;

	check(s2_mm_create(NULL, &mm), "s2_mm_create");
	check(s2_vm_create(mm, NULL, &vm), "s2_vm_create");
	check(s2_mmap(mm, NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0,
		      &memory), "s2_mmap");
	region.userspace_addr = (uintptr_t)memory;
	check(s2_vm_set_memory_region(vm, &region), "s2_vm_set_memory_region");
	check(s2_vcpu_create(vm, NULL, &vcpu), "s2_vcpu_create");

	check(pthread_create(&guest, NULL, run_guest, vcpu), "pthread_create");
	for (int i = 0; i < 100; i++)
		check(s2_madvise(mm, memory, GUEST_SIZE / 2, MADV_DONTNEED), "s2_madvise");
	pthread_join(guest, NULL);

	check(s2_mm_get_stats(mm, &stats), "s2_mm_get_stats");
	count = *(uint64_t *)((char *)memory + GUEST_SIZE / 2);
	printf("the upper half counted to %lu; %lu invalidations, %lu of them unrelated\n",
	       (unsigned long)count, (unsigned long)stats.invalidations,
	       (unsigned long)stats.elided);
	check(s2_vcpu_destroy(vcpu), "s2_vcpu_destroy");
	s2_vm_put(vm);
	check(s2_munmap(mm, memory, GUEST_SIZE), "s2_munmap");
	s2_mm_put(mm);
	return count == 1000 ? 0 : 1;
}
