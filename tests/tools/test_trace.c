/* SPDX-License-Identifier: MIT */
/*
 * What a recording means: which calls invalidate what, whose memory it is, and what is related.
 * Each small trace is written out in its test; the two real ones are in tests/data.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lzma.h>

#include "../../tools/trace.h"

#ifndef S2_TEST_DATA
#define S2_TEST_DATA "tests/data"
#endif

#define QEMU "qemu-i440fx-hotplug-migrate.strace.xz"
#define TWO_VMS "two-vms-churn.strace.xz"

#define REGION(slot, flags, gpa, size, hva)                                                        \
	"KVM_SET_USER_MEMORY_REGION, {slot=" slot ", flags=" flags ", guest_phys_addr=" gpa        \
	", memory_size=" size ", userspace_addr=" hva "}"

static struct trace *parse(const char *text)
{
	struct trace_error err;
	struct trace *t;

	if (trace_parse(text, strlen(text), "t", &t, &err))
		fail_msg("%s", err.message);
	return t;
}

static void assert_refused(const char *text, uint64_t line, const char *part)
{
	struct trace_error err;
	struct trace *t;

	assert_int_equal(trace_parse(text, strlen(text), "t", &t, &err), -EINVAL);
	assert_null(t);
	assert_int_equal(err.line, line);
	if (!strstr(err.message, part) || strchr(err.message, '\n'))
		fail_msg("'%s' does not say '%s'", err.message, part);
}

/* The number of invalidations in @text. */
static uint64_t invalidations(const char *text)
{
	struct trace *t = parse(text);
	uint64_t n = t->invalidations;

	trace_free(t);
	return n;
}

static uint64_t related(const char *text)
{
	struct trace *t = parse(text);
	uint64_t n = t->nr_related;

	trace_free(t);
	return n;
}

static void assert_range(const char *text, unsigned int i, uint64_t start, uint64_t end)
{
	struct trace *t = parse(text);

	assert_int_equal(t->invalidations, 1);
	assert_true(i < t->calls[0].nr_ranges);
	assert_int_equal(t->calls[0].range[i].start, start);
	assert_int_equal(t->calls[0].range[i].end, end);
	trace_free(t);
}

static unsigned int nr_ranges(const char *text)
{
	struct trace *t = parse(text);
	unsigned int n = t->nr_calls ? t->calls[0].nr_ranges : 0;

	trace_free(t);
	return n;
}

static void empty_recordings_count_zero(void **state)
{
	(void)state;
	assert_int_equal(invalidations(""), 0);
	assert_int_equal(invalidations("1 1.0 getpid() = 1\n1 1.1 +++ exited with 0 +++\n"), 0);
}

static void munmap_is_rounded_out_to_pages(void **state)
{
	(void)state;
	assert_range("1 1.0 munmap(0x10000, 4097) = 0\n", 0, 0x10000, 0x12000);
	assert_range("1 1.0 munmap(0x10fff, 2) = 0\n", 0, 0x10000, 0x12000);
}

static void mprotect_counts_and_zero_length_does_not(void **state)
{
	(void)state;
	assert_int_equal(invalidations("1 1.0 mprotect(0x1000, 1, PROT_READ) = 0\n"), 1);
	assert_int_equal(invalidations("1 1.0 mprotect(0x1000, 0, PROT_READ) = 0\n"), 0);
}

static void only_three_kinds_of_madvise_count(void **state)
{
	(void)state;
	assert_int_equal(invalidations("1 1.0 madvise(0x1000, 4096, MADV_DONTNEED) = 0\n"
				       "1 1.0 madvise(0x1000, 4096, MADV_FREE) = 0\n"
				       "1 1.0 madvise(0x1000, 4096, MADV_REMOVE) = 0\n"),
			 3);
	assert_int_equal(invalidations("1 1.0 madvise(0x1000, 4096, MADV_DONTNEED_LOCKED) = 0\n"
				       "1 1.0 madvise(0x1000, 4096, MADV_HUGEPAGE) = 0\n"
				       "1 1.0 madvise(0x1000, 4096, 0x99 /* MADV_??? */) = 0\n"),
			 0);
}

#define MMAP(flags, result) "1 1.0 mmap(0x5000, 4096, PROT_NONE, " flags ", -1, 0) = " result "\n"

static void mmap_counts_with_map_fixed_only(void **state)
{
	(void)state;
	assert_range(MMAP("MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS", "0x5000"), 0, 0x5000, 0x6000);
	assert_int_equal(invalidations(MMAP("MAP_PRIVATE|MAP_FIXED_NOREPLACE", "0x5000")), 0);
	assert_int_equal(invalidations(MMAP("MAP_PRIVATE", "0x5000")), 0);
}

static void failed_calls_do_not_count(void **state)
{
	(void)state;
	assert_int_equal(invalidations(MMAP("MAP_FIXED", "-1 ENOMEM (Cannot allocate memory)")), 0);
	assert_int_equal(invalidations("1 1.0 munmap(0x1000, 4096) = ?\n"
				       "1 1.0 munmap(0xfffffffffffff000, 8192) = -1 EINVAL (I)\n"
				       "1 1.0 munmap(0x1000, 4096 <unfinished ...>) = ?\n"),
			 0);
}

