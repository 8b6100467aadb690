/* SPDX-License-Identifier: MIT */
/* stage2 run: its options. What it does is in run_series.c. */
#include "cmd.h"

#include "options.h"
#include "run_churn.h"
#include "run_series.h"
#include "run_size.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEM (UINT64_C(64) << 20)
#define LEAST_MEM (UINT64_C(1) << 20)
#define MOST_MEM (UINT64_C(64) << 30)
#define LEAST_POOL (UINT64_C(64) << 10)
#define MOST_POOL (UINT64_C(1) << 40)
#define DEFAULT_OUTPUT (UINT64_C(1) << 30)
#define MOST_OUTPUT (UINT64_C(1) << 40)
#define MOST_SECONDS 1000000
#define MOST_FILES 65536

/* A program with its stack, and some more. */
#define LEAST_MAPS 16
#define MOST_MAPS 65536

enum key {
	KEY_VMS = 256,
	KEY_COMMANDS,
	KEY_MEM,
	KEY_POOL,
	KEY_SWAP,
	KEY_MERGE,
	KEY_CHURN,
	KEY_GATE,
	KEY_ROOT,
	KEY_MEMORY,
	KEY_CHECK,
	KEY_COMPARE,
	KEY_SECONDS,
	KEY_OUTPUT,
	KEY_FILES,
	KEY_MAPS,
	KEY_CODE,
	KEY_QUIET,
	KEY_JSON,
	KEY_TOP,
	KEY_REPORT,
};

static const struct argp_option argp_options[] = {
	{ NULL, 0, NULL, 0, "Guests:", 1 },
	{ "vms", KEY_VMS, "N", 0, "Guests that run the same command at the same time (default 1)",
	  0 },
	{ "commands", KEY_COMMANDS, "FILE", 0,
	  "Commands, one a line with words quoted as in a shell, instead of PROGRAM: each is run "
	  "by --vms guests, all at the same time",
	  0 },
	{ "root", KEY_ROOT, "DIR", 0,
	  "What guests see as /; they get no other file (default: the current directory)", 0 },
	{ "seconds", KEY_SECONDS, "N", 0,
	  "End a guest that runs longer than N seconds (default 0: never)", 0 },
	{ "output-limit", KEY_OUTPUT, "SIZE", 0,
	  "End a guest that writes more than this (default 1G; 0: no limit)", 0 },
	{ "files", KEY_FILES, "N", 0,
	  "Files that a guest may have open (default 64, or as many as there are descriptors for "
	  "each)",
	  0 },
	{ "maps", KEY_MAPS, "N", 0,
	  "Ranges of addresses that a guest may have mapped; more are ENOMEM (default 1024)", 0 },
	{ "code", KEY_CODE, "SIZE", 0,
	  "Host memory for a guest's translated code; when it is full the code is translated anew "
	  "(default 64M)",
	  0 },
	{ NULL, 0, NULL, 0, "Memory:", 2 },
	{ "mem", KEY_MEM, "SIZE", 0, "Memory of each guest, as 4096K, 64M or 2G (default 64M)", 0 },
	{ "pool", KEY_POOL, "SIZE", 0,
	  "Host memory that all guests share (default: as large as all of theirs together)", 0 },
	{ "swap", KEY_SWAP, "LIST", 0,
	  "Where pages go that find no room in the pool, in this order: zstd[:SIZE], lz4[:SIZE], "
	  "file:PATH[:SIZE] (a new or empty file), redis:HOST:PORT or redis:/SOCKET, with commas "
	  "(default: zstd, if the pool is smaller than the guests). User and password of a Redis "
	  "server are taken from " RUN_REDIS_USER " and " RUN_REDIS_PASSWORD,
	  0 },
	{ "merge", KEY_MERGE, NULL, 0, "Pages with the same contents are kept once", 0 },
	{ "memory", KEY_MEMORY, "KIND", 0,
	  "window (the default); plain: memory of this process without pool or library; or both: "
	  "the same guests on plain memory first, to see what the machinery costs",
	  0 },
	{ NULL, 0, NULL, 0, "What happens to the memory meanwhile:", 3 },
	{ "churn", KEY_CHURN, "LEVEL", 0,
	  "Reclaim, merge and migrate pages, invalidate guests' and other memory and update "
	  "memslots: 0 (the default) not at all, 1 ten times a second, 2 a thousand times, 3 "
	  "without a pause",
	  0 },
	{ "gate", KEY_GATE, "NAMES", 0,
	  "range (the default), always, rwsem, count, several with commas, or all: the guests run "
	  "once under each",
	  0 },
	{ NULL, 0, NULL, 0, "Output:", 4 },
	{ "check", KEY_CHECK, NULL, 0,
	  "Run each command on the host first, in --root as its directory and with your rights, "
	  "and compare output and exit status",
	  0 },
	{ "compare", KEY_COMPARE, "N,N,...", 0,
	  "Afterwards, measure what an invalidation and a memslot update cost while N guests "
	  "run, for each N under each --gate",
	  0 },
	{ "quiet", KEY_QUIET, NULL, 0,
	  "Leave out the guests' output, so that the report is on stdout", 0 },
	{ "json", KEY_JSON, NULL, 0, "Report one JSON object on stdout and nothing else", 0 },
	{ "top", KEY_TOP, NULL, 0, "Show the guests on the whole screen while they run", 0 },
	{ "report", KEY_REPORT, "FILE.html", 0, "Write the report with plots, as one page", 0 },
	{ 0 },
};

