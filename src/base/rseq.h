/* SPDX-License-Identifier: MIT */
/*
 * Restartable sequences, rseq(2): a few instructions that the kernel begins anew if
 * the thread is interrupted within them. With membarrier(2) another thread can have
 * every sequence that runs at the moment begun anew, and that is a TLB shootdown:
 * once it has returned, no thread is between the look at a translation and the use
 * of it. The instructions themselves are in base/arch.h.
 *
 * glibc, from 2.35 on, registers each thread with the kernel.
 */
#ifndef S2_BASE_RSEQ_H
#define S2_BASE_RSEQ_H

#include "base/arch.h"

#include <stdbool.h>

/*
 * Can sequences of this process be restarted? Asks the kernel to make it so; the
 * answer stays what it is once it is yes.
 */
bool s2_rseq_available(void);

/* Is the calling thread registered, so that its sequences are restarted? */
bool s2_rseq_thread_registered(void);

/*
 * Restarts the sequences of all threads, and is a full barrier to each. A system call
 * that interrupts other cores. Ends the program if the kernel, which made it available,
 * does not do it: there is no way to go on, as liburcu holds of the same call.
 */
void s2_rseq_restart_all(void);

#endif /* S2_BASE_RSEQ_H */
