/* SPDX-License-Identifier: MIT */
/*
 * The report's text and tables. The reader may not know the library: each section says in a
 * sentence what is to be seen in it.
 */
#include "run_report.h"

#include "run_page.h"
#include "run_report_plots.h"
#include "run_scale.h"
#include "run_share.h"
#include "run_size.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static bool any_run(const struct run_report *report, bool (*has)(const struct run_result *))
{
	for (unsigned int i = 0; i < report->nr_results; i++) {
		if (has(&report->results[i]))
			return true;
	}
	return false;
}

static bool was_stopped(const struct run_result *result)
{
	return result->stopped;
}

static bool has_pool(const struct run_result *result)
{
	return !result->plain;
}

/* Of all guests in all runs. */
struct verdict {
	unsigned int guests;
	unsigned int failed;
	unsigned int different;
	unsigned int native;   /* were compared with the host's own run */
	unsigned int compared; /* ... or with another guest */
};

static struct verdict judge(const struct run_report *report)
{
	struct verdict verdict = { 0 };

	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];

		verdict.guests += result->nr_guests;
		verdict.failed += result->failed;
		verdict.different += result->different;
		for (unsigned int g = 0; g < result->nr_guests; g++) {
			const struct run_guest_result *guest = &result->guests[g];

			verdict.native += guest->native != RUN_NOT_COMPARED;
			verdict.compared += guest->native != RUN_NOT_COMPARED ||
					    guest->copies != RUN_NOT_COMPARED;
		}
	}
	return verdict;
}

/* Says no more than has been looked at. */
static void write_comparison(const struct verdict *verdict, FILE *out)
{
	if (verdict->different)
		page_text(out, "; %u gave another result than %s should", verdict->different,
			  verdict->different == 1 ? "it" : "they");
	else if (verdict->guests && verdict->native == verdict->guests)
		page_text(out, "; each gave the result that its command has on the host itself");
	else if (verdict->compared)
		page_text(out, "; %u could be compared with another run, and gave the same result",
			  verdict->compared);
}

/* What most readers want to know, before any plot. */
static void write_verdict(const struct run_report *report, FILE *out)
{
	struct verdict verdict = judge(report);

	fprintf(out, "<p%s>", verdict.failed || verdict.different ? " class=\"bad\"" : "");
	page_text(out, "%u guest%s ran", verdict.guests, verdict.guests == 1 ? "" : "s");
	if (report->nr_results > 1)
		page_text(out, " in %u runs", report->nr_results);
	if (verdict.failed)
		page_text(out, "; %u did not end by %s", verdict.failed,
			  verdict.failed == 1 ? "itself" : "themselves");
	else if (verdict.guests)
		page_text(out, "; %s ended by %s", verdict.guests == 1 ? "it" : "all of them",
			  verdict.guests == 1 ? "itself" : "themselves");
	write_comparison(&verdict, out);
	fputs(".</p>\n", out);
	if (any_run(report, was_stopped))
		page_element(out, "p", "bad", "The run was ended before its guests were.");
}

static void write_size(const struct run_report *report, FILE *out)
{
	char guests[24], pool[24];

	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_memory_result *memory = &report->results[i].memory;

		if (report->results[i].plain)
			continue;
		fputs("<p class=\"soft\">", out);
		page_text(out, "Guests have %s altogether, in a pool of %s.",
			  run_size_text(memory->guests, guests, sizeof(guests)),
			  run_size_text(memory->pool_size, pool, sizeof(pool)));
		fputs("</p>\n", out);
		return;
	}
}

static uint64_t cell_p50(const struct run_report *report, unsigned int guests, enum s2_gate gate)
{
	const struct run_compare_cell *cell = report_cell(report, guests, gate);

	return cell ? latency_percentile(&cell->events[RUN_UNRELATED], 50) : 0;
}

static void write_compare_sentence(const struct run_report *report, FILE *out)
{
	unsigned int guests = report->cells[report->nr_cells - 1].guests;
	uint64_t range = cell_p50(report, guests, S2_GATE_RANGE);
	uint64_t always = cell_p50(report, guests, S2_GATE_ALWAYS);
	char with[24], without[24];

	fputs("<p>An unrelated invalidation is of addresses that no guest has; a related one takes "
	      "pages away from a guest.", out);
	if (range && always)
		page_text(out,
			  " Beside %u guests an unrelated one takes %s with one lookup for all VMs "
			  "(range), and %s where each VM's lock is taken (always).",
			  guests, latency_text(range, with, sizeof(with)),
			  latency_text(always, without, sizeof(without)));
	fputs("</p>\n", out);
}