static const char doc[] =
	"Runs real programs as guests (static x86-64 Linux programs, by Unicorn) on the library's "
	"memory: a pool that may be smaller than they are, whose pages are taken away, merged and "
	"moved underneath them."
	"\v"
	"PROGRAM is looked for below --root first, then on the host, as a path or in PATH: this "
	"program reads it, and the guest gets nothing but its bytes. What the first guest of each "
	"command prints is printed, and the report follows on stderr. A guest has standard input "
	"only if it is the only one and runs only once, without --check and --top.\n\n"
	"Examples:\n"
	"  stage2 run -- busybox sort words\n"
	"  stage2 run --vms 8 --pool 64M --merge --churn 3 --check -- busybox wc f\n"
	"  stage2 run --commands jobs --vms 2 --pool 128M --gate all --report run.html\n"
	"  stage2 run --memory both --compare 1,8,64 --gate all -- busybox sort words\n\n"
	"Exit status: 0 if every guest exited by itself and with 0 or, with --check, as its native "
	"run did; 1 if not, or something cannot be had; 2 for a wrong option.";

static error_t parse_size(const struct argp_state *state, const char *option, const char *arg,
			  uint64_t min, uint64_t max, uint64_t *size)
{
	char least[24], most[24];
	uint64_t value;

	if (run_size_parse(arg, &value) && value >= min && value <= max) {
		*size = value;
		return 0;
	}
	return option_refuse(state, option,
			     "'%s' is not a size from %s to %s, as 4096, 64K, 128M or 2G", arg,
			     run_size_text(min, least, sizeof(least)),
			     run_size_text(max, most, sizeof(most)));
}

static error_t parse_pages(const struct argp_state *state, const char *option, const char *arg,
			   uint64_t min, uint64_t max, uint64_t *size)
{
	error_t error = parse_size(state, option, arg, min, max, size);

	if (!error && *size % S2_PAGE_SIZE)
		return option_refuse(state, option, "'%s' is not a multiple of 4K", arg);
	return error;
}

static error_t parse_count(const struct argp_state *state, const char *option, const char *arg,
			   uint64_t min, uint64_t max, unsigned int *out)
{
	uint64_t value;
	error_t error = option_parse_number(state, option, arg, min, max, &value);

	if (!error)
		*out = (unsigned int)value;
	return error;
}

static error_t parse_memory(struct run_request *request, const char *arg,
			    const struct argp_state *state)
{
	request->window = !strcmp(arg, "window") || !strcmp(arg, "both");
	request->plain = !strcmp(arg, "plain") || !strcmp(arg, "both");
	if (request->window || request->plain)
		return 0;
	return option_refuse(state, "--memory",
			     "'%s' is not a kind; they are window, plain and both", arg);
}

