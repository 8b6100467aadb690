/* SPDX-License-Identifier: MIT */
/*
 * The steps of the protocol that a run can break: -DMUT=<name>. Each is one that
 * somebody could leave out of the C code, or turn round.
 */
#define NONE 0
#define END_LOOKS_AGAIN 1       /* range: end() acts on what it finds, not on what start() found */
#define ADD_DOES_NOT_WAIT 2     /* range: no gate->wait() */
#define GFN_BEFORE_HVA 3        /* range: vCPUs find the memslot first */
#define DELETE_KEEPS_SEQ 4      /* no bump in zap_memslot(): nothing in place of a grace period */
#define FAULT_DOES_NOT_RETRY 5  /* no mmu_invalidate_retry() */
#define START_DOES_NOT_FLUSH 6
#define FLUSH_DOES_NOT_WAIT 7
#define COUNT_BEFORE_SEQ 8      /* equivalent: both change under mmu_lock, and so are they read */
#define GIVES_UP_CLEAN 9        /* a flush not waited for leaves no tlbs_dirty */
#define VM_WITHOUT_GRACE 10     /* a VM is freed while pairs are open */
#define LEAVES_TABLE_FIRST 11   /* end() takes its range back before its count */
#define MEMSLOT_WITHOUT_GRACE 12 /* what an update replaced is freed while pairs are open */
#define OVERFLOW_ONE_TURN 13    /* range: beyond the table, one turn of the phase instead of two */
#define INDEX_BEFORE_LOCK 14    /* always, rwsem: must_lock, but the look is before mmu_lock */
#define NONBLOCK_ELIDES 15      /* rwsem: no must_lock for those that may not block */
#define GATE_IS_OPEN 16         /* rwsem, count: start() does not enter the gate */
#define WAKE_LOST 17            /* count: the updater says that it waits after it let go of the lock */
#define FAULT_BRINGS_PAGE 18    /* the TLB is filled with what the fault found, not by a walk */
#define ACK_BEFORE_DROP 19      /* equivalent: the vCPU uses no TLB between the two */
#define FLUSH_AFTER_UNLOCK 20   /* start() lets go of mmu_lock, then flushes */
#define SEQ_AFTER_LOOKUP 21     /* a fault reads the sequence when it has the page */
#define UNDO_FORGOTTEN 22       /* a non-blocking start() that gives up keeps its count */

#ifndef MUT
#define MUT NONE
#endif
