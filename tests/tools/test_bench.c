/* SPDX-License-Identifier: MIT */
/*
 * stage2 bench: the arithmetic of the report, and that every row it promises is there with what it
 * promises in it. No number is judged here: a machine that is busy must not fail a test.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "bench_report.h"
#include "clock.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* The gates, and behind them what else the gate benchmark measures. */
static const char *const gates[] = { "range", "always",	     "rwsem", "count",
				     "floor", "floor+range", "rwlock" };

static const struct bench sample_bench = {
	.name = "sample",
	.title = "something, in ns",
	.row_keys = { "gate", "threads" },
	.column = "storm",
	.value = "ns",
};

/* Starts the program; its stdout can be read, or what @redirect (for the shell) sends there. */
static FILE *start_bench(const char *arguments, const char *redirect)
{
	const char *program = getenv("S2_PROGRAM");
	char command[512];
	FILE *stream;

	if (!program)
		program = "./stage2";
	snprintf(command, sizeof(command), "'%s' bench %s %s", program, arguments, redirect);
	stream = popen(command, "r");
	assert_non_null(stream);
	return stream;
}

static int exit_status(FILE *stream)
{
	int status = pclose(stream);

	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The object on stdout, which must be all that is there. */
static json_t *bench_json(const char *arguments)
{
	FILE *stream = start_bench(arguments, "");
	json_error_t error;
	json_t *report = json_loadf(stream, 0, &error);

	if (!report)
		fail_msg("not one JSON object: %s", error.text);
	assert_int_equal(exit_status(stream), 0);
	return report;
}

/* That there is exactly one row with @labels (consumed), and that it has a number in @key. */
static void expect_row(json_t *report, const char *key, json_t *labels)
{
	json_t *results = json_object_get(report, "results"), *row, *label;
	unsigned int found = 0;
	const char *name;
	size_t i;

	assert_non_null(labels);
	json_array_foreach (results, i, row) {
		bool same = true;

		json_object_foreach (labels, name, label)
			same = same && json_equal(json_object_get(row, name), label);
		if (!same)
			continue;
		found++;
		assert_int_equal(json_object_size(row), json_object_size(labels) + 1);
		assert_true(json_number_value(json_object_get(row, key)) > 0);
	}
	if (found != 1)
		fail_msg("%u rows instead of one with %s", found, json_dumps(labels, 0));
	json_decref(labels);
}

static void expect_report(json_t *report, const char *name, size_t rows)
{
	json_t *goals = json_object_get(report, "goals"), *goal;
	size_t i;

	assert_int_equal(json_object_size(report), 4);
	assert_true(json_is_number(json_object_get(report, "busy_percent")));
	assert_string_equal(json_string_value(json_object_get(report, "bench")), name);
	assert_int_equal(json_array_size(json_object_get(report, "results")), rows);
	assert_true(json_is_array(goals));
	json_array_foreach (goals, i, goal) {
		assert_int_equal(json_object_size(goal), 4);
		assert_true(json_is_string(json_object_get(goal, "goal")));
		assert_true(json_is_number(json_object_get(goal, "value")));
		assert_true(json_is_number(json_object_get(goal, "limit")));
		assert_true(json_is_boolean(json_object_get(goal, "met")));
	}
}

static unsigned int nr_cpus(void)
{
	cpu_set_t cpus;

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	return (unsigned int)CPU_COUNT(&cpus);
}

/* 1, 2, 4, ... and @most. */
static unsigned int list_threads(unsigned int most, unsigned int *list)
{
	unsigned int nr = 0;

	for (unsigned int n = 1; n < most; n *= 2)
		list[nr++] = n;
	list[nr++] = most;
	return nr;
}

static void expect_gate_rows(json_t *report)
{
	static const int vms[] = { 1, 16, 256, 1024 };
	unsigned int threads[32], nr = list_threads(nr_cpus(), threads);

	expect_report(report, "gate", 7 * nr * 4 + 2);
	expect_row(report, "ns",
		   json_pack("{s:s, s:i, s:i}", "gate", "range/floor", "threads", 1, "vms", 1));
	expect_row(report, "ns",
		   json_pack("{s:s, s:i, s:i}", "gate", "range/1 VM", "threads", 1, "vms", 1024));
	for (unsigned int i = 0; i < 7 * nr * 4; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:i, s:i}", "gate", gates[i / 4 / nr], "threads",
				     (int)threads[i / 4 % nr], "vms", vms[i % 4]));
}

