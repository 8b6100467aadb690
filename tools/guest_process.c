/* SPDX-License-Identifier: MIT */
/*
 * See guest_process.h. Users and groups are the host's, as those of the files that a guest sees
 * are; limits that a guest sets are accepted and change nothing.
 */
#include "guest_process.h"

#include "clock.h"
#include "guest_copy.h"
#include "guest_cpu.h"
#include "guest_maps.h"
#include "guest_memory.h"
#include "guest_signals.h"
#include "guest_sigwait.h"
#include "guest_time.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Where addresses of programs end on x86-64. */
#define GUEST_TASK_SIZE UINT64_C(0x7ffffffff000)

/* Of arch_prctl(2), which only x86-64 has. */
#define GUEST_ARCH_SET_GS 0x1001
#define GUEST_ARCH_SET_FS 0x1002
#define GUEST_ARCH_GET_FS 0x1003
#define GUEST_ARCH_GET_GS 0x1004

#define PIECE 4096

int64_t guest_sys_exit(struct guest *guest, const uint64_t args[6])
{
	guest_end(guest, (int)(args[0] & 0xff), NULL);
	return 0;
}

int64_t guest_sys_arch_prctl(struct guest *guest, const uint64_t args[6])
{
	uint64_t base;

	switch (args[0]) {
	case GUEST_ARCH_SET_FS:
	case GUEST_ARCH_SET_GS:
		if (args[1] >= GUEST_TASK_SIZE)
			return -EPERM;
		if (args[0] == GUEST_ARCH_SET_FS)
			guest_cpu_set_fs(guest->cpu, args[1]);
		else
			guest_cpu_set_gs(guest->cpu, args[1]);
		return 0;
	case GUEST_ARCH_GET_FS:
	case GUEST_ARCH_GET_GS:
		base = args[0] == GUEST_ARCH_GET_FS ? guest_cpu_fs(guest->cpu)
						    : guest_cpu_gs(guest->cpu);
		return guest_copy_out(guest, args[1], &base, sizeof(base));
	default:
		return -EINVAL;
	}
}

int64_t guest_sys_getpid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return GUEST_PID;
}

int64_t guest_sys_getppid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return GUEST_PARENT_PID;
}

int64_t guest_sys_getpgid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	return args[0] == 0 || args[0] == GUEST_PID ? GUEST_PID : -ESRCH;
}

int64_t guest_sys_getuid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return getuid();
}

int64_t guest_sys_geteuid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return geteuid();
}

int64_t guest_sys_getgid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return getgid();
}

int64_t guest_sys_getegid(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return getegid();
}

/* It is in none but its own. */
int64_t guest_sys_getgroups(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	return (int32_t)args[0] < 0 ? -EINVAL : 0;
}

/* There is never a child to wait for. */
int64_t guest_sys_wait4(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return -ECHILD;
}

/* Known, so that the C library's one attempt is not reported. */
int64_t guest_sys_rseq(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return -ENOSYS;
}

int64_t guest_sys_set_robust_list(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	return args[1] == sizeof(struct robust_list_head) ? 0 : -EINVAL;
}

int64_t guest_sys_prctl(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	return args[0] == PR_SET_NAME ? 0 : -EINVAL;
}

int64_t guest_sys_sched_yield(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	(void)args;
	return 0;
}

int64_t guest_sys_sched_getaffinity(struct guest *guest, const uint64_t args[6])
{
	static const uint64_t one_cpu = 1;

	if (args[1] % sizeof(one_cpu) || !args[1])
		return -EINVAL;
	return guest_copy_out(guest, args[2], &one_cpu, sizeof(one_cpu))
		       ?: (int64_t)sizeof(one_cpu);
}

int64_t guest_sys_uname(struct guest *guest, const uint64_t args[6])
{
	static const struct utsname name = {
		.sysname = "Linux",
		.nodename = "guest",
		.release = "6.1.0",
		.version = "stage2",
		.machine = "x86_64",
		.domainname = "(none)",
	};

	return guest_copy_out(guest, args[0], &name, sizeof(name));
}

