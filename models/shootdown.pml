/* SPDX-License-Identifier: MIT */
/*
 * The flush of restartable accesses: revive_tlb() and the race at the top of
 * base/guest_mode.c. A vCPU makes accesses while its page is zapped, flushed and
 * freed. A sequence is restarted between any two of its steps. Memory is in order
 * here: what the two sides exchange are read-modify-writes, and membarrier(2) is a
 * full barrier to both.
 */
#ifndef ACCESSES
#define ACCESSES 3
#endif

bool zapped = 0, freed = 0;
byte requested = 0, done = 0;
bool live = 0;        /* live_tlb is the vCPU's own */
bool tlb = 0;         /* that has the page */
bool mode = 0;        /* in guest mode */
bool in_sequence = 0; /* the kernel would restart it */
bool restart = 0;

proctype flusher()
{
	bool old;

	zapped = 1;
	requested++; /* s2_guest_request_flush() */
#ifdef LIVE_TLB_STAYS
	old = 1;
#else
	atomic { old = live; live = 0 }
#endif
#ifndef NOT_RESTARTED
	if
	:: old -> atomic { restart = in_sequence } /* s2_rseq_restart_all() */
	:: else
	fi;
#endif
	!mode || done == requested; /* flushed() */
	freed = 1
}

inline act_on_request()
{
	if
	:: requested != done -> seen = requested; tlb = 0; done = seen
	:: else
	fi
}

inline revive_tlb()
{
	do
	:: atomic { live = 1 };
#ifndef REVIVED_UNSEEN
		act_on_request();
#endif
		if
		:: live -> break
		:: else
		fi
	od
}

/* What is no sequence, in guest mode: a walk, and with the page in the TLB the access. */
inline slow()
{
	mode = 1;
	act_on_request();
	revive_tlb();
	if
	:: !zapped -> tlb = 1; assert(!(freed && tlb))
	:: skip /* another page, or a fault */
	fi;
	mode = 0
}

proctype vcpu()
{
	byte seen, i;
	bool mine;

	for (i : 1 .. ACCESSES) {
		mine = 0;
again:		atomic { restart = 0; in_sequence = 1; mine = live }
		if
		:: restart -> goto again
		:: !restart && mine && tlb ->
			if
			:: restart -> goto again
			:: atomic { !restart -> assert(!(freed && tlb)); in_sequence = 0 }
			fi
		:: !restart -> in_sequence = 0; slow() /* no translation, or of another page */
		fi
	}
}

init { atomic { run flusher(); run vcpu() } }
