/* SPDX-License-Identifier: MIT */
/* The fixture of small_vm.h. */
#include "small_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void small_vm_begin(struct small_vm *small, enum s2_gate gate, const struct s2_vm_config *config)
{
	struct s2_mm_config mm_config = {
		.gate = gate,
		.provider = &small->host.ops,
		.provider_ctx = &small->host,
		.allocator = &small->memory.ops,
	};

	counting_allocator_init(&small->memory);
	frame_provider_init(&small->host);
	assert_int_equal(s2_mm_create(&mm_config, &small->mm), 0);
	assert_int_equal(s2_vm_create(small->mm, config, &small->vm), 0);
	assert_int_equal(s2_vcpu_create(small->vm, test_vcpu_config(), &small->vcpu), 0);
}

void small_vm_end(struct small_vm *small)
{
	assert_int_equal(s2_vcpu_destroy(small->vcpu), 0);
	s2_vm_put(small->vm);
	s2_mm_put(small->mm);
	assert_int_equal(small->memory.blocks, 0);
	assert_int_equal(small->memory.bytes, 0);
	frame_provider_free(&small->host);
}

int set_slot(struct s2_vm *vm, uint32_t id, uint64_t gfn, uint64_t pages, unsigned page,
	     uint32_t flags)
{
	const struct kvm_userspace_memory_region mem = {
		.slot = id,
		.flags = flags,
		.guest_phys_addr = gfn << S2_PAGE_SHIFT,
		.memory_size = pages << S2_PAGE_SHIFT,
		.userspace_addr = FRAME_HVA_OF(page),
	};

	return s2_vm_set_memory_region(vm, &mem);
}

int guest_load(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t *value)
{
	int ret;

	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	ret = s2_vcpu_load64(vcpu, gfn << S2_PAGE_SHIFT, value);
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
	return ret;
}

int guest_store(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t value)
{
	int ret;

	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	ret = s2_vcpu_store64(vcpu, gfn << S2_PAGE_SHIFT, value);
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
	return ret;
}

void assert_guest_reads(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t value)
{
	uint64_t found = ~value;

	assert_int_equal(guest_load(vcpu, gfn, &found), 0);
	assert_int_equal(found, value);
}

struct s2_vm_stats vm_stats(struct s2_vm *vm)
{
	struct s2_vm_stats stats;

	assert_int_equal(s2_vm_get_stats(vm, &stats), 0);
	return stats;
}

struct s2_mm_stats mm_stats(struct s2_mm *mm)
{
	struct s2_mm_stats stats;

	assert_int_equal(s2_mm_get_stats(mm, &stats), 0);
	return stats;
}

bool invalidation_is_related(struct s2_mm *mm, unsigned page, unsigned pages)
{
	uint64_t before = mm_stats(mm).elided;
	struct s2_invalidation inv;

	assert_int_equal(s2_invalidate_range_start(mm, &inv, FRAME_HVA_OF(page),
						   FRAME_HVA_OF(page + pages), 0),
			 0);
	s2_invalidate_range_end(mm, &inv);
	return mm_stats(mm).elided == before;
}

void exchange_frame(struct small_vm *small, unsigned page, uint32_t frame)
{
	struct s2_invalidation inv;

	assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(page),
						   FRAME_HVA_OF(page + 1), 0),
			 0);
	atomic_store(&small->host.frame_of[page], frame);
	s2_invalidate_range_end(small->mm, &inv);
}

static void *access_thread(void *arg)
{
	struct guest_access *access = arg;

	if (access->store)
		access->ret = guest_store(access->vcpu, access->gfn, access->value);
	else
		access->ret = guest_load(access->vcpu, access->gfn, &access->value);
	return NULL;
}

void guest_access_begin(struct guest_access *access)
{
	assert_int_equal(pthread_create(&access->thread, NULL, access_thread, access), 0);
}

int guest_access_end(struct guest_access *access)
{
	assert_int_equal(pthread_join(access->thread, NULL), 0);
	return access->ret;
}

const struct s2_vcpu_config *test_vcpu_config(void)
{
	static const struct s2_vcpu_config rseq = { .shootdown = S2_SHOOTDOWN_RSEQ };
	const char *wanted = getenv("S2_SHOOTDOWN");

	return wanted && !strcmp(wanted, "rseq") ? &rseq : NULL;
}

uint64_t test_seed(void)
{
	const char *given = getenv("S2_SEED");
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	print_message("S2_SEED=%" PRIu64 "\n", seed);
	return seed;
}

/* splitmix64: any state will do, zero too. */
uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