static void mremap_that_moves_gives_up_the_old_range(void **state)
{
	static const char text[] = "1 1.0 mremap(0x10000, 8192, 4096, MREMAP_MAYMOVE) = 0x50000\n";

	(void)state;
	assert_range(text, 0, 0x10000, 0x12000);
	assert_int_equal(nr_ranges(text), 1);
	assert_int_equal(invalidations("1 1.0 mremap(0x10000, 4096, 4096, "
				       "MREMAP_MAYMOVE|MREMAP_DONTUNMAP) = 0x50000\n"),
			 1);
}

static void mremap_in_place_cuts_the_tail_or_nothing(void **state)
{
	(void)state;
	assert_range("1 1.0 mremap(0x10000, 16384, 4096, 0) = 0x10000\n", 0, 0x11000, 0x14000);
	assert_int_equal(invalidations("1 1.0 mremap(0x10000, 4096, 8192, 0) = 0x10000\n"), 0);
}

static void mremap_fixed_replaces_the_target_too(void **state)
{
	static const char text[] = "1 1.0 mremap(0x10000, 8192, 4096, MREMAP_MAYMOVE|MREMAP_FIXED, "
				   "0x50000) = 0x50000\n";

	(void)state;
	assert_int_equal(nr_ranges(text), 2);
	assert_range(text, 0, 0x10000, 0x12000);
	assert_range(text, 1, 0x50000, 0x51000);
}

static void brk_counts_when_it_shrinks(void **state)
{
	(void)state;
	assert_range("1 1.0 brk(NULL) = 0x100000\n1 1.1 brk(0x140000) = 0x140000\n"
		     "1 1.2 brk(0x120000) = 0x120000\n1 1.3 brk(0x130000) = 0x130000\n"
		     "1 1.4 brk(0x900000) = 0x130000\n1 1.5 brk(NULL) = 0x130000\n",
		     0, 0x120000, 0x140000);
}

static void brk_shrink_is_not_seen_without_a_break_before(void **state)
{
	(void)state;
	assert_int_equal(invalidations("1 1.0 brk(0x1000) = 0x1000\n"), 0);
}

static void two_halves_are_one_call(void **state)
{
	struct trace *t = parse("1 10.0 munmap(0x1000, 4096 <unfinished ...>\n"
				"2 10.5 munmap(0x9000, 4096) = 0 <0.25>\n"
				"1 11.0 <... munmap resumed>) = 0 <1.0>\n");

	(void)state;
	assert_int_equal(t->nr_calls, 2);
	assert_int_equal(t->calls[0].start_line, 2);
	assert_int_equal(t->calls[0].start_ns, 500000000);
	assert_int_equal(t->calls[0].end_ns, 750000000);
	assert_int_equal(t->calls[1].start_line, 1);
	assert_int_equal(t->calls[1].end_line, 3);
	assert_int_equal(t->calls[1].start_ns, 0);
	assert_int_equal(t->calls[1].end_ns, 1000000000);
	assert_int_equal(t->threads[t->calls[1].thread].tid, 1);
	trace_free(t);
}

static void events_come_in_recorded_order(void **state)
{
	static const enum trace_event_type type[] = { TRACE_START, TRACE_START, TRACE_END,
						      TRACE_UPDATE, TRACE_END };
	static const uint32_t index[] = { 2, 0, 0, 1, 2 };
	static const uint64_t line[] = { 1, 3, 3, 4, 5 };
	struct trace *t = parse(
		"1 10.0 munmap(0x1000, 4096 <unfinished ...>\n"
		"3 10.1 ioctl(4, " REGION("0", "0", "0", "4096",
					  "0x1000") " <unfinished ...>\n"
						    "2 10.5 munmap(0x9000, 4096) = 0\n"
						    "3 10.4 <... ioctl resumed>) = 0\n"
						    "1 11.0 <... munmap resumed>) = 0 <1.0>\n");
	size_t i;

	(void)state;
	assert_int_equal(t->nr_events, 5);
	for (i = 0; i < 5; i++) {
		assert_int_equal(t->events[i].type, type[i]);
		assert_int_equal(t->events[i].index, index[i]);
		assert_int_equal(t->events[i].line, line[i]);
		assert_true(!i || t->events[i].ns >= t->events[i - 1].ns);
	}
	trace_free(t);
}

static void call_open_at_the_end_does_not_count(void **state)
{
	(void)state;
	assert_int_equal(invalidations("1 1.0 munmap(0x1000, 4096 <unfinished ...>\n"), 0);
	assert_int_equal(invalidations("1 1.0 munmap(0x1000, 4096 <unfinished ...>\n"
				       "1 1.1 +++ killed by SIGKILL +++\n"
				       "1 1.2 munmap(0x1000, 4096) = 0\n"),
			 1);
	assert_int_equal(invalidations("1 1.0 munmap(0x1000, 4096 <detached ...>\n"), 0);
}

