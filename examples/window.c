/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for code that knows of no guest: the C library's qsort() sorts 8 MiB of it through
 * plain pointers, while the pool it is in has room for a quarter and a second thread takes
 * pages away all the time. Then a bad pointer of the guest's is found out without a crash.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stage2/stage2.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define GUEST_SIZE (UINT64_C(8) << 20)
#define POOL_SIZE (UINT64_C(2) << 20)
#define NUMBERS (GUEST_SIZE / sizeof(uint64_t))

static void check(int ret, const char *what)
{
	if (!ret)
		return;
	fprintf(stderr, "window: %s failed: error %d\n", what, -ret);
	exit(1);
}

struct reclaimer {
	struct s2_pool *pool;
	atomic_bool stop;
};

/* What a host does to guests it has no memory for. */
static void *reclaim(void *arg)
{
	struct reclaimer *reclaimer = arg;

	while (!atomic_load(&reclaimer->stop))
		s2_pool_reclaim(reclaimer->pool, 16 * S2_PAGE_SIZE, 0);
	return NULL;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

/* Not a word of stage2 in here. */
static void sort_numbers(uint64_t *numbers)
{
	uint64_t x = 1;

	/* Every 64th is another, so that pages compress. */
	for (size_t i = 0; i < NUMBERS; i++) {
		if (i % 64 == 0)
			x = x * UINT64_C(6364136223846793005) + 1;
		numbers[i] = x >> 40;
	}
	qsort(numbers, NUMBERS, sizeof(*numbers), compare);
	for (size_t i = 1; i < NUMBERS; i++)
		if (numbers[i - 1] > numbers[i]) {
			fprintf(stderr, "window: number %zu is not in order\n", i);
			exit(1);
		}
}

static void sort_under_reclaim(struct s2_pool *pool, struct s2_window *window)
{
	struct reclaimer reclaimer = { .pool = pool };
	struct s2_window_stats stats;
	pthread_t thread;

	check(pthread_create(&thread, NULL, reclaim, &reclaimer), "pthread_create");
	sort_numbers(s2_window_addr(window));
	atomic_store(&reclaimer.stop, true);
	pthread_join(thread, NULL);
	check(s2_window_get_stats(window, &stats), "s2_window_get_stats");
	printf("%lu numbers sorted in memory for a quarter of them: %lu faults\n",
	       (unsigned long)NUMBERS, (unsigned long)stats.faults);
}

int main(void)
{
	struct s2_pool_config config = { .size = POOL_SIZE };
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	/* Twice as much as there is memory: the rest is what a bad pointer points to. */
	struct s2_window_config shown = { .size = 2 * GUEST_SIZE };
	struct s2_window *window;
	struct s2_pool *pool;
	struct s2_vm *vm;
	uint64_t hva;
	char *beyond;

	if (s2_pool_tier_memory(S2_POOL_LZ4, 2 * GUEST_SIZE, &config.tiers[0]))
		check(s2_pool_tier_memory(S2_POOL_ZSTD, 2 * GUEST_SIZE, &config.tiers[0]),
		      "s2_pool_tier_memory");
	check(s2_pool_create(&config, &pool), "s2_pool_create");
	check(s2_pool_map(pool, NULL, GUEST_SIZE, &hva), "s2_pool_map");
	region.userspace_addr = hva;
	check(s2_vm_create(s2_pool_mm(pool), NULL, &vm), "s2_vm_create");
	check(s2_vm_set_memory_region(vm, &region), "s2_vm_set_memory_region");
	check(s2_window_create(vm, &shown, &window), "s2_window_create");
	check(s2_window_handle_signals(), "s2_window_handle_signals");
	sort_under_reclaim(pool, window);

	beyond = (char *)s2_window_addr(window) + GUEST_SIZE;
	if (s2_window_fault(window, beyond, S2_ACCESS_READ) == -ENXIO)
		puts("beyond the memslot: MMIO");
	s2_window_destroy(window);
	s2_vm_put(vm);
	s2_pool_destroy(pool);
	return 0;
}
