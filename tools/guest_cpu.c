/* SPDX-License-Identifier: MIT */
/*
 * See guest_cpu.h. The memory is mapped once, in three pieces: the code of the
 * program, which cannot be written, and what is before and after it, which cannot be
 * executed, so that no store has to look for translated code; with many mappings Unicorn is slow.
 * What of it the guest may access is up to the TLB (guest_tlb.c).
 *
 * An engine has one way to be stopped from outside, uc_emu_stop(), which is lost where
 * it comes just before uc_emu_start() or between two translated blocks that a system call
 * separates. A thread beside it therefore says so again until it has happened.
 */
#include "guest_cpu.h"

#include "guest_handlers.h"
#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_privilege.h"
#include "guest_registers.h"
#include "guest_syscalls.h"
#include "guest_timer.h"
#include "guest_tlb.h"
#include "guest_translations.h"
#include "guest_unicorn.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unicorn/unicorn.h>
#include <unistd.h>

#include "clock.h"

/*
 * @tlb:         what the guest may access.
 * @failed_gpa:  of the access that ended it.
 * @interrupt:   the exception that did, or -1.
 * @in_call:     a system call is being answered, or a signal delivered, so that what fails is not
 *               the engine.
 * @failed:      where to go on, with @failed_hva when the host cannot provide memory, or with the
 *               signal by which the engine failed.
 * @preemptible: it has on_block().
 * @asked:       to stop, for the guest's timer.
 * @finished:    under @mutex: the guest has ended.
 */
struct guest_cpu {
	struct guest *guest;
	uc_engine *engine;
	struct guest_tlb tlb;
	uint64_t failed_gpa;
	int interrupt;
	volatile bool in_call;
	sigjmp_buf failed;
	void *volatile failed_hva;
	volatile int failed_signal;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool preemptible;
	atomic_bool asked;
	bool finished;
};

/* Where a timer has expired the guest is asked to stop every so often until it has seen that. */
#define TIMER_STOP_NS 1000000

/* The guest that this thread's engine is in. A signal handler gets at nothing else. */
static _Thread_local struct guest_cpu *volatile running;

static struct sigaction segv_before;
static struct sigaction abort_before;
static int handler_error;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;

static void pass_on(const struct sigaction *before, int signal, siginfo_t *info, void *context)
{
	if (before->sa_flags & SA_SIGINFO)
		before->sa_sigaction(signal, info, context);
	else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
		before->sa_handler(signal);
	else
		/* The access is made again, and ends the process as it would have. */
		sigaction(signal, before, NULL);
}

/* Of the object that an address belongs to; NULL for what belongs to none, as translated code. */
static const void *object_of(const void *address)
{
	Dl_info info;

	return dladdr(address, &info) ? info.dli_fbase : NULL;
}

/*
 * Whose doing a signal is: above the handlers, which are in this program, and the C library's
 * functions, abort() among them, there is Unicorn or what it has translated. A fault of the
 * library's, or a rule of its that was broken, is above them in this program, and must not be
 * mistaken for a guest's.
 */
static bool is_engines(void)
{
	const void *program = object_of((const void *)is_engines), *found;
	const void *libc = object_of((const void *)abort);
	void *frames[32];
	int n = backtrace(frames, 32), i = 0;

	/* AddressSanitizer has a backtrace() of its own before ours. */
	while (i < n && object_of(frames[i]) != program)
		i++;
	while (i < n && object_of(frames[i]) == program)
		i++;
	while (i < n && object_of(frames[i]) == libc)
		i++;
	found = i < n ? object_of(frames[i]) : program;
	return !found || found == object_of((const void *)uc_open);
}

/*
 * There are instructions that Unicorn ends the process for, or loses its way with. Its state is its
 * guest's alone, so that it need not take the others with it.
 */
static void end_engine(int signal)
{
	struct guest_cpu *cpu = running;

	if (!cpu || cpu->in_call || !is_engines())
		return;
	cpu->failed_signal = signal;
	siglongjmp(cpu->failed, 1);
}

static void on_sigsegv(int signal, siginfo_t *info, void *context)
{
	struct guest_cpu *cpu = running;

	/* A signal that somebody has sent has no address. */
	if (cpu && info->si_code > 0) {
		const struct guest_memory *memory = cpu->guest->memory;

		if ((uintptr_t)info->si_addr - (uintptr_t)memory->base < memory->size) {
			cpu->failed_hva = info->si_addr;
			siglongjmp(cpu->failed, 1);
		}
		end_engine(signal);
	}
	pass_on(&segv_before, signal, info, context);
}