static void expect_access_rows(json_t *report)
{
	static const char *const ops[] = { "load64", "store64",	     "miss",
					   "read4k", "enter+read4k", "write4k" };
	static const char *const plain[] = { "plain_load64", "plain_miss", "memcpy4k",
					     "memcpy4k_write" };
	static const char *const ratios[] = { "load64/plain_load64", "read4k/memcpy4k",
					      "write4k/memcpy4k_write" };
	static const int slots[] = { 1, 16, 512, 32000 };

	expect_report(report, "access", 6 * 4 + 4 + 3);
	for (unsigned int i = 0; i < 3; i++)
		expect_row(report, "ns", json_pack("{s:s, s:i}", "op", ratios[i], "slots", 1));
	for (unsigned int i = 0; i < 6 * 4; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:i}", "op", ops[i / 4], "slots", slots[i % 4]));
	for (unsigned int i = 0; i < 4; i++)
		expect_row(report, "ns", json_pack("{s:s, s:i}", "op", plain[i], "slots", 0));
}

/* Without a storm by 1, 2, 4, ... and all CPUs; with it the same, but all less one. */
static void expect_fault_rows(json_t *report)
{
	unsigned int cpus = nr_cpus(), vcpus[32], nr = list_threads(cpus, vcpus), rows = 0;

	if (cpus > 2 && vcpus[nr - 2] != cpus - 1)
		vcpus[nr++] = cpus - 1;
	for (unsigned int i = 0; i < 4 * nr * 2; i++) {
		unsigned int n = vcpus[i / 2 % nr];

		if (i % 2 && n == cpus)
			continue;
		expect_row(report, "faults_per_s",
			   json_pack("{s:s, s:i, s:b}", "gate", gates[i / 2 / nr], "vcpus", (int)n,
				     "storm", (int)(i % 2)));
		rows++;
	}
	assert_int_equal(json_array_size(json_object_get(report, "results")), rows);
}

static void expect_slots_rows(json_t *report)
{
	static const char *const ops[] = { "add+delete", "add",	       "delete",    "move",
					   "flags",	 "lookup_gfn", "lookup_hva" };
	static const int slots[] = { 32, 512, 4096, 32000 };

	expect_report(report, "slots", 4 * 7);
	for (unsigned int i = 0; i < 4 * 7; i++)
		expect_row(report, "ns",
			   json_pack("{s:i, s:s}", "slots", slots[i / 7], "op", ops[i % 7]));
}

static void expect_sizes(json_t *report, const char *key, const char *what, const int *sizes,
			 unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		expect_row(report, key, json_pack("{s:s, s:i}", "what", what, "size", sizes[i]));
}

static void expect_growth_rows(json_t *report)
{
	static const int depths[] = { 1, 2, 4, 8, 16, 64 }, slots[] = { 32, 512, 4096, 32000 };
	static const int vms[] = { 1, 16, 256, 4096 }, open[] = { 0, 1, 16, 256, 1024 };
	static const char *const tables[] = { "thread's pair, table of 2",
					      "thread's pair, table of 4",
					      "thread's pair, table of 256" };
	int threads[32];
	unsigned int nr = 0;

	for (int n = 1; n <= 4 * (int)nr_cpus(); n *= 2)
		threads[nr++] = n;
	expect_report(report, "growth", 6 + 4 + 4 + 5 + 3 * nr);
	expect_sizes(report, "ns", "nested pair", depths, 6);
	expect_sizes(report, "ns", "pair beside memslots", slots, 4);
	expect_sizes(report, "ns", "pair beside VMs", vms, 4);
	expect_sizes(report, "ns", "memslot add, pairs in flight", open, 5);
	for (unsigned int i = 0; i < 3; i++)
		expect_sizes(report, "ns", tables[i], threads, nr);
}