int64_t guest_sys_getrandom(struct guest *guest, const uint64_t args[6])
{
	uint64_t done = 0;

	if (args[2] & ~(uint64_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	while (done < args[1] && !guest_must_stop(guest)) {
		char piece[PIECE];
		size_t len = args[1] - done < PIECE ? (size_t)(args[1] - done) : PIECE;
		ssize_t n = getrandom(piece, len, 0);
		int error = n < 0 ? -errno
				  : guest_copy_out(guest, args[0] + done, piece, (size_t)n);

		if (error)
			return done ? (int64_t)done : error;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}

static struct rlimit limit_of(const struct guest *guest, uint64_t resource)
{
	switch (resource) {
	case RLIMIT_NOFILE:
		return (struct rlimit){ guest->limits.files, guest->limits.files };
	case RLIMIT_STACK:
		return (struct rlimit){ guest->stack_size, guest->stack_size };
	case RLIMIT_SIGPENDING:
		return (struct rlimit){ GUEST_QUEUED_SIGNALS, GUEST_QUEUED_SIGNALS };
	case RLIMIT_CORE:
	case RLIMIT_NPROC:
		return (struct rlimit){ 0, 0 };
	default:
		return (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	}
}

static int64_t tell_limit(struct guest *guest, uint64_t resource, uint64_t gpa)
{
	struct rlimit limit = limit_of(guest, resource);

	return guest_copy_out(guest, gpa, &limit, sizeof(limit));
}

int64_t guest_sys_getrlimit(struct guest *guest, const uint64_t args[6])
{
	return args[0] < RLIM_NLIMITS ? tell_limit(guest, args[0], args[1]) : -EINVAL;
}

int64_t guest_sys_setrlimit(struct guest *guest, const uint64_t args[6])
{
	(void)guest;
	return args[0] < RLIM_NLIMITS ? 0 : -EINVAL;
}

int64_t guest_sys_prlimit64(struct guest *guest, const uint64_t args[6])
{
	if (args[0] != 0 && args[0] != GUEST_PID)
		return -ESRCH;
	if (args[1] >= RLIM_NLIMITS)
		return -EINVAL;
	return args[3] ? tell_limit(guest, args[1], args[3]) : 0;
}

int64_t guest_sys_getrusage(struct guest *guest, const uint64_t args[6])
{
	struct rusage usage = { 0 };
	int32_t who = (int32_t)args[0];

	if (who != RUSAGE_SELF && who != RUSAGE_CHILDREN && who != RUSAGE_THREAD)
		return -EINVAL;
	if (who != RUSAGE_CHILDREN) {
		uint64_t ns = guest_cpu_time_ns();

		usage.ru_utime.tv_sec = (time_t)(ns / 1000000000);
		usage.ru_utime.tv_usec = (suseconds_t)(ns % 1000000000 / 1000);
		usage.ru_maxrss = (long)(guest_maps_mapped(guest->maps) / 1024);
	}
	return guest_copy_out(guest, args[1], &usage, sizeof(usage));
}

int64_t guest_sys_sysinfo(struct guest *guest, const uint64_t args[6])
{
	struct sysinfo info;

	/* It has gaps, in which a guest must not find what our stack had there. */
	memset(&info, 0, sizeof(info));
	info.uptime = (long)((clock_ns() - guest->start_ns) / 1000000000);
	info.totalram = guest->memory->size;
	info.freeram = guest->memory->size - guest_maps_mapped(guest->maps);
	info.procs = 1;
	info.mem_unit = 1;
	return guest_copy_out(guest, args[0], &info, sizeof(info));
}

/*
 * With one thread a wait either is over at once or lasts as long as its timeout: nobody but a
 * handler can change the word.
 */
static int64_t futex_wait(struct guest *guest, const uint64_t args[6])
{
	uint32_t word;
	int error = guest_copy_in(guest, args[0], &word, sizeof(word));

	if (error)
		return error;
	if (word != (uint32_t)args[2])
		return -EAGAIN;
	if (args[3])
		return guest_futex_timeout(guest, args);
	guest_sigwait(guest);
	return -GUEST_RESTART;
}

int64_t guest_sys_futex(struct guest *guest, const uint64_t args[6])
{
	if (args[0] % sizeof(uint32_t))
		return -EINVAL;
	switch (args[1] & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		return futex_wait(guest, args);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
	case FUTEX_WAKE_OP:
	case FUTEX_REQUEUE:
		return 0;
	default:
		return -ENOSYS;
	}
}
