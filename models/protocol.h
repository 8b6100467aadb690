/* SPDX-License-Identifier: MIT */
/*
 * The walker of notifier/notifier.c, the updates of memslot/update.c, the end of a
 * VM, and the table of mm/inflight.c, for the safety models. What differs from gate
 * to gate is what struct s2_gate_ops has, under its names; a gate's .pml defines
 * it and is as short as its gate_*.c:
 *
 *   SHARED_INDEX      1: one index, and end() walks what start() saw
 *   must_lock(nonblock)
 *   vm_begin(nonblock), vm_end(nonblock), swap_begin(), swap_end(), wait_overlapping()
 *
 * Options: NONBLOCK=1 the last invalidation may not block; DESTROY=1 the VM ends
 * instead of its memslots changing; RECLAIM=1 replaced memslots are freed (and no
 * vCPU runs); CALLER_LOCK=1 the callers hold a lock of theirs across start(), and
 * need it again to reach end(); NESTED=1 the second pair lies within the first;
 * OVERFLOW=1 (range) all are beyond the table.
 */
#ifndef NINV
#define NINV 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef VCPU_ROUNDS
#define VCPU_ROUNDS 2
#endif
#ifndef NONBLOCK
#define NONBLOCK 0
#endif
#ifndef DESTROY
#define DESTROY 0
#endif
#ifndef RECLAIM
#define RECLAIM 0
#endif
#ifndef CALLER_LOCK
#define CALLER_LOCK 0
#endif
#ifndef NESTED
#define NESTED 0
#endif
#ifndef OVERFLOW
#define OVERFLOW 0
#endif

/*
 * mm/inflight.h. An entry for each invalidation, which is taken while that is in flight and whose
 * sequence says how many have left; the range is the page's, always. Barriers C and D, which
 * make these steps seen in order, and that an entry is had by one after the other, are the
 * matter of range-tso.pml.
 */
bool entry_taken[NINV];
byte entry_seq[NINV];
byte phase = 0;    /* beyond the table: which count newcomers take */
byte overflow[2];

#if OVERFLOW
#define occupied(id) (overflow[0] + overflow[1] > 0)
inline inflight_enter(id)
{
	my_phase = phase; /* stale by the next step, perhaps */
	overflow[my_phase]++
}
inline inflight_leave(id) { overflow[my_phase]--; my_phase = 0 }
#else
#define occupied(id) entry_taken[id]
inline inflight_enter(id) { entry_taken[id] = 1 }
inline inflight_leave(id) { entry_seq[id]++; entry_taken[id] = 0 }
#endif

#include "mmu.h"

bool vm_listed = 1; /* the list of VMs, for gates without a shared index */

/* How often the hva index was published, and the first version whose memslots are not freed. */
byte version = 0;
byte kept = 0;
#if RECLAIM
inline look_up(place) { atomic { place = hva_index; seen_version = version } }
inline publish_hva(place) { atomic { hva_index = place; version++ } }
inline deref() { assert(seen == NOWHERE || seen_version >= kept) }
#else
inline look_up(place) { place = hva_index }
inline publish_hva(place) { hva_index = place }
inline deref() { skip }
#endif

/* s2_inflight_wait(), and a grace period: for who is there now, not for who comes later. */
inline inflight_wait()
{
#if OVERFLOW
	if
	:: overflow[0] > 0 || overflow[1] > 0 -> /* overflowing() */
		turn = 0;
		do
		:: turn < (MUT == OVERFLOW_ONE_TURN -> 1 : 2) ->
			atomic { old = phase; phase = 1 - phase };
			(overflow[old] == 0);
			turn++
		:: else -> break
		od;
		turn = 0; old = 0
	:: else
	fi
#else
	k = 0;
	do
	:: k < NINV -> seen_seq[k] = entry_seq[k]; seen_taken[k] = entry_taken[k]; k++
	:: else -> break
	od;
	k = 0;
	do
	:: k < NINV ->
		/* await_left(); the next occupant, were there one, might be taken for it once */
		(!seen_taken[k] || entry_seq[k] != seen_seq[k] || !entry_taken[k]);
		seen_seq[k] = 0; seen_taken[k] = 0;
		k++
	:: else -> break
	od;
	k = 0
#endif
}

