/* SPDX-License-Identifier: MIT */
/*
 * Steps of the protocol that a build with -Dmutants=true can leave out or get
 * wrong at run time, one at a time: the environment variable S2_MUTANT names it.
 * A check that does not fail then proves nothing; scripts/mutants.py tells for each
 * mutant which check fails. In every other build S2_MUTANT() is the constant false
 * and nothing of this is left; a mutants build is never installed.
 */
#ifndef S2_BASE_MUTANT_H
#define S2_BASE_MUTANT_H

#include <stdbool.h>

/* The script reads this table: a name, and what is wrong with the mutant. */
#define S2_FOR_EACH_MUTANT(X)                                                                      \
	X(END_LOOKS_AGAIN, "end() decides by a fresh lookup")                                      \
	X(LOOK_BEFORE_PUBLISH, "start() looks at the hva index before it publishes its range")     \
	X(ADD_DOES_NOT_WAIT, "a memslot add does not wait for overlapping invalidations")          \
	X(OVERFLOW_NOT_WAITED_FOR, "nor for those beyond the in-flight table")                     \
	X(CLAIM_NOT_AWAITED, "who looks for ranges passes by one that is not there yet")           \
	X(GFN_BEFORE_HVA, "a memslot is visible by gfn before it is by hva")                       \
	X(ZAP_BEFORE_HIDE, "a delete zaps before it takes the memslot out of the gfn index")       \
	X(HVA_REMOVED_FIRST, "a delete takes the memslot out of the hva index first")              \
	X(DELETE_KEEPS_SEQUENCE, "a delete does not bump the sequence (our grace period)")         \
	X(GRACE_IGNORES_STARTS, "what updates replace is freed under invalidations in flight")     \
	X(RETRY_IGNORES_SEQUENCE, "a fault does not retry when the sequence has changed")          \
	X(RETRY_IGNORES_COUNT, "a fault does not retry while an invalidation is in progress")      \
	X(ERROR_NOT_RETRIED, "a fault believes a provider's error without a retry")                \
	X(END_KEEPS_SEQUENCE, "end() does not bump the sequence")                                  \
	X(SEQUENCE_AFTER_COUNT, "end() bumps the sequence after the count drops")                  \
	X(SEQUENCE_AFTER_UNLOCK, "the same, with mmu_lock dropped in between")                     \
	X(SPAN_FORGETS_OTHERS, "an invalidation replaces the range of those in progress")          \
	X(ENTRY_LEFT_EARLY, "end() leaves the in-flight table before the count is dropped")        \
	X(UNDO_KEEPS_COUNT, "a start() that failed keeps its count")                               \
	X(FAILED_START_KEEPS_GATE, "gate count: a start() that failed stays counted by the gate")  \
	X(START_DOES_NOT_FLUSH, "start() zaps but does not flush")                                 \
	X(FLUSH_DOES_NOT_WAIT, "a flush does not wait for the vCPUs")                              \
	X(FLUSH_UNLOCKED, "start() drops mmu_lock before it flushes")                              \
	X(TLBS_DIRTY_FORGOTTEN, "a flush that was given up is not remembered")                     \
	X(UNFLUSHED_IGNORED, "a non-blocking start() succeeds without its flush")                  \
	X(ENTER_IGNORES_REQUESTS, "entering guest mode does not act on flush requests")            \
	X(ACK_WITHOUT_FLUSH, "a vCPU acknowledges a flush and keeps its TLB")                      \
	X(FLUSHER_NOT_WOKEN, "a vCPU that acknowledges does not wake who waits")                   \
	X(START_STAYS_IN_GUEST_MODE, "start() inside guest mode does not leave it")                \
	X(TABLES_FREED_UNFLUSHED, "tables are freed without a flush")                              \
	X(USED_BITS_STORED, "a vCPU stores the accessed and dirty bits without compare-exchange")  \
	X(HUGE_OVER_INVALIDATED, "a 2 MiB leaf is installed over a page under invalidation")       \
	X(CHANGE_PTE_ELIDED, "change_pte is applied inside an elided bracket")                     \
	X(WAKE_BEFORE_CHANGE, "end() wakes faults before the word they sleep on changes")          \
	X(DIRTY_AFTER_SPTE, "a fault marks its page dirty after others can store to it")           \
	X(DIRTY_BITS_LOST, "dirty bits are lost between their reading and the protection")         \
	X(LOG_NOT_PROTECTED, "reading the dirty log does not write-protect its pages")             \
	X(LOG_BEGINS_UNPROTECTED, "a dirty log begins without write-protecting its memslot")       \
	X(READER_IGNORES_WRITER, "mmu_lock is taken for read while somebody has it for write")     \
	X(WRITER_IGNORES_READERS, "mmu_lock is taken for write while others have it for read")     \
	X(SEQUENCES_NOT_RESTARTED, "a flush does not restart the accesses under way")              \
	X(LIVE_TLB_STAYS, "a flush restarts the accesses, but leaves them their TLB")              \
	X(ALWAYS_ELIDES, "gate always: invalidations without a memslot take no mmu_lock")          \
	X(NONBLOCK_ELIDES, "gate rwsem: non-blocking invalidations take no mmu_lock")              \
	X(RWSEM_NOT_HELD, "gate rwsem: the semaphore is not held from start to end")               \
	X(COUNT_NOT_WAITED_FOR, "gate count: the updater does not wait for zero")                  \
	X(ZERO_FRAME_STAYS, "pool: a write leaves other vCPUs the zero frame")                     \
	X(COW_STAYS_MAPPED, "pool: who copies on write leaves its vCPUs the shared frame")         \
	X(CLONE_STAYS_WRITABLE, "pool: a clone's original may go on writing to what they share")   \
	X(SHARED_STAYS_MAPPED, "pool: a shared frame is given away under vCPUs")                   \
	X(SWAP_STAYS_MAPPED, "pool: a frame is given away under vCPUs")                            \
	X(SWAP_NOT_COMPARED, "pool: what a guest writes while its page is stored is lost")         \
	X(CHECKSUM_IGNORED, "pool: what a tier returns is believed")                               \
	X(DISCARD_STAYS_MAPPED, "pool: a discarded page stays with vCPUs")                         \
	X(REAP_STAYS_MAPPED, "pool: a killed VM's vCPUs keep the frames of others")                \
	X(MERGE_COMPARES_EARLY, "pool: pages are compared while guests may write to them")         \
	X(MIGRATE_COPIES_EARLY, "pool: a page is copied to another frame while guests write")      \
	X(SPLIT_FORGOTTEN, "pool: a 2 MiB leaf comes back over a page that was taken away")        \
	X(REGION_NOT_AWAITED, "pool: an unmap does not wait for who is at work on the pages")      \
	X(FULL_AS_OF_NOW, "pool: a tier stays full though a slot of it was dropped meanwhile")     \
	X(FREE_FRAME_OVERLOOKED, "pool: caches are looked at one by one for a free frame")         \
	X(WINDOW_ZAP_KEEPS_MAPPING, "window: a page that is zapped stays mapped")                  \
	X(WINDOW_AGE_KEEPS_MAPPING, "window: a page stays mapped without its accessed bit")        \
	X(WINDOW_STAYS_WRITABLE, "window: a page that is write-protected can be written to")       \
	X(WINDOW_MAPPED_UNLOCKED, "window: a fault maps its page after it has dropped mmu_lock")   \
	X(WINDOW_SECOND_FORGOTTEN, "window: of a VM's windows only the first is zapped")           \
	X(WINDOW_REFUSAL_IGNORED, "window: what the kernel refuses to split stays mapped")         \
	X(WINDOW_LIMIT_IGNORED, "window: mappings are taken without end")                          \
	X(WINDOW_AFTER_UNCHECKED, "window: neighbours are mapped that are under invalidation")     \
	X(WINDOW_JOINS_MAPPED, "window: neighbours are mapped over what they have")

#define S2_MUTANT_ENUM(name, what) S2_MUTANT_##name,
enum s2_mutant { S2_MUTANT_NONE, S2_FOR_EACH_MUTANT(S2_MUTANT_ENUM) };
#undef S2_MUTANT_ENUM

#if S2_MUTANTS
/* Set before main() and constant from then on, so that any context may read it. */
extern enum s2_mutant s2_mutant;
#define S2_MUTANT(name) (s2_mutant == S2_MUTANT_##name)
#else
#define S2_MUTANT(name) ((void)S2_MUTANT_##name, false)
#endif

#endif /* S2_BASE_MUTANT_H */
