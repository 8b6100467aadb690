/* SPDX-License-Identifier: MIT */
/*
 * Holds the library against the flat model of flat.h, and memslot calls and the
 * dirty log against /dev/kvm, with random sequences of operations (op.h). The
 * sequences that once failed, in tests/data/differential/, come first.
 *
 * A failure is shrunk, printed, and saved if S2_SAVE names a file. Named on the
 * command line, sequences are run and nothing else. S2_SEED repeats a run,
 * S2_SEQUENCES is how many sequences each configuration gets, S2_ONLY the test to run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "differential/apart.h"
#include "differential/generate.h"
#include "differential/shrink.h"
#include "small_vm.h"

#define WATCHDOG 30
#define NR_GATES 4
#define NR_LOCKS 2
#define NR_DIRTY 3
#define NR_CONFIGS (NR_GATES * NR_LOCKS * NR_DIRTY * 2)

static struct op config_nr(unsigned nr)
{
	return (struct op){
		.kind = OP_CONFIG,
		.gate = nr % NR_GATES,
		.lock = nr / NR_GATES % NR_LOCKS,
		.dirty = nr / NR_GATES / NR_LOCKS % NR_DIRTY,
		.huge = nr / NR_GATES / NR_LOCKS / NR_DIRTY,
	};
}

/* ---- failures ---- */

static const char *verdict_text(const struct outcome *outcome)
{
	switch (outcome->verdict) {
	case DISAGREED:
		return outcome->found.text;
	case CRASHED:
		return "the library crashed";
	case HUNG:
		return "the library hung";
	default:
		return "";
	}
}

static void print_sequence(const struct sequence *sequence)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	sequence_print(out, sequence);
	fclose(out);
	print_message("%s", text);
	free(text);
}

static void save_sequence(const struct sequence *sequence, const char *path, const char *comment)
{
	FILE *out = fopen(path, "w");

	if (!out) {
		print_message("%s cannot be written\n", path);
		return;
	}
	fprintf(out, "# %s\n", comment);
	sequence_print(out, sequence);
	fclose(out);
	print_message("saved as %s\n", path);
}

static bool the_sequence(struct sequence *sequence, unsigned nr, void *arg)
{
	if (nr)
		return false;
	*sequence = *(const struct sequence *)arg;
	return true;
}

static void report(struct sequence *sequence, bool with_kvm, struct outcome *outcome)
{
	unsigned before = sequence->nr;

	print_message("%s; shrinking %u operations\n", verdict_text(outcome), before - 1);
	shrink_apart(sequence, with_kvm, outcome);
	run_apart(the_sequence, sequence, with_kvm, WATCHDOG, false, outcome);
	print_message("%s, at operation %u of these %u:\n", verdict_text(outcome),
		      outcome->found.at, sequence->nr - 1);
	print_sequence(sequence);
	if (getenv("S2_SAVE"))
		save_sequence(sequence, getenv("S2_SAVE"), verdict_text(outcome));
}

/* ---- random sequences ---- */

struct batch {
	struct op config;
	unsigned nr;
	unsigned length; /* at most */
	uint64_t seed;
};

static bool next_of_batch(struct sequence *sequence, unsigned nr, void *arg)
{
	const struct batch *batch = arg;
	uint64_t random = batch->seed + nr;
	unsigned length = 10 + (unsigned)(test_random(&random) % batch->length);

	if (nr >= batch->nr)
		return false;
	generate(sequence, &batch->config, length, random);
	return true;
}

/* Adds to @met, if there is one, what was met. */
static void run_batch(struct batch *batch, bool with_kvm, struct met *met)
{
	static struct sequence sequence;
	struct outcome outcome;

	run_apart(next_of_batch, batch, with_kvm, WATCHDOG, false, &outcome);
	if (outcome.verdict == NO_KVM) {
		print_message("skipped: %s\n", outcome.why);
		skip();
	}
	for (unsigned i = 0; met && i < NR_OPS * NR_ANSWERS; i++)
		met->counts[i / NR_ANSWERS][i % NR_ANSWERS] +=
			outcome.met.counts[i / NR_ANSWERS][i % NR_ANSWERS];
	if (outcome.verdict == AGREED)
		return;
	next_of_batch(&sequence, outcome.nr - 1, batch);
	report(&sequence, with_kvm, &outcome);
	fail();
}

static unsigned sequences_or(unsigned usual)
{
	const char *given = getenv("S2_SEQUENCES");

	return given ? (unsigned)strtoul(given, NULL, 0) : usual;
}

#define BIT(answer) (1u << ANSWER_##answer)