/* abort() lets its handler jump away. */
static void on_sigabrt(int signal, siginfo_t *info, void *context)
{
	if (info->si_code <= 0 && info->si_pid == getpid())
		end_engine(signal);
	pass_on(&abort_before, signal, info, context);
}

static void install_handlers(void)
{
	struct sigaction action = { .sa_sigaction = on_sigsegv, .sa_flags = SA_SIGINFO };
	void *frame;

	/* Its first call loads a library, which a handler must not. */
	backtrace(&frame, 1);
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGSEGV, &action, &segv_before))
		handler_error = -errno;
	action.sa_sigaction = on_sigabrt;
	if (sigaction(SIGABRT, &action, &abort_before))
		handler_error = -errno;
}

int guest_cpu_handle_signals(void)
{
	pthread_once(&handler_once, install_handlers);
	return handler_error;
}

static uint64_t read_register(struct guest_cpu *cpu, int id)
{
	uint64_t value = 0;

	uc_reg_read(cpu->engine, id, &value);
	return value;
}

static void write_register(struct guest_cpu *cpu, int id, uint64_t value)
{
	uc_reg_write(cpu->engine, id, &value);
}

uint64_t guest_cpu_fs(struct guest_cpu *cpu)
{
	return read_register(cpu, UC_X86_REG_FS_BASE);
}

uint64_t guest_cpu_gs(struct guest_cpu *cpu)
{
	return read_register(cpu, UC_X86_REG_GS_BASE);
}

void guest_cpu_set_fs(struct guest_cpu *cpu, uint64_t base)
{
	write_register(cpu, UC_X86_REG_FS_BASE, base);
}

void guest_cpu_set_gs(struct guest_cpu *cpu, uint64_t base)
{
	write_register(cpu, UC_X86_REG_GS_BASE, base);
}

void guest_cpu_registers(struct guest_cpu *cpu, struct guest_registers *registers)
{
	guest_registers_read(cpu->engine, registers);
}

void guest_cpu_set_registers(struct guest_cpu *cpu, const struct guest_registers *registers)
{
	guest_registers_write(cpu->engine, registers);
}

/*
 * Before each block of code, where what uc_emu_stop() leaves behind can be gone on with. Called by
 * another thread it stops an engine in the middle of an instruction, which is good for an end only.
 */
static void on_block(uc_engine *engine, uint64_t address, uint32_t size, void *ctx)
{
	struct guest_cpu *cpu = ctx;

	(void)address;
	(void)size;
	if (atomic_load_explicit(&cpu->asked, memory_order_relaxed))
		uc_emu_stop(engine);
}

/* It costs a guest time, so that only one that has a timer is. */
static bool should_be_preemptible(const struct guest_cpu *cpu)
{
	return !cpu->preemptible && guest_timer_next(cpu->guest) != UINT64_MAX;
}

/* What has been translated does not look whether it is to stop, and is translated again. */
static int make_preemptible(struct guest_cpu *cpu)
{
	uc_hook hook;

	cpu->preemptible = true;
	if (uc_hook_add(cpu->engine, &hook, UC_HOOK_BLOCK, (void *)on_block, cpu, 1, 0) ||
	    uc_ctl_remove_cache(cpu->engine, cpu->guest->text_start, cpu->guest->text_end)) {
		guest_end(cpu->guest, 128 + SIGKILL, "the host has no memory for its timer");
		return -ENOMEM;
	}
	return 0;
}

void guest_cpu_forget(struct guest_cpu *cpu, uint64_t gpa, uint64_t size)
{
	if (cpu)
		guest_tlb_forget(&cpu->tlb, gpa, size);
}

static void on_syscall(uc_engine *engine, void *ctx)
{
	static const int ids[] = { UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX,
				   UC_X86_REG_R10, UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_RSP };
	struct guest_cpu *cpu = ctx;
	struct guest *guest = cpu->guest;
	uint64_t values[8] = { 0 };
	void *pointers[8];
	int64_t answer;

	for (unsigned int i = 0; i < 8; i++)
		pointers[i] = &values[i];
	uc_reg_read_batch(engine, (int *)ids, pointers, 8);
	guest->sp = values[7];
	cpu->in_call = true;
	answer = guest_syscall(guest, values[0], &values[1]);
	answer = guest_handlers_answer(guest, values[0], answer);
	cpu->in_call = false;
	write_register(cpu, UC_X86_REG_RAX, (uint64_t)answer);
	if (guest->ended || guest_handlers_due(guest) || should_be_preemptible(cpu))
		uc_emu_stop(engine);
}

