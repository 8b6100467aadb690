/* SPDX-License-Identifier: MIT */
/* See run_series.h. */
#include "run_series.h"

#include "run_native.h"
#include "run_output.h"
#include "run_print.h"
#include "run_report.h"
#include "run_rlimit.h"
#include "run_status.h"
#include "run_top.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One for each gate, and one on plain memory. */
#define MAX_PASSES (S2_NR_GATES + 1)

/* @native, @first: of each command. @errors: stderr, or what is kept while --top is on. */
struct series {
	struct run_request *request;
	struct run_interrupt interrupt;
	struct run_rlimit rlimit;
	struct run_expectation *native;
	struct run_expectation *first;
	struct run_view *view;
	FILE *errors;
	struct run_result results[MAX_PASSES];
	struct run_report report;
	char error[RUN_ERROR];
};

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int complain(const char *format, ...)
{
	va_list args;

	fputs("stage2 run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return 1;
}

static unsigned int nr_guests(const struct run_request *request)
{
	return request->options.commands.nr * request->options.vms;
}

static unsigned int nr_passes(const struct run_request *request)
{
	return (request->plain ? 1 : 0) +
	       (request->window ? (unsigned int)__builtin_popcount(request->gates) : 0);
}

/* The only guest there is, which runs only once: its input and output may be the user's. */
static bool is_interactive(const struct run_request *request)
{
	return nr_guests(request) == 1 && nr_passes(request) == 1 && !request->check &&
	       !request->top;
}

static bool is_streamed(const struct run_request *request)
{
	return is_interactive(request) && !request->json && !request->quiet;
}

/* At once, of all passes. */
static unsigned int most_guests(const struct run_request *request)
{
	unsigned int most = nr_guests(request);

	for (unsigned int i = 0; i < request->compare.nr; i++)
		if (request->compare.guests[i] > most)
			most = request->compare.guests[i];
	return most;
}

static int find_programs(struct series *s)
{
	struct run_options *options = &s->request->options;
	int ret = 0;

	options->root = open(s->request->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (options->root < 0)
		return complain("--root: '%s': %m", s->request->root);
	options->programs = calloc(options->commands.nr, sizeof(*options->programs));
	if (!options->programs)
		return complain("%s", strerror(ENOMEM));
	for (unsigned int i = 0; i < options->commands.nr; i++)
		options->programs[i].fd = -1;
	for (unsigned int i = 0; i < options->commands.nr && !ret; i++)
		ret = run_program_find(options->commands.command[i].argv[0], options->root,
				       &options->programs[i], s->error, sizeof(s->error));
	return ret ? complain("%s", s->error) : 0;
}

static struct run_expectation *create_expectations(unsigned int nr)
{
	struct run_expectation *all = calloc(nr, sizeof(*all));

	for (unsigned int i = 0; all && i < nr; i++)
		all[i] = (struct run_expectation){ .fd = -1, .status = -1 };
	return all;
}

static void destroy_expectations(struct run_expectation *all, unsigned int nr)
{
	for (unsigned int i = 0; all && i < nr; i++)
		if (all[i].fd >= 0)
			close(all[i].fd);
	free(all);
}

static int run_natively(struct series *s, unsigned int command, int null)
{
	const struct run_options *options = &s->request->options;
	struct run_expectation *native = &s->native[command];
	const struct run_native run = {
		.program = &options->programs[command],
		.argv = options->commands.command[command].argv,
		.envp = run_environment,
		.root = options->root,
		.in = null,
		.out = run_output_file(),
		.rlimit = &s->rlimit,
		.seconds = options->limits.seconds,
		.output = options->limits.output,
	};

	if (run.out < 0)
		return complain("no file for output could be made: %s", strerror(-run.out));
	native->fd = run.out;
	if (run_native(&run, &s->interrupt, &native->status, s->error, sizeof(s->error)))
		return complain("%s", s->error);
	return 0;
}

static int run_all_natively(struct series *s)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ret = null < 0 ? complain("/dev/null: %m") : 0;

	for (unsigned int i = 0; i < s->request->options.commands.nr && !ret; i++)
		ret = run_natively(s, i, null);
	if (null >= 0)
		close(null);
	return ret;
}

/* If nothing ran there is nothing to report: one line says it all. */
static int check_started(const struct run_result *result)
{
	const struct run_guest_result *first = &result->guests[0];

	for (unsigned int i = 0; i < result->nr_guests; i++)
		if (!result->guests[i].error)
			return 0;
	return complain("%s", first->reason[0] ? first->reason : strerror(-first->error));
}

static int run_one(struct series *s, enum s2_gate gate, bool plain)
{
	const struct run_request *request = s->request;
	struct run_result *result = &s->results[s->report.nr_results];
	const struct run_pass pass = {
		.options = &request->options,
		.gate = gate,
		.plain = plain,
		.nr_guests = nr_guests(request),
		.stream = is_streamed(request),
		.interactive = is_interactive(request),
		.direct_errors = is_interactive(request) && !s->view,
		.errors = s->errors,
		.view = s->view,
		.interrupt = &s->interrupt,
		.native = request->check ? s->native : NULL,
		.first = s->first,
	};

	if (run_pass(&pass, result, s->error, sizeof(s->error)))
		return complain("%s", s->error);
	s->report.nr_results++;
	return check_started(result);
}

static int run_passes(struct series *s)
{
	const struct run_request *request = s->request;
	int ret = request->plain ? run_one(s, S2_GATE_RANGE, true) : 0;

	for (unsigned int gate = 0; gate < S2_NR_GATES && request->window && !ret; gate++)
		if ((request->gates & 1u << gate) && !run_interrupt_came(&s->interrupt))
			ret = run_one(s, (enum s2_gate)gate, false);
	if (!ret && request->compare.nr && !s->interrupt.came &&
	    run_compare(&request->options, &request->compare, request->gates, s->view,
			&s->interrupt, &s->report, s->error, sizeof(s->error)))
		ret = complain("%s", s->error);
	return ret;
}

/* No status line between what a guest says. Both do without where there is no terminal. */
static int open_view(struct series *s)
{
	const struct run_request *request = s->request;

	s->errors = stderr;
	if (request->top) {
		s->view = run_top_create();
		s->errors = tmpfile();
	} else if (!is_streamed(request) || !isatty(STDOUT_FILENO)) {
		s->view = run_status_create();
	}
	return s->errors ? 0 : complain("no file for the guests' errors could be made: %m");
}

static void close_view(struct series *s)
{
	if (s->view)
		s->view->destroy(s->view);
	s->view = NULL;
	if (!s->errors || s->errors == stderr)
		return;
	fflush(s->errors);
	run_output_print(fileno(s->errors), stderr);
	fclose(s->errors);
	s->errors = stderr;
}

static int print_outputs(const struct series *s)
{
	int error = 0;

	for (unsigned int i = 0; i < s->request->options.commands.nr && !error; i++)
		if (s->first[i].fd >= 0)
			error = run_output_print(s->first[i].fd, stdout);
	/* The report follows it. What cannot be written is told at the program's end. */
	fflush(stdout);
	return error && !ferror(stdout) ?
		       complain("the guests' output could not be read: %s", strerror(-error)) :
		       0;
}

/* Beside the guests' own output, which somebody may want for itself. */
static FILE *report_stream(const struct series *s)
{
	return s->request->quiet ? stdout : stderr;
}

static int print_report(const struct series *s)
{
	FILE *stream = report_stream(s);
	int error = 0;

	if (s->report.nr_results == 1)
		error = run_print_pass(&s->report, &s->results[0], stream);
	else if (s->report.nr_results)
		error = run_print_gates(&s->report, stream);
	if (!error && s->report.nr_cells) {
		fputc('\n', stream);
		error = run_compare_print(&s->report, stream);
	}
	return error ? complain("%s", strerror(-error)) : 0;
}

static int print_json(const struct series *s)
{
	json_t *object = run_json(&s->report);

	if (!object)
		return complain("%s", strerror(ENOMEM));
	/* What cannot be written is told at the program's end. */
	json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(object);
	return 0;
}

static const char *expected_of(const struct run_guest_result *guest)
{
	return guest->native == RUN_DIFFERENT ? "its native run"
					      : "the first guest with this command";
}

/* Names what is wrong with whom, however the report is printed. */
static int judge(const struct series *s)
{
	int status = 0;

	for (unsigned int i = 0; i < s->report.nr_results; i++) {
		const struct run_result *result = &s->results[i];

		for (unsigned int g = 0; g < result->nr_guests; g++) {
			const struct run_guest_result *guest = &result->guests[g];

			if (guest->native == RUN_DIFFERENT || guest->copies == RUN_DIFFERENT)
				complain("guest %s, %s%s: output or status is not that of %s",
					 guest->name, result->plain ? "" : "gate ",
					 result->plain ? "plain memory"
						       : s2_gate_name(result->gate),
					 expected_of(guest));
		}
		if (result->failed || result->different || result->stopped)
			status = 1;
	}
	/* Whatever was asked for beside, it has not been done. */
	return s->interrupt.came ? 1 : status;
}

static int tell(struct series *s)
{
	const struct run_request *request = s->request;
	int status = 0;

	if (request->json)
		status = print_json(s);
	if (!request->json && !request->quiet && !is_streamed(request))
		status = print_outputs(s);
	if (!request->json)
		status |= print_report(s);
	if (request->report && run_report_write(&s->report, request->report))
		status = 1;
	return status | judge(s);
}

static int prepare(struct series *s)
{
	unsigned int nr = s->request->options.commands.nr;

	s->report.command = s->request->command;
	s->report.results = s->results;
	s->native = create_expectations(nr);
	s->first = create_expectations(nr);
	if (!s->native || !s->first)
		return complain("%s", strerror(ENOMEM));
	if (s->request->report && run_report_check(s->request->report))
		return 1;
	if (run_rlimit_change(&s->rlimit, most_guests(s->request), &s->request->options.limits.files,
			      s->error, sizeof(s->error)))
		return complain("%s", s->error);
	return find_programs(s);
}

static void clear(struct series *s)
{
	struct run_options *options = &s->request->options;

	for (unsigned int i = 0; i < s->report.nr_results; i++)
		run_result_clear(&s->results[i]);
	free(s->report.cells);
	destroy_expectations(s->native, options->commands.nr);
	destroy_expectations(s->first, options->commands.nr);
	for (unsigned int i = 0; options->programs && i < options->commands.nr; i++)
		run_program_close(&options->programs[i]);
	free(options->programs);
	if (options->root >= 0)
		close(options->root);
}

int run_series(struct run_request *request)
{
	struct series s = { .request = request };
	int status;

	request->options.root = -1;
	if (run_interrupt_open(&s.interrupt))
		return complain("signals cannot be waited for: %m");
	status = prepare(&s);
	if (!status && request->check)
		status = run_all_natively(&s);
	if (!status) {
		status = open_view(&s);
		if (!status)
			status = run_passes(&s);
		close_view(&s);
	}
	if (!status)
		status = tell(&s);
	clear(&s);
	run_rlimit_restore(&s.rlimit);
	run_interrupt_close(&s.interrupt);
	return status;
}
