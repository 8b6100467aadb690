/* SPDX-License-Identifier: MIT */
/* The only place that may know which processor this is. */
#ifndef S2_BASE_ARCH_H
#define S2_BASE_ARCH_H

#include <stdint.h>

/*
 * The end of what user space may map, less the guard page, as the kernel's
 * access_ok() has it.
 */
#if defined(__aarch64__)
#define S2_TASK_SIZE ((UINT64_C(1) << 48) - 4096)
#else
#define S2_TASK_SIZE ((UINT64_C(1) << 47) - 4096)
#endif

/* Tells the core that this is a spin loop. */
static inline void s2_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/*
 * A value that no two live threads share, without a system call, a lock or an
 * allocation: start() asks for it inside malloc and in signal handlers.
 */
static inline uintptr_t s2_thread_self(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

#endif /* S2_BASE_ARCH_H */