/* s2_handle_hva_range() for a VM whose mmu_lock is held: on_lock, and the handler */
inline walk_start()
{
	mmu_invalidate_begin();
	deref();
	unmap_gfn_range(seen, flush)
}

/* must_lock: a memslot that came while we waited for the lock may be mapped already */
inline look_again(nonblock)
{
#if !SHARED_INDEX && MUT != INDEX_BEFORE_LOCK
	if
	:: must_lock(nonblock) -> look_up(seen)
	:: !must_lock(nonblock)
	fi
#else
	skip
#endif
}

inline start_blockable()
{
	if
	:: must_lock(0) || seen != NOWHERE ->
		atomic {
			lock_mmu();
			look_again(0);
			walk_start()
		};
#if MUT == FLUSH_AFTER_UNLOCK
		unlock_mmu();
		flush_if(flush)
#else
		flush_if(flush);
		unlock_mmu()
#endif
	:: else
	fi
}

inline start_nonblock()
{
	if
	:: !(must_lock(1) || seen != NOWHERE)
	:: (must_lock(1) || seen != NOWHERE) ->
		if
		:: atomic { mmu_lock -> alive(); failed = 1 } /* trylock_concerned(): -EAGAIN */
		:: atomic {
			lock_mmu();
			look_again(1);
			walk_start()
		   };
			if
			:: flush || tlbs_dirty ->
				request_flush();
				if
				:: flushed -> tlbs_dirty = 0
				:: else -> failed = 1; /* -EAGAIN, the flush is still due */
#if MUT != GIVES_UP_CLEAN
					tlbs_dirty = 1;
#endif
#if MUT != UNDO_FORGOTTEN
					mmu_invalidate_undo()
#endif
				fi;
				flush = 0
			:: else
			fi;
			unlock_mmu()
		fi
	fi
}

/* s2_invalidate_range_start(): what it found is in @seen, or @failed */
inline start(id, nonblock)
{
	inflight_enter(id);
#if SHARED_INDEX
	look_up(seen); /* pinned_view(): end() walks the same */
#else
	listed = vm_listed;
	if
	:: listed -> vm_begin(nonblock); look_up(seen)
	:: else
	fi;
#endif
	if
	:: SHARED_INDEX || listed ->
		if
		:: !nonblock -> start_blockable()
		:: nonblock -> start_nonblock()
		fi
	:: else
	fi;
	if
	:: failed ->
		if
		:: listed -> vm_end(nonblock)
		:: else
		fi;
		inflight_leave(id)
	:: else
	fi
}

/* s2_invalidate_range_end(), end_slow() */
inline end(id, nonblock)
{
#if MUT == LEAVES_TABLE_FIRST
	inflight_leave(id);
#endif
#if !SHARED_INDEX || MUT == END_LOOKS_AGAIN
	if
	:: SHARED_INDEX || listed -> look_up(seen)
	:: else
	fi;
#endif
	if
	:: (SHARED_INDEX && seen != NOWHERE) || (listed && (must_lock(nonblock) || seen != NOWHERE)) ->
		atomic {
			lock_mmu();
			deref();
			mmu_invalidate_end();
			unlock_mmu()
		}
	:: else
	fi;
	if
	:: listed -> vm_end(nonblock)
	:: else
	fi;
#if MUT != LEAVES_TABLE_FIRST
	inflight_leave(id);
#endif
	seen = 0
}

#if CALLER_LOCK
bool caller_lock = 0; /* M: an allocator's, say */
inline lock_caller() { atomic { !caller_lock -> caller_lock = 1 } }
inline unlock_caller() { caller_lock = 0 }
#else
inline lock_caller() { skip }
inline unlock_caller() { skip }
#endif

