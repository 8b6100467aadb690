/* SPDX-License-Identifier: MIT */
/*
 * The handler of SIGSEGV that makes faults of accesses to windows. A signal's handler is the
 * process's, and so is what it has to know: which addresses are windows', and the handler
 * that was there before. That is all the global state there is.
 *
 * The signal comes of an access that the program has just made, where it holds no lock
 * of ours; so what a fault does is as allowed here as in a function called instead of the
 * access. The addresses are found in an RCU section, in a tree of which each change makes a
 * new version; the window itself stays, since who accesses it is using it.
 */
#include "vcpu/window.h"

#include "base/alloc.h"
#include "base/arch.h"
#include "base/itree.h"
#include "base/lock.h"
#include "base/rcu.h"
#include "mmu/window.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * What was there before us. Never freed: who is being called by it stays in it as long as he likes.
 *
 * @spent: it wanted to be called once only, and was.
 * @older: one that we took the place of before.
 */
struct previous_action {
	struct sigaction action;
	_Atomic bool spent;
	struct previous_action *older;
};

/*
 * @lock:     protects the changing of the others.
 * @root:     of the windows by address.
 * @nodes:    for the updates of @root; a removal needs no more than an insertion has left there.
 */
static struct {
	struct s2_mutex lock;
	_Atomic(struct s2_itree_node *) root;
	struct s2_itree_reserve nodes;
	_Atomic(struct previous_action *) previous;
} signals = { .lock = { .rank = S2_RANK_WINDOWS } };

static _Thread_local int fault_error;

static struct s2_itree_iv interval(struct s2_window *window)
{
	uint64_t start = (uintptr_t)window->addr;

	return (struct s2_itree_iv){ start, start + (window->npages << S2_PAGE_SHIFT), window };
}

/* Frees what a change has replaced, when no handler reads it any more. */
static void publish(struct s2_itree_node *root, struct s2_itree_node *replaced)
{
	S2_ASSERT_HELD(&signals.lock);
	/* Release pairs with the acquire in find(). */
	atomic_store_explicit(&signals.root, root, memory_order_release);
	s2_synchronize_rcu();
	s2_itree_reserve_add_list(&signals.nodes, replaced);
}

int s2_window_signals_add(struct s2_window *window)
{
	struct s2_itree_node *replaced = NULL, *root;
	struct s2_itree_iv iv = interval(window);
	int ret;

	s2_mutex_lock(&signals.lock);
	/*
	 * The C library's memory, since windows of several s2_mm meet here. Half of it for
	 * the window's removal.
	 */
	ret = s2_itree_reserve_fill(&signals.nodes, &s2_libc_allocator, 2 * S2_ITREE_UPDATE_NODES);
	if (!ret) {
		root = s2_itree_insert(atomic_load_explicit(&signals.root, memory_order_relaxed),
				       &iv, &signals.nodes, &replaced);
		publish(root, replaced);
	}
	s2_mutex_unlock(&signals.lock);
	return ret;
}

void s2_window_signals_remove(struct s2_window *window)
{
	struct s2_itree_node *replaced = NULL, *root;
	struct s2_itree_iv iv = interval(window);

	s2_mutex_lock(&signals.lock);
	root = s2_itree_remove(atomic_load_explicit(&signals.root, memory_order_relaxed), iv.start,
			       iv.end, window, &signals.nodes, &replaced);
	publish(root, replaced);
	if (!root)
		s2_itree_reserve_drain(&signals.nodes, &s2_libc_allocator);
	s2_mutex_unlock(&signals.lock);
}

static struct s2_window *find(const void *addr)
{
	struct s2_window *window;

	s2_rcu_read_lock();
	window = s2_itree_lookup(atomic_load_explicit(&signals.root, memory_order_acquire),
				 (uintptr_t)addr);
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

static void pass_on(int sig, siginfo_t *info, void *context, bool in_window)
{
	/* Acquire pairs with the release in install(). */
	struct previous_action *previous =
		atomic_load_explicit(&signals.previous, memory_order_acquire);
	const struct sigaction *action = &previous->action;
	bool once = action->sa_flags & SA_RESETHAND;
	bool fault = info->si_code > 0;

	if (action->sa_handler == SIG_IGN && !fault)
		return;
	if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN ||
	    (once && atomic_exchange_explicit(&previous->spent, true, memory_order_relaxed)))
		take_default(sig, info, fault && !in_window);
	else
		call(action, sig, info, context);
}

static void handle(int sig, siginfo_t *info, void *context)
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
	pass_on(sig, info, context, window);
	errno = saved;
}

/* SA_NODEFER: what a provider does in a fault may be an access to another s2_mm's window. */
static int install(struct previous_action *previous)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER };

	S2_ASSERT_HELD(&signals.lock);
	/* On the stack that the previous handler counts on: it may be there for overflows. */
	action.sa_flags |= previous->action.sa_flags & (SA_ONSTACK | SA_RESTART);
	sigemptyset(&action.sa_mask);
	previous->older = atomic_load_explicit(&signals.previous, memory_order_relaxed);
	/* Release: before the first signal, on whatever thread. Pairs with pass_on(). */
	atomic_store_explicit(&signals.previous, previous, memory_order_release);
	if (!sigaction(SIGSEGV, &action, NULL))
		return 0;
	atomic_store_explicit(&signals.previous, previous->older, memory_order_release);
	return -errno;
}

static bool is_ours(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handle;
}

int s2_window_handle_signals(void)
{
	struct previous_action *previous =
		s2_zalloc(&s2_libc_allocator, sizeof(*previous), sizeof(void *));
	int ret;

	if (!previous)
		return -ENOMEM;
	s2_mutex_lock(&signals.lock);
	ret = sigaction(SIGSEGV, NULL, &previous->action) ? -errno : 0;
	if (!ret && is_ours(&previous->action))
		ret = -EALREADY;
	if (!ret)
		ret = install(previous);
	s2_mutex_unlock(&signals.lock);
	if (ret)
		s2_free(&s2_libc_allocator, previous);
	return ret == -EALREADY ? 0 : ret;
}

int s2_window_error(void)
{
	return fault_error;
}
