/* SPDX-License-Identifier: MIT */
/*
 * Run as a guest and by the host, by tests/tools/test_guest_signals.c: does with signals what its
 * first argument says and prints what came of it, which must be the same.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#define SOON_US 3000
#define ALT_SIZE 65536

static volatile sig_atomic_t calls;
static int ends[2];
static sigjmp_buf back;
static sem_t semaphore;
static char alt[ALT_SIZE] __attribute__((aligned(4096)));

/* Not through the C library's buffer, in the middle of which a handler may be called. */
static void say(const char *text, int number)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "%s %d\n", text, number);

	if (write(1, line, (size_t)len) != len)
		_exit(98);
}

static void count(int signal)
{
	(void)signal;
	calls++;
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigaction(signal, &action, NULL);
}

static void handle_info(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };

	sigaction(signal, &action, NULL);
}

static sigset_t set_of(int a, int b)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	return set;
}

static void block(int how, int signal)
{
	sigset_t set = set_of(signal, 0);

	sigprocmask(how, &set, NULL);
}

static bool is_blocked(int signal)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, signal);
}

static bool is_pending(int signal)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, signal);
}

/* Again and again: the first may come before the call that it is to interrupt. */
static void alarm_often(unsigned int us)
{
	const struct itimerval often = { { .tv_usec = us }, { .tv_usec = us } };

	setitimer(ITIMER_REAL, &often, NULL);
}

static void say_answer(const char *call, int64_t answer)
{
	int error = errno;

	say(call, (int)answer);
	if (answer < 0)
		say(strerror(error), error);
}

static void tell_info(int signal, siginfo_t *info, void *context)
{
	(void)context;
	say("signal", signal);
	say("is that of its info", info->si_signo == signal);
	say("code", info->si_code);
	say("from itself", info->si_pid == getpid() && info->si_uid == getuid());
	if (info->si_code == SI_QUEUE)
		say("value", info->si_value.sival_int);
	say("blocked meanwhile", is_blocked(signal));
}

static int info(void)
{
	const union sigval value = { .sival_int = 77 };

	handle_info(SIGUSR1, tell_info, 0);
	handle_info(SIGRTMIN + 3, tell_info, 0);
	raise(SIGUSR1);
	kill(getpid(), SIGUSR1);
	syscall(SYS_tkill, getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 3, value);
	say("still blocked", is_blocked(SIGUSR1));
	return 0;
}

static char *volatile forbidden;

static void tell_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	say("signal", signal);
	say("there", info->si_addr == forbidden);
	say("code", info->si_code);
	say("blocked meanwhile", is_blocked(signal));
}

/* A garbage collector's way: the access is made again when the handler has returned. */
static void allow(int signal, siginfo_t *info, void *context)
{
	tell_fault(signal, info, context);
	mprotect((void *)((uintptr_t)info->si_addr & -4096ul), 4096, PROT_READ | PROT_WRITE);
}

static void escape_fault(int signal, siginfo_t *info, void *context)
{
	tell_fault(signal, info, context);
	siglongjmp(back, 1);
}

static int faults(void)
{
	char *memory = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	handle_info(SIGSEGV, allow, 0);
	memset(memory, 7, 3 * 4096);
	for (int protection = PROT_NONE; protection <= PROT_READ; protection++) {
		forbidden = memory + 4096 + 5;
		mprotect(memory + 4096, 4096, protection);
		(*forbidden)++;
		say("and then", *forbidden);
	}
	handle_info(SIGSEGV, escape_fault, 0);
	munmap(memory + 2 * 4096, 4096);
	forbidden = memory + 2 * 4096;
	if (!sigsetjmp(back, 1))
		say("not read", *forbidden);
	if (!sigsetjmp(back, 1))
		*forbidden = 1;
	forbidden = NULL;
	if (!sigsetjmp(back, 1))
		say("not read", *forbidden);
	return 0;
}

static volatile int depth_left = INT_MAX;

static int recurse(volatile char *above)
{
	volatile char here[4096];

	here[0] = above ? above[0] : 1;
	return depth_left-- ? recurse(here) + here[0] : 0;
}