static bool has_rseq(void)
{
	const struct s2_vcpu_config config = { .shootdown = S2_SHOOTDOWN_RSEQ };
	struct s2_vcpu *vcpu;
	struct s2_mm *mm;
	struct s2_vm *vm;
	bool has;

	assert_int_equal(s2_mm_create(NULL, &mm), 0);
	assert_int_equal(s2_vm_create(mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, &config, &vcpu), 0);
	has = s2_vcpu_shootdown(vcpu) == S2_SHOOTDOWN_RSEQ;
	s2_vcpu_destroy(vcpu);
	s2_vm_put(vm);
	s2_mm_put(mm);
	return has;
}

/* Each gate with safepoints, and range with rseq where that can be had. */
static void expect_invalidate_rows(json_t *report)
{
	static const int vcpus[] = { 1, 16, 64 };
	unsigned int variants = has_rseq() ? 5 : 4, rows = 0;

	for (unsigned int i = 0; i < variants * 3; i++)
		for (int busy = 0; busy < (int)nr_cpus() && busy < vcpus[i % 3]; busy++, rows++)
			expect_row(report, "ns",
				   json_pack("{s:s, s:s, s:i, s:i}", "gate", gates[i / 3 % 4],
					     "shootdown", i / 3 < 4 ? "safepoint" : "rseq", "vcpus",
					     vcpus[i % 3], "busy", busy));
	expect_report(report, "invalidate", rows);
}

static void expect_dirty_rows(json_t *report)
{
	static const char *const ops[] = { "scan twice", "get", "get (manual)", "clear (manual)" };
	static const int percents[] = { 0, 1, 100 };

	expect_report(report, "dirty", 4 * 3 + 1);
	for (unsigned int i = 0; i < 4 * 3; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:i}", "op", ops[i / 3], "dirty", percents[i % 3]));
	expect_row(report, "ns", json_pack("{s:s, s:i}", "op", "memcpy", "dirty", 0));
}

static void expect_memory_rows(json_t *report)
{
	static const int slots[] = { 32, 512, 4096, 32000 };

	expect_report(report, "memory", 4 + 4);
	expect_row(report, "bytes", json_pack("{s:s, s:i}", "what", "s2_mm", "size", 1));
	expect_row(report, "bytes", json_pack("{s:s, s:i}", "what", "VM", "size", 256));
	expect_row(report, "bytes", json_pack("{s:s, s:i}", "what", "vCPU", "size", 64));
	expect_row(report, "bytes",
		   json_pack("{s:s, s:i}", "what", "mapped page", "size", 1 << 18));
	expect_sizes(report, "bytes", "memslot", slots, 4);
}

#ifdef S2_HAVE_POOL
/* As expect_row(), where there may also be a ratio to what is the limit. */
static void expect_pool_row(json_t *report, const char *key, json_t *labels)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(report, "results"), i, row)
		json_object_del(row, "of_limit");
	expect_row(report, key, labels);
}

/* Tiers that any build has, and what each is compared with. */
static void expect_pool_swap_rows(json_t *report)
{
	static const char *const tiers[] = { "copy", "file", "memcpy" };
	static const char *const ops[] = { "out", "in, in order", "in, at random" };
	int threads[] = { 1, (int)nr_cpus() };

	for (unsigned int i = 0; i < 3 * 3 * (nr_cpus() > 1 ? 2 : 1); i++)
		expect_pool_row(report, "pages_per_s",
				json_pack("{s:s, s:i, s:s}", "tier", tiers[i % 3], "threads",
					  threads[i / 9], "op", ops[i / 3 % 3]));
}

/* The rows of a guest with so much memory, with the pool's thread or without, by its vCPUs. */
static json_t *guest_labels(unsigned int i)
{
	static const int overcommits[] = { 1, 2, 4 };

	return json_pack("{s:i, s:b, s:i}", "overcommit", overcommits[i / 2 % 3], "thread",
			 (int)(i % 2), "vcpus", i / 6 ? (int)nr_cpus() : 1);
}

static unsigned int nr_guests(void)
{
	return 6 * (nr_cpus() > 1 ? 2 : 1);
}