static bool on_invalid(uc_engine *engine, uc_mem_type type, uint64_t address, int size,
		       int64_t value, void *ctx)
{
	struct guest_cpu *cpu = ctx;

	(void)engine;
	(void)type;
	(void)size;
	(void)value;
	cpu->failed_gpa = address;
	return false;
}

static void on_interrupt(uc_engine *engine, uint32_t number, void *ctx)
{
	struct guest_cpu *cpu = ctx;

	cpu->interrupt = (int)number;
	uc_emu_stop(engine);
}

static int add_hooks(struct guest_cpu *cpu)
{
	uc_hook hook;
	uc_err error;

	error = uc_hook_add(cpu->engine, &hook, UC_HOOK_INSN, (void *)on_syscall, cpu, 1, 0,
			    UC_X86_INS_SYSCALL);
	if (!error)
		error = uc_hook_add(cpu->engine, &hook, UC_HOOK_MEM_INVALID, (void *)on_invalid,
				    cpu, 1, 0);
	if (!error)
		error = uc_hook_add(cpu->engine, &hook, UC_HOOK_INTR, (void *)on_interrupt, cpu, 1,
				    0);
	return error ? -ENOMEM : 0;
}

static int map(struct guest_cpu *cpu, uint64_t start, uint64_t end, uint32_t protection)
{
	if (start < end && uc_mem_map_ptr(cpu->engine, start, end - start, protection,
					  (char *)cpu->guest->memory->base + start))
		return -EINVAL;
	return 0;
}

static int map_memory(struct guest_cpu *cpu)
{
	const struct guest *guest = cpu->guest;
	/* What no guest may map is left to the TLB too, which is exact about the instruction. */
	uint64_t first = guest_unicorn_is_known() ? 0 : GUEST_FIRST_GPA;
	int error = map(cpu, first, guest->text_start, UC_PROT_READ | UC_PROT_WRITE);

	if (!error)
		error = map(cpu, guest->text_start, guest->text_end, UC_PROT_READ | UC_PROT_EXEC);
	if (!error)
		error = map(cpu, guest->text_end, guest->memory->size,
			    UC_PROT_READ | UC_PROT_WRITE);
	return error;
}

static int open_engine(struct guest_cpu *cpu)
{
	int error;

	guest_translations_limit(cpu->guest->limits.code);
	if (uc_open(UC_ARCH_X86, UC_MODE_64, &cpu->engine))
		return -ENOMEM;
	/* Otherwise an address that is the end of the program would have to be named. */
	error = uc_ctl_exits_enable(cpu->engine) ? -EINVAL : 0;
	if (!error)
		error = guest_privilege_drop(cpu->engine);
	if (!error)
		error = add_hooks(cpu);
	if (!error)
		error = map_memory(cpu);
	if (error)
		uc_close(cpu->engine);
	return error;
}