bool first_open = 0, second_done = 0;

proctype invalidation(byte id; bool nonblock)
{
	byte seen, seen_version, my_phase, n = 0;
	bool flush, failed, listed;

#if !NONBLOCK && !NESTED && !OVERFLOW && !CALLER_LOCK
	(id == 0 || entry_seq[0] + entry_taken[0] > 0); /* the same two the other way round are the same two */
#endif
#if NESTED
	(id == 0 || first_open); /* as if one thread opened the one inside the other */
#endif
	do
	:: n < ROUNDS ->
		failed = 0;
		lock_caller();
		start(id, nonblock);
		unlock_caller();
		if
		:: failed
		:: !failed ->
			atomic { brackets++; primary_mmu_drops_page() };
#if NESTED
			first_open = 1;
			(id != 0 || second_done);
#endif
			lock_caller();
			brackets--;
			end(id, nonblock);
			unlock_caller()
		fi;
		seen = 0; listed = 0;
		n++
	:: else -> break
	od;
	second_done = (id != 0)
}

/* memslot/update.c: commit_create(), hide_old(), commit_delete(), commit_move() */
inline commit_create(place)
{
	swap_begin();
#if MUT == GFN_BEFORE_HVA
	gfn_index = place;
	publish_hva(place);
	wait_overlapping();
#else
	publish_hva(place);
	wait_overlapping();
	gfn_index = place;
#endif
	swap_end()
}

inline hide_old(place)
{
	swap_begin();
	gfn_index = NOWHERE;
	swap_end();
	zap_memslot(place)
}

inline commit_delete(place)
{
	hide_old(place);
	swap_begin();
	publish_hva(NOWHERE);
	swap_end()
}

inline commit_move(from, to)
{
	hide_old(from);
	swap_begin();
	publish_hva(to);
	wait_overlapping();
	gfn_index = to;
	swap_end()
}

bool updater_done = 0;

proctype updater()
{
	bool seen_taken[NINV];
	byte k, seen_seq[NINV], turn, old;
	bool flush;

	commit_create(1);
	if
	:: commit_move(1, 2); commit_delete(2)
	:: commit_delete(1); commit_create(1) /* the same again: what a fault saw is not what is now */
	fi;
	updater_done = 1
}

/*
 * memslot/vm.c: s2_vm_drop(), of a VM that has a memslot and, as must be, no vCPU
 * left. Unlinked at once, freed after a grace period of the table.
 */
proctype destroyer()
{
	bool seen_taken[NINV];
	byte k, seen_seq[NINV], turn, old;

	commit_create(1);
#if SHARED_INDEX
	publish_hva(NOWHERE); /* unindex_slots() */
#else
	vm_listed = 0; /* its own index stays, for the end() of pairs that are open */
#endif
#if MUT != VM_WITHOUT_GRACE
	inflight_wait();
#endif
	vm_freed = 1;
	updater_done = 1
}

/* memslot/garbage.c: what was replaced before a grace period is freed after it */
proctype reclaimer()
{
	bool seen_taken[NINV];
	byte k, seen_seq[NINV], turn, old, n = 0, was;

	do
	:: n < 2 ->
		was = version;
#if MUT != MEMSLOT_WITHOUT_GRACE
		inflight_wait();
#endif
		kept = was;
		n++
	:: else -> break
	od
}

init {
	atomic {
		run invalidation(0, NINV == 1 && NONBLOCK);
#if NINV > 1
		run invalidation(1, NONBLOCK);
#endif
#if DESTROY
		run destroyer()
#else
		run updater();
#if RECLAIM
		run reclaimer()
#else
		run vcpu()
#endif
#endif
	}
	/* When all have finished; a deadlock, if they do not. Counts balance. */
	(_nr_pr == 1);
	assert(in_progress == 0 && brackets == 0 && !mmu_lock);
	assert(overflow[0] + overflow[1] == 0 && updater_done)
}
