/* SPDX-License-Identifier: MIT */
/*
 * Barriers C and D of docs/protocol.md on a machine with store buffers: what a
 * processor writes goes into its buffer, which it alone can read, and to memory some
 * time later, in order. A full fence waits until the buffer is empty. With both, the
 * vCPU cannot use a page that an elided invalidation takes away; -DNO_C or
 * -DNO_D shows what each is for.
 *
 * The entry is filled in as in s2_inflight_fill(): claimed first, its end later, and
 * who looks in between waits for it (occupant_overlaps()). It has had an occupant
 * before, whose range was another and is still there; the turn in the end tells them
 * apart. -DANY_TURN is what would be without that.
 */
#include "tso.h"

#define HVA 0 /* the hva index */
#define GFN 1
#define SEQ 2 /* of the entry: 3 is claimed by the second occupant, 4 is left */
#define END 3 /* the turn in it: 1 is the first occupant's, elsewhere, 2 the second's */

bool in_bracket = 0; /* elided; for the assertion */

proctype invalidation()
{
	byte seen;

	store(0, SEQ, 3); /* s2_inflight_try() */
#ifndef NO_C
	fence(0);
#endif
	store(0, END, 2);
	load(0, HVA, seen); /* pinned_view() */
	if
	:: seen == 0 ->
		in_bracket = 1; /* nothing is counted, the page goes away */
		in_bracket = 0
	:: else /* takes mmu_lock and counts: not our subject */
	fi;
	store(0, SEQ, 4)
}

proctype updater()
{
	byte seq, its_end, now;

	store(1, HVA, 1);
#ifndef NO_D
	fence(1);
#endif
	load(1, SEQ, seq);
	if
	:: seq == 3 ->
		do
		:: load(1, END, its_end);
			load(1, SEQ, now);
			if
#ifdef ANY_TURN
			:: its_end != 0 || now != seq -> break
#else
			:: its_end == 2 || now != seq -> break
#endif
			:: else
			fi
		od;
		do
		:: its_end == 2 ->
			load(1, SEQ, now);
			if
			:: now != seq -> break
			:: else
			fi
		:: its_end != 2 -> break /* another range, or nobody's any more */
		od
	:: else
	fi;
	store(1, GFN, 1)
}

/* Finds the memslot and maps the page: the count is not raised. */
proctype vcpu()
{
	memory[GFN] == 1;
	assert(!in_bracket)
}

init { atomic { memory[SEQ] = 2; memory[END] = 1; run invalidation(); run updater(); run vcpu(); run drain(0); run drain(1) } }