static void memslot_update_is_read_in_full(void **state)
{
	struct trace *t = parse("1 1.0 ioctl(9<anon_inode:kvm-vm>, " REGION(
		"65537", "KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY", "0x100000", "8192",
		"0x7f0000000000") ") = 0 <0.1>\n");
	const struct trace_call *c = &t->calls[0];

	(void)state;
	assert_int_equal(t->count[TRACE_MEMSLOT], 1);
	assert_int_equal(c->kind, TRACE_MEMSLOT);
	assert_int_equal(c->region.slot, 0x10001);
	assert_int_equal(c->region.flags, 3);
	assert_int_equal(c->region.guest_phys_addr, 0x100000);
	assert_int_equal(c->region.memory_size, 8192);
	assert_int_equal(c->region.userspace_addr, 0x7f0000000000);
	assert_int_equal(t->vms[c->vm].fd, 9);
	trace_free(t);
}

static void failed_memslot_update_is_ignored(void **state)
{
	struct trace *t = parse("1 1.0 ioctl(9, " REGION("0", "0", "0", "4096",
							 "0x1000") ") = -1 EEXIST (File exists)\n");

	(void)state;
	assert_int_equal(t->nr_calls, 0);
	trace_free(t);
}

static void flags_may_be_numbers(void **state)
{
	struct trace *t = parse(
		"1 1.0 ioctl(9, 0x4020ae46 /* KVM_SET_USER_MEMORY_REGION */, {slot=0x10001, "
		"flags=0x3 /* KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY */, guest_phys_addr=0, "
		"memory_size=4096, userspace_addr=0x1000}) = 0\n");

	(void)state;
	assert_int_equal(t->calls[0].region.flags, 3);
	assert_int_equal(t->calls[0].region.slot, 0x10001);
	trace_free(t);
}

static void undecoded_memslot_update_is_refused(void **state)
{
	(void)state;
	assert_refused("1 1.0 ioctl(9, KVM_SET_USER_MEMORY_REGION, 0x7ff) = 0\n", 1,
		       "newer strace");
	assert_refused("1 1.0 ioctl(9, _IOC(_IOC_WRITE, 0xae, 0x49, 0xa0), 0x7ff) = 0\n", 1,
		       "newer strace");
	assert_refused("1 1.0 ioctl(9, " REGION("0", "WHAT", "0", "4096", "0x1000") ") = 0\n", 1,
		       "memory region");
	assert_refused("1 1.0 ioctl(9, " REGION("0", "0", "0", "8192",
						"0xfffffffffffff000") ") = 0\n",
		       1, "memory region");
}

#define SLOT_AT_0x10000 "1 1.0 ioctl(4, " REGION("0", "0", "0", "8192", "0x10000") ") = 0\n"

static void overlap_with_a_memslot_is_related(void **state)
{
	(void)state;
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0x11000, 4096) = 0\n"), 1);
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0x1000, 0x100000) = 0\n"), 1);
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0x12000, 4096) = 0\n"), 0);
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0xf000, 4096) = 0\n"), 0);
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0xffff, 1) = 0\n"), 0);
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 munmap(0x11fff, 1) = 0\n"), 1);
}

static void second_range_of_mremap_can_be_the_related_one(void **state)
{
	(void)state;
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 mremap(0x90000, 4096, 4096, MREMAP_MAYMOVE|"
						 "MREMAP_FIXED, 0x10000) = 0x10000\n"),
			 1);
}

static void update_applies_when_its_ioctl_returns(void **state)
{
	(void)state;
	assert_int_equal(related("1 1.0 ioctl(4, " REGION(
				 "0", "0", "0", "8192",
				 "0x10000") " <unfinished ...>\n"
					    "2 1.1 munmap(0x10000, 4096 <unfinished ...>\n"
					    "1 1.2 <... ioctl resumed>) = 0\n"
					    "2 1.3 <... munmap resumed>) = 0\n"),
			 0);
	assert_int_equal(
		related(SLOT_AT_0x10000 "1 1.0 ioctl(4, " REGION(
			"0", "0", "0", "0", "0x10000") " <unfinished ...>\n"
						       "2 1.1 munmap(0x10000, 4096) = 0\n"
						       "1 1.2 <... ioctl resumed>) = 0\n"
						       "2 1.3 munmap(0x10000, 4096) = 0\n"),
		1);
}

static void moved_memslot_leaves_its_old_place(void **state)
{
	(void)state;
	assert_int_equal(
		related(SLOT_AT_0x10000 "1 1.1 ioctl(4, " REGION(
			"0", "0", "0", "8192", "0x80000") ") = 0\n"
							  "1 1.2 munmap(0x10000, 4096) = 0\n"
							  "1 1.3 munmap(0x80000, 4096) = 0\n"),
		1);
}

static void overlapping_memslots_are_counted_apart(void **state)
{
	(void)state;
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 ioctl(5, " REGION(
				 "0", "0", "0", "4096",
				 "0x11000") ") = 0\n"
					    "1 1.2 ioctl(4, " REGION(
						    "0", "0", "0", "0",
						    "0x10000") ") = 0\n"
							       "1 1.3 munmap(0x10000, 4096) = 0\n"
							       "1 1.4 munmap(0x11000, 4096) = 0\n"),
			 1);
}

