/* SPDX-License-Identifier: MIT */
/*
 * Providers that only do arithmetic, so that what is measured is the library and not the kernel's
 * page faults.
 */
#ifndef STAGE2_TOOLS_BENCH_PROVIDER_H
#define STAGE2_TOOLS_BENCH_PROVIDER_H

#include <stage2/stage2.h>

/* Host addresses are what they are: the memory is there from the beginning and stays. */
extern const struct s2_provider_ops bench_provider;

/* All host addresses lead to this, again and again: a guest of any size without its memory. */
#define BENCH_ALIASED_SIZE (16 * S2_PAGE_SIZE)

struct bench_aliased {
	char memory[BENCH_ALIASED_SIZE] __attribute__((aligned(4096)));
};

/* Its ctx is a struct bench_aliased. */
extern const struct s2_provider_ops bench_provider_aliased;

#endif