static void expect_pool_fault_rows(json_t *report)
{
	static const char *const percentiles[] = { "p50", "p99", "p99.9" };

	expect_report(report, "pool-fault", nr_guests() * 3);
	for (unsigned int i = 0; i < nr_guests() * 3; i++) {
		json_t *labels = guest_labels(i / 3);

		json_object_set_new(labels, "percentile", json_string(percentiles[i % 3]));
		expect_row(report, "ns", labels);
	}
}

static void expect_pool_access_rows(json_t *report)
{
	expect_report(report, "pool-access", nr_guests());
	for (unsigned int i = 0; i < nr_guests(); i++)
		expect_row(report, "accesses_per_s", guest_labels(i));
}

static void expect_pool_merge_rows(json_t *report)
{
	static const char *const pages[] = { "all differ", "are merged", "have been merged",
					     "memcpy" };

	expect_report(report, "pool-merge", 4 * 2);
	for (unsigned int i = 0; i < 4 * 2; i++)
		expect_pool_row(report, "pages_per_s",
				json_pack("{s:s, s:i}", "pages", pages[i / 2], "vms",
					  i % 2 ? 64 : 4));
}

static void expect_pool_clone_rows(json_t *report)
{
	static const char *const what[] = { "clone, shared", "unmap", "first write" };
	static const char *const others[] = { "clone, resident", "clone, swapped",
					      "memcpy of a page" };
	static const int clones[] = { 1, 10, 100, 1000 };

	expect_report(report, "pool-clone", 3 * 4 + 3);
	for (unsigned int i = 0; i < 3 * 4; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:i}", "what", what[i / 4], "clones", clones[i % 4]));
	for (unsigned int i = 0; i < 3; i++)
		expect_row(report, "ns", json_pack("{s:s, s:i}", "what", others[i], "clones", 0));
}

static void expect_pool_memory_rows(json_t *report)
{
	static const int clones[] = { 1, 10, 100, 1000 };

	expect_report(report, "pool-memory", 1 + 4);
	expect_row(report, "bytes", json_pack("{s:s, s:i}", "what", "pool and guest", "size", 1));
	expect_sizes(report, "bytes", "clone", clones, 4);
}

/* All but the first have a tier of LZ4, and are left out of a build without it. */
static void pool_reports_its_six_benchmarks(void **state)
{
	json_t *report = bench_json("pool --quick --rounds 1 --json");
	json_t *benches = json_object_get(report, "benches");

	if (!benches)
		expect_pool_swap_rows(report);
	else
		expect_pool_swap_rows(json_array_get(benches, 0));
	if (json_array_size(benches) > 1) {
		assert_int_equal(json_array_size(benches), 6);
		expect_pool_fault_rows(json_array_get(benches, 1));
		expect_pool_access_rows(json_array_get(benches, 2));
		expect_pool_merge_rows(json_array_get(benches, 3));
		expect_pool_clone_rows(json_array_get(benches, 4));
		expect_pool_memory_rows(json_array_get(benches, 5));
	}
	json_decref(report);
}

static void expect_window_rows(json_t *report)
{
	static const char *const by[] = { "window", "vCPU", "vCPU (rseq)" };
	static const char *const what[] = {
		"load64 that hits",	    "fault, one after the other",
		"fault, frames in no order", "invalidation of a page",
		"invalidation of 64 pages", "the same, frames in no order",
		"the same by all CPUs at once", "invalidation, memory in use",
	};
	unsigned int users = has_rseq() ? 3 : 2, rows = nr_cpus() > 1 ? 8 : 6;

	expect_report(report, "window", users * rows);
	for (unsigned int i = 0; i < users * rows; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:s}", "what", what[i % rows], "by", by[i / rows]));
}

/* Those for which no privilege is needed. */
static void expect_window_ways_rows(json_t *report)
{
	static const char *const faults[] = {
		"mmap, access",	 "mmap, access (not populated)",
		"SIGSEGV, mmap", "SIGSEGV, mmap (not populated)",
		"SIGSEGV, mmap (neighbours)", "SIGSEGV, mprotect",
	};
	static const char *const zaps[] = {
		"zap, mmap",	"zap, mprotect",    "zap, munmap",
		"zap 64, mmap", "zap 64, mprotect", "zap 64, munmap",
	};

	for (unsigned int i = 0; i < 6 * (nr_cpus() > 1 ? 2 : 1); i++)
		expect_row(report, "ns", json_pack("{s:s, s:i}", "what", faults[i % 6], "threads",
						   i / 6 ? (int)nr_cpus() : 1));
	for (unsigned int i = 0; i < 6; i++)
		expect_row(report, "ns", json_pack("{s:s, s:i}", "what", zaps[i], "threads", 1));
}