static void same_slot_of_two_vms_are_two(void **state)
{
	struct trace *t =
		parse("1 1.0 ioctl(3, KVM_CREATE_VM, 0) = 4\n"
		      "1 1.0 ioctl(3</dev/kvm>, KVM_CREATE_VM, 0) = "
		      "5<anon_inode:kvm-vm>\n" SLOT_AT_0x10000
		      "1 1.2 ioctl(5, " REGION("0", "0", "0", "4096",
					       "0x40000") ") = 0\n"
							  "1 1.3 munmap(0x10000, 4096) = 0\n");

	(void)state;
	assert_int_equal(t->nr_vms, 2);
	assert_int_equal(t->vms[0].created_line, 1);
	assert_int_equal(t->vms[1].number, 1);
	assert_int_equal(t->nr_related, 1);
	trace_free(t);
}

static void reused_fd_is_a_new_vm(void **state)
{
	struct trace *t = parse("1 1.0 ioctl(3, KVM_CREATE_VM, 0) = 4\n" SLOT_AT_0x10000
				"1 1.1 ioctl(3, KVM_CREATE_VM, 0) = 4\n"
				"1 1.2 munmap(0x10000, 4096) = 0\n");

	(void)state;
	assert_int_equal(t->nr_vms, 2);
	assert_int_equal(t->vms[0].gone_line, 3);
	assert_int_equal(t->vms[1].gone_line, 0);
	assert_int_equal(t->nr_events, 4);
	assert_int_equal(t->events[1].type, TRACE_VM_GONE);
	assert_int_equal(t->events[1].index, 0);
	assert_int_equal(t->nr_related, 0);
	trace_free(t);
}

static void vm_from_before_the_recording_is_known_by_its_fd(void **state)
{
	struct trace *t = parse(SLOT_AT_0x10000);

	(void)state;
	assert_int_equal(t->nr_vms, 1);
	assert_int_equal(t->vms[0].created_line, 0);
	trace_free(t);
}

/* The process of the last call in @text. */
static uint32_t last_process(const char *text)
{
	struct trace *t = parse(text);
	uint32_t process = t->calls[t->nr_calls - 1].process;

	trace_free(t);
	return process;
}

#define UNMAP_1 "1 2.0 munmap(0x10000, 4096) = 0\n"
#define UNMAP_2 "2 2.0 munmap(0x10000, 4096) = 0\n"

static void cloned_thread_shares_the_address_space(void **state)
{
	(void)state;
	assert_int_equal(
		last_process(
			"1 1.0 clone3({flags=CLONE_VM|CLONE_THREAD} => {x=[2]}, 88) = 2\n" UNMAP_2),
		0);
	assert_int_equal(
		last_process("1 1.0 clone(child_stack=0x1, flags=CLONE_VM|SIGCHLD) = 2\n" UNMAP_2),
		0);
}

static void forked_child_has_its_own(void **state)
{
	(void)state;
	assert_int_equal(
		last_process("1 1.0 clone(child_stack=NULL, flags=SIGCHLD, x=0x1) = 2\n" UNMAP_2),
		1);
	assert_int_equal(
		last_process("1 1.0 clone3({flags=CLONE_VM|CLONE_VFORK}, 88) = 2\n" UNMAP_2), 1);
	assert_int_equal(last_process("1 1.0 fork() = 2\n" UNMAP_2), 1);
	assert_int_equal(last_process("1 1.0 vfork() = 2\n" UNMAP_2), 1);
	assert_int_equal(last_process("1 1.0 fork() = -1 EAGAIN (x)\n" UNMAP_2), 0);
}

static void child_seen_before_clone_returns(void **state)
{
	(void)state;
	assert_int_equal(
		last_process(
			"1 1.0 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>\n" UNMAP_2
			"1 2.1 <... clone resumed>, x=0x1) = 2\n"),
		1);
}

static void execve_starts_a_new_address_space(void **state)
{
	(void)state;
	assert_int_equal(
		last_process(UNMAP_1
			     "1 1.0 execve(\"/bin/x\", [\"x\"], 0x7 /* 3 vars */) = 0\n" UNMAP_1),
		1);
	assert_int_equal(
		last_process(UNMAP_1 "1 1.0 execve(\"/x\", [], 0x7) = -1 ENOENT (x)\n" UNMAP_1), 0);
}

static void exec_in_a_thread_takes_the_first_threads_id(void **state)
{
	(void)state;
	assert_int_equal(last_process(UNMAP_1 "1 1.0 futex(0x1 <unfinished ...>\n"
					      "2 1.1 execve(\"/x\", [], 0x7 <unfinished ...>\n"
					      "1 1.2 +++ superseded by execve in pid 2 +++\n"
					      "1 1.3 <... execve resumed>) = 0\n" UNMAP_1),
			 1);
}