static void write_compare_table(const struct run_report *report, FILE *out)
{
	static const char *const header[] = {
		"gate",	       "guests",       "unrelated p50", "p99",	"max",
		"related p50", "p99",	       "max",		"memslot update p50", "p99", "max",
	};
	char text[24];

	page_table(out, sizeof(header) / sizeof(header[0]), 1, header);
	for (unsigned int i = 0; i < report->nr_cells; i++) {
		const struct run_compare_cell *cell = &report->cells[i];

		fputs("<tr>\n", out);
		page_element(out, "td", NULL, s2_gate_name(cell->gate));
		page_number(out, "%u", cell->guests);
		for (unsigned int event = 0; event < RUN_NR_EVENTS; event++) {
			static const double percents[] = { 50, 99, 100 };

			for (unsigned int p = 0; p < 3; p++)
				page_number(out, "%s",
					    latency_percentile_text(&cell->events[event],
								    percents[p], text,
								    sizeof(text)));
		}
		fputs("</tr>\n", out);
	}
	page_table_end(out);
}

static void write_compare(const struct run_report *report, FILE *out)
{
	if (!report->nr_cells)
		return;
	page_element(out, "h2", NULL, "What an invalidation costs, by guests and gate");
	write_compare_sentence(report, out);
	fputs("<div class=\"plots\">\n", out);
	for (unsigned int event = 0; event < RUN_NR_EVENTS; event++)
		report_plot_compare(out, report, event);
	fputs("</div>\n", out);
	write_compare_table(report, out);
}

static void write_counts(const struct run_result *result, FILE *out)
{
	const struct s2_mm_stats *mm = &result->mm;

	if (result->plain) {
		for (unsigned int i = 0; i < 3; i++)
			page_number(out, "-");
		return;
	}
	page_number(out, "%" PRIu64, mm->invalidations);
	page_number(out, "%.1f %%", run_share(mm->elided, mm->invalidations));
	page_number(out, "%" PRIu64, mm->mmu_lock_acquired);
}

static void write_run_row(const struct run_result *result, FILE *out)
{
	const struct latency *events = result->samples->events;
	char text[24];

	fputs("<tr>\n", out);
	page_element(out, "td", NULL, run_result_title(result));
	page_number(out, "%.2f s", result->seconds);
	page_number(out, "%.2f s", result->cpu_seconds);
	page_number(out, "%u", result->failed);
	page_number(out, "%u", result->different);
	write_counts(result, out);
	page_number(out, "%s",
		    latency_percentile_text(&events[RUN_UNRELATED], 50, text, sizeof(text)));
	page_number(out, "%s",
		    latency_percentile_text(&events[RUN_UNRELATED], 99, text, sizeof(text)));
	page_number(out, "%s",
		    latency_percentile_text(&events[RUN_RELATED], 50, text, sizeof(text)));
	page_number(out, "%s",
		    latency_percentile_text(&events[RUN_RELATED], 99, text, sizeof(text)));
	fputs("</tr>\n", out);
}

static void write_runs(const struct run_report *report, FILE *out)
{
	static const char *const header[] = {
		"gate",		 "took",   "CPU time", "failed",	"different results",
		"invalidations", "elided", "mmu_lock", "unrelated p50", "p99",
		"related p50",	 "p99",
	};

	page_element(out, "h2", NULL, "The guests, under each gate");
	page_table(out, sizeof(header) / sizeof(header[0]), 1, header);
	for (unsigned int i = 0; i < report->nr_results; i++)
		write_run_row(&report->results[i], out);
	page_table_end(out);
	if (!any_run(report, has_pool))
		return;
	fputs("<div class=\"plots\">\n", out);
	for (unsigned int event = 0; event < RUN_NR_EVENTS; event++)
		report_plot_latency(out, report, event);
	fputs("</div>\n", out);
}

static void write_memory(const struct run_report *report, FILE *out)
{
	static const char *const header[] = { "gate", "guests' size", "pool", "guests have",
					      "beside it", "of that, the library's" };
	char text[24];

	page_element(out, "h2", NULL, "Memory of the process");
	page_element(out, "p", "soft",
		     "What guests had at most, and what the process had beside it at most: the "
		     "processors, the library's tables, and pages that its tiers keep in memory.");
	page_table(out, sizeof(header) / sizeof(header[0]), 1, header);
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];
		const struct run_memory_result *memory = &result->memory;

		fputs("<tr>\n", out);
		page_element(out, "td", NULL, run_result_title(result));
		page_number(out, "%s", run_size_text(memory->guests, text, sizeof(text)));
		page_number(out, "%s", run_size_text(memory->pool_size, text, sizeof(text)));
		page_number(out, "%s", run_size_text(memory->pool_peak, text, sizeof(text)));
		page_number(out, "%s", run_size_text(memory->other_peak, text, sizeof(text)));
		page_number(out, "%s", run_size_text(memory->library, text, sizeof(text)));
		fputs("</tr>\n", out);
	}
	page_table_end(out);
}

static void write_same(enum run_same same, FILE *out)
{
	page_element(out, "td", same == RUN_DIFFERENT ? "bad" : NULL, run_same_names[same]);
}