/* What each kind of operation can be answered: a random test must have met it all. */
static const unsigned possible[NR_OPS] = {
	[OP_SLOT] = BIT(0) | BIT(EINVAL) | BIT(EEXIST) | BIT(EDEADLK),
	[OP_START] = BIT(0) | BIT(EINVAL),
	[OP_CHANGE_PTE] = BIT(0) | BIT(EINVAL),
	[OP_LOAD] = BIT(0) | BIT(ENXIO) | BIT(EFAULT) | BIT(EDEADLK),
	[OP_STORE] = BIT(0) | BIT(ENXIO) | BIT(EROFS) | BIT(EFAULT) | BIT(EDEADLK),
	[OP_GET_LOG] = BIT(0) | BIT(EINVAL) | BIT(ENOENT),
	[OP_CLEAR_LOG] = BIT(0) | BIT(EINVAL) | BIT(ENOENT),
};

static void print_met(const struct met *met)
{
	print_message("%-18s %7s %7s %7s %7s %7s %7s %7s %7s %7s\n", "", "0", "EINVAL", "EEXIST",
		      "ENOENT", "ENXIO", "EROFS", "EFAULT", "EAGAIN", "EDEADLK");
	for (unsigned kind = 0; kind < NR_OPS; kind++) {
		if (!possible[kind])
			continue;
		print_message("%-18s", op_name(kind));
		for (unsigned answer = 0; answer < NR_ANSWERS; answer++)
			print_message(" %7lu", met->counts[kind][answer]);
		print_message("\n");
	}
}

static void assert_all_was_met(const struct met *met)
{
	for (unsigned kind = 0; kind < NR_OPS; kind++)
		for (unsigned answer = 0; answer < NR_ANSWERS; answer++)
			if ((possible[kind] & 1u << answer) && met->counts[kind][answer] < 20)
				fail_msg("%s got answer %u of the row above too seldom",
					 op_name(kind), answer);
}

static void test_one_thread(void **state)
{
	uint64_t seed = test_seed();
	struct met met = { 0 };

	for (unsigned i = 0; i < NR_CONFIGS; i++) {
		struct batch batch = {
			.config = config_nr(i),
			.nr = sequences_or(40),
			.length = 300,
			.seed = test_random(&seed),
		};

		run_batch(&batch, false, &met);
	}
	print_met(&met);
	if (!getenv("S2_SEQUENCES"))
		assert_all_was_met(&met);
}

static void test_vcpu_threads(void **state)
{
	uint64_t seed = test_seed();
	struct met met = { 0 };

	for (unsigned i = 0; i < NR_CONFIGS; i++) {
		struct batch batch = {
			.config = config_nr(i),
			.nr = sequences_or(1),
			.length = 150,
			.seed = test_random(&seed),
		};

		batch.config.threads = 1;
		run_batch(&batch, false, &met);
	}
	if (!getenv("S2_SEQUENCES"))
		assert_true(met.counts[OP_START][ANSWER_EAGAIN] >= 20);
}

/* The kernel takes its time over memslots, and knows nothing of gates. */
static void test_with_kvm(void **state)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < NR_DIRTY * 2; i++) {
		struct batch batch = {
			.config = config_nr(i * NR_GATES * NR_LOCKS),
			.nr = sequences_or(3),
			.length = 120,
			.seed = test_random(&seed),
		};

		run_batch(&batch, true, NULL);
	}
}

/* ---- recorded sequences ---- */

static void read_sequence(const char *path, struct sequence *sequence)
{
	char error[80];
	FILE *in = fopen(path, "r");

	if (!in)
		fail_msg("%s cannot be read", path);
	if (!sequence_parse(in, sequence, error, sizeof(error)))
		fail_msg("%s: %s", path, error);
	fclose(in);
}

static void replay(const char *path, struct sequence *sequence)
{
	struct outcome outcome;

	run_apart(the_sequence, sequence, false, WATCHDOG, false, &outcome);
	if (outcome.verdict == AGREED)
		return;
	print_message("%s, under\n", path);
	op_print(stderr, &sequence->ops[0]);
	fail_msg("%s, at operation %u", verdict_text(&outcome), outcome.found.at);
}

static int is_sequence(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && !strcmp(dot, ".seq");
}

struct replays {
	const struct sequence *recorded;
	unsigned nr;
};

/* As it was recorded, then as it would have gone under everything else. */
static bool under_all_configs(struct sequence *sequence, unsigned nr, void *arg)
{
	*sequence = *(const struct sequence *)arg;
	if (nr)
		sequence->ops[0] = config_nr(nr - 1);
	return nr <= NR_CONFIGS;
}