static void child_is_found_by_its_break(void **state)
{
	(void)state;
	assert_int_equal(
		last_process("1 1.0 brk(NULL) = 0x100000\n2 1.1 brk(NULL) = 0x500000\n" UNMAP_2),
		1);
	assert_int_equal(
		last_process("1 1.0 brk(NULL) = 0x100000\n2 1.1 brk(NULL) = 0x100000\n" UNMAP_2),
		0);
}

static void forked_child_inherits_the_break(void **state)
{
	(void)state;
	assert_int_equal(invalidations("1 1.0 brk(NULL) = 0x100000\n1 1.1 fork() = 2\n"
				       "2 1.2 brk(0xf0000) = 0xf0000\n"
				       "1 1.3 brk(0x110000) = 0x110000\n"),
			 1);
}

static void reused_thread_id_starts_afresh(void **state)
{
	(void)state;
	assert_int_equal(last_process("1 1.0 fork() = 2\n" UNMAP_2 "2 1.1 +++ exited with 0 +++\n"
				      "1 1.2 clone(flags=CLONE_VM|CLONE_THREAD) = 2\n" UNMAP_2),
			 0);
	assert_int_equal(last_process("1 1.0 fork() = 2\n" UNMAP_2
				      "2 1.1 +++ exited with 0 +++\n" UNMAP_2),
			 0);
}

static void childs_memory_is_not_the_guests(void **state)
{
	(void)state;
	assert_int_equal(related(SLOT_AT_0x10000 "1 1.1 fork() = 2\n" UNMAP_2), 0);
	assert_int_equal(related(SLOT_AT_0x10000 UNMAP_2), 1);
}

static void other_lines_are_passed_over(void **state)
{
	(void)state;
	assert_int_equal(invalidations(
				 "strace: Process 7 attached\n"
				 "[pid  4373] 1795352783.43 munmap(0x1000, 4096) = 0\r\n"
				 "\n"
				 "[pid  4373] 1.0 --- SIGUSR1 {si_signo=SIGUSR1, x=\") = 0\"} ---\n"
				 "[pid 7] 1.0 frobnicate([{a=1}, <unfinished ...>\n"
				 "[pid 7] 1.0 <... frobnicate resumed>7]) = 1 (in [1])\n"
				 "[pid 7] 1.0 +++ exited with 0 +++\n"),
			 1);
	assert_int_equal(invalidations("1795352783.43 munmap(0x1000, 4096) = 0 <0.000003>\n"), 1);
}

static void garbage_names_its_line(void **state)
{
	(void)state;
	assert_refused("1 1.0 getpid() = 1\nhello\n1 1.0 getpid() = 1\n", 2, "t:2: ");
	assert_refused("1 1.0 munmap(0x1000) = 0\n", 1, "arguments are missing");
	assert_refused("1 1.0 munmap(here, 4096) = 0\n", 1, "munmap: the address or the length");
	assert_refused("1 1.0 munmap(0xfffffffffffff000, 8192) = 0\n", 1, "record it again");
	assert_refused("1 1.0 munmap(0xfffffffffffff001, 1) = 0\n", 1, "record it again");
	assert_refused("1 getpid() = 1\n", 1, "-ttt");
	assert_refused("\x01\x7f\x1b[31m\n", 1, "t:1: ");
}

static void unpaired_halves_are_refused(void **state)
{
	(void)state;
	assert_refused("1 1.0 <... brk resumed>) = 0x1000\n", 1, "no unfinished call");
	assert_refused("1 1.0 brk(0 <unfinished ...>\n1 1.1 <... munmap resumed>) = 0\n", 2,
		       "line 1");
	assert_refused("1 1.0 brk(0 <unfinished ...>\n1 1.1 brk(0 <unfinished ...>\n", 2, "line 1");
	assert_refused("1 1.0 brk(0 <unfinished ...>\n1 1.1 brk(0) = 0x1\n", 2, "line 1");
}

static void cut_off_last_line_is_named(void **state)
{
	static const char line[] = "1 2.0 munmap(0x1000, 4096) = 0 <0.000071>";
	char text[200];
	size_t n;

	(void)state;
	for (n = 1; n < sizeof(line) - 1; n++) {
		snprintf(text, sizeof(text), "1 1.0 getpid() = 1 <0.1>\n%.*s", (int)n, line);
		assert_refused(text, 2, "cut off");
	}
	snprintf(text, sizeof(text), "1 1.0 getpid() = 1 <0.1>\n%s", line);
	assert_int_equal(invalidations(text), 1);
}

static void nul_bytes_are_refused(void **state)
{
	static const char text[] = "1 1.0 munmap(0x10\0000, 4096) = 0\n";
	struct trace_error err;
	struct trace *t;

	(void)state;
	assert_int_equal(trace_parse(text, sizeof(text) - 1, "t", &t, &err), -EINVAL);
	assert_int_equal(err.line, 1);
}

static const char *data_path(const char *file)
{
	static char path[4096];
	const char *dir = getenv("S2_TEST_DATA");

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : S2_TEST_DATA, file);
	return path;
}

static struct trace *read_data(const char *file)
{
	struct trace_error err;
	struct trace *t;

	if (trace_read(data_path(file), &t, &err))
		fail_msg("%s", err.message);
	return t;
}