static error_t parse_swap(struct run_request *request, const char *arg,
			  const struct argp_state *state)
{
	char error[RUN_ERROR];

	run_tiers_clear(&request->options.tiers);
	if (run_tiers_parse(arg, &request->options.tiers, error, sizeof(error)))
		return option_refuse(state, "--swap", "%s", error);
	return 0;
}

static error_t parse_commands(struct run_request *request, const char *arg,
			      const struct argp_state *state)
{
	char error[RUN_ERROR];

	if (run_commands_add_file(&request->options.commands, arg, error, sizeof(error)))
		return option_refuse(state, "--commands", "%s", error);
	return 0;
}

static error_t parse_root(struct run_request *request, const char *arg,
			  const struct argp_state *state)
{
	int fd = open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return option_refuse(state, "--root", "'%s': %s", arg, strerror(errno));
	close(fd);
	request->root = arg;
	return 0;
}

static error_t parse_compare(struct run_request *request, const char *arg,
			     const struct argp_state *state)
{
	if (run_compare_parse(arg, &request->compare))
		return 0;
	return option_refuse(
		state, "--compare",
		"'%s' is not a list of up to %d different numbers of guests from 1 to %d, as "
		"1,8,64",
		arg, RUN_MAX_COMPARED, RUN_MAX_GUESTS);
}

/* It may be meant for PROGRAM or for us; NULL: there is none. */
static const char *doubtful_option(const struct argp_state *state)
{
	for (int i = state->next; i < state->argc && !state->quoted; i++)
		if (state->argv[i][0] == '-' && state->argv[i][1])
			return state->argv[i];
	return NULL;
}

static error_t parse_program(struct run_request *request, const struct argp_state *state)
{
	const char *doubtful = doubtful_option(state);
	char error[RUN_ERROR];

	if (doubtful)
		return option_refuse(state, NULL,
				     "'%s' follows PROGRAM without a '--' before that; as in: "
				     "stage2 run [OPTIONS] -- %s [ARGS]",
				     doubtful, state->argv[state->next]);
	if (request->options.commands.nr)
		return option_refuse(state, "--commands", "leave out PROGRAM, '%s'",
				     state->argv[state->next]);
	if (run_commands_add_words(&request->options.commands, state->argc - state->next,
				   state->argv + state->next, error, sizeof(error)))
		return option_refuse(state, NULL, "%s", error);
	return 0;
}

static error_t check_plain(const struct run_request *request, const struct argp_state *state)
{
	const struct run_options *options = &request->options;
	const char *option = options->pool	   ? "--pool"
			     : options->tiers.nr   ? "--swap"
			     : options->merge	   ? "--merge"
			     : options->churn	   ? "--churn"
			     : request->compare.nr ? "--compare"
						   : NULL;

	if (request->window || !option)
		return 0;
	return option_refuse(state, option,
			     "plain memory has no pool; use --memory window or both");
}

static error_t check_request(struct run_request *request, const struct argp_state *state)
{
	struct run_options *options = &request->options;
	uint64_t guests = (uint64_t)options->commands.nr * options->vms;

	for (unsigned int i = 0; i < request->compare.nr; i++)
		guests = guests > request->compare.guests[i] ? guests : request->compare.guests[i];
	if (!options->commands.nr)
		return option_refuse(state, NULL,
				     "no program named; 'stage2 run -- PROGRAM ARGS', or "
				     "--commands FILE");
	if (guests > RUN_MAX_GUESTS)
		return option_refuse(state, "--vms", "%llu guests are more than %d",
				     (unsigned long long)guests, RUN_MAX_GUESTS);
	if (!options->pool && guests * options->mem > MOST_POOL)
		return option_refuse(state, "--mem",
				     "all guests together have more than 1T; give "
				     "--pool a size");
	if (request->json && request->top)
		return option_refuse(state, "--top",
				     "is for people, --json for programs; leave one out");
	if (!request->gates)
		request->gates = 1u << S2_GATE_RANGE;
	return check_plain(request, state);
}

