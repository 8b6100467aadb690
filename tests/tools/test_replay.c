/* SPDX-License-Identifier: MIT */
/*
 * Whole replays through the library, with every gate and live vCPUs: that the counts are the
 * recording's to the last one, whatever waits for what.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/replay.h"
#include "../../tools/replay_report.h"
#include "replay_traces.h"

#ifndef S2_TEST_DATA
#define S2_TEST_DATA "tests/data"
#endif

static struct replay_report report; /* large; its results are of the last replay */

static int replay_with(const struct replay_plan *plan, enum s2_gate gate, struct trace_error *err)
{
	const struct replay_settings settings = {
		.gate = gate,
		.vcpus = 2,
		.stall_s = 60,
		.seed = 1,
	};

	return replay_run(plan, &settings, &report.result[gate], err);
}

/* Replays with every gate; the library and the recording must agree, and with the test. */
static void assert_counts(const struct replay_plan *plan, uint64_t invalidations, uint64_t related,
			  uint64_t updates)
{
	struct trace_error err;

	assert_int_equal(plan->trace->invalidations, invalidations);
	assert_int_equal(plan->trace->nr_related, related);
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		const struct replay_result *result = &report.result[gate];

		if (replay_with(plan, (enum s2_gate)gate, &err))
			fail_msg("%s", err.message);
		assert_int_equal(result->invalidations, invalidations);
		assert_int_equal(result->memslot_updates, updates);
		assert_int_equal(result->invalidation_ns.count, invalidations);
		assert_int_equal(result->memslot_update_ns.count, updates);
		assert_int_equal(result->elided,
				 gate == S2_GATE_ALWAYS ? 0 : invalidations - related);
	}
	report.plan = plan;
	report.gates = (1u << S2_NR_GATES) - 1;
}

static void assert_text_counts(const char *text, uint64_t invalidations, uint64_t related,
			       uint64_t updates)
{
	struct replay_plan *plan = plan_of(text);

	assert_counts(plan, invalidations, related, updates);
	free_plan(plan);
}

static void assert_refused(const char *text, uint64_t line, int error, const char *message)
{
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		struct replay_plan *plan = plan_of(text);
		struct trace_error err;

		assert_int_equal(replay_with(plan, (enum s2_gate)gate, &err), error);
		assert_int_equal(err.line, line);
		assert_non_null(strstr(err.message, message));
		assert_null(strchr(err.message, '\n'));
		free_plan(plan);
	}
}

static void test_an_empty_recording_is_replayed(void **state)
{
	(void)state;
	assert_text_counts("", 0, 0, 0);
}

static void test_a_recording_without_vms_is_all_elided(void **state)
{
	struct replay_plan *plan = plan_of("1 1.0 " UNMAP(FREE) ")" DONE "2 1.0 " UNMAP(FREE) ")" DONE);

	(void)state;
	assert_counts(plan, 2, 0, 0);
	assert_int_equal(report.result[S2_GATE_ALWAYS].mmu_lock_acquired, 0);
	free_plan(plan);
}

/* In the gate, the update waits for an end that is recorded after it; the rest goes on. */
static void test_an_update_that_waits_for_a_later_end_stops_nothing(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " UNMAP(MEM("1")) UNFINISHED	     /* unrelated */
			   "2 1.0 " ADD("1") DONE		     /* waits for it */
			   "3 1.0 " UNMAP(FREE) UNFINISHED	     /* unrelated, goes on */
			   "4 1.0 " UNMAP(MEM("1")) UNFINISHED	     /* related, waits */
			   "3 1.0 " UNMAPPED			     /* */
			   "1 1.0 " UNMAPPED			     /* */
			   "4 1.0 " UNMAPPED,			     /* */
			   3, 1, 1);
}