static void window_reports_its_two_benchmarks(void **state)
{
	json_t *report = bench_json("window --quick --rounds 1 --json");
	json_t *benches = json_object_get(report, "benches");

	assert_int_equal(json_array_size(benches), 2);
	expect_window_rows(json_array_get(benches, 0));
	expect_window_ways_rows(json_array_get(benches, 1));
	json_decref(report);
}
#endif

static void gate_reports_each_gate_by_threads_and_vms(void **state)
{
	json_t *report = bench_json("gate --quick --rounds 1 --json");

	expect_gate_rows(report);
	json_decref(report);
}

static void access_reports_each_op_by_slots_and_the_plain_floor(void **state)
{
	json_t *report = bench_json("access --quick --rounds 1 --json");

	expect_access_rows(report);
	json_decref(report);
}

static void fault_reports_each_gate_by_vcpus_and_storm(void **state)
{
	json_t *report = bench_json("fault --quick --rounds 1 --json");

	expect_fault_rows(report);
	json_decref(report);
}

static void slots_reports_each_op_by_slots(void **state)
{
	json_t *report = bench_json("slots --quick --rounds 1 --json");

	expect_slots_rows(report);
	json_decref(report);
}

static void growth_reports_each_cost_by_its_size(void **state)
{
	json_t *report = bench_json("growth --quick --rounds 1 --json");

	expect_growth_rows(report);
	json_decref(report);
}

/* A load, and invalidations with a vCPU that is out, busy in two ways, and asleep. */
static void expect_shootdown_rows(json_t *report)
{
	const char *const shootdowns[] = { "safepoint", "rseq" };
	unsigned int nr = has_rseq() ? 2 : 1;

	for (unsigned int i = 0; i < nr; i++) {
		expect_row(report, "ns", json_pack("{s:s, s:s}", "shootdown", shootdowns[i],
						   "what", "load64 that hits"));
		expect_row(report, "ns",
			   json_pack("{s:s, s:s}", "shootdown", shootdowns[i], "what",
				     "invalidation, vCPU out of guest mode"));
	}
	expect_report(report, "shootdown", nr * (nr_cpus() > 1 ? 5 : 2));
}

static void shootdown_reports_both_ways_by_what_the_vcpu_does(void **state)
{
	json_t *report = bench_json("shootdown --quick --rounds 1 --json");

	expect_shootdown_rows(report);
	json_decref(report);
}

static void invalidate_reports_gates_and_shootdowns_by_vcpus_and_busy_ones(void **state)
{
	json_t *report = bench_json("invalidate --quick --rounds 1 --json");

	expect_invalidate_rows(report);
	json_decref(report);
}

static void dirty_reports_each_op_by_the_share_that_is_dirty(void **state)
{
	json_t *report = bench_json("dirty --quick --rounds 1 --json");

	expect_dirty_rows(report);
	json_decref(report);
}

static void memory_reports_the_bytes_of_everything(void **state)
{
	json_t *report = bench_json("memory --json");

	expect_memory_rows(report);
	json_decref(report);
}

/* Each mapped page takes its SPTE of 8 bytes, and little more for the tables around them. */
static void memory_of_a_mapped_page_is_about_its_spte(void **state)
{
	json_t *report = bench_json("memory --json");
	double bytes = bench_value(json_object_get(report, "results"), "bytes",
				   json_pack("{s:s}", "what", "mapped page"));

	assert_true(bytes >= 8 && bytes < 9);
	json_decref(report);
}

