/* SPDX-License-Identifier: MIT */
/*
 * Barriers C and D of docs/protocol.md on a machine with store buffers: what a
 * processor writes goes into its buffer, which it alone can read, and to memory some
 * time later, in order. A full fence, and a compare-exchange, wait until the buffer is
 * empty. With both, the vCPU cannot use a page that an elided invalidation takes away;
 * -DNO_C or -DNO_D shows what each is for.
 *
 * An entry is claimed by who is at home there, to its range in one step; or by anybody, who says
 * which range afterwards, in the same word or, if it does not fit, beside it (fill()). Who looks
 * in between waits (await_word()): -DPASSED_BY is what would be without that. The entry has
 * an occupant already, of a range elsewhere, which is about to leave in two steps:
 * -DFREED_FIRST is the one before the other.
 */
#include "tso.h"

#define HVA 0 /* the hva index */
#define WORD 1
#define SEQ 2
#define RANGE 3 /* of a long one: 1 is elsewhere, 2 is the memslot's */

/* The word: */
#define FREE 0
#define ELSEWHERE 1
#define HERE 2
#define CLAIMED 3
#define LONG 4

bool gfn_index = 0;
bool in_bracket = 0; /* elided; for the assertion */

/* s2_inflight_leave_entry(), of a processor whose stores are seen at once */
proctype occupant_before()
{
#ifdef FREED_FIRST
	memory[WORD] = FREE;
	memory[SEQ] = memory[SEQ] + 1
#else
	memory[SEQ] = memory[SEQ] + 1;
	memory[WORD] = FREE
#endif
}

/* s2_inflight_claim() */
inline claim(word)
{
#ifdef NO_C
	(memory[WORD] == FREE);
	store(0, WORD, word)
#else
	atomic { memory[WORD] == FREE && empty(buffer0) -> memory[WORD] = word }
#endif
}

proctype invalidation()
{
	byte seen, seq;

	if
	:: claim(HERE)
	:: claim(CLAIMED); store(0, WORD, HERE)
	:: claim(CLAIMED); store(0, RANGE, 2); store(0, WORD, LONG)
	fi;
	load(0, HVA, seen); /* the filter, or pinned_view() */
	if
	:: seen == 0 ->
		in_bracket = 1; /* nothing is counted, the page goes away */
		in_bracket = 0
	:: else /* takes mmu_lock and counts: not our subject */
	fi;
	load(0, SEQ, seq);
	store(0, SEQ, seq + 1);
	store(0, WORD, FREE)
}

/* Sets @overlaps and @word, as occupant_overlaps() for who is to raise @seq. */
inline look_at_entry()
{
	do
	:: load(1, WORD, word);
		if
		:: word != CLAIMED -> break
#ifdef PASSED_BY
		:: else -> word = FREE; break
#else
		:: else ->
			load(1, SEQ, now);
			if
			:: now != seq -> word = FREE; break
			:: else
			fi
#endif
		fi
	od;
	if
	:: word == LONG -> load(1, RANGE, its)
	:: else -> its = word
	fi;
	load(1, SEQ, now);
	overlaps = (its == HERE && now == seq)
}

proctype updater()
{
	byte seq, word, its, now;
	bool overlaps;

	store(1, HVA, 1);
#ifndef NO_D
	fence(1);
#endif
	load(1, SEQ, seq);
	look_at_entry();
	do
	:: !overlaps -> break
	:: overlaps -> /* has_left() */
		load(1, SEQ, now);
		load(1, WORD, word);
		overlaps = (now == seq && word != FREE)
	od;
	gfn_index = 1
}

/* Finds the memslot and maps the page: the count is not raised. */
proctype vcpu()
{
	gfn_index;
	assert(!in_bracket)
}

init {
	atomic {
		memory[WORD] = ELSEWHERE;
		memory[RANGE] = 1;
		run occupant_before(); run invalidation(); run updater(); run vcpu();
		run drain(0); run drain(1)
	}
}