/* Pairs that overlap, so that one is in flight whenever an update comes: count starves on it. */
static void test_invalidations_without_a_gap_stop_nothing(void **state)
{
	static char text[400000];
	size_t used;

	(void)state;
	used = (size_t)snprintf(text, sizeof(text), "%s",
				CREATE_VM("4") "1 1.0 " UNMAP(FREE) UNFINISHED);
	for (unsigned int i = 0; i < 500; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%u 1.0 " UNMAP(FREE) UNFINISHED "%u 1.0 " UNMAPPED
							       "3 1.0 %s" DONE,
					 (i + 1) % 2 + 1, i % 2 + 1,
					 i % 2 ? DELETE("1") : ADD("1"));
	snprintf(text + used, sizeof(text) - used, "1 1.0 " UNMAPPED);
	assert_text_counts(text, 501, 0, 500);
}

static void test_a_memslot_counts_from_the_return_of_its_ioctl(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "2 1.0 " REGION("4", "1", "0", "65536", "1") UNFINISHED
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE	     /* unrelated */
			   "2 1.0 <... ioctl resumed>) = 0\n"	     /* */
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE,	     /* related */
			   2, 1, 1);
}

static void test_a_deleted_memslot_counts_until_its_ioctl_returns(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "2 1.0 " ADD("1") DONE		     /* */
			   "2 1.0 " REGION("4", "1", "0x10000", "0", "1") UNFINISHED
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE	     /* related */
			   "2 1.0 <... ioctl resumed>) = 0\n"	     /* */
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE,	     /* unrelated */
			   2, 1, 2);
}

static void test_a_start_before_the_update_stays_unrelated(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " UNMAP(MEM("1")) UNFINISHED	     /* unrelated */
			   "2 1.0 " ADD("1") DONE		     /* */
			   "2 1.0 " DELETE("1") DONE		     /* */
			   "2 1.0 " ADD("1") DONE		     /* */
			   "1 1.0 " UNMAPPED,			     /* */
			   1, 0, 3);
}

static void test_mprotect_of_guest_memory_is_related(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " ADD("1") DONE		     /* */
			   "1 1.0 mprotect(" MEM("1") ", 4096, PROT_READ)" DONE, 1, 1, 1);
}

#define TO "mremap(%s, 4096, 4096, MREMAP_MAYMOVE|MREMAP_FIXED, %s) = %s\n"

/* Slots 2 and 4; the call moves a page from one block to another. */
static void assert_mremap_counts(const char *from, const char *to, uint64_t related)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 CREATE_VM("4") "1 1.0 " ADD("2") DONE "1 1.0 " ADD("4") DONE "2 1.0 " TO, from, to,
		 to);
	assert_text_counts(text, 1, related, 2);
}

static void test_mremap_is_one_invalidation_of_two_ranges(void **state)
{
	(void)state;
	assert_mremap_counts(MEM("6"), MEM("7"), 0);
	assert_mremap_counts(MEM("2"), MEM("7"), 1);
	assert_mremap_counts(MEM("7"), MEM("2"), 1);
	assert_mremap_counts(MEM("2"), MEM("4"), 1);
}

/* What lies between the old range and the new one is not touched. */
static void test_mremap_over_a_memslot_is_unrelated(void **state)
{
	(void)state;
	assert_mremap_counts(MEM("1"), MEM("3"), 0);
	assert_mremap_counts(MEM("7"), MEM("1"), 0);
}

/* Two ranges are a pair inside a pair, which the rwsem gate allows only with no update between. */
static void test_mremap_among_updates_does_not_deadlock(void **state)
{
	static char text[200000];
	size_t used;

	(void)state;
	used = (size_t)snprintf(text, sizeof(text), "%s", CREATE_VM("4"));
	for (unsigned int i = 0; i < 200; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "1 1.0 " UNMAP(FREE) UNFINISHED "3 1.0 %s" DONE
					 "2 1.0 mremap(" MEM("5") ", 4096, 4096, "
					 "MREMAP_MAYMOVE|MREMAP_FIXED, " MEM("7") UNFINISHED
					 "1 1.0 " UNMAPPED
					 "2 1.0 <... mremap resumed>) = " MEM("7") "\n",
					 i % 2 ? DELETE("1") : ADD("1"));
	assert_text_counts(text, 400, 0, 200);
}