static void without_a_name_all_benchmarks_are_run(void **state)
{
	json_t *report = bench_json("--quick --json --rounds 2");
	json_t *benches = json_object_get(report, "benches");

	assert_true(json_array_size(benches) >= 9);
	expect_gate_rows(json_array_get(benches, 0));
	expect_access_rows(json_array_get(benches, 1));
	expect_fault_rows(json_array_get(benches, 2));
	expect_slots_rows(json_array_get(benches, 3));
	expect_growth_rows(json_array_get(benches, 4));
	expect_invalidate_rows(json_array_get(benches, 5));
	expect_shootdown_rows(json_array_get(benches, 6));
	expect_dirty_rows(json_array_get(benches, 7));
	expect_memory_rows(json_array_get(benches, 8));
	json_decref(report);
}

static void options_choose_gates_and_threads(void **state)
{
	json_t *report = bench_json("gate --quick --rounds 1 --gate count --threads 1,1 --json");
	json_t *results = json_object_get(report, "results");

	assert_int_equal(json_array_size(results), 4 * 4);
	for (unsigned int i = 3; i < 7; i++)
		expect_row(report, "ns",
			   json_pack("{s:s, s:i, s:i}", "gate", gates[i], "threads", 1, "vms",
				     1024));
	json_decref(report);
}

static void a_table_is_printed_without_json(void **state)
{
	FILE *stream = start_bench("gate --quick --rounds 1 --threads 1", "");
	char text[4096];
	size_t size = fread(text, 1, sizeof(text) - 1, stream);

	text[size] = '\0';
	assert_int_equal(exit_status(stream), 0);
	assert_non_null(strstr(text, "gate         threads  vms 1  "));
	for (unsigned int i = 0; i < 7; i++)
		assert_non_null(strstr(text, gates[i]));
	assert_non_null(strstr(text, "at most 20 ns"));
}

static void help_has_an_example(void **state)
{
	FILE *stream = start_bench("--help", "");
	char text[8192];
	size_t size = fread(text, 1, sizeof(text) - 1, stream);

	text[size] = '\0';
	assert_int_equal(exit_status(stream), 0);
	assert_non_null(strstr(text, "Example"));
}

/* Exit status 2, and one line on stderr that begins as it should and names what is wrong. */
static void expect_refusal(const char *arguments, const char *what)
{
	FILE *stream = start_bench(arguments, "2>&1 >/dev/null");
	char line[256], more[256];

	assert_non_null(fgets(line, sizeof(line), stream));
	assert_null(fgets(more, sizeof(more), stream));
	assert_int_equal(exit_status(stream), 2);
	assert_true(!strncmp(line, "stage2 bench: ", 14));
	if (!strstr(line, what))
		fail_msg("'%s' does not tell of %s", line, what);
}

static void wrong_options_are_refused_in_one_line(void **state)
{
	expect_refusal("gaet", "'gaet'");
	expect_refusal("--gate ranges", "--gate");
	expect_refusal("--gate ''", "--gate");
	expect_refusal("--rounds 0", "--rounds");
	expect_refusal("--rounds 99999999999999999999", "--rounds");
	expect_refusal("--threads 0", "--threads");
	expect_refusal("--threads 1,", "--threads");
	expect_refusal("--threads 1,100000", "--threads");
	expect_refusal("--threads 11111111111111111111111", "--threads");
	expect_refusal("--dir /nowhere/at/all", "--dir: /nowhere/at/all: No such file");
	expect_refusal("--dir /dev/null", "--dir: /dev/null is not a directory");
	expect_refusal("--fast", "--fast");
}

static void the_median_of_an_odd_number_is_the_middle_one(void **state)
{
	double values[] = { 5, 1, 100 };

	assert_true(bench_median(values, 3) == 5);
}

static void the_median_of_an_even_number_is_between_the_middle_two(void **state)
{
	double values[] = { 5, 100, 1, 2 };

	assert_true(bench_median(values, 4) == 3.5);
	assert_true(bench_median(values, 1) == values[0]);
}

