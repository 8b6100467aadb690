/* SPDX-License-Identifier: MIT */
/*
 * The handler of SIGSEGV that makes faults of accesses to windows. A signal's handler is the
 * process's, and so is what it has to know: which addresses are windows', and the handlers
 * that were there before. That is all the global state there is.
 *
 * The signal comes of an access that the program has just made, where it holds no lock
 * of ours; so what a fault does is as allowed here as in a function called instead of the
 * access. The addresses are found in an RCU section, in a tree of which each change makes a
 * new version; the window itself stays, since who accesses it is using it.
 */
#include "vcpu/window.h"

#include "base/alloc.h"
#include "base/arch.h"
#include "base/lock.h"
#include "base/rcu.h"
#include "base/rcu_itree.h"
#include "mmu/window.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * What was there before us. Each has a function of its own that the kernel calls instead of it, and
 * that passes on to it. A handler that came later and passes on to that function can be adopted
 * in its turn, by another function; so it gets a signal once, and the ones before it the next.
 *
 * @action:   never changed again: who is being called by it stays in it as long as he likes.
 * @callable: it may be called; no longer if it wanted to be called once only, and was.
 */
struct adopted {
	struct sigaction action;
	_Atomic bool callable;
};

/* As window.h says. */
#define MAX_ADOPTED 8

/*
 * @lock:    protects the changing of the others.
 * @windows: by address.
 */
static struct {
	struct s2_mutex lock;
	struct s2_rcu_itree windows;
	struct adopted adopted[MAX_ADOPTED];
	unsigned nr_adopted;
} signals = { .lock = { .rank = S2_RANK_WINDOWS } };

static _Thread_local int fault_error;

static struct s2_itree_iv interval(struct s2_window *window)
{
	uint64_t start = (uintptr_t)window->addr;

	return (struct s2_itree_iv){ start, start + (window->npages << S2_PAGE_SHIFT), window };
}

int s2_window_signals_add(struct s2_window *window)
{
	struct s2_itree_iv iv = interval(window);
	int ret;

	s2_mutex_lock(&signals.lock);
	/* The C library's memory, since windows of several s2_mm meet here. */
	ret = s2_rcu_itree_add(&signals.windows, &s2_libc_allocator, &iv);
	s2_mutex_unlock(&signals.lock);
	return ret;
}

void s2_window_signals_remove(struct s2_window *window)
{
	struct s2_itree_iv iv = interval(window);

	s2_mutex_lock(&signals.lock);
	s2_rcu_itree_remove(&signals.windows, &s2_libc_allocator, &iv);
	s2_mutex_unlock(&signals.lock);
}

static struct s2_window *find(const void *addr)
{
	struct s2_window *window;

	s2_rcu_read_lock();
	window = s2_itree_lookup(s2_rcu_itree_root(&signals.windows), (uintptr_t)addr);
	s2_rcu_read_unlock();
	return window;
}

/* Only of a fault is there an address; anybody can send the signal. */
static bool is_fault(const siginfo_t *info)
{
	return info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR;
}

static int resolve(struct s2_window *window, const void *addr, const void *context)
{
	enum s2_fault_kind kind = s2_fault_kind(context);

	/* Nothing is ever executable there; a fault would find nothing to do, again and again. */
	if (kind == S2_FAULT_EXECUTE)
		return -EACCES;
	if (kind == S2_FAULT_UNKNOWN && s2_window_is_readable(window, addr))
		kind = S2_FAULT_WRITE;
	return s2_window_fault(window, addr,
			       kind == S2_FAULT_WRITE ? S2_ACCESS_WRITE : S2_ACCESS_READ);
}

/*
 * What the kernel does if there is no handler. An access is made again, so that it is what
 * ends the process, with registers and all; but not one that might succeed by now.
 */
static void take_default(int sig, siginfo_t *info, bool again)
{
	const struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigaction(sig, &action, NULL);
	if (again)
		return;
	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), sig, info);
}

