/* SPDX-License-Identifier: MIT */
/*
 * A reader-writer lock in which each reader has a side of its own, as the kernel's
 * brlock and percpu_rw_semaphore have: who takes it for read writes to no cache
 * line but that, so that readers on many cores do not slow each other down. Who
 * takes it for write looks at every reader's side, and pays for it.
 *
 * The race, and its two barriers:
 *
 *	CPU 0 (writer)				CPU 1 (reader)
 *	--------------				--------------
 *	writer = 1				state = READING
 *	<full barrier E>			<full barrier F>
 *	load state: wait until it is 0		load writer: if set, step back
 *
 * With both, one of the two sees the other. An asymmetric fence would save the
 * reader its barrier, a store to a line that is its own, and cost the writer a
 * system call that interrupts every core; here writers are invalidations, two for
 * each page that goes, and barriers are the cheaper of the two.
 */
#ifndef S2_BASE_BRLOCK_H
#define S2_BASE_BRLOCK_H

#include "base/lock.h"

/*
 * @state: S2_READER_IDLE, _READING, or _AWAITED: a writer sleeps until it is idle.
 * @next:  of the same lock; changed by who holds that for write.
 */
struct s2_brlock_reader {
	_Atomic uint32_t state;
	struct s2_brlock_reader *next;
} __attribute__((aligned(64)));

/*
 * @writer:  set while somebody has it for write, or is waiting for readers to go.
 * @readers: every reader that may take it; protected by the lock itself.
 * @mutex:   writers against each other, and where readers wait for them. Not a fair lock: one
 *           that is handed to a sleeper is held until he has woken up, by nobody, and those
 *           who come meanwhile go to sleep behind him; with four vCPUs that reclaim each
 *           other's pages nearly all time went into that.
 */
struct s2_brlock {
	_Atomic uint32_t writer;
	struct s2_brlock_reader *readers;
	struct s2_mutex mutex __attribute__((aligned(64)));
};

void s2_brlock_init(struct s2_brlock *lock, enum s2_lock_rank rank);

/* @reader must have been added; one thread at a time uses it. */
void s2_br_read_lock(struct s2_brlock *lock, struct s2_brlock_reader *reader);
void s2_br_read_unlock(struct s2_brlock *lock, struct s2_brlock_reader *reader);

void s2_br_write_lock(struct s2_brlock *lock);
bool s2_br_write_trylock(struct s2_brlock *lock);
void s2_br_write_unlock(struct s2_brlock *lock);

/* Both with the lock held for write, and @reader idle. */
void s2_brlock_add_reader(struct s2_brlock *lock, struct s2_brlock_reader *reader);
void s2_brlock_remove_reader(struct s2_brlock *lock, struct s2_brlock_reader *reader);

#endif /* S2_BASE_BRLOCK_H */
