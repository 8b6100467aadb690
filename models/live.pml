/* SPDX-License-Identifier: MIT */
/*
 * Liveness of the four gates (-DGATE=ALWAYS, RWSEM, COUNT, RANGE, or OVERFLOW: the
 * range gate beyond its table), under weak fairness: each thread that can take a step
 * goes on to take one. Two threads invalidate, one adds and deletes the memslot, one
 * is a vCPU that maps it, all for ever:
 *
 *   updates        each memslot update finishes; -DCLAIM=UPDATES
 *   pairs          each start and each end finishes; -DCLAIM=PAIRS
 *
 * Locks are first come, first served here: who gets mmu_lock is the lock's business,
 * not the protocol's. Nothing is counted that would make the states many: of the
 * sequence of a table's entry, what is kept is whether the occupant that the updater
 * saw has left.
 */
#define ALWAYS 1
#define RWSEM 2
#define COUNT 3
#define RANGE 4
#define OVERFLOW 5
#define UPDATES 1
#define PAIRS 2

#ifndef WAIT_FOR_ALL
#define WAIT_FOR_ALL 0 /* 1: the updater waits for an entry to be free, whoever is in it */
#endif
#define SHARED_INDEX (GATE >= RANGE)

bool hva_index, gfn_index, spte, in_guest_mode, flush_requested;
bool occupied[2], gone[2]; /* gone: since the updater looked */
byte overflow[2], phase;
byte readers, in_flight;
bool writer;
bool idle[2], update_idle;

/* A lock that is held by the head of its queue. */
chan mmu_queue = [4] of { byte };
chan gate_queue = [4] of { byte };
inline take(queue) { queue!_pid; queue?[eval(_pid)] }
inline release(queue) { queue?eval(_pid) }

inline flush_remote_tlbs()
{
	flush_requested = 1;
	(!in_guest_mode || !flush_requested)
}

inline zap()
{
	take(mmu_queue);
	if
	:: spte -> spte = 0; flush_remote_tlbs()
	:: else
	fi;
	release(mmu_queue)
}

inline enter(id)
{
#if GATE == OVERFLOW
	mine = phase;
	overflow[mine]++;
#else
	occupied[id] = 1;
#endif
#if GATE == RWSEM
	queue_read();
#elif GATE == COUNT
	take(gate_queue);
	in_flight++;
	release(gate_queue);
#endif
	seen = (GATE == ALWAYS) || hva_index
}

/* base/lock.c: the queue's head takes what is free and lets the next come forward. */
inline queue_read() { take(gate_queue); atomic { !writer -> readers++ }; release(gate_queue) }

inline leave(id)
{
#if GATE == RWSEM
	readers--;
#elif GATE == COUNT
	take(gate_queue);
	in_flight--;
	release(gate_queue);
#endif
#if GATE == OVERFLOW
	overflow[mine]--;
	mine = 0;
#else
	atomic { occupied[id] = 0; gone[id] = 1 };
#endif
	seen = 0
}

proctype invalidation(bool id)
{
	bool seen, mine;

	do
	:: idle[id] = 0;
		enter(id);
		if
		:: seen -> zap()
		:: else
		fi;
		if
		:: seen -> take(mmu_queue); release(mmu_queue) /* end(): the count */
		:: else
		fi;
		leave(id);
		idle[id] = 1
	od
}

inline swap_begin()
{
#if GATE == RWSEM
	take(gate_queue);
	atomic { !writer && readers == 0 -> writer = 1 };
	release(gate_queue)
#elif GATE == COUNT
	take(gate_queue);
	do
	:: in_flight == 0 -> break
	:: else ->
		release(gate_queue);
		(in_flight == 0); /* asleep; woken at zero, which it need not be any more */
		take(gate_queue)
	od
#else
	skip
#endif
}

inline swap_end()
{
#if GATE == RWSEM
	writer = 0
#elif GATE == COUNT
	release(gate_queue)
#else
	skip
#endif
}

inline wait_overlapping()
{
#if GATE == RANGE && WAIT_FOR_ALL
	(!occupied[0]);
	(!occupied[1])
#elif GATE == RANGE
	atomic { gone[0] = !occupied[0]; gone[1] = !occupied[1] };
	(gone[0]);
	(gone[1])
#elif GATE == OVERFLOW
	if
	:: overflow[0] > 0 || overflow[1] > 0 ->
		do
		:: turn < 2 ->
			atomic { old = phase; phase = 1 - phase };
			(overflow[old] == 0);
			turn++
		:: else -> break
		od;
		turn = 0; old = 0
	:: else
	fi
#else
	skip
#endif
}

proctype updater()
{
	byte turn;
	bool old;

	do
	:: update_idle = 0; /* create */
		swap_begin();
		hva_index = 1;
		wait_overlapping();
		gfn_index = 1;
		swap_end();
		update_idle = 1;
		update_idle = 0; /* delete */
		swap_begin();
		gfn_index = 0;
		swap_end();
		zap();
		swap_begin();
		hva_index = 0;
		swap_end();
		update_idle = 1
	od
}

proctype vcpu()
{
	do
	:: in_guest_mode = 1;
		flush_requested = 0; /* the safepoint */
		if
		:: !spte && gfn_index ->
			in_guest_mode = 0;
			take(mmu_queue);
			spte = gfn_index;
			release(mmu_queue)
		:: else -> in_guest_mode = 0
		fi
	od
}

init { atomic { run invalidation(0); run invalidation(1); run updater(); run vcpu() } }

#if CLAIM == UPDATES
ltl updates { []<> update_idle && []<> !update_idle }
#else
ltl pairs { []<> idle[0] && []<> !idle[0] && []<> idle[1] && []<> !idle[1] }
#endif