static void a_value_is_found_by_all_its_labels(void **state)
{
	json_t *results = json_pack("[{s:s, s:i, s:f}, {s:s, s:i, s:f}]", "gate", "range",
				    "threads", 1, "ns", 10.0, "gate", "range", "threads", 2, "ns",
				    12.5);

	assert_non_null(results);
	assert_true(bench_value(results, "ns",
				json_pack("{s:s, s:i}", "gate", "range", "threads", 2)) == 12.5);
	assert_true(bench_value(results, "ns",
				json_pack("{s:s, s:i}", "gate", "count", "threads", 2)) == 0);
	json_decref(results);
}

static bool is_met(double value, enum bench_bound bound, double limit)
{
	json_t *goals = json_array();
	bool met;

	bench_add_goal(goals, value, bound, limit, "ns", "for this");
	assert_int_equal(json_array_size(goals), 1);
	met = json_is_true(json_object_get(json_array_get(goals, 0), "met"));
	json_decref(goals);
	return met;
}

static void a_goal_is_met_at_its_limit_and_on_the_right_side_of_it(void **state)
{
	assert_true(is_met(20, BENCH_AT_MOST, 20));
	assert_true(is_met(19, BENCH_AT_MOST, 20));
	assert_false(is_met(20.1, BENCH_AT_MOST, 20));
	assert_true(is_met(5, BENCH_AT_LEAST, 5));
	assert_true(is_met(6, BENCH_AT_LEAST, 5));
	assert_false(is_met(4.9, BENCH_AT_LEAST, 5));
}

static void a_goal_that_was_not_measured_is_left_out(void **state)
{
	json_t *goals = json_array();

	bench_add_goal(goals, 0, BENCH_AT_MOST, 20, "ns", "for this");
	bench_add_goal(goals, NAN, BENCH_AT_MOST, 20, "ns", "for this");
	bench_add_goal(goals, INFINITY, BENCH_AT_LEAST, 20, "ns", "for this");
	assert_int_equal(json_array_size(goals), 0);
	json_decref(goals);
}

static void rows_become_a_table_with_a_column_for_each_value(void **state)
{
	json_t *results = json_pack(
		"[{s:s, s:i, s:b, s:f}, {s:s, s:i, s:b, s:f}, {s:s, s:i, s:b, s:f}]", "gate",
		"range", "threads", 1, "storm", 0, "ns", 1.25, "gate", "range", "threads", 1,
		"storm", 1, "ns", 12345.6, "gate", "count", "threads", 16, "storm", 1, "ns", 99.96);
	size_t size;
	char *text;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(results);
	assert_int_equal(bench_print_rows(&sample_bench, results, stream), 0);
	fclose(stream);
	assert_string_equal(text, "sample: something, in ns\n"
				  "\n"
				  "gate   threads  storm off  storm on\n"
				  "range        1       1.25     12346\n"
				  "count       16          -     100.0\n"
				  "\n");
	free(text);
	json_decref(results);
}

static void rows_without_a_column_become_a_table_of_their_numbers(void **state)
{
	static const struct bench list = {
		.name = "list",
		.title = "something, in bytes",
		.row_keys = { "what", "size" },
		.value = "bytes",
	};
	json_t *results = json_pack("[{s:s, s:i, s:f}, {s:s, s:i, s:f}]", "what", "VM", "size", 1,
				    "bytes", 5.25, "what", "vCPU", "size", 64, "bytes", 100.0);
	size_t size;
	char *text;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(results);
	assert_int_equal(bench_print_rows(&list, results, stream), 0);
	fclose(stream);
	assert_string_equal(text, "list: something, in bytes\n"
				  "\n"
				  "what  size  bytes\n"
				  "VM       1   5.25\n"
				  "vCPU    64  100.0\n"
				  "\n");
	free(text);
	json_decref(results);
}

static int look_at_the_clock(struct bench_worker *worker, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		worker->sink += clock_ns();
	return 0;
}

/* @ctx counts down to the call that fails. */
static int prepare_or_fail(void *ctx)
{
	int *left = ctx;

	return --*left ? 0 : -ENOTRECOVERABLE;
}

