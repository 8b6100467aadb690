/* SPDX-License-Identifier: MIT */
/*
 * What the safety models of the four gates share: one VM, one vCPU with a TLB, the
 * primary MMU, and one page of host memory, with a memslot that puts it at guest
 * frame 0 or 1, or nowhere. Each inline is named for the C function it stands for,
 * and takes one step for each thing that another thread can see.
 *
 * What is asserted, and where:
 *   use():                 no page is used after it is freed, nor by any
 *                          translation while a bracket is open;
 *   mmu_invalidate_end(),
 *   in the end:            counts balance, on the same VM;
 *   alive():               a VM that is freed is not touched;
 *   deref():               nor is a memslot that was replaced, after its grace period.
 */
#define NOWHERE 0 /* else the memslot is at guest frame `place - 1` */

byte hva_index = NOWHERE; /* which memslot invalidations find */
byte gfn_index = NOWHERE; /* which one vCPUs find */

byte present = 0;              /* primary MMU: the page at the hva, 0 if none */
byte next_page = 1;
bool freed[NINV * ROUNDS + 2]; /* pages that the primary MMU has given back */
byte brackets = 0;             /* pairs whose start() has returned and whose end() is not yet called */

bool mmu_lock = 0;
byte in_progress = 0;
byte invalidate_seq = 0;
byte spte[2];
bool tlbs_dirty = 0;
bool in_guest_mode = 0;
byte flush_requested = 0;
byte flush_done = 0;
bool vm_freed = 0;

/*
 * What happens under mmu_lock and can be seen by nobody without it is one step with
 * the taking of the lock: that takes nothing from what may happen, and keeps the
 * models small. The zap of an SPTE that vCPUs walk is one step, too, the flush and
 * its wait are steps of their own.
 */
inline alive() { assert(!vm_freed) }
inline lock_mmu() { !mmu_lock -> alive(); mmu_lock = 1 } /* in an atomic */
inline unlock_mmu() { atomic { alive(); mmu_lock = 0 } }

/* notifier/invalidate.h; all three with mmu_lock held, which all who read the two hold as well */
inline mmu_invalidate_begin() { in_progress++ }
inline mmu_invalidate_end()
{
	assert(in_progress > 0); /* dropped by one who did not raise it */
#if MUT == COUNT_BEFORE_SEQ
	in_progress--;
	invalidate_seq++
#else
	invalidate_seq++;
	in_progress--
#endif
}
inline mmu_invalidate_undo() { in_progress-- } /* nothing was invalidated: the sequence stays */

/* mmu/spte.c: zap() */
inline unmap_gfn_range(place, flush)
{
	if
	:: place != NOWHERE && spte[place - 1] != 0 -> spte[place - 1] = 0; flush = 1
	:: else
	fi
}

/* base/guest_mode.c: s2_guest_request_flush(), flushed() */
inline request_flush() { flush_requested++ }
#define flushed (!in_guest_mode || flush_done == flush_requested)

/* mmu/flush.c; barrier B is between the two */
inline flush_remote_tlbs()
{
#if MUT != START_DOES_NOT_FLUSH
	request_flush();
#if MUT != FLUSH_DOES_NOT_WAIT
	(flushed);
#endif
#endif
	tlbs_dirty = 0
}

/* memslot/vm.h: s2_flush_if() */
inline flush_if(flush)
{
	if
	:: flush || tlbs_dirty -> flush_remote_tlbs()
	:: else
	fi;
	flush = 0
}

/* The primary MMU takes the page away; the next fault() finds it another. */
inline primary_mmu_drops_page()
{
	if
	:: present != 0 -> freed[present] = 1; present = 0
	:: else
	fi
}

/* struct s2_mm_provider.fault(), the twin of get_user_pages() */
inline provider_fault(page)
{
	atomic {
		if
		:: present == 0 -> present = next_page; next_page++
		:: else
		fi;
		page = present
	}
}