static error_t parse_number_option(int key, char *arg, struct argp_state *state)
{
	struct run_request *request = state->input;
	struct run_options *options = &request->options;

	switch (key) {
	case KEY_VMS:
		return parse_count(state, "--vms", arg, 1, RUN_MAX_GUESTS, &options->vms);
	case KEY_MEM:
		return parse_pages(state, "--mem", arg, LEAST_MEM, MOST_MEM, &options->mem);
	case KEY_POOL:
		return parse_pages(state, "--pool", arg, LEAST_POOL, MOST_POOL, &options->pool);
	case KEY_CHURN:
		return parse_count(state, "--churn", arg, 0, RUN_MAX_CHURN, &options->churn);
	case KEY_SECONDS:
		return option_parse_number(state, "--seconds", arg, 0, MOST_SECONDS,
					   &options->limits.seconds);
	case KEY_OUTPUT:
		return parse_size(state, "--output-limit", arg, 0, MOST_OUTPUT,
				  &options->limits.output);
	case KEY_FILES:
		return parse_count(state, "--files", arg, 3, MOST_FILES, &options->limits.files);
	case KEY_MAPS:
		return parse_count(state, "--maps", arg, LEAST_MAPS, MOST_MAPS,
				   &options->limits.maps);
	case KEY_CODE:
		return parse_size(state, "--code", arg, GUEST_LEAST_CODE, GUEST_MOST_CODE,
				  &options->limits.code);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_flag(int key, struct run_request *request)
{
	switch (key) {
	case KEY_MERGE:
		request->options.merge = true;
		return 0;
	case KEY_CHECK:
		request->check = true;
		return 0;
	case KEY_QUIET:
		request->quiet = true;
		return 0;
	case KEY_JSON:
		request->json = true;
		return 0;
	case KEY_TOP:
		request->top = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct run_request *request = state->input;

	switch (key) {
	case KEY_COMMANDS:
		return parse_commands(request, arg, state);
	case KEY_SWAP:
		return parse_swap(request, arg, state);
	case KEY_GATE:
		return option_parse_gates(state, "--gate", arg, &request->gates);
	case KEY_MEMORY:
		return parse_memory(request, arg, state);
	case KEY_COMPARE:
		return parse_compare(request, arg, state);
	case KEY_ROOT:
		return parse_root(request, arg, state);
	case KEY_REPORT:
		request->report = arg;
		return 0;
	case ARGP_KEY_ARGS:
		return parse_program(request, state);
	case ARGP_KEY_END:
		return check_request(request, state);
	default:
		return arg ? parse_number_option(key, arg, state) : parse_flag(key, request);
	}
}

/* So that a shell makes the same word of it again. */
static void quote(const char *word, FILE *stream)
{
	if (*word && !word[strcspn(word, " \t\n'\"\\$`*?[](){}<>|&;#~!")]) {
		fputs(word, stream);
		return;
	}
	fputc('\'', stream);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", stream);
		else
			fputc(*word, stream);
	fputc('\'', stream);
}

static char *command_line(int argc, char **argv)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	fputs("stage2", stream);
	for (int i = 0; i < argc; i++) {
		fputc(' ', stream);
		quote(argv[i], stream);
	}
	return fclose(stream) ? NULL : text;
}

int cmd_run(int argc, char **argv)
{
	const struct argp argp = { argp_options, parse_option, "-- PROGRAM [ARGS...]", doc, NULL,
				   NULL,	 NULL };
	struct run_request *request = calloc(1, sizeof(*request));
	char *command = command_line(argc, argv);
	int status = 1;

	if (request && command) {
		*request = (struct run_request){
			.options = { .vms = 1,
				     .mem = DEFAULT_MEM,
				     .limits = { .output = DEFAULT_OUTPUT } },
			.root = ".",
			.window = true,
			.command = command,
		};
		status = options_parse(&argp, "stage2 run", ARGP_IN_ORDER, argc, argv, request);
		if (!status)
			status = run_series(request);
		run_commands_clear(&request->options.commands);
		run_tiers_clear(&request->options.tiers);
	}
	free(command);
	free(request);
	return status;
}