static void test_a_closed_vm_takes_its_memslots_along(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " ADD("1") DONE		     /* */
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE	     /* related */
			   CREATE_VM("4")			     /* the first was closed */
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE	     /* unrelated */
			   "1 1.0 " ADD("2") DONE		     /* */
			   "1 1.0 " UNMAP(MEM("2")) ")" DONE,	     /* related */
			   3, 2, 2);
}

static void test_a_vm_may_close_while_its_memory_is_invalidated(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " ADD("1") DONE		     /* */
			   "2 1.0 " UNMAP(MEM("1")) UNFINISHED	     /* related */
			   "1 1.0 ioctl(3, KVM_CREATE_VM, 0) = 4\n"  /* the first was closed */
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE	     /* unrelated */
			   "2 1.0 " UNMAPPED,			     /* */
			   2, 1, 1);
}

static void test_two_vms_may_share_host_memory(void **state)
{
	struct replay_plan *plan = plan_of(CREATE_VM("4") CREATE_VM("5") /* */
					   "1 1.0 " ADD("1") DONE	 /* */
					   "1 1.0 " SLOT("5", "1", "0", "65536", "1") DONE
					   "1 1.0 " UNMAP(MEM("1")) ")" DONE);

	(void)state;
	assert_counts(plan, 1, 1, 2);
	assert_int_equal(report.result[S2_GATE_RANGE].mmu_lock_acquired, 4);
	free_plan(plan);
}

static void test_processes_have_memory_of_their_own(void **state)
{
	struct replay_plan *plan = plan_of("1 1.0 clone(child_stack=NULL, flags=SIGCHLD) = 2\n"
					   CREATE_VM("4")
					   "1 1.0 " ADD("1") DONE
					   "2 1.0 " UNMAP(MEM("1")) ")" DONE	/* unrelated */
					   "1 1.0 " UNMAP(MEM("1")) ")" DONE);	/* related */

	(void)state;
	assert_int_equal(plan->trace->nr_processes, 2);
	assert_counts(plan, 2, 1, 1);
	free_plan(plan);
}

/* SMM's memslots are in a second address space, with guest ranges of its own. */
static void test_a_second_address_space_is_replayed(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")			     /* */
			   "1 1.0 " ADD("1") DONE		     /* */
			   "1 1.0 " SLOT("4", "65537", "0x10000", "65536", "2") DONE
			   "1 1.0 " UNMAP(MEM("2")) ")" DONE, 1, 1, 2);
}

static void test_a_memslot_of_guest_memfd_is_replayed(void **state)
{
	(void)state;
	assert_text_counts(CREATE_VM("4")
			   "1 1.0 ioctl(4, KVM_SET_USER_MEMORY_REGION2, {slot=0, "
			   "flags=KVM_MEM_GUEST_MEMFD, guest_phys_addr=0, memory_size=65536, "
			   "userspace_addr=" MEM("1") ", guest_memfd_offset=0, guest_memfd=9}) = 0\n"
			   "1 1.0 " UNMAP(MEM("1")) ")" DONE, 1, 1, 1);
}

static void test_an_update_the_library_refuses_is_named(void **state)
{
	(void)state;
	assert_refused(CREATE_VM("4")					    /* */
		       "1 1.0 " ADD("1") DONE				    /* */
		       "1 1.0 " SLOT("4", "2", "0x10000", "65536", "2") DONE /* where slot 1 is */
		       "1 1.0 " UNMAP(FREE) ")" DONE,
		       3, -EEXIST, "text:3: ");
	assert_refused(CREATE_VM("4") "1 1.0 " SLOT("4", "131072", "0", "65536", "2") DONE, 2,
		       -EINVAL, "text:2: ");
	assert_refused(CREATE_VM("4") "1 1.0 " DELETE("1") DONE, 2, -EINVAL, "text:2: ");
}

static void test_memory_nobody_has_is_refused(void **state)
{
	(void)state;
	assert_refused(CREATE_VM("4")
		       "1 1.0 " SLOT("4", "1", "0", "0x400000000001000", "1") DONE,
		       0, -EFBIG, "no room for the guests' memory");
}

