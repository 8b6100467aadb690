/* SPDX-License-Identifier: MIT */
/*
 * Barriers C and D of docs/protocol.md on a machine with store buffers: what a
 * processor writes goes into its buffer, which it alone can read, and to memory some
 * time later, in order. A full fence waits until the buffer is empty. With both, the
 * vCPU cannot use a page that an elided invalidation takes away; -DNO_C or
 * -DNO_D shows what each is for.
 *
 * The entry is filled in as in s2_inflight_enter(): claimed first, its end later, and
 * who looks in between waits for it (occupant_overlaps()).
 */
#include "tso.h"

#define HVA 0 /* the hva index */
#define GFN 1
#define SEQ 2 /* of the entry: 1 is claimed, 2 is left */
#define END 3

bool in_bracket = 0; /* elided; for the assertion */

proctype invalidation()
{
	byte seen;

	store(0, SEQ, 1); /* s2_inflight_try() */
#ifndef NO_C
	fence(0);
#endif
	store(0, END, 1);
	load(0, HVA, seen); /* pinned_view() */
	if
	:: seen == 0 ->
		in_bracket = 1; /* nothing is counted, the page goes away */
		in_bracket = 0
	:: else /* takes mmu_lock and counts: not our subject */
	fi;
	store(0, END, 0);
	store(0, SEQ, 2)
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
	:: seq == 1 ->
		do
		:: load(1, END, its_end);
			load(1, SEQ, now);
			if
			:: its_end != 0 || now != seq -> break
			:: else
			fi
		od;
		do
		:: load(1, SEQ, now);
			if
			:: now != seq -> break
			:: else
			fi
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

init { atomic { run invalidation(); run updater(); run vcpu(); run drain(0); run drain(1) } }
