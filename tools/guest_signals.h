/* SPDX-License-Identifier: MIT */
/*
 * A guest's signals, as far as programs without threads and children need them: what it has asked
 * for, what is blocked, and how signals are sent. guest_handlers.h delivers them.
 */
#ifndef STAGE2_TOOLS_GUEST_SIGNALS_H
#define STAGE2_TOOLS_GUEST_SIGNALS_H

#include "guest_internal.h"
#include "guest_pending.h"
#include "guest_timer.h"

/* The kernel's, which are not the C library's. */
struct guest_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

#define GUEST_SIG_DFL 0
#define GUEST_SIG_IGN 1

#define GUEST_SA_RESTORER UINT64_C(0x04000000)
#define GUEST_SA_ONSTACK UINT64_C(0x08000000)
#define GUEST_SA_RESTART UINT64_C(0x10000000)
#define GUEST_SA_NODEFER UINT64_C(0x40000000)
#define GUEST_SA_RESETHAND UINT64_C(0x80000000)

struct guest_sigstack {
	uint64_t sp;
	uint32_t flags;
	uint32_t reserved;
	uint64_t size;
};

#define GUEST_SS_ONSTACK UINT32_C(1)
#define GUEST_SS_DISABLE UINT32_C(2)
#define GUEST_SS_AUTODISARM (UINT32_C(1) << 31)

/*
 * @mask_before: the mask when a call like ppoll() put its own in its place, if @mask_is_calls.
 * @interrupted: the call that was answered last, @interrupted_call, may have to be made again.
 * @returning:   it was rt_sigreturn(2).
 */
struct guest_signals {
	struct guest_sigaction actions[GUEST_SIGNALS];
	struct guest_sigstack stack;
	struct guest_pending pending;
	struct guest_timer timer;
	uint64_t mask;
	uint64_t mask_before;
	uint64_t interrupted_call;
	bool mask_is_calls;
	bool interrupted;
	bool returning;
};

int guest_signals_create(struct guest_signals **signals);
void guest_signals_destroy(struct guest_signals *signals);

/*
 * The guest gets @signal from the kernel. It ends at once by one that is not blocked and ends it by
 * default. What writes to a pipe without reader calls it with SIGPIPE and returns -EPIPE.
 */
void guest_signal(struct guest *guest, int signal);

/* The same, from the guest itself. -EAGAIN: too many are queued. */
int guest_signal_send(struct guest *guest, const struct guest_siginfo *info, bool to_thread);

/* Is there one that is to be delivered before the guest goes on? What it ignores is forgotten. */
bool guest_signal_is_due(struct guest *guest);

/* The same for what waits, which ends then with -EINTR: a timer may have expired meanwhile. */
bool guest_signal_interrupts(struct guest *guest);

/* What guest_end() is told for a signal that ends a guest. */
void guest_signal_ends(struct guest *guest, int signal);

/*
 * Makes the mask at @gpa, of @size bytes, that of the call that is being answered; 0: none. Unless
 * a signal ends the call, it says guest_signal_unmask() at its end; if one does, the handler is
 * called with that mask, and returns to the one before.
 */
int guest_signal_mask(struct guest *guest, uint64_t gpa, uint64_t size);
void guest_signal_unmask(struct guest *guest);

/* Without SIGKILL and SIGSTOP, which nobody can block. */
void guest_signal_set_mask(struct guest *guest, uint64_t mask);

/* Does the stack of handlers hold @sp? */
bool guest_sigstack_holds(const struct guest_sigstack *stack, uint64_t sp);
void guest_sigstack_disable(struct guest_sigstack *stack);

/* As sigaltstack(2), called with the stack pointer @sp. */
int guest_sigstack_set(struct guest_sigstack *stack, const struct guest_sigstack *new, uint64_t sp);

/*
 * A call that waited in vain for a signal's sake, and is made again if that signal's handler is one
 * with SA_RESTART, returns it. The guest never sees it.
 */
#define GUEST_RESTART 512

guest_handler guest_sys_kill;
guest_handler guest_sys_rt_sigaction;
guest_handler guest_sys_rt_sigpending;
guest_handler guest_sys_rt_sigprocmask;
guest_handler guest_sys_rt_sigqueueinfo;
guest_handler guest_sys_rt_tgsigqueueinfo;
guest_handler guest_sys_sigaltstack;
guest_handler guest_sys_tgkill;
guest_handler guest_sys_tkill;

#endif