/* As if the library had judged one call wrong. */
static void test_counts_that_differ_are_an_error(void **state)
{
	struct replay_plan *plan = plan_of(CREATE_VM("4") "1 1.0 " UNMAP(FREE) ")" DONE);
	struct trace_error err;

	(void)state;
	plan->processes[0].related++;
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		int error = replay_with(plan, (enum s2_gate)gate, &err);

		assert_int_equal(error, gate == S2_GATE_ALWAYS ? 0 : -EPROTO);
		if (error)
			assert_non_null(strstr(err.message, "counts differ"));
	}
	free_plan(plan);
}

static struct replay_plan *plan_of_file(const char *name)
{
	struct trace_error err;
	struct replay_plan *plan;
	struct trace *trace;
	char path[4096];
	const char *data = getenv("S2_TEST_DATA");

	snprintf(path, sizeof(path), "%s/%s", data ? data : S2_TEST_DATA, name);
	if (trace_read(path, &trace, &err))
		fail_msg("%s", err.message);
	assert_int_equal(replay_plan_create(name, trace, &plan), 0);
	return plan;
}

static void test_qemu_touches_no_guest_memory(void **state)
{
	struct replay_plan *plan = plan_of_file("qemu-i440fx-hotplug-migrate.strace.xz");

	(void)state;
	/* 17 of them are in processes without a VM, whose lock no gate could take. */
	assert_counts(plan, 2658, 0, 95);
	assert_int_equal(report.result[S2_GATE_ALWAYS].mmu_lock_acquired, 2 * 2641);
	assert_int_equal(report.result[S2_GATE_RWSEM].mmu_lock_acquired, 0);
	assert_int_equal(report.result[S2_GATE_COUNT].mmu_lock_acquired, 0);
	assert_int_equal(report.result[S2_GATE_RANGE].mmu_lock_acquired, 0);
	free_plan(plan);
}

static void test_two_vms_under_churn(void **state)
{
	struct replay_plan *plan = plan_of_file("two-vms-churn.strace.xz");

	(void)state;
	assert_counts(plan, 1603, 129, 102);
	assert_int_equal(report.result[S2_GATE_ALWAYS].mmu_lock_acquired, 2 * 2 * 1603);
	assert_int_equal(report.result[S2_GATE_RWSEM].mmu_lock_acquired, 2 * 129);
	assert_int_equal(report.result[S2_GATE_COUNT].mmu_lock_acquired, 2 * 129);
	assert_int_equal(report.result[S2_GATE_RANGE].mmu_lock_acquired, 2 * 129);
	/* The guests were at it: their memory was there, and was taken away. */
	assert_true(report.result[S2_GATE_RANGE].vcpus.faults > 0);
	free_plan(plan);
}

static json_int_t integer_at(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		fail_msg("no integer \"%s\"", key);
	return json_integer_value(value);
}

static void assert_gate_json(json_t *gate)
{
	static const char *const latencies[] = { "invalidation_ns", "memslot_update_ns",
						 "vcpu_fault_ns" };

	integer_at(gate, "mmu_lock_acquired");
	integer_at(gate, "elided");
	integer_at(gate, "vcpu_faults");
	assert_true(json_is_real(json_object_get(gate, "wall_s")));
	for (unsigned int i = 0; i < 3; i++) {
		json_t *latency = json_object_get(gate, latencies[i]);

		assert_true(integer_at(latency, "p50") <= integer_at(latency, "p99"));
		assert_true(integer_at(latency, "p99") <= integer_at(latency, "max"));
	}
}

