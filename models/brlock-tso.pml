/* SPDX-License-Identifier: MIT */
/*
 * Barriers E and F on the machine of range-tso.pml: the race of base/brlock.h, which
 * mmu_lock is. The writer of one turn and a reader of two; the semaphore of those who
 * wait is a flag, that orders as a lock does. -DNO_E or -DNO_F shows what each is for.
 */
#include "tso.h"

#define WRITER 0
#define STATE 1

bool sem_held = 0, reading = 0, writing = 0;

proctype writer()
{
	byte state;

	atomic { !sem_held -> sem_held = 1 } /* s2_down_write() */
	fence(0);
	store(0, WRITER, 1); /* shut_out() */
#ifndef NO_E
	fence(0);
#endif
	do /* is_idle() */
	:: load(0, STATE, state);
		if
		:: state == 0 -> break
		:: else
		fi
	od;
	writing = 1;
	assert(!(reading && writing));
	writing = 0;
	store(0, WRITER, 0); /* let_in() */
	fence(0);
	sem_held = 0
}

proctype reader()
{
	byte shut, turn;

	for (turn : 1 .. 2) {
		store(1, STATE, 1); /* announce() */
#ifndef NO_F
		fence(1);
#endif
		load(1, WRITER, shut);
		if
		:: shut != 0 -> /* read_lock_slow() */
			store(1, STATE, 0);
			fence(1);
			atomic { !sem_held -> sem_held = 1 }
			store(1, STATE, 1);
			fence(1);
			sem_held = 0
		:: else
		fi;
		reading = 1;
		assert(!(reading && writing));
		reading = 0;
		store(1, STATE, 0); /* step_back() */
		fence(1)
	}
}

init { atomic { run writer(); run reader(); run drain(0); run drain(1) } }
