/* SPDX-License-Identifier: MIT */
/*
 * Barriers A and B on the machine of range-tso.pml: base/guest_mode.c's race. A vCPU
 * that has a page in its TLB comes back to guest mode while its SPTE is zapped and
 * flushed. -DNO_A or -DNO_B shows what each is for.
 */
#include "tso.h"

#define ZAPPED 0
#define REQUESTED 1
#define MODE 2 /* 1 in guest mode */
#define DONE 3

bool freed = 0;

proctype flusher()
{
	byte mode, done;

	store(0, ZAPPED, 1);
	store(0, REQUESTED, 1); /* s2_guest_request_flush() */
#ifndef NO_B
	fence(0);
#endif
	do /* flushed() */
	:: load(0, MODE, mode);
		load(0, DONE, done);
		if
		:: mode == 0 || done == 1 -> break
		:: else
		fi
	od;
	freed = 1
}

proctype vcpu()
{
	byte requested, zapped;
	bool tlb = 1;

	store(1, MODE, 1); /* change_mode() */
#ifndef NO_A
	fence(1);
#endif
	load(1, REQUESTED, requested); /* act_on_request() */
	if
	:: requested == 1 -> tlb = 0; store(1, DONE, 1)
	:: else
	fi;
	if
	:: !tlb -> load(1, ZAPPED, zapped); tlb = !zapped /* fill_tlb() */
	:: else
	fi;
	assert(!tlb || !freed);
	load(1, REQUESTED, requested); /* the safepoint, for a flusher that came later */
	if
	:: requested == 1 -> tlb = 0; store(1, DONE, 1)
	:: else
	fi;
	assert(!tlb || !freed);
	store(1, MODE, 0)
}

init { atomic { run flusher(); run vcpu(); run drain(0); run drain(1) } }