static void replay_under_all(const char *path)
{
	static struct sequence sequence, failing;
	struct outcome outcome;

	read_sequence(path, &sequence);
	run_apart(under_all_configs, &sequence, false, WATCHDOG, false, &outcome);
	if (outcome.verdict == AGREED)
		return;
	under_all_configs(&failing, outcome.nr - 1, &sequence);
	replay(path, &failing);
}

static void test_recorded_sequences(void **state)
{
	const char *data = getenv("S2_TEST_DATA");
	struct dirent **names;
	char directory[3000], path[4000];
	int nr;

	if (!data) {
		print_message("skipped: S2_TEST_DATA does not say where tests/data is\n");
		skip();
	}
	snprintf(directory, sizeof(directory), "%s/differential", data);
	nr = scandir(directory, &names, is_sequence, alphasort);
	assert_true(nr > 0);
	for (int i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]->d_name);
		replay_under_all(path);
		free(names[i]);
	}
	free(names);
}

/* ---- the tool itself ---- */

static void test_text_form_reads_back(void **state)
{
	static struct sequence sequence, again;
	uint64_t seed = test_seed();
	struct op config = config_nr((unsigned)(seed % NR_CONFIGS));
	char *text, error[80];
	size_t size;
	FILE *out = open_memstream(&text, &size), *in;

	generate(&sequence, &config, 800, seed);
	sequence_print(out, &sequence);
	fclose(out);
	in = fmemopen(text, size, "r");
	assert_true(sequence_parse(in, &again, error, sizeof(error)));
	fclose(in);
	free(text);
	assert_int_equal(again.nr, sequence.nr);
	for (unsigned i = 0; i < sequence.nr; i++) {
		assert_int_equal(again.ops[i].kind, sequence.ops[i].kind);
		for (unsigned j = 0; j < op_nr_fields(again.ops[i].kind); j++)
			assert_true(*op_field(&again.ops[i], j) == *op_field(&sequence.ops[i], j));
	}
}

/* Stands for a bug that needs a store after a release. */
static bool store_after_release(const struct sequence *sequence, void *arg)
{
	bool released = false;

	for (unsigned i = 0; i < sequence->nr; i++) {
		released |= sequence->ops[i].kind == OP_RELEASE;
		if (released && sequence->ops[i].kind == OP_STORE && sequence->ops[i].offset >= 5)
			return true;
	}
	return false;
}

static void test_shrinking_leaves_what_matters(void **state)
{
	static struct sequence sequence;
	struct op config = config_nr(0);

	generate(&sequence, &config, 500, test_seed());
	sequence.ops[200] = (struct op){ .kind = OP_RELEASE };
	sequence.ops[400] = (struct op){ .kind = OP_STORE, .gfn = 77, .offset = 700 };
	shrink(&sequence, store_after_release, NULL, 10000);
	assert_int_equal(sequence.nr, 3);
	assert_int_equal(sequence.ops[1].kind, OP_RELEASE);
	assert_int_equal(sequence.ops[2].kind, OP_STORE);
	assert_int_equal(sequence.ops[2].offset, 5);
	assert_int_equal(sequence.ops[2].gfn, 0);
}

static const char *const no_sequences[] = {
	"",
	"load gfn=1\n",
	"config\nconfig\n",
	"config\nlaod gfn=1\n",
	"config\nload gfn\n",
	"config\nload gfn=-1\n",
	"config\nload gfn=1x\n",
	"config\nload vcpu=4\n",
	"config\nload token=1\n",
	"config gate=7\n",
};

static void test_other_text_is_refused(void **state)
{
	static struct sequence sequence;
	char error[80];

	for (size_t i = 0; i < sizeof(no_sequences) / sizeof(no_sequences[0]); i++) {
		FILE *in = fmemopen((char *)(uintptr_t)no_sequences[i], strlen(no_sequences[i]) + 1,
				    "r");

		assert_false(sequence_parse(in, &sequence, error, sizeof(error)));
		fclose(in);
	}
}

static void test_named_sequences(void **state)
{
	static struct sequence sequence;

	for (char **path = *state; *path; path++) {
		read_sequence(*path, &sequence);
		replay(*path, &sequence);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest named[] = {
		cmocka_unit_test_prestate(test_named_sequences, argv + 1),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_sequences),
		cmocka_unit_test(test_text_form_reads_back),
		cmocka_unit_test(test_other_text_is_refused),
		cmocka_unit_test(test_shrinking_leaves_what_matters),
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_vcpu_threads),
		cmocka_unit_test(test_with_kvm),
	};

	cmocka_set_test_filter(getenv("S2_ONLY"));
	if (argc > 1)
		return cmocka_run_group_tests_name("differential", named, NULL, NULL);
	return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}