static void qemu_recording_counts(void **state)
{
	struct trace *t = read_data(QEMU);

	(void)state;
	assert_int_equal(t->lines, 17082);
	assert_int_equal(t->invalidations, 2658);
	assert_int_equal(t->count[TRACE_MADVISE], 2246);
	assert_int_equal(t->count[TRACE_MPROTECT], 194);
	assert_int_equal(t->count[TRACE_MMAP], 177);
	assert_int_equal(t->count[TRACE_MUNMAP], 40);
	assert_int_equal(t->count[TRACE_BRK], 1);
	assert_int_equal(t->count[TRACE_MEMSLOT], 95);
	assert_int_equal(t->nr_related, 0);
	assert_int_equal(t->nr_vms, 1);
	assert_int_equal(t->nr_threads, 8);
	assert_int_equal(t->nr_processes, 3);
	assert_int_equal(t->processes[0].invalidations, 2641);
	assert_int_equal(t->processes[1].tid, 4380);
	assert_int_equal(t->processes[1].invalidations, 8);
	assert_int_equal(t->processes[2].tid, 4382);
	assert_int_equal(t->processes[2].invalidations, 9);
	trace_free(t);
}

static void two_vm_recording_counts(void **state)
{
	struct trace *t = read_data(TWO_VMS);

	(void)state;
	assert_int_equal(t->invalidations, 1603);
	assert_int_equal(t->count[TRACE_MUNMAP], 801);
	assert_int_equal(t->count[TRACE_MPROTECT], 375);
	assert_int_equal(t->count[TRACE_MREMAP], 269);
	assert_int_equal(t->count[TRACE_MADVISE], 104);
	assert_int_equal(t->count[TRACE_MMAP], 54);
	assert_int_equal(t->count[TRACE_MEMSLOT], 102);
	assert_int_equal(t->nr_related, 129);
	assert_int_equal(t->related[TRACE_MADVISE], 54);
	assert_int_equal(t->related[TRACE_MPROTECT], 50);
	assert_int_equal(t->related[TRACE_MMAP], 25);
	assert_int_equal(t->nr_vms, 2);
	assert_int_equal(t->nr_processes, 1);
	trace_free(t);
}

/* Files made by the tests below. */

struct bytes {
	unsigned char *p;
	size_t len;
};

static struct bytes read_bytes(const char *path)
{
	struct bytes b = { malloc(1 << 20), 0 };
	FILE *f = fopen(path, "rb");

	assert_non_null(b.p);
	assert_non_null(f);
	b.len = fread(b.p, 1, 1 << 20, f);
	fclose(f);
	return b;
}

static int read_back(const void *p, size_t len, size_t max, struct trace_error *err)
{
	char path[] = "/tmp/s2-test-trace-XXXXXX";
	int fd = mkstemp(path), ret;
	struct trace *t;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), len);
	close(fd);
	ret = trace_read_max(path, max, &t, err);
	unlink(path);
	trace_free(t);
	return ret;
}

static void xz_is_known_by_its_first_bytes(void **state)
{
	struct bytes b = read_bytes(data_path(TWO_VMS));
	struct trace_error err;

	(void)state;
	assert_int_equal(read_back(b.p, b.len, TRACE_MAX_BYTES, &err), 0);
	free(b.p);
}

static void truncated_xz_is_named_so(void **state)
{
	struct bytes b = read_bytes(data_path(TWO_VMS));
	struct trace_error err;
	size_t n;

	(void)state;
	for (n = 6; n < b.len; n += b.len / 7) {
		assert_int_equal(read_back(b.p, n, TRACE_MAX_BYTES, &err), -EINVAL);
		assert_non_null(strstr(err.message, "truncated"));
	}
	assert_int_equal(read_back(b.p, b.len - 1, TRACE_MAX_BYTES, &err), -EINVAL);
	free(b.p);
}

static void damaged_xz_is_named_so(void **state)
{
	struct bytes b = read_bytes(data_path(TWO_VMS));
	struct trace_error err;

	(void)state;
	b.p[b.len / 2] ^= 0x40;
	assert_int_equal(read_back(b.p, b.len, TRACE_MAX_BYTES, &err), -EINVAL);
	assert_non_null(strstr(err.message, "damaged"));
	free(b.p);
}

static void too_much_text_is_refused(void **state)
{
	struct bytes b = read_bytes(data_path(TWO_VMS));
	struct trace_error err;

	(void)state;
	assert_int_equal(read_back(b.p, b.len, 335311, &err), 0);
	assert_int_equal(read_back(b.p, b.len, 335310, &err), -EFBIG);
	assert_int_equal(read_back("1 1.0 getpid() = 1\n", 19, 19, &err), 0);
	assert_int_equal(read_back("1 1.0 getpid() = 1\n", 19, 18, &err), -EFBIG);
	free(b.p);
}

static void missing_file_is_named(void **state)
{
	struct trace_error err;
	struct trace *t;

	(void)state;
	assert_int_equal(trace_read("/nowhere/x\n.strace", &t, &err), -ENOENT);
	assert_null(t);
	assert_string_equal(err.message,
			    "/nowhere/x?.strace: cannot be opened: No such file or directory");
}