static void test_the_json_has_what_was_asked_for(void **state)
{
	struct replay_plan *plan = plan_of_file("two-vms-churn.strace.xz");
	json_t *json;

	(void)state;
	assert_counts(plan, 1603, 129, 102);
	json = replay_report_json(&report);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "trace")),
			    "two-vms-churn.strace.xz");
	assert_int_equal(integer_at(json, "invalidations"), 1603);
	assert_int_equal(integer_at(json, "related"), 129);
	assert_int_equal(integer_at(json, "unrelated"), 1474);
	assert_int_equal(integer_at(json, "memslot_updates"), 102);
	assert_int_equal(integer_at(json_object_get(json, "by_call"), "munmap"), 801);
	assert_int_equal(integer_at(json_object_get(json, "related_by_call"), "madvise"), 54);
	assert_int_equal(json_array_size(json_object_get(json, "processes")), 1);
	assert_int_equal(json_object_size(json_object_get(json, "gates")), S2_NR_GATES);
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
		assert_gate_json(json_object_get(json_object_get(json, "gates"),
						 s2_gate_name((enum s2_gate)gate)));
	json_decref(json);
	free_plan(plan);
}

static void test_the_json_has_the_gates_that_ran(void **state)
{
	struct replay_plan *plan = plan_of("1 1.0 " UNMAP(FREE) ")" DONE);
	json_t *json;

	(void)state;
	assert_counts(plan, 1, 0, 0);
	report.gates = 1u << S2_GATE_COUNT;
	json = replay_report_json(&report);
	assert_int_equal(json_object_size(json_object_get(json, "gates")), 1);
	assert_non_null(json_object_get(json_object_get(json, "gates"), "count"));
	json_decref(json);
	free_plan(plan);
}

static void test_the_table_tells_the_counts(void **state)
{
	struct replay_plan *plan = plan_of_file("two-vms-churn.strace.xz");
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	assert_counts(plan, 1603, 129, 102);
	assert_non_null(stream);
	assert_int_equal(replay_report_print(&report, stream), 0);
	fclose(stream);
	assert_non_null(strstr(text, "1603 invalidations"));
	assert_non_null(strstr(text, "unrelated: 1474 (92.0%)"));
	assert_non_null(strstr(text, "1474 of 1603 invalidations in this VMM touch no guest "
				     "memory: elision saves 6154 of 6412 acquisitions of "
				     "mmu_lock."));
	free(text);
	free_plan(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_recording_is_replayed),
		cmocka_unit_test(test_a_recording_without_vms_is_all_elided),
		cmocka_unit_test(test_an_update_that_waits_for_a_later_end_stops_nothing),
		cmocka_unit_test(test_invalidations_without_a_gap_stop_nothing),
		cmocka_unit_test(test_a_memslot_counts_from_the_return_of_its_ioctl),
		cmocka_unit_test(test_a_deleted_memslot_counts_until_its_ioctl_returns),
		cmocka_unit_test(test_a_start_before_the_update_stays_unrelated),
		cmocka_unit_test(test_mprotect_of_guest_memory_is_related),
		cmocka_unit_test(test_mremap_is_one_invalidation_of_two_ranges),
		cmocka_unit_test(test_mremap_over_a_memslot_is_unrelated),
		cmocka_unit_test(test_mremap_among_updates_does_not_deadlock),
		cmocka_unit_test(test_a_closed_vm_takes_its_memslots_along),
		cmocka_unit_test(test_a_vm_may_close_while_its_memory_is_invalidated),
		cmocka_unit_test(test_two_vms_may_share_host_memory),
		cmocka_unit_test(test_processes_have_memory_of_their_own),
		cmocka_unit_test(test_a_second_address_space_is_replayed),
		cmocka_unit_test(test_a_memslot_of_guest_memfd_is_replayed),
		cmocka_unit_test(test_an_update_the_library_refuses_is_named),
		cmocka_unit_test(test_memory_nobody_has_is_refused),
		cmocka_unit_test(test_counts_that_differ_are_an_error),
		cmocka_unit_test(test_qemu_touches_no_guest_memory),
		cmocka_unit_test(test_two_vms_under_churn),
		cmocka_unit_test(test_the_json_has_what_was_asked_for),
		cmocka_unit_test(test_the_json_has_the_gates_that_ran),
		cmocka_unit_test(test_the_table_tells_the_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