static void tell_overflow(int signal)
{
	say("no more stack", signal);
	_exit(3);
}

/* The handler is on a stack of its own: it is the other one that is full. */
static int stack_overflow(void)
{
	const stack_t stack = { .ss_sp = alt, .ss_size = sizeof(alt) };

	sigaltstack(&stack, NULL);
	handle(SIGSEGV, tell_overflow, SA_ONSTACK);
	return recurse(NULL);
}

static int blocked_fault(void)
{
	handle_info(SIGSEGV, tell_fault, 0);
	block(SIG_BLOCK, SIGSEGV);
	forbidden = NULL;
	return *forbidden;
}

static void raise_other(int signal)
{
	say("begin", signal);
	raise(SIGUSR2);
	say("end", signal);
}

static void tell(int signal)
{
	say("handled", signal);
}

static int nested(void)
{
	handle(SIGUSR1, raise_other, 0);
	handle(SIGUSR2, tell, 0);
	raise(SIGUSR1);
	return 0;
}

static int masks(void)
{
	struct sigaction action = { .sa_handler = raise_other,
				    .sa_mask = set_of(SIGUSR2, SIGKILL) };

	sigaction(SIGUSR1, &action, NULL);
	handle(SIGUSR2, tell, 0);
	raise(SIGUSR1);
	say("blocked", is_blocked(SIGUSR1) + is_blocked(SIGUSR2));
	return 0;
}

static void raise_again(int signal)
{
	int call = ++calls;

	say("begin", call);
	if (call < 4)
		raise(signal);
	say("end", call);
}

static int deferred(void)
{
	handle(SIGUSR1, raise_again, 0);
	raise(SIGUSR1);
	return 0;
}

static int nodefer(void)
{
	handle(SIGUSR1, raise_again, SA_NODEFER);
	raise(SIGUSR1);
	say("blocked", is_blocked(SIGUSR1));
	return 0;
}

static int resethand(void)
{
	handle(SIGUSR1, tell, SA_RESETHAND);
	raise(SIGUSR1);
	raise(SIGUSR1);
	return 0;
}

