/* SPDX-License-Identifier: MIT */
/*
 * How much memory this process has, as the kernel counts it.
 *
 * The frames of a pool are pages of a memfd, mapped once by the pool and, for as long as a guest
 * uses them, once more by its window: resident set sizes (RssShmem, VmHWM) count such a page
 * twice. So they say nothing here, and what the memfd has allocated is taken.
 */
#ifndef STAGE2_TOOLS_RUN_PROCESS_H
#define STAGE2_TOOLS_RUN_PROCESS_H

#include <stdint.h>

/* In bytes. */
struct run_process {
	uint64_t own; /* resident, and not of memory that is shared: RssAnon and RssFile */
	uint64_t hwm; /* VmHWM */
};

/* What cannot be read is 0. */
struct run_process run_process_memory(void);

/* From now on VmHWM is that of what follows. */
void run_process_forget_peak(void);

/* Of all pools' frames, what the kernel has allocated. */
uint64_t run_process_pool(void);

#endif