static void write_end(const struct run_guest_result *guest, FILE *out)
{
	char text[RUN_REASON + 32];

	if (guest->error)
		snprintf(text, sizeof(text), "not started: %s",
			 guest->reason[0] ? guest->reason : strerror(-guest->error));
	else if (guest->reason[0])
		snprintf(text, sizeof(text), "%d: %s", guest->status, guest->reason);
	else
		snprintf(text, sizeof(text), "%d", guest->status);
	page_element(out, "td", guest->error || guest->reason[0] ? "bad" : NULL, text);
}

static void write_guest(const struct run_guest_result *guest, unsigned int number, FILE *out)
{
	char text[24];

	fputs("<tr>\n", out);
	snprintf(text, sizeof(text), "%u", number);
	page_element(out, "td", NULL, text);
	page_element(out, "td", "wide", guest->command);
	write_end(guest, out);
	write_same(guest->native, out);
	write_same(guest->copies, out);
	page_number(out, "%.2f s", guest->seconds);
	page_number(out, "%s", run_size_text(guest->last.output, text, sizeof(text)));
	page_number(out, "%s", run_pages_text(guest->resident_peak, text, sizeof(text)));
	page_number(out, "%s", run_pages_text(guest->swapped_peak, text, sizeof(text)));
	page_number(out, "%" PRIu64, guest->last.merged);
	page_number(out, "%" PRIu64, guest->last.faults);
	page_number(out, "%" PRIu64, guest->last.swap_ins);
	page_number(out, "%" PRIu64, guest->last.invalidations);
	page_number(out, "%.1f %%", run_share(guest->last.elided, guest->last.invalidations));
	page_number(out, "%" PRIu64, guest->last.syscalls);
	page_element(out, "td", NULL, guest->unknown_calls[0] ? guest->unknown_calls : "-");
	fputs("</tr>\n", out);
}

static void write_guests(const struct run_result *result, FILE *out)
{
	static const char *const header[] = {
		"guest",	    "command",	       "status",       "as native",
		"as its copies",    "took",	       "output",       "resident, at most",
		"swapped, at most", "pages merged",    "faults",       "swapped in",
		"invalidations",    "elided for it",   "system calls", "of which unknown",
	};

	page_table(out, sizeof(header) / sizeof(header[0]), 5, header);
	for (unsigned int i = 0; i < result->nr_guests; i++)
		write_guest(&result->guests[i], i + 1, out);
	page_table_end(out);
}

/* Each run's plots and guests; those of most are folded away, so that the page stays short. */
static void write_run(const struct run_result *result, bool unfolded, FILE *out)
{
	const struct run_samples *samples = result->samples;

	fprintf(out, "<details%s>\n<summary>", unfolded ? " open" : "");
	if (result->plain)
		page_text(out, "Run on plain memory");
	else
		page_text(out, "Run under the gate %s", s2_gate_name(result->gate));
	fputs("</summary>\n<div class=\"plots\">\n", out);
	report_plot_memory(out, samples);
	report_plot_process(out, samples);
	report_plot_faults(out, samples);
	report_plot_invalidations(out, samples);
	fputs("</div>\n", out);
	report_plot_guests(out, samples);
	write_guests(result, out);
	fputs("</details>\n", out);
}

/* "model name" of the first CPU; there is none on some architectures. */
static void write_cpu(FILE *out)
{
	FILE *info = fopen("/proc/cpuinfo", "re");
	char line[256];

	while (info && fgets(line, sizeof(line), info)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		page_text(out, "%s, ", colon + 1 + strspn(colon + 1, " "));
		break;
	}
	if (info)
		fclose(info);
}

static void write_machine(const struct run_report *report, FILE *out)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	struct utsname name;
	char text[24];

	page_element(out, "h2", NULL, "How this was made");
	page_element(out, "p", NULL, "The same again:");
	page_element(out, "pre", NULL, report->command);
	fputs("<p class=\"soft\">", out);
	write_cpu(out);
	page_text(out, "%ld CPUs online, %s of memory. ", sysconf(_SC_NPROCESSORS_ONLN),
		  run_size_text(memory, text, sizeof(text)));
	if (!uname(&name))
		page_text(out, "%s %s, %s. ", name.sysname, name.release, name.machine);
	page_text(out, "stage2 %s. Times include reading the clock. p50, p99: half, 99 of 100 took "
		       "no longer.", S2_VERSION);
	fputs("</p>\n", out);
}

static void write_each_run(const struct run_report *report, FILE *out)
{
	bool unfolded = false;

	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];
		bool unfold = !unfolded && (has_pool(result) || i + 1 == report->nr_results);

		write_run(result, unfold, out);
		unfolded |= unfold;
	}
}

void run_report_page(const struct run_report *report, FILE *out)
{
	page_begin(out, "stage2 run");
	page_element(out, "h1", NULL, "stage2 run");
	write_verdict(report, out);
	write_size(report, out);
	write_compare(report, out);
	write_runs(report, out);
	write_memory(report, out);
	write_each_run(report, out);
	write_machine(report, out);
	page_end(out);
}