static void tell_value(int signal, siginfo_t *info, void *context)
{
	(void)context;
	say("signal", signal);
	say("code", info->si_code);
	say("value", info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
}

static int order(void)
{
	static const int signals[] = { SIGUSR2, SIGHUP, SIGSEGV, SIGTERM, SIGUSR1, SIGCHLD };
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	for (unsigned int i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		handle_info(signals[i], tell_value, 0);
		kill(getpid(), signals[i]);
		kill(getpid(), signals[i]);
	}
	raise(SIGUSR2);
	for (int i = 0; i < 3; i++) {
		handle_info(SIGRTMAX - i, tell_value, 0);
		sigqueue(getpid(), SIGRTMAX - i, (union sigval){ .sival_int = i });
		sigqueue(getpid(), SIGRTMAX - i, (union sigval){ .sival_int = 10 + i });
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return 0;
}

static int pending(void)
{
	block(SIG_BLOCK, SIGUSR1);
	handle(SIGUSR1, tell, 0);
	raise(SIGUSR1);
	say("pending", is_pending(SIGUSR1));
	handle(SIGUSR1, SIG_IGN, 0);
	say("pending though ignored", is_pending(SIGUSR1));
	handle(SIGUSR1, tell, 0);
	block(SIG_UNBLOCK, SIGUSR1);
	block(SIG_BLOCK, SIGCHLD);
	raise(SIGCHLD);
	say("pending", is_pending(SIGCHLD));
	block(SIG_UNBLOCK, SIGCHLD);
	say("pending", is_pending(SIGCHLD));
	return 0;
}

static int actions(void)
{
	struct sigaction action = { .sa_handler = tell, .sa_flags = SA_RESTART | SA_NODEFER };

	say("kill", sigaction(SIGKILL, &action, NULL));
	say("stop", sigaction(SIGSTOP, &action, NULL));
	say("none", sigaction(65, &action, NULL));
	sigfillset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
	memset(&action, 0, sizeof(action));
	sigaction(SIGUSR1, NULL, &action);
	say("handler", action.sa_handler == tell);
	say("flags", action.sa_flags & ~0x04000000);
	say("masks kill", sigismember(&action.sa_mask, SIGKILL));
	say("masks term", sigismember(&action.sa_mask, SIGTERM));
	return 0;
}

static void set_everything(int signal, siginfo_t *info, void *context)
{
	uint32_t mxcsr, other = 0x3f80;
	uint16_t control;
	uint64_t flags;

	(void)info;
	(void)context;
	__asm__ volatile("stmxcsr %0; fnstcw %1; pushfq; popq %2; cld"
			 : "=m"(mxcsr), "=m"(control), "=r"(flags));
	say("direction", (int)(flags & 0x400));
	say("mxcsr", (int)mxcsr);
	say("fpu control", control);
	__asm__ volatile(
		"ldmxcsr %0; fninit; fldz; fldz; fldz; fldz; fldz\n"
		"pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm5, %%xmm5; pcmpeqd %%xmm15, %%xmm15\n"
		"pcmpeqd %%xmm8, %%xmm8; pcmpeqd %%xmm1, %%xmm1"
		:
		: "m"(other)
		: "xmm0", "xmm1", "xmm5", "xmm8", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)",
		  "memory");
	say("signal", signal);
}

/* The processor's whole state in front of a system call that is a signal, and behind it. */
static int everything(void)
{
	static struct {
		unsigned char before[512], after[512];
		uint64_t flags;
	} state __attribute__((aligned(64)));
	uint32_t mxcsr = 0x5f80;
	uint16_t control = 0x27f;
	long pid = getpid(), answer = SYS_tkill;
	int differ = 0;

	handle_info(SIGUSR1, set_everything, 0);
	__asm__ volatile(
		"fninit; fldcw %[control]; ldmxcsr %[mxcsr]; fldpi; fld1; fldl2e; fchs\n"
		"movq %[pid], %%xmm0; movq %%rsp, %%xmm5; movdqa %%xmm0, %%xmm15\n"
		"punpcklqdq %%xmm5, %%xmm15; movdqa %%xmm15, %%xmm8; movq %%rbp, %%xmm1\n"
		"mov $0, %%ecx; cmp $1, %%ecx; std\n"
		"fxsave64 %[before]; syscall; fxsave64 %[after]\n"
		"pushfq; popq %[flags]; cld; fninit"
		: "+a"(answer), [before] "=m"(state.before), [after] "=m"(state.after),
		  [flags] "=r"(state.flags)
		: "D"(pid),
		  "S"((long)SIGUSR1), [pid] "r"(pid), [mxcsr] "m"(mxcsr), [control] "m"(control)
		: "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm5", "xmm8", "xmm15");
	say("answer", (int)answer);
	say("flags", (int)(state.flags & 0xcd5));
	/* Without where the last floating-point instruction was, and what is reserved. */
	for (unsigned int i = 0; i < 416; i++)
		if (state.before[i] != state.after[i] && (i < 6 || i >= 24))
			differ++;
	say("differ", differ);
	__asm__ volatile("ldmxcsr %0" : : "m"((uint32_t){ 0x1f80 }));
	return 0;
}

static void tell_fpu(int signal, siginfo_t *info, void *context)
{
	const struct _libc_fpstate *fpu = ((ucontext_t *)context)->uc_mcontext.fpregs;

	set_everything(signal, info, context);
	say("control", fpu->cwd);
	say("top", fpu->swd >> 11 & 7);
	say("used", fpu->ftw & 0xff);
	say("st0", fpu->_st[0].significand[3]);
	say("st1", fpu->_st[1].exponent);
	say("mxcsr", (int)fpu->mxcsr);
	say("xmm9", (int)fpu->_xmm[9].element[2]);
}

#define EACH_XMM(op)                                                                               \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13)    \
		op(14) op(15)
#define LOAD(n) "movups 16*" #n "(%%r12), %%xmm" #n "\n"
#define STORE(n) "movups %%xmm" #n ", 16*" #n "(%%r12)\n"
#define USED(n) , "xmm" #n

/* Unicorn's fxsave leaves these out. */
static int sse(void)
{
	static uint32_t xmm[64], before[64];
	register uint32_t *all __asm__("r12") = xmm;
	long answer = SYS_tkill;

	for (unsigned int i = 0; i < 64; i++)
		xmm[i] = before[i] = i * 1000003;
	handle_info(SIGUSR1, tell_fpu, 0);
	__asm__ volatile(
		"fninit; fldpi; fld1; fldl2e\n" EACH_XMM(LOAD) "syscall\n" EACH_XMM(STORE) "fninit"
		: "+a"(answer)
		: "D"((long)getpid()), "S"((long)SIGUSR1), "r"(all)
		: "rcx", "r11", "memory", "cc" EACH_XMM(USED));
	say("the same", !memcmp(xmm, before, sizeof(xmm)));
	return 0;
}

static void tell_alignment(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	uintptr_t fpu = (uintptr_t)user->uc_mcontext.fpregs;
	uintptr_t sp = (uintptr_t)user->uc_mcontext.gregs[REG_RSP];

	say("signal", signal);
	say("frame", (int)(((uintptr_t)user - 8) % 16));
	say("info", (char *)info - (char *)user);
	say("fpu", fpu % 16 == 0 && fpu > (uintptr_t)info);
	say("below the red zone", fpu + 512 <= sp - 128);
	say("segment", (int)(user->uc_mcontext.gregs[REG_CSGSFS] & 0xffff));
	say("stack", user->uc_stack.ss_flags);
}

static int frame(void)
{
	long pid = getpid(), answer = SYS_tkill;
	uint64_t red = 0;

	handle_info(SIGUSR1, tell_alignment, 0);
	__asm__ volatile("movq $77, -8(%%rsp); movq $88, -128(%%rsp); syscall\n"
			 "movq -8(%%rsp), %1; addq -128(%%rsp), %1"
			 : "+a"(answer), "=&r"(red)
			 : "D"(pid), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory", "cc");
	say("red zone", (int)red);
	return 0;
}

static void change_context(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal;
	(void)info;
	user->uc_mcontext.gregs[REG_R12] = 42;
	user->uc_mcontext.gregs[REG_RAX] = 43;
	user->uc_mcontext.gregs[REG_RIP] += 2;
	user->uc_mcontext.gregs[REG_EFL] |= 0x203001;
	user->uc_mcontext.fpregs->_xmm[3].element[0] = 44;
	sigaddset(&user->uc_sigmask, SIGTERM);
	sigaddset(&user->uc_sigmask, SIGKILL);
}

static int context(void)
{
	register uint64_t r12 __asm__("r12") = 1;
	long pid = getpid(), answer = SYS_tkill;
	uint64_t flags, xmm;

	handle_info(SIGUSR1, change_context, 0);
	__asm__ volatile("syscall; ud2; pushfq; popq %1; movq %%xmm3, %2"
			 : "+a"(answer), "=&r"(flags), "=&r"(xmm), "+r"(r12)
			 : "D"(pid), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory", "cc", "xmm3");
	say("r12", (int)r12);
	say("rax", (int)answer);
	say("carry, and what a program may not change", (int)(flags & 0x203001));
	say("xmm3", (int)(uint32_t)xmm);
	say("blocked", is_blocked(SIGTERM));
	say("blocked kill", is_blocked(SIGKILL));
	return 0;
}

static void tell_stack(int signal)
{
	char here;
	stack_t stack, other = { .ss_sp = alt, .ss_size = ALT_SIZE / 2 };

	say("signal", signal);
	say("on it", &here >= alt && &here < alt + ALT_SIZE);
	sigaltstack(NULL, &stack);
	say("flags", stack.ss_flags);
	say("change", sigaltstack(&other, NULL));
	if (signal == SIGUSR1)
		raise(SIGUSR2);
}

static void use_alt(int flags)
{
	const stack_t stack = { .ss_sp = alt, .ss_size = ALT_SIZE, .ss_flags = flags };

	say("set", sigaltstack(&stack, NULL));
}

static int altstack(void)
{
	stack_t stack = { .ss_sp = alt, .ss_size = 100 };

	say("too small", sigaltstack(&stack, NULL));
	stack.ss_flags = 77;
	say("wrong", sigaltstack(&stack, NULL));
	handle(SIGUSR1, tell_stack, SA_ONSTACK);
	handle(SIGUSR2, tell_stack, 0);
	raise(SIGUSR1);
	use_alt(0);
	raise(SIGUSR1);
	raise(SIGUSR2);
	sigaltstack(NULL, &stack);
	say("flags", stack.ss_flags);
	say("size", (int)stack.ss_size);
	stack.ss_flags = SS_DISABLE;
	say("disable", sigaltstack(&stack, NULL));
	raise(SIGUSR1);
	return 0;
}

static void tell_disarmed(int signal)
{
	stack_t stack;

	sigaltstack(NULL, &stack);
	say("disabled", stack.ss_flags == SS_DISABLE);
	say("signal", signal);
}

static int autodisarm(void)
{
	stack_t stack;

	use_alt((int)(1u << 31));
	handle(SIGUSR1, tell_disarmed, SA_ONSTACK);
	raise(SIGUSR1);
	sigaltstack(NULL, &stack);
	say("size", (int)stack.ss_size);
	return 0;
}

static void jump(int signal)
{
	siglongjmp(back, signal);
}

static int longjump(void)
{
	handle(SIGUSR1, jump, 0);
	for (volatile int i = 0; i < 3; i++) {
		volatile double value = 1.5 + i;
		int signal = sigsetjmp(back, 1);

		if (!signal)
			raise(SIGUSR1);
		say("jumped", signal);
		say("blocked", is_blocked(SIGUSR1));
		say("value", (int)(value * 10));
	}
	return 0;
}

static int longjump_from_altstack(void)
{
	use_alt(0);
	handle(SIGUSR1, jump, SA_ONSTACK);
	for (volatile int i = 0; i < 3; i++)
		if (!sigsetjmp(back, 1))
			raise(SIGUSR1);
		else
			use_alt(0);
	return 0;
}

static int sigpipe(void)
{
	int fds[2];

	handle(SIGPIPE, tell, 0);
	if (pipe(fds) || close(fds[0]))
		return 1;
	say_answer("write", write(fds[1], "x", 1));
	handle(SIGPIPE, SIG_IGN, 0);
	say_answer("write", write(fds[1], "x", 1));
	handle(SIGPIPE, SIG_DFL, 0);
	say_answer("write", write(fds[1], "x", 1));
	return 0;
}

static int abort_plain(void)
{
	abort();
}

static int abort_handled(void)
{
	handle(SIGABRT, tell, 0);
	abort();
}

static int abort_ignored(void)
{
	handle(SIGABRT, SIG_IGN, 0);
	block(SIG_BLOCK, SIGABRT);
	abort();
}

static int abort_escaped(void)
{
	handle(SIGABRT, jump, 0);
	if (!sigsetjmp(back, 1))
		abort();
	say("escaped", 0);
	return 0;
}

static int alarms(void)
{
	sigset_t none;

	sigemptyset(&none);
	handle(SIGALRM, tell, 0);
	block(SIG_BLOCK, SIGALRM);
	say("before", (int)alarm(100));
	say("left", (int)alarm(1));
	say_answer("suspend", sigsuspend(&none));
	say("none", (int)alarm(50));
	say("left", (int)alarm(0));
	return 0;
}

static void tell_kernel(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (calls++)
		return;
	say("signal", signal);
	say("code", info->si_code);
	say("pid", info->si_pid);
}

static void say_pause(int answer)
{
	if (answer != -1 || errno != EINTR)
		say("pause", errno);
}

static int timer(void)
{
	struct itimerval now, wrong = { .it_value = { 0, 1000000 } };

	handle_info(SIGALRM, tell_kernel, 0);
	alarm_often(SOON_US);
	while (calls < 3)
		say_pause(pause());
	getitimer(ITIMER_REAL, &now);
	say("interval", (int)now.it_interval.tv_usec);
	say("armed", now.it_value.tv_usec > 0 && now.it_value.tv_usec <= SOON_US);
	say_answer("wrong", setitimer(ITIMER_REAL, &wrong, NULL));
	say_answer("wrong", setitimer(7, &now, NULL));
	alarm_often(0);
	getitimer(ITIMER_REAL, &now);
	say("armed", (int)now.it_value.tv_usec);
	return 0;
}

static int timer_ends(void)
{
	alarm_often(SOON_US);
	pause();
	return 0;
}

/* No system call between the timer and its handler. */
static int computing(void)
{
	uint64_t x = 1, sum = 0, done = 0;
	double halves = 0;

	handle(SIGALRM, count, 0);
	alarm_often(500);
	while (calls < 50) {
		halves = 0;
		sum = 0;
		x = 1;
		for (unsigned int i = 0; i < 100000; i++) {
			x = x * UINT64_C(6364136223846793005) + 1;
			sum ^= x >> 33;
			halves += (double)(x >> 40) * 0.5;
		}
		if (done && done != sum)
			return 1;
		done = sum;
	}
	alarm_often(0);
	say("sum", (int)(sum & 0x7fffffff));
	say("halves", (int)(halves / 1000000));
	return 0;
}

__attribute__((noinline)) static void spin(int until, uint64_t rounds)
{
	while (calls < until && rounds-- > 0)
		;
}

/* In code that has run before the guest had a timer. */
static int spinning(void)
{
	handle(SIGALRM, count, 0);
	spin(10, 1000);
	alarm_often(SOON_US);
	spin(10, UINT64_MAX);
	alarm_often(0);
	say("alarms", calls >= 10);
	return 0;
}

static int suspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	handle(SIGUSR1, tell, 0);
	handle(SIGALRM, tell, 0);
	block(SIG_BLOCK, SIGUSR1);
	block(SIG_BLOCK, SIGALRM);
	raise(SIGUSR1);
	say_answer("suspend", sigsuspend(&none));
	say("blocked", is_blocked(SIGUSR1));
	ualarm(SOON_US, 0);
	say_answer("suspend", sigsuspend(&none));
	say("blocked", is_blocked(SIGALRM));
	return 0;
}

static int timedwait(void)
{
	const struct timespec now = { 0, 0 }, soon = { .tv_nsec = 1000000 },
			      late = { .tv_sec = 100 };
	sigset_t set = set_of(SIGUSR1, SIGALRM), wrong = set_of(SIGUSR2, 0);
	siginfo_t info;

	sigprocmask(SIG_BLOCK, &set, NULL);
	say_answer("nothing", sigtimedwait(&set, NULL, &now));
	say_answer("nothing", sigtimedwait(&set, NULL, &soon));
	raise(SIGUSR1);
	say_answer("other", sigtimedwait(&wrong, NULL, &now));
	say_answer("got", sigtimedwait(&set, &info, NULL));
	say("code", info.si_code);
	raise(SIGUSR1);
	say_answer("got", sigwaitinfo(&set, &info));
	ualarm(SOON_US, 0);
	say_answer("got", sigtimedwait(&set, &info, &late));
	say("code", info.si_code);
	handle(SIGALRM, count, 0);
	block(SIG_UNBLOCK, SIGALRM);
	alarm_often(SOON_US);
	say_answer("interrupted", sigtimedwait(&wrong, &info, NULL));
	return 0;
}

static int sleeps(void)
{
	const struct timespec late = { .tv_sec = 100 };
	struct timespec left = { 0 };

	handle(SIGALRM, count, SA_RESTART);
	alarm_often(SOON_US);
	say_answer("nanosleep", nanosleep(&late, &left));
	say("left", left.tv_sec > 90 && left.tv_sec < 100);
	say("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, 0, &late, &left));
	say("sleep", (int)sleep(100) > 90);
	return 0;
}

/* Which a handler interrupts even with SA_RESTART, and an ignored signal never. */
static int polls(void)
{
	struct timeval late = { .tv_sec = 100 };
	struct pollfd fd = { .events = POLLIN };
	fd_set set;

	if (pipe(ends))
		return 1;
	fd.fd = ends[0];
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	handle(SIGALRM, count, SA_RESTART);
	alarm_often(SOON_US);
	say_answer("poll", poll(&fd, 1, -1));
	say_answer("poll", poll(NULL, 0, 100000));
	say_answer("select", select(ends[0] + 1, &set, NULL, NULL, &late));
	handle(SIGALRM, SIG_IGN, 0);
	say_answer("poll", poll(&fd, 1, 20));
	return 0;
}

static int poll_masks(void)
{
	const struct timespec late = { .tv_sec = 100 }, now = { 0, 0 };
	struct pollfd fd = { .events = POLLOUT };
	sigset_t none, other = set_of(SIGUSR1, 0);

	if (pipe(ends))
		return 1;
	fd.fd = ends[1];
	sigemptyset(&none);
	handle(SIGUSR1, tell, 0);
	block(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	say_answer("other", ppoll(NULL, 0, &now, &other));
	say_answer("ready", ppoll(&fd, 1, &late, &none));
	say("pending", is_pending(SIGUSR1));
	say_answer("ppoll", ppoll(NULL, 0, &late, &none));
	say("blocked", is_blocked(SIGUSR1));
	raise(SIGUSR1);
	say_answer("pselect", pselect(0, NULL, NULL, NULL, &late, &none));
	say("blocked", is_blocked(SIGUSR1));
	return 0;
}

static void write_end(int signal)
{
	(void)signal;
	if (!calls++ && write(ends[1], "ab", 2) != 2)
		_exit(97);
}

static int reads(void)
{
	char data[8];

	if (pipe(ends))
		return 1;
	handle(SIGALRM, count, 0);
	alarm_often(SOON_US);
	say_answer("interrupted", read(ends[0], data, 8));
	calls = 0;
	handle(SIGALRM, write_end, SA_RESTART);
	say_answer("made again", read(ends[0], data, 8));
	return 0;
}

static int writes(void)
{
	static char data[1 << 20];

	if (pipe(ends))
		return 1;
	handle(SIGALRM, count, 0);
	alarm_often(SOON_US);
	say_answer("a part", write(ends[1], data, sizeof(data)));
	say_answer("nothing", write(ends[1], data, sizeof(data)));
	return 0;
}

static void post(int signal)
{
	(void)signal;
	if (!calls++)
		sem_post(&semaphore);
}

static int semaphores(void)
{
	struct timespec late;

	sem_init(&semaphore, 0, 0);
	handle(SIGALRM, post, SA_RESTART);
	alarm_often(SOON_US);
	say_answer("posted", sem_wait(&semaphore));
	handle(SIGALRM, count, SA_RESTART);
	clock_gettime(CLOCK_REALTIME, &late);
	late.tv_sec += 100;
	say_answer("interrupted", sem_timedwait(&semaphore, &late));
	return 0;
}

static int exit_in_handler(void)
{
	handle(SIGUSR1, _exit, 0);
	raise(SIGUSR1);
	return 0;
}

static int ended(int signal)
{
	block(SIG_BLOCK, signal);
	raise(signal);
	say("still there", signal);
	block(SIG_UNBLOCK, signal);
	return 0;
}

static int ended_by_sigterm(void)
{
	return ended(SIGTERM);
}

static int ended_by_sigkill(void)
{
	return ended(SIGKILL);
}

static int ended_by_a_queued_one(void)
{
	return ended(SIGRTMIN + 1);
}

/* With a stack pointer that is none. */
static void raise_without_stack(void)
{
	long answer = SYS_tkill;

	__asm__ volatile("mov %%rsp, %%r15; mov $16, %%rsp; syscall; mov %%r15, %%rsp"
			 : "+a"(answer)
			 : "D"((long)getpid()), "S"((long)SIGUSR1)
			 : "rcx", "r11", "r15", "memory", "cc");
}

static int no_stack(void)
{
	handle(SIGUSR1, tell, 0);
	raise_without_stack();
	return 0;
}

static void jump_after_telling(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	say("signal", signal);
	say("code", info->si_code);
	say("stack pointer", (int)user->uc_mcontext.gregs[REG_RSP]);
	siglongjmp(back, signal);
}

static int no_stack_handled(void)
{
	use_alt(0);
	handle(SIGUSR1, tell, 0);
	handle_info(SIGSEGV, jump_after_telling, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		raise_without_stack();
	say("blocked", is_blocked(SIGSEGV));
	return 0;
}

static int altstack_overflow(void)
{
	static char small[2048] __attribute__((aligned(64)));
	const stack_t stack = { .ss_sp = small, .ss_size = sizeof(small) };
	long answer = SYS_tkill;

	sigaltstack(&stack, NULL);
	handle(SIGUSR1, tell, SA_ONSTACK);
	/* As if in a handler that has used nearly all of it. */
	__asm__ volatile("mov %%rsp, %%r15; lea 256(%3), %%rsp; syscall; mov %%r15, %%rsp"
			 : "+a"(answer)
			 : "D"((long)getpid()), "S"((long)SIGUSR1), "r"(small)
			 : "rcx", "r11", "r15", "memory", "cc");
	return 0;
}

static int no_frame(void)
{
	__asm__ volatile("mov $16, %%rsp; mov $15, %%eax; syscall; ud2" : : : "memory");
	return 0;
}

static void make_rip_wrong(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal;
	(void)info;
	user->uc_mcontext.gregs[REG_RIP] = INT64_C(1) << 62;
}

static int no_address(void)
{
	handle_info(SIGUSR1, make_rip_wrong, 0);
	raise(SIGUSR1);
	return 0;
}

static void break_fpu(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal;
	(void)info;
	user->uc_mcontext.fpregs = (void *)16;
}

static int no_fpu(void)
{
	handle_info(SIGUSR1, break_fpu, 0);
	raise(SIGUSR1);
	return 0;
}

static int no_restorer(void)
{
	struct {
		void (*handler)(int);
		uint64_t flags;
		uint64_t restorer;
		uint64_t mask;
	} action = { .handler = tell };

	say("set", (int)syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8));
	raise(SIGUSR1);
	return 0;
}

static int nobody_sends(void)
{
	pause();
	return 0;
}

static void loop(int signal)
{
	for (;;)
		calls = signal;
}

static int handler_loops(void)
{
	handle(SIGALRM, loop, SA_NODEFER);
	alarm_often(SOON_US);
	for (;;)
		pause();
	return 0;
}

static int raises_for_ever(void)
{
	handle(SIGUSR1, raise_again, SA_NODEFER);
	for (;;) {
		calls = 10;
		raise(SIGUSR1);
	}
	return 0;
}

#define CASE(name)                                                                                 \
	{                                                                                          \
#name, name                                                                        \
	}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	CASE(info),
	CASE(nested),
	CASE(masks),
	CASE(deferred),
	CASE(nodefer),
	CASE(resethand),
	CASE(order),
	CASE(pending),
	CASE(actions),
	CASE(everything),
	CASE(sse),
	CASE(frame),
	CASE(context),
	CASE(altstack),
	CASE(autodisarm),
	CASE(longjump),
	CASE(longjump_from_altstack),
	CASE(sigpipe),
	CASE(abort_plain),
	CASE(abort_handled),
	CASE(abort_ignored),
	CASE(abort_escaped),
	CASE(alarms),
	CASE(timer),
	CASE(timer_ends),
	CASE(computing),
	CASE(spinning),
	CASE(suspend),
	CASE(timedwait),
	CASE(sleeps),
	CASE(polls),
	CASE(poll_masks),
	CASE(reads),
	CASE(writes),
	CASE(semaphores),
	CASE(faults),
	CASE(stack_overflow),
	CASE(blocked_fault),
	CASE(exit_in_handler),
	CASE(ended_by_sigterm),
	CASE(ended_by_sigkill),
	CASE(ended_by_a_queued_one),
	CASE(no_stack),
	CASE(no_stack_handled),
	CASE(altstack_overflow),
	CASE(no_frame),
	CASE(no_address),
	CASE(no_fpu),
	CASE(no_restorer),
	CASE(nobody_sends),
	CASE(handler_loops),
	CASE(raises_for_ever),
};

int main(int argc, char **argv)
{
	for (unsigned int i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	return 99;
}