int guest_cpu_create(struct guest *guest, struct guest_cpu **cpu)
{
	struct guest_cpu *new = calloc(1, sizeof(*new));
	pthread_condattr_t attributes;
	int error;

	if (!new)
		return -ENOMEM;
	new->guest = guest;
	new->interrupt = -1;
	error = guest_cpu_handle_signals();
	if (!error)
		error = open_engine(new);
	if (error) {
		free(new);
		return error;
	}
	new->tlb = (struct guest_tlb){ .engine = new->engine, .maps = guest->maps };
	pthread_mutex_init(&new->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&new->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	*cpu = new;
	return 0;
}

void guest_cpu_destroy(struct guest_cpu *cpu)
{
	if (!cpu)
		return;
	uc_close(cpu->engine);
	pthread_cond_destroy(&cpu->changed);
	pthread_mutex_destroy(&cpu->mutex);
	free(cpu);
}

/* Of the thread beside the engine: as guest_must_stop(), which is for the guest's own. */
static bool is_over(const struct guest *guest, uint64_t now_ns)
{
	return now_ns >= guest->deadline_ns ||
	       (guest->config->stop &&
		atomic_load_explicit(guest->config->stop, memory_order_relaxed));
}

static void *watch(void *arg)
{
	struct guest_cpu *cpu = arg;

	pthread_mutex_lock(&cpu->mutex);
	while (!cpu->finished) {
		uint64_t now = clock_ns(), timer = guest_timer_next(cpu->guest);
		uint64_t next = now + GUEST_WAIT_MS * UINT64_C(1000000);

		if (is_over(cpu->guest, now))
			uc_emu_stop(cpu->engine);
		else if (next > cpu->guest->deadline_ns)
			next = cpu->guest->deadline_ns;
		if (timer <= now) {
			/* What has expired is looked up by the clock. */
			atomic_store_explicit(&cpu->asked, true, memory_order_relaxed);
			next = now + TIMER_STOP_NS;
		} else if (next > timer) {
			next = timer;
		}
		pthread_cond_timedwait(&cpu->changed, &cpu->mutex,
				       &(struct timespec){ .tv_sec = (time_t)(next / 1000000000),
							   .tv_nsec = (long)(next % 1000000000) });
	}
	pthread_mutex_unlock(&cpu->mutex);
	return NULL;
}

static void end_watch(struct guest_cpu *cpu, pthread_t watcher)
{
	pthread_mutex_lock(&cpu->mutex);
	cpu->finished = true;
	pthread_cond_signal(&cpu->changed);
	pthread_mutex_unlock(&cpu->mutex);
	pthread_join(watcher, NULL);
}

/* The signal that Linux makes of an exception of the processor's. */
static int signal_of(int exception)
{
	switch (exception) {
	case 0:	 /* divide error */
	case 16: /* x87 floating point */
	case 19: /* SIMD floating point */
		return SIGFPE;
	case 1: /* debug */
	case 3: /* breakpoint */
		return SIGTRAP;
	case 6: /* invalid opcode */
		return SIGILL;
	case 17: /* alignment check */
		return SIGBUS;
	default:
		return SIGSEGV;
	}
}

static void end_by_access(struct guest_cpu *cpu)
{
	uint64_t rip = read_register(cpu, UC_X86_REG_RIP), gpa = cpu->tlb.gpa;
	struct guest *guest = cpu->guest;

	if (guest_maps_protection(guest->maps, gpa) < 0)
		guest_end(guest, 128 + SIGSEGV,
			  "the instruction at 0x%" PRIx64 " accessed 0x%" PRIx64
			  ", where it has no memory",
			  rip, gpa);
	else
		guest_end(guest, 128 + SIGSEGV,
			  "the instruction at 0x%" PRIx64 " accessed 0x%" PRIx64
			  ", which it may not %s",
			  rip, gpa, cpu->tlb.writing ? "write" : "read");
}

static void end_by_error(struct guest_cpu *cpu, uc_err error)
{
	uint64_t rip = read_register(cpu, UC_X86_REG_RIP);
	struct guest *guest = cpu->guest;

	switch (error) {
	case UC_ERR_READ_UNMAPPED:
	case UC_ERR_WRITE_UNMAPPED:
		guest_end(guest, 128 + SIGSEGV,
			  "the instruction at 0x%" PRIx64 " accessed 0x%" PRIx64
			  ", where it has no memory",
			  rip, cpu->failed_gpa);
		break;
	case UC_ERR_WRITE_PROT:
		guest_end(guest, 128 + SIGSEGV,
			  "the instruction at 0x%" PRIx64 " wrote to its code at 0x%" PRIx64, rip,
			  cpu->failed_gpa);
		break;
	case UC_ERR_FETCH_UNMAPPED:
	case UC_ERR_FETCH_PROT:
		guest_end(guest, 128 + SIGSEGV, "it jumped to 0x%" PRIx64 ", where it has no code",
			  cpu->failed_gpa);
		break;
	case UC_ERR_INSN_INVALID:
		guest_end(guest, 128 + SIGILL, "the instruction at 0x%" PRIx64 " is not valid",
			  rip);
		break;
	default:
		guest_end(guest, 128 + SIGSEGV, "the processor stopped at 0x%" PRIx64 ": %s", rip,
			  uc_strerror(error));
	}
}

static void tell_why(struct guest_cpu *cpu, uc_err error)
{
	struct guest *guest = cpu->guest;

	if (guest->ended || guest_must_stop(guest))
		return;
	if (cpu->tlb.refused)
		end_by_access(cpu);
	else if (cpu->failed_hva)
		guest_end(guest, 128 + SIGBUS,
			  "the host could not provide its memory at 0x%" PRIx64
			  "; --pool or --swap may be too small",
			  (uint64_t)((uintptr_t)cpu->failed_hva - (uintptr_t)guest->memory->base));
	else if (cpu->failed_signal)
		guest_end(guest, 128 + cpu->failed_signal,
			  "Unicorn, its processor, failed at one of its instructions with signal "
			  "%d, %s",
			  cpu->failed_signal, strsignal(cpu->failed_signal));
	else if (cpu->interrupt >= 0)
		guest_end(guest, 128 + signal_of(cpu->interrupt),
			  "exception %d of the processor at 0x%" PRIx64, cpu->interrupt,
			  read_register(cpu, UC_X86_REG_RIP));
	else if (error)
		end_by_error(cpu, error);
	else
		guest_end(guest, 128 + SIGSEGV, "it halted the processor at 0x%" PRIx64,
			  read_register(cpu, UC_X86_REG_RIP));
}

/* Whether an access that the guest may not make is for a handler of its own. */
static bool handles_access(struct guest_cpu *cpu)
{
	bool mapped = guest_maps_protection(cpu->guest->maps, cpu->tlb.gpa) >= 0;

	return guest_handlers_fault(cpu->guest, cpu->tlb.gpa, mapped ? SEGV_ACCERR : SEGV_MAPERR);
}

/* Whether the engine has only been stopped for a signal, which is delivered then. */
static bool goes_on(struct guest_cpu *cpu, uc_err error)
{
	struct guest *guest = cpu->guest;
	bool on = atomic_exchange_explicit(&cpu->asked, false, memory_order_relaxed);

	if (error || cpu->interrupt >= 0 || cpu->failed_hva || cpu->failed_signal ||
	    guest_must_stop(guest))
		return false;
	if (should_be_preemptible(cpu)) {
		if (make_preemptible(cpu))
			return false;
		on = true;
	}
	if (cpu->tlb.refused) {
		if (!handles_access(cpu))
			return false;
		on = true;
	}
	if (guest_handlers_due(guest)) {
		guest_handlers_run(guest);
		on = true;
	}
	return on && !guest->ended;
}

static uc_err run_until_it_ends(struct guest_cpu *cpu, uint64_t rip)
{
	for (;;) {
		uc_err error;
		bool on;

		cpu->tlb.refused = false;
		error = uc_emu_start(cpu->engine, rip, 0, 0, 0);
		cpu->in_call = true;
		on = goes_on(cpu, error);
		cpu->in_call = false;
		if (!on)
			return error;
		rip = read_register(cpu, UC_X86_REG_RIP);
	}
}

/*
 * Either signal leaves the engine in the middle of something: nothing is done with it afterwards
 * but to close it.
 */
static uc_err run_engine(struct guest_cpu *cpu, uint64_t entry)
{
	uc_err error;

	if (sigsetjmp(cpu->failed, 1) == 0) {
		running = cpu;
		guest_tlb_use(&cpu->tlb);
		error = run_until_it_ends(cpu, entry);
	} else {
		error = UC_ERR_OK;
	}
	running = NULL;
	return error;
}

/* As Linux has a program begin; Unicorn has neither precision nor masks in its floating point. */
static void begin(struct guest_cpu *cpu, uint64_t sp)
{
	struct guest_registers registers;

	guest_registers_read(cpu->engine, &registers);
	registers.general[GUEST_RSP] = sp;
	guest_fpu_reset(&registers.fpu);
	guest_registers_write(cpu->engine, &registers);
}

void guest_cpu_run(struct guest_cpu *cpu, uint64_t entry, uint64_t sp)
{
	pthread_t watcher;
	uc_err error;

	begin(cpu, sp);
	if (pthread_create(&watcher, NULL, watch, cpu)) {
		guest_end(cpu->guest, GUEST_NOT_RUN, "the host has no thread for it");
		return;
	}
	error = run_engine(cpu, entry);
	cpu->guest->result->translations_dropped = guest_translations_dropped();
	end_watch(cpu, watcher);
	tell_why(cpu, error);
}
