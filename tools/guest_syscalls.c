/* SPDX-License-Identifier: MIT */
/*
 * The system calls of Linux on x86-64 by their numbers, and which of them a guest has: what static
 * programs without threads and children need. Any other is ENOSYS, and is named in the result.
 */
#include "guest_syscalls.h"

#include "guest_files.h"
#include "guest_handlers.h"
#include "guest_internal.h"
#include "guest_mmap.h"
#include "guest_process.h"
#include "guest_signals.h"
#include "guest_sigwait.h"
#include "guest_time.h"
#include "guest_timer.h"

#include <errno.h>
#include <stddef.h>

struct call {
	const char *name;
	guest_handler *handler;
};

#define CALL(number, call) [number] = { #call, guest_sys_##call }
#define LIKE(number, call, other) [number] = { #call, guest_sys_##other }
#define NONE(number, call) [number] = { #call, NULL }

static const struct call calls[] = {
	/* Memory */
	CALL(9, mmap),
	CALL(10, mprotect),
	CALL(11, munmap),
	CALL(12, brk),
	CALL(25, mremap),
	CALL(28, madvise),
	/* Files */
	CALL(0, read),
	CALL(1, write),
	CALL(2, open),
	CALL(3, close),
	CALL(4, stat),
	CALL(5, fstat),
	CALL(6, lstat),
	CALL(7, poll),
	CALL(8, lseek),
	CALL(16, ioctl),
	CALL(17, pread64),
	CALL(18, pwrite64),
	CALL(19, readv),
	CALL(20, writev),
	CALL(21, access),
	CALL(22, pipe),
	CALL(23, select),
	CALL(32, dup),
	CALL(33, dup2),
	CALL(40, sendfile),
	CALL(72, fcntl),
	CALL(74, fsync),
	CALL(75, fdatasync),
	CALL(76, truncate),
	CALL(77, ftruncate),
	CALL(79, getcwd),
	CALL(80, chdir),
	CALL(81, fchdir),
	CALL(82, rename),
	CALL(83, mkdir),
	CALL(84, rmdir),
	CALL(85, creat),
	CALL(86, link),
	CALL(87, unlink),
	CALL(88, symlink),
	CALL(89, readlink),
	CALL(90, chmod),
	CALL(91, fchmod),
	CALL(92, chown),
	CALL(93, fchown),
	CALL(94, lchown),
	CALL(95, umask),
	CALL(137, statfs),
	CALL(138, fstatfs),
	CALL(217, getdents64),
	CALL(221, fadvise64),
	CALL(257, openat),
	CALL(258, mkdirat),
	CALL(260, fchownat),
	CALL(262, newfstatat),
	CALL(263, unlinkat),
	CALL(264, renameat),
	CALL(265, linkat),
	CALL(266, symlinkat),
	CALL(267, readlinkat),
	CALL(268, fchmodat),
	CALL(269, faccessat),
	CALL(270, pselect6),
	CALL(271, ppoll),
	CALL(280, utimensat),
	CALL(292, dup3),
	CALL(293, pipe2),
	CALL(295, preadv),
	CALL(296, pwritev),
	CALL(316, renameat2),
	CALL(332, statx),
	CALL(436, close_range),
	CALL(439, faccessat2),
	/* Itself and the machine */
	CALL(24, sched_yield),
	CALL(39, getpid),
	CALL(60, exit),
	CALL(61, wait4),
	CALL(63, uname),
	CALL(97, getrlimit),
	CALL(98, getrusage),
	CALL(99, sysinfo),
	CALL(102, getuid),
	CALL(104, getgid),
	CALL(107, geteuid),
	CALL(108, getegid),
	CALL(110, getppid),
	LIKE(111, getpgrp, getpid),
	CALL(115, getgroups),
	CALL(121, getpgid),
	LIKE(124, getsid, getpgid),
	CALL(157, prctl),
	CALL(158, arch_prctl),
	CALL(160, setrlimit),
	LIKE(186, gettid, getpid),
	CALL(202, futex),
	CALL(204, sched_getaffinity),
	LIKE(218, set_tid_address, getpid),
	LIKE(231, exit_group, exit),
	CALL(273, set_robust_list),
	CALL(302, prlimit64),
	CALL(318, getrandom),
	CALL(334, rseq),
	/* Signals */
	CALL(13, rt_sigaction),
	CALL(14, rt_sigprocmask),
	CALL(15, rt_sigreturn),
	CALL(34, pause),
	CALL(62, kill),
	CALL(127, rt_sigpending),
	CALL(128, rt_sigtimedwait),
	CALL(129, rt_sigqueueinfo),
	CALL(130, rt_sigsuspend),
	CALL(131, sigaltstack),
	CALL(200, tkill),
	CALL(234, tgkill),
	CALL(297, rt_tgsigqueueinfo),
	/* Time */
	CALL(35, nanosleep),
	CALL(36, getitimer),
	CALL(37, alarm),
	CALL(38, setitimer),
	CALL(96, gettimeofday),
	CALL(100, times),
	CALL(201, time),
	CALL(228, clock_gettime),
	CALL(229, clock_getres),
	CALL(230, clock_nanosleep),

	/* What a guest does not have: the names are for the report. */
	NONE(26, msync), NONE(27, mincore), NONE(29, shmget), NONE(30, shmat), NONE(31, shmctl),
	NONE(41, socket), NONE(42, connect), NONE(43, accept), NONE(44, sendto),
	NONE(45, recvfrom), NONE(46, sendmsg), NONE(47, recvmsg),
	NONE(48, shutdown), NONE(49, bind), NONE(50, listen), NONE(51, getsockname),
	NONE(52, getpeername), NONE(53, socketpair), NONE(54, setsockopt), NONE(55, getsockopt),
	NONE(56, clone), NONE(57, fork), NONE(58, vfork), NONE(59, execve), NONE(64, semget),
	NONE(65, semop), NONE(66, semctl), NONE(67, shmdt), NONE(68, msgget), NONE(69, msgsnd),
	NONE(70, msgrcv), NONE(71, msgctl), NONE(73, flock), NONE(78, getdents), NONE(101, ptrace),
	NONE(103, syslog), NONE(105, setuid), NONE(106, setgid), NONE(109, setpgid),
	NONE(112, setsid), NONE(113, setreuid), NONE(114, setregid), NONE(116, setgroups),
	NONE(117, setresuid), NONE(118, getresuid), NONE(119, setresgid), NONE(120, getresgid),
	NONE(122, setfsuid), NONE(123, setfsgid), NONE(125, capget), NONE(126, capset),
	NONE(132, utime), NONE(133, mknod), NONE(134, uselib), NONE(135, personality),
	NONE(136, ustat), NONE(139, sysfs), NONE(140, getpriority), NONE(141, setpriority),
	NONE(142, sched_setparam), NONE(143, sched_getparam), NONE(144, sched_setscheduler),
	NONE(145, sched_getscheduler), NONE(146, sched_get_priority_max),
	NONE(147, sched_get_priority_min), NONE(148, sched_rr_get_interval), NONE(149, mlock),
	NONE(150, munlock), NONE(151, mlockall), NONE(152, munlockall), NONE(153, vhangup),
	NONE(154, modify_ldt), NONE(155, pivot_root), NONE(156, _sysctl), NONE(159, adjtimex),
	NONE(161, chroot), NONE(162, sync), NONE(163, acct), NONE(164, settimeofday),
	NONE(165, mount), NONE(166, umount2), NONE(167, swapon), NONE(168, swapoff),
	NONE(169, reboot), NONE(170, sethostname), NONE(171, setdomainname), NONE(172, iopl),
	NONE(173, ioperm), NONE(174, create_module), NONE(175, init_module),
	NONE(176, delete_module), NONE(177, get_kernel_syms), NONE(178, query_module),
	NONE(179, quotactl), NONE(180, nfsservctl), NONE(181, getpmsg), NONE(182, putpmsg),
	NONE(183, afs_syscall), NONE(184, tuxcall), NONE(185, security), NONE(187, readahead),
	NONE(188, setxattr), NONE(189, lsetxattr), NONE(190, fsetxattr), NONE(191, getxattr),
	NONE(192, lgetxattr), NONE(193, fgetxattr), NONE(194, listxattr), NONE(195, llistxattr),
	NONE(196, flistxattr), NONE(197, removexattr), NONE(198, lremovexattr),
	NONE(199, fremovexattr), NONE(203, sched_setaffinity), NONE(205, set_thread_area),
	NONE(206, io_setup), NONE(207, io_destroy), NONE(208, io_getevents), NONE(209, io_submit),
	NONE(210, io_cancel), NONE(211, get_thread_area), NONE(212, lookup_dcookie),
	NONE(213, epoll_create), NONE(214, epoll_ctl_old), NONE(215, epoll_wait_old),
	NONE(216, remap_file_pages), NONE(219, restart_syscall), NONE(220, semtimedop),
	NONE(222, timer_create), NONE(223, timer_settime), NONE(224, timer_gettime),
	NONE(225, timer_getoverrun), NONE(226, timer_delete), NONE(227, clock_settime),
	NONE(232, epoll_wait), NONE(233, epoll_ctl), NONE(235, utimes), NONE(236, vserver),
	NONE(237, mbind), NONE(238, set_mempolicy), NONE(239, get_mempolicy), NONE(240, mq_open),
	NONE(241, mq_unlink), NONE(242, mq_timedsend), NONE(243, mq_timedreceive),
	NONE(244, mq_notify), NONE(245, mq_getsetattr), NONE(246, kexec_load), NONE(247, waitid),
	NONE(248, add_key), NONE(249, request_key), NONE(250, keyctl), NONE(251, ioprio_set),
	NONE(252, ioprio_get), NONE(253, inotify_init), NONE(254, inotify_add_watch),
	NONE(255, inotify_rm_watch), NONE(256, migrate_pages), NONE(259, mknodat),
	NONE(261, futimesat), NONE(272, unshare), NONE(274, get_robust_list), NONE(275, splice),
	NONE(276, tee), NONE(277, sync_file_range), NONE(278, vmsplice), NONE(279, move_pages),
	NONE(281, epoll_pwait), NONE(282, signalfd), NONE(283, timerfd_create), NONE(284, eventfd),
	NONE(285, fallocate), NONE(286, timerfd_settime), NONE(287, timerfd_gettime),
	NONE(288, accept4), NONE(289, signalfd4), NONE(290, eventfd2), NONE(291, epoll_create1),
	NONE(294, inotify_init1), NONE(298, perf_event_open), NONE(299, recvmmsg),
	NONE(300, fanotify_init), NONE(301, fanotify_mark),
	NONE(303, name_to_handle_at), NONE(304, open_by_handle_at), NONE(305, clock_adjtime),
	NONE(306, syncfs), NONE(307, sendmmsg), NONE(308, setns), NONE(309, getcpu),
	NONE(310, process_vm_readv), NONE(311, process_vm_writev), NONE(312, kcmp),
	NONE(313, finit_module), NONE(314, sched_setattr), NONE(315, sched_getattr),
	NONE(317, seccomp), NONE(319, memfd_create), NONE(320, kexec_file_load), NONE(321, bpf),
	NONE(322, execveat), NONE(323, userfaultfd), NONE(324, membarrier), NONE(325, mlock2),
	NONE(326, copy_file_range), NONE(327, preadv2), NONE(328, pwritev2),
	NONE(329, pkey_mprotect), NONE(330, pkey_alloc), NONE(331, pkey_free),
	NONE(333, io_pgetevents), NONE(424, pidfd_send_signal), NONE(425, io_uring_setup),
	NONE(426, io_uring_enter), NONE(427, io_uring_register), NONE(428, open_tree),
	NONE(429, move_mount), NONE(430, fsopen), NONE(431, fsconfig), NONE(432, fsmount),
	NONE(433, fspick), NONE(434, pidfd_open), NONE(435, clone3), NONE(437, openat2),
	NONE(438, pidfd_getfd), NONE(440, process_madvise), NONE(441, epoll_pwait2),
	NONE(442, mount_setattr), NONE(443, quotactl_fd), NONE(444, landlock_create_ruleset),
	NONE(445, landlock_add_rule), NONE(446, landlock_restrict_self), NONE(447, memfd_secret),
	NONE(448, process_mrelease), NONE(449, futex_waitv), NONE(450, set_mempolicy_home_node),
};

#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

static void note_unknown(struct guest_result *result, uint64_t number)
{
	struct guest_unknown_call *unknown = result->unknown;
	unsigned int i = 0;

	result->unknown_calls++;
	while (i < result->nr_unknown && unknown[i].number != number)
		i++;
	if (i == GUEST_UNKNOWN_CALLS)
		return;
	if (i == result->nr_unknown)
		unknown[result->nr_unknown++] = (struct guest_unknown_call){
			.number = number,
			.name = number < NR_CALLS ? calls[number].name : NULL,
		};
	unknown[i].calls++;
}

static void count_call(struct guest *guest)
{
	_Atomic uint64_t *shown = guest->config->syscalls;

	guest->result->syscalls++;
	if (shown)
		atomic_store_explicit(shown, guest->result->syscalls, memory_order_relaxed);
}

int64_t guest_syscall(struct guest *guest, uint64_t number, const uint64_t args[6])
{
	count_call(guest);
	if (number < NR_CALLS && calls[number].handler)
		return calls[number].handler(guest, args);
	note_unknown(guest->result, number);
	return -ENOSYS;
}