/* With the signals blocked that would be, had the kernel called it. Ours unblocks them. */
static void call(const struct sigaction *action, int sig, siginfo_t *info, void *context)
{
	sigset_t blocked = action->sa_mask;

	if (!(action->sa_flags & SA_NODEFER))
		sigaddset(&blocked, sig);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(sig, info, context);
	else
		action->sa_handler(sig);
}

/* Who is for once is so no longer when it has been asked. */
static bool may_call(struct adopted *before)
{
	/* Acquire pairs with the release in adopt(): the action is there. */
	if (!atomic_load_explicit(&before->callable, memory_order_acquire))
		return false;
	return !(before->action.sa_flags & SA_RESETHAND) ||
	       atomic_exchange_explicit(&before->callable, false, memory_order_relaxed);
}

static void pass_on(struct adopted *before, int sig, siginfo_t *info, void *context, bool in_window)
{
	bool callable = may_call(before), fault = info->si_code > 0;
	const struct sigaction *action = &before->action;

	if (action->sa_handler == SIG_IGN && !fault)
		return;
	if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN || !callable)
		take_default(sig, info, fault && !in_window);
	else
		call(action, sig, info, context);
}

static void handle(struct adopted *before, int sig, siginfo_t *info, void *context)
{
	struct s2_window *window = is_fault(info) ? find(info->si_addr) : NULL;
	int saved = errno, error = 0;

	if (window)
		error = resolve(window, info->si_addr, context);
	/* A handler that does not return finds it here, one that does leaves nothing behind. */
	errno = saved;
	if (window && !error)
		return;
	fault_error = error;
	pass_on(before, sig, info, context, window);
	errno = saved;
}

#define HANDLER(n)                                                                                 \
	static void handle_##n(int sig, siginfo_t *info, void *context)                            \
	{                                                                                          \
		handle(&signals.adopted[n], sig, info, context);                                   \
	}
HANDLER(0) HANDLER(1) HANDLER(2) HANDLER(3) HANDLER(4) HANDLER(5) HANDLER(6) HANDLER(7)

static void (*const handlers[MAX_ADOPTED])(int, siginfo_t *, void *) = {
	handle_0, handle_1, handle_2, handle_3, handle_4, handle_5, handle_6, handle_7,
};

static bool is_ours(const struct sigaction *action)
{
	for (unsigned i = 0; i < MAX_ADOPTED; i++)
		if ((action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handlers[i])
			return true;
	return false;
}

/* Signal by signal: in the rest of a set sigaction() leaves anything. */
static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (sigismember(&a->sa_mask, sig) != sigismember(&b->sa_mask, sig))
			return false;
	return a->sa_sigaction == b->sa_sigaction && a->sa_flags == b->sa_flags;
}

/* SA_NODEFER: what a provider does in a fault may be an access to another s2_mm's window. */
static int install(unsigned place)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_NODEFER };

	/* On the stack that the previous handler counts on: it may be there for overflows. */
	action.sa_flags |= signals.adopted[place].action.sa_flags & (SA_ONSTACK | SA_RESTART);
	action.sa_sigaction = handlers[place];
	sigemptyset(&action.sa_mask);
	return sigaction(SIGSEGV, &action, NULL) ? -errno : 0;
}

/* Once for each that is another: who asks again and again takes no more places. */
static int adopt(const struct sigaction *action)
{
	unsigned place = 0;

	S2_ASSERT_HELD(&signals.lock);
	while (place < signals.nr_adopted && !same_action(&signals.adopted[place].action, action))
		place++;
	if (place == MAX_ADOPTED)
		return -ENOSPC;
	if (place == signals.nr_adopted)
		signals.adopted[signals.nr_adopted++].action = *action;
	/* Release: before the first signal, on whatever thread. Pairs with may_call(). */
	atomic_store_explicit(&signals.adopted[place].callable, true, memory_order_release);
	return install(place);
}

int s2_window_handle_signals(void)
{
	struct sigaction before;
	int ret;

	s2_mutex_lock(&signals.lock);
	ret = sigaction(SIGSEGV, NULL, &before) ? -errno : 0;
	if (!ret && !is_ours(&before))
		ret = adopt(&before);
	s2_mutex_unlock(&signals.lock);
	return ret;
}

int s2_window_error(void)
{
	return fault_error;
}