/* Hostile input: only that nothing crashes and that an error is whole. */

static void parse_anything(const char *text, size_t len)
{
	/* A copy of its exact size, so that the sanitizer sees a read past the end. */
	char *copy = malloc(len ? len : 1);
	struct trace_error err;
	struct trace *t;
	int ret;

	assert_non_null(copy);
	memcpy(copy, text, len);
	ret = trace_parse(copy, len, "t", &t, &err);
	assert_true(ret == 0 ? t && !err.message[0] : !t && err.message[0]);
	trace_free(t);
	free(copy);
}

static struct bytes unpack(const char *file)
{
	struct bytes packed = read_bytes(data_path(file)), b = { malloc(1 << 21), 0 };
	uint64_t limit = UINT64_MAX;
	size_t in = 0;

	assert_non_null(b.p);
	assert_int_equal(lzma_stream_buffer_decode(&limit, 0, NULL, packed.p, &in, packed.len, b.p,
						   &b.len, 1 << 21),
			 LZMA_OK);
	free(packed.p);
	return b;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t first_seed(void)
{
	const char *given = getenv("S2_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 20210402;

	print_message("S2_SEED=%llu\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

static void truncated_anywhere_does_not_crash(void **state)
{
	static const char *const file[] = { QEMU, TWO_VMS };
	uint64_t seed = first_seed();
	size_t i, n;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct bytes b = unpack(file[i]);

		for (n = 0; n < 8; n++)
			parse_anything((char *)b.p, next_random(&seed) % b.len);
		for (n = 0; n < 400; n++)
			parse_anything((char *)b.p, next_random(&seed) % 4000);
		free(b.p);
	}
}

static void flipped_bytes_do_not_crash(void **state)
{
	static const char interesting[] = "()[]{}<>=,|\"/* \n\0000x9-?.+";
	struct bytes b = unpack(TWO_VMS);
	uint64_t seed = first_seed();
	size_t n, k;

	(void)state;
	for (n = 0; n < 800; n++) {
		size_t len = 200 + next_random(&seed) % 2000;
		size_t from = next_random(&seed) % (b.len - len);
		char text[2200];

		memcpy(text, b.p + from, len);
		for (k = 0; k < 1 + n % 4; k++)
			text[next_random(&seed) % len] =
				next_random(&seed) % 2
					? interesting[next_random(&seed) % sizeof(interesting)]
					: (char)next_random(&seed);
		parse_anything(text, len);
		/* Whole lines get further than what begins in the middle of one. */
		memcpy(text, b.p, 40);
		parse_anything(text, len);
	}
	free(b.p);
}

/* One numeral of a line replaced: the structure holds, so it reaches the arithmetic. */
static void hostile_numbers_do_not_crash(void **state)
{
	static const char *const number[] = { "0",
					      "-1",
					      "4095",
					      "0xffffffffffffffff",
					      "18446744073709551615",
					      "18446744073709551616",
					      "0xfffffffffffff000",
					      "0x8000000000000000",
					      "?" };
	static const char *const form[] = {
		"1 1.0 ioctl(3, KVM_CREATE_VM, 0) = %s\n",
		"1 1.0 munmap(%s, 8192) = 0\n",
		"1 1.0 munmap(4096, %s) = 0\n",
		"1 1.0 mremap(%s, 8192, 4096, 0) = 0x1000\n",
		"1 1.0 mremap(4096, %s, 4096, 0) = 0x1000\n",
		"1 1.0 fork() = %s\n",
		"1 1.0 mremap(4096, 4096, %s, MREMAP_FIXED) = 0x7000\n",
		"1 1.0 mremap(4096, 4096, 8192, MREMAP_FIXED) = %s\n",
		"1 %s.5 getpid() = 1\n",
		"1 1.0 brk(NULL) = 0x1000\n1 1.0 brk(0x1000) = %s\n1 1.0 brk(0x1) = 0x1\n",
		"%s 1.0 getpid() = 1\n",
		"1 1.0 getpid() = 1 <%s.9>\n",
		"1 1.0 ioctl(%s, " REGION("1", "0", "0", "4096", "4096") ") = 0\n",
		"1 1.0 ioctl(4, " REGION("%s", "0", "0", "4096", "4096") ") = 0\n",
		"1 1.0 ioctl(4, " REGION("1", "%s", "0", "4096", "4096") ") = 0\n",
		"1 1.0 ioctl(4, " REGION("1", "0", "%s", "4096", "4096") ") = 0\n",
		"1 1.0 ioctl(4, " REGION("1", "0", "0", "%s", "4096") ") = 0\n",
		"1 1.0 ioctl(4, " REGION("1", "0", "0", "4096", "%s") ") = 0\n",
	};
	char text[400];
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(form) / sizeof(form[0]); i++) {
		for (j = 0; j < sizeof(number) / sizeof(number[0]); j++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			int n = snprintf(text, sizeof(text), form[i], number[j]);
#pragma GCC diagnostic pop
			strcpy(text + n, UNMAP_1);
			parse_anything(text, strlen(text));
		}
	}
}

/* Random memslots and calls against the plainest way to judge them. */

#define RANDOM_SLOTS 8

static void random_relations_agree_with_a_plain_search(void **state)
{
	uint64_t seed = first_seed(), at[2][RANDOM_SLOTS] = { 0 }, len[2][RANDOM_SLOTS] = { 0 };
	char *text = malloc(1 << 20), *p = text;
	size_t expected = 0, i, v, s;
	struct trace *t;

	(void)state;
	assert_non_null(text);
	for (i = 0; i < 4000; i++) {
		uint64_t a = (next_random(&seed) % 200) << 12, n = next_random(&seed) % 12 << 12;
		bool hit = false;

		v = next_random(&seed) % 2;
		s = next_random(&seed) % RANDOM_SLOTS;
		if (next_random(&seed) % 2) {
			p += sprintf(p,
				     "1 1.0 ioctl(%zu, " REGION("%zu", "0", "0", "%llu",
								"0x%llx") ") = 0\n",
				     v, s, (unsigned long long)n, (unsigned long long)a);
			at[v][s] = a;
			len[v][s] = n;
			continue;
		}
		p += sprintf(p, "1 1.0 munmap(0x%llx, %llu) = 0\n", (unsigned long long)a,
			     (unsigned long long)n);
		for (v = 0; v < 2; v++)
			for (s = 0; s < RANDOM_SLOTS; s++)
				hit |= n && len[v][s] && a < at[v][s] + len[v][s] &&
				       at[v][s] < a + n;
		expected += hit;
	}
	t = parse(text);
	assert_true(expected > 100);
	assert_int_equal(t->nr_related, expected);
	trace_free(t);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_recordings_count_zero),
		cmocka_unit_test(munmap_is_rounded_out_to_pages),
		cmocka_unit_test(mprotect_counts_and_zero_length_does_not),
		cmocka_unit_test(only_three_kinds_of_madvise_count),
		cmocka_unit_test(mmap_counts_with_map_fixed_only),
		cmocka_unit_test(failed_calls_do_not_count),
		cmocka_unit_test(mremap_that_moves_gives_up_the_old_range),
		cmocka_unit_test(mremap_in_place_cuts_the_tail_or_nothing),
		cmocka_unit_test(mremap_fixed_replaces_the_target_too),
		cmocka_unit_test(brk_counts_when_it_shrinks),
		cmocka_unit_test(brk_shrink_is_not_seen_without_a_break_before),
		cmocka_unit_test(two_halves_are_one_call),
		cmocka_unit_test(events_come_in_recorded_order),
		cmocka_unit_test(call_open_at_the_end_does_not_count),
		cmocka_unit_test(memslot_update_is_read_in_full),
		cmocka_unit_test(failed_memslot_update_is_ignored),
		cmocka_unit_test(flags_may_be_numbers),
		cmocka_unit_test(undecoded_memslot_update_is_refused),
		cmocka_unit_test(overlap_with_a_memslot_is_related),
		cmocka_unit_test(second_range_of_mremap_can_be_the_related_one),
		cmocka_unit_test(update_applies_when_its_ioctl_returns),
		cmocka_unit_test(moved_memslot_leaves_its_old_place),
		cmocka_unit_test(overlapping_memslots_are_counted_apart),
		cmocka_unit_test(same_slot_of_two_vms_are_two),
		cmocka_unit_test(reused_fd_is_a_new_vm),
		cmocka_unit_test(vm_from_before_the_recording_is_known_by_its_fd),
		cmocka_unit_test(cloned_thread_shares_the_address_space),
		cmocka_unit_test(forked_child_has_its_own),
		cmocka_unit_test(child_seen_before_clone_returns),
		cmocka_unit_test(execve_starts_a_new_address_space),
		cmocka_unit_test(exec_in_a_thread_takes_the_first_threads_id),
		cmocka_unit_test(child_is_found_by_its_break),
		cmocka_unit_test(forked_child_inherits_the_break),
		cmocka_unit_test(reused_thread_id_starts_afresh),
		cmocka_unit_test(childs_memory_is_not_the_guests),
		cmocka_unit_test(other_lines_are_passed_over),
		cmocka_unit_test(garbage_names_its_line),
		cmocka_unit_test(unpaired_halves_are_refused),
		cmocka_unit_test(cut_off_last_line_is_named),
		cmocka_unit_test(nul_bytes_are_refused),
		cmocka_unit_test(qemu_recording_counts),
		cmocka_unit_test(two_vm_recording_counts),
		cmocka_unit_test(xz_is_known_by_its_first_bytes),
		cmocka_unit_test(truncated_xz_is_named_so),
		cmocka_unit_test(damaged_xz_is_named_so),
		cmocka_unit_test(too_much_text_is_refused),
		cmocka_unit_test(missing_file_is_named),
		cmocka_unit_test(truncated_anywhere_does_not_crash),
		cmocka_unit_test(flipped_bytes_do_not_crash),
		cmocka_unit_test(hostile_numbers_do_not_crash),
		cmocka_unit_test(random_relations_agree_with_a_plain_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
