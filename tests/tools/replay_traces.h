/* SPDX-License-Identifier: MIT */
/*
 * Small recordings for the tests of the replay, written as strace writes them. The host memory of
 * the guests is at MEM, in 64 KiB blocks that are told by a digit; FREE is never a guest's.
 */
#ifndef STAGE2_TESTS_REPLAY_TRACES_H
#define STAGE2_TESTS_REPLAY_TRACES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/replay_plan.h"
#include "../../tools/trace.h"

#define MEM(block) "0x7f00000" block "0000"
#define FREE "0x7fff00000000"

#define CREATE_VM(fd) "1 1.0 ioctl(3, KVM_CREATE_VM, 0) = " fd "\n"

#define REGION(fd, slot, gpa, size, block)                                                         \
	"ioctl(" fd ", KVM_SET_USER_MEMORY_REGION, {slot=" slot                                    \
	", flags=0, guest_phys_addr=" gpa ", memory_size=" size ", userspace_addr=" MEM(block) "}"
#define SLOT(fd, slot, gpa, size, block) REGION(fd, slot, gpa, size, block) ")"

/* Slot N of VM 4 is block N of the host at 64 KiB times N of the guest. */
#define ADD(n) SLOT("4", n, "0x" n "0000", "65536", n)
#define DELETE(n) SLOT("4", n, "0x" n "0000", "0", n)

#define UNMAP(addr) "munmap(" addr ", 4096"
#define UNFINISHED " <unfinished ...>\n"
#define UNMAPPED "<... munmap resumed>) = 0\n"
#define DONE " = 0\n"

/* A trace of that text and its plan; a test that cannot have them fails. */
static inline struct replay_plan *plan_of(const char *text)
{
	struct trace_error err;
	struct replay_plan *plan;
	struct trace *trace;

	if (trace_parse(text, strlen(text), "text", &trace, &err))
		fail_msg("%s", err.message);
	assert_int_equal(replay_plan_create("text", trace, &plan), 0);
	return plan;
}

static inline void free_plan(struct replay_plan *plan)
{
	struct trace *trace = (struct trace *)plan->trace;

	replay_plan_destroy(plan);
	trace_free(trace);
}

#endif
