/* SPDX-License-Identifier: MIT */
/* Whether restartable sequences are to be had, and their restart. */
#include "base/rseq.h"

#ifdef S2_ARCH_HAS_RSEQ

#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#if S2_DEBUG_CHECKS || S2_MUTANTS
uint64_t s2_rseq_window;
#endif

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

bool s2_rseq_available(void)
{
	int saved = errno;
	bool available = __rseq_size &&
			 !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);

	errno = saved;
	return available;
}

static struct rseq *thread_area(void)
{
	return (struct rseq *)(s2_thread_self() + (uintptr_t)__rseq_offset);
}

bool s2_rseq_thread_registered(void)
{
	return __rseq_size && (int32_t)__atomic_load_n(&thread_area()->cpu_id, __ATOMIC_RELAXED) >= 0;
}

void s2_rseq_restart_all(void)
{
	int saved = errno;

	if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ)) {
		fprintf(stderr, "stage2: membarrier(2), which flushes need, has become unavailable: %s\n",
			strerror(errno));
		abort();
	}
	errno = saved;
}

#else

bool s2_rseq_available(void)
{
	return false;
}

bool s2_rseq_thread_registered(void)
{
	return false;
}

void s2_rseq_restart_all(void)
{
}

#endif