/* base/guest_mode.c: the TLB first, then the acknowledgement */
inline act_on_request()
{
	request = flush_requested;
	if
	:: request != flush_done ->
#if MUT == ACK_BEFORE_DROP
		flush_done = request;
		tlb[0] = 0; tlb[1] = 0
#else
		tlb[0] = 0; tlb[1] = 0;
		flush_done = request
#endif
	:: else
	fi;
	request = 0
}

inline guest_return() { in_guest_mode = 1; act_on_request() } /* barrier A is between the two */
inline guest_leave() { in_guest_mode = 0 }

/*
 * s2_mmu_invalidate_retry(), under mmu_lock: the count, then s2_inflight_covers().
 * One step: whose count is up, and so must be found, cannot leave without the lock.
 */
#define covered (NINV == 1 && occupied(0) || NINV > 1 && (occupied(0) || occupied(NINV - 1)))
#define invalidating (in_progress > 0 && covered)

/*
 * mmu/fault.c: try_fault(), map_page(). What the vCPU maps is what it looked up;
 * whether that still holds is asked under mmu_lock. Leaves in @page what it mapped.
 */
inline try_fault(gfn, page)
{
#if MUT != SEQ_AFTER_LOOKUP
	seq = invalidate_seq;
#endif
	if
	:: gfn_index != gfn + 1 -> skip /* find_target(): no memslot */
	:: gfn_index == gfn + 1 ->
		provider_fault(page);
#if MUT == SEQ_AFTER_LOOKUP
		seq = invalidate_seq;
#endif
		atomic {
			lock_mmu();
			if
			:: gfn_index != gfn + 1 -> page = 0 /* still_valid(): it is another by now */
#if MUT != FAULT_DOES_NOT_RETRY
			:: gfn_index == gfn + 1 && (invalidating || invalidate_seq != seq) -> page = 0
			:: gfn_index == gfn + 1 && !(invalidating || invalidate_seq != seq) ->
				spte[gfn] = page
#else
			:: gfn_index == gfn + 1 -> spte[gfn] = page
#endif
			fi;
			unlock_mmu()
		}
	fi;
	seq = 0
}

/* The guest's load or store by its TLB. */
inline use(gfn) { assert(tlb[gfn] == 0 || (!freed[tlb[gfn]] && brackets == 0)) }

/* vcpu/guest_access.c: translate(): walks in guest mode, or else faults and walks again */
proctype vcpu()
{
	byte tlb[2];
	byte gfn, page, found, request, seq, n = 0;

	do
	:: n < VCPU_ROUNDS ->
		if
		:: gfn = 0
		:: gfn = 1
		fi;
		guest_return();
		do
		:: tlb[gfn] != 0 -> break
		:: tlb[gfn] == 0 ->
			found = spte[gfn]; /* fill_tlb() */
			tlb[gfn] = found;
			if
			:: found != 0 -> break
			:: else
			fi;
			guest_leave();
			try_fault(gfn, page);
			guest_return();
			if
			:: page == 0 -> break /* no memslot; or retry, which another round is */
			:: else
#if MUT == FAULT_BRINGS_PAGE
				-> tlb[gfn] = page; page = 0; break
#endif
			fi;
			page = 0
		od;
		found = 0;
		use(gfn);
		act_on_request(); /* s2_vcpu_poll(), the safepoint */
		use(gfn);
		guest_leave();
		gfn = 0;
		n++
	:: else -> break
	od
}

/* mmu/spte.c: s2_mmu_zap_memslot(), when the gfn index has let go of it */
inline zap_memslot(place)
{
	atomic {
		lock_mmu();
#if MUT != DELETE_KEEPS_SEQ
		invalidate_seq++; /* faults in flight start again, whatever comes back */
#endif
		unmap_gfn_range(place, flush)
	};
	flush_if(flush);
	unlock_mmu()
}
