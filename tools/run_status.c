/* SPDX-License-Identifier: MIT */
/*
 * The status line. It is overwritten in place, by blanks where it was longer before: this works on
 * every terminal, and one column stays empty so that none of them wraps it.
 */
#include "run_status.h"

#include "run_scale.h"
#include "run_share.h"
#include "run_size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_WIDTH 512
#define DEFAULT_WIDTH 80

struct status_view {
	struct run_view view;
	unsigned int shown; /* columns that have something in them */
};

struct line {
	char *buf;
	size_t len, room;
	bool full;
};

/* A part as a whole or not at all, and nothing after one that did not fit; the first may be cut. */
static void __attribute__((format(printf, 2, 3)))
add_part(struct line *line, const char *format, ...)
{
	char part[128];
	const char *gap = line->len ? ", " : "";
	va_list args;

	va_start(args, format);
	vsnprintf(part, sizeof(part), format, args);
	va_end(args);
	if (line->full || (line->len && line->len + strlen(gap) + strlen(part) > line->room)) {
		line->full = true;
		return;
	}
	line->len += (size_t)snprintf(line->buf + line->len, line->room + 1 - line->len, "%s%s",
				      gap, part);
	if (line->len > line->room)
		line->len = line->room;
}

static void add_pool(struct line *line, const struct run_sample *sample)
{
	const struct s2_pool_stats *pool = &sample->pool;
	char total[24], swapped[24];

	if (!sample->has_pool)
		return;
	add_part(line, "%.0f%% of %s used", 100 - run_share(pool->free_frames, pool->frames),
		 run_pages_text(pool->frames, total, sizeof(total)));
	add_part(line, "%s swapped", run_pages_text(pool->swapped, swapped, sizeof(swapped)));
}

static void add_rates(struct line *line, const struct run_sample *sample)
{
	const struct s2_mm_stats *mm = &sample->mm;
	double faults = 0;
	char rate[24];

	if (!sample->has_pool)
		return;
	for (unsigned int i = 0; i < sample->nr_guests; i++)
		faults += sample->guests[i].faults_per_s;
	add_part(line, "%s faults", plot_number(PLOT_RATE, faults, rate, sizeof(rate)));
	add_part(line, "%s invalidations",
		 plot_number(PLOT_RATE, sample->invalidations_per_s, rate, sizeof(rate)));
	add_part(line, "%.0f%% elided", run_share(mm->elided, mm->invalidations));
}

static void add_calls(struct line *line, const struct run_sample *sample)
{
	uint64_t calls = 0;
	char text[24];

	for (unsigned int i = 0; i < sample->nr_guests; i++)
		calls += sample->guests[i].syscalls;
	add_part(line, "%s system calls",
		 plot_number(PLOT_COUNT, (double)calls, text, sizeof(text)));
}

const char *run_status_text(const struct run_samples *samples, unsigned int width, char *buf,
			    size_t size)
{
	const struct run_sample *sample = &samples->latest;
	struct line line = { .buf = buf, .room = width ? width - 1 : 0 };
	unsigned int ended = 0;

	if (line.room > size - 1)
		line.room = size - 1;
	for (unsigned int i = 0; i < sample->nr_guests; i++)
		ended += sample->guests[i].state == RUN_GUEST_ENDED;
	buf[0] = '\0';
	add_part(&line, "%.1f s", sample->seconds);
	if (sample->has_pool)
		add_part(&line, "%s", s2_gate_name(samples->gate));
	add_part(&line, "%u of %u guests ended", ended, sample->nr_guests);
	add_pool(&line, sample);
	add_rates(&line, sample);
	add_calls(&line, sample);
	return buf;
}

static void show_text(struct status_view *status, const char *text)
{
	unsigned int len = (unsigned int)strlen(text);
	unsigned int blanks = status->shown > len ? status->shown - len : 0;

	/* One write, so that what others write does not come in between. */
	fprintf(stderr, "\r%s%*s%s", text, (int)blanks, "", blanks || !len ? "\r" : "");
	status->shown = len;
}

static unsigned int width_of_stderr(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return DEFAULT_WIDTH;
	return size.ws_col;
}

static bool show_status(struct run_view *view, const struct run_samples *samples)
{
	struct status_view *status = (struct status_view *)view;
	unsigned int width = width_of_stderr();
	char text[MAX_WIDTH];

	/* Blanks beyond the edge of a terminal that was made narrower would go to a new line. */
	if (status->shown >= width)
		status->shown = width - 1;
	show_text(status, run_status_text(samples, width, text, sizeof(text)));
	return true;
}

static void hide_status(struct run_view *view)
{
	struct status_view *status = (struct status_view *)view;

	if (status->shown)
		show_text(status, "");
}

static void destroy_status(struct run_view *view)
{
	hide_status(view);
	free(view);
}

struct run_view *run_status_create(void)
{
	struct status_view *status;

	if (!isatty(STDERR_FILENO))
		return NULL;
	status = calloc(1, sizeof(*status));
	if (!status)
		return NULL;
	status->view = (struct run_view){ show_status, hide_status, destroy_status };
	return &status->view;
}