/* Measures one cell that is prepared so, in 3 rounds. */
static int measure_prepared(int *left, json_t *results)
{
	const struct bench_options options = { .quick = true, .rounds = 3, .nr_cpus = 1 };
	const struct bench_cell cell = {
		.run = look_at_the_clock,
		.prepare = prepare_or_fail,
		.ctx = left,
		.threads = 1,
	};
	struct bench_plan *plan = bench_plan_create();
	int error;

	assert_non_null(plan);
	assert_int_equal(bench_plan_add(plan, &cell, json_object()), 0);
	error = bench_plan_measure(plan, &sample_bench, &options, results);
	bench_plan_destroy(plan);
	return error;
}

static void a_cell_is_prepared_before_each_of_its_slices(void **state)
{
	json_t *results = json_array();
	int left = 4;

	assert_int_equal(measure_prepared(&left, results), 0);
	assert_int_equal(left, 1);
	assert_int_equal(json_array_size(results), 1);
	json_decref(results);
}

static void a_cell_that_cannot_be_prepared_ends_the_benchmark(void **state)
{
	json_t *results = json_array();
	int left = 2;

	assert_int_equal(measure_prepared(&left, results), -ENOTRECOVERABLE);
	assert_int_equal(left, 0);
	assert_int_equal(json_array_size(results), 0);
	json_decref(results);
}

static void pairs_lie_between_the_memslots(void **state)
{
	struct bench_pairs *pairs = malloc(sizeof(*pairs));
	uint64_t first = bench_guest_chunk(0);

	assert_non_null(pairs);
	for (uint64_t seed = 1; seed <= 16; seed++) {
		bench_pairs_fill(pairs, seed);
		for (unsigned int i = 0; i < BENCH_PAIRS; i++) {
			uint64_t start = pairs->range[i].start, end = pairs->range[i].end;

			assert_true(start < end && start % S2_PAGE_SIZE == 0);
			assert_true((start - first) / BENCH_CHUNK_SIZE % 2 == 1);
			assert_true((end - 1 - first) / BENCH_CHUNK_SIZE ==
				    (start - first) / BENCH_CHUNK_SIZE);
			assert_true(end <= bench_guest_chunk(BENCH_CHUNK_PAIRS));
		}
	}
	free(pairs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_median_of_an_odd_number_is_the_middle_one),
		cmocka_unit_test(the_median_of_an_even_number_is_between_the_middle_two),
		cmocka_unit_test(a_value_is_found_by_all_its_labels),
		cmocka_unit_test(a_goal_is_met_at_its_limit_and_on_the_right_side_of_it),
		cmocka_unit_test(a_goal_that_was_not_measured_is_left_out),
		cmocka_unit_test(rows_become_a_table_with_a_column_for_each_value),
		cmocka_unit_test(rows_without_a_column_become_a_table_of_their_numbers),
		cmocka_unit_test(a_cell_is_prepared_before_each_of_its_slices),
		cmocka_unit_test(a_cell_that_cannot_be_prepared_ends_the_benchmark),
		cmocka_unit_test(pairs_lie_between_the_memslots),
		cmocka_unit_test(wrong_options_are_refused_in_one_line),
		cmocka_unit_test(help_has_an_example),
		cmocka_unit_test(gate_reports_each_gate_by_threads_and_vms),
		cmocka_unit_test(access_reports_each_op_by_slots_and_the_plain_floor),
		cmocka_unit_test(fault_reports_each_gate_by_vcpus_and_storm),
		cmocka_unit_test(slots_reports_each_op_by_slots),
		cmocka_unit_test(growth_reports_each_cost_by_its_size),
		cmocka_unit_test(invalidate_reports_gates_and_shootdowns_by_vcpus_and_busy_ones),
		cmocka_unit_test(shootdown_reports_both_ways_by_what_the_vcpu_does),
		cmocka_unit_test(dirty_reports_each_op_by_the_share_that_is_dirty),
		cmocka_unit_test(memory_reports_the_bytes_of_everything),
		cmocka_unit_test(memory_of_a_mapped_page_is_about_its_spte),
#ifdef S2_HAVE_POOL
		cmocka_unit_test(pool_reports_its_six_benchmarks),
		cmocka_unit_test(window_reports_its_two_benchmarks),
#endif
		cmocka_unit_test(without_a_name_all_benchmarks_are_run),
		cmocka_unit_test(options_choose_gates_and_threads),
		cmocka_unit_test(a_table_is_printed_without_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
