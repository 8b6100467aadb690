/* SPDX-License-Identifier: MIT */
/*
 * The lines of --top. Guests are named by their programs, and these by whoever wrote the command
 * line: what is no printable ASCII does not reach the terminal.
 */
#include "run_top_text.h"

#include "run_scale.h"
#include "run_share.h"
#include "run_size.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NAME_WIDTH 18
#define MAX_NAME_WIDTH 40
#define BAR_WIDTH 18

/* @width: of the longest value, or of the name with a mark before it. */
static const struct {
	const char *name;
	char key;
	unsigned char width;
	enum plot_unit unit;
	bool pages;
} columns[TOP_NR_COLUMNS] = {
	[TOP_GUEST] = { "Guest", 'g', NAME_WIDTH, PLOT_COUNT, false },
	[TOP_STATE] = { "sTate", 't', 8, PLOT_COUNT, false },
	[TOP_RESIDENT] = { "Resident", 'r', 9, PLOT_BYTES, true },
	[TOP_SWAPPED] = { "Swapped", 's', 8, PLOT_BYTES, true },
	[TOP_MERGED] = { "Merged", 'm', 7, PLOT_BYTES, true },
	[TOP_FAULTS] = { "Faults", 'f', 7, PLOT_RATE, false },
	[TOP_INVALIDATIONS] = { "iNvalid", 'n', 8, PLOT_COUNT, false },
	[TOP_ELIDED] = { "Elided", 'e', 7, PLOT_COUNT, false },
	[TOP_SHARED] = { "sHared", 'h', 7, PLOT_BYTES, true },
	[TOP_CALLS] = { "sYscalls", 'y', 9, PLOT_COUNT, false },
	[TOP_MAPPINGS] = { "Win. maps", 'w', 10, PLOT_COUNT, false },
	[TOP_SWAP_INS] = { "swap-Ins", 'i', 9, PLOT_BYTES, true },
	[TOP_OUTPUT] = { "Output", 'o', 7, PLOT_BYTES, false },
};

enum top_column top_column_of(int key)
{
	unsigned int i = 0;

	while (i < TOP_NR_COLUMNS && columns[i].key != key)
		i++;
	return i;
}

/* The first @n columns, each but the first after a blank. */
static unsigned int width_of(unsigned int n)
{
	unsigned int width = columns[0].width;

	for (unsigned int i = 1; i < n; i++)
		width += 1u + columns[i].width;
	return width;
}

unsigned int top_columns(unsigned int width)
{
	unsigned int n = 1;

	while (n < TOP_NR_COLUMNS && width_of(n + 1) <= width)
		n++;
	return n;
}

static double value_of(const struct run_guest_sample *guest, enum top_column column)
{
	switch (column) {
	case TOP_RESIDENT:
		return (double)guest->resident;
	case TOP_SWAPPED:
		return (double)guest->swapped;
	case TOP_MERGED:
		return (double)guest->merged;
	case TOP_FAULTS:
		return guest->faults_per_s;
	case TOP_INVALIDATIONS:
		return (double)guest->invalidations;
	case TOP_ELIDED:
		return run_share(guest->elided, guest->invalidations);
	case TOP_SHARED:
		return (double)guest->shared;
	case TOP_CALLS:
		return (double)guest->syscalls;
	case TOP_MAPPINGS:
		return (double)guest->window_mappings;
	case TOP_SWAP_INS:
		return (double)guest->swap_ins;
	case TOP_OUTPUT:
		return (double)guest->output;
	case TOP_GUEST:
	case TOP_STATE:
	case TOP_NR_COLUMNS:
		break;
	}
	return 0;
}

static void cut(char *buf, unsigned int width)
{
	if (width < TOP_WIDTH)
		buf[width] = '\0';
}

/* Names have what is left of the line. */
static void add_name(char *buf, unsigned int width, const char *text)
{
	int room = (int)width - (int)(width_of(top_columns(width)) - NAME_WIDTH);

	if (room < NAME_WIDTH)
		room = NAME_WIDTH;
	if (room > MAX_NAME_WIDTH)
		room = MAX_NAME_WIDTH;
	snprintf(buf, TOP_WIDTH, "%-*.*s", room, room, text);
	for (; *buf; buf++) {
		if (!isascii(*buf) || !isprint(*buf))
			*buf = '?';
	}
}

static void add_cell(char *buf, enum top_column column, const char *text)
{
	size_t len = strlen(buf);
	int width = columns[column].width;

	snprintf(buf + len, TOP_WIDTH - len, " %*.*s", width, width, text);
}

void top_header(enum top_column sort, unsigned int width, char *buf)
{
	unsigned int n = top_columns(width);

	for (unsigned int i = TOP_GUEST; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s%s", i == sort ? "*" : "", columns[i].name);
		if (i == TOP_GUEST)
			add_name(buf, width, name);
		else
			add_cell(buf, i, name);
	}
	cut(buf, width);
}

static void state_text(const struct run_guest_sample *guest, char *buf, size_t size)
{
	if (guest->state == RUN_GUEST_ENDED)
		snprintf(buf, size, "exit %d", guest->status);
	else
		snprintf(buf, size, "%s", run_guest_state_names[guest->state]);
}

static void value_text(const struct run_guest_sample *guest, enum top_column column, char *buf,
		       size_t size)
{
	double value = value_of(guest, column) * (columns[column].pages ? S2_PAGE_SIZE : 1);

	if (column == TOP_STATE)
		state_text(guest, buf, size);
	else if (column == TOP_ELIDED)
		snprintf(buf, size, "%.1f%%", value);
	else
		plot_number(columns[column].unit, value, buf, size);
}

void top_guest(const struct run_samples *samples, unsigned int guest, unsigned int width, char *buf)
{
	unsigned int n = top_columns(width);
	char text[24];

	add_name(buf, width, samples->names[guest]);
	for (unsigned int i = TOP_STATE; i < n; i++) {
		value_text(&samples->latest.guests[guest], i, text, sizeof(text));
		add_cell(buf, i, text);
	}
	cut(buf, width);
}

static bool goes_before(const struct run_samples *samples, enum top_column sort, unsigned int a,
			unsigned int b)
{
	const struct run_guest_sample *x = &samples->latest.guests[a];
	const struct run_guest_sample *y = &samples->latest.guests[b];

	if (sort == TOP_STATE)
		return x->state < y->state;
	return value_of(x, sort) > value_of(y, sort);
}

/* Of few, and nearly sorted since the last time; equal ones stay in the order of their numbers. */
void top_order(const struct run_samples *samples, enum top_column sort, unsigned int *order)
{
	for (unsigned int i = 0; i < samples->nr_guests; i++) {
		unsigned int at = i;

		for (; at && goes_before(samples, sort, i, order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* "[###==....]": each part of @whole by its own character; @bar has BAR_WIDTH + 3 bytes. */
static void make_bar(char *bar, uint64_t whole, unsigned int n, const uint64_t *parts,
		     const char *characters)
{
	unsigned int at = 0;
	double sum = 0;

	for (unsigned int i = 0; i < n && whole; i++) {
		sum += (double)parts[i];
		while (at < BAR_WIDTH && at + 0.5 < sum / (double)whole * BAR_WIDTH)
			bar[1 + at++] = characters[i];
	}
	bar[0] = '[';
	memset(bar + 1 + at, ' ', BAR_WIDTH - at);
	bar[BAR_WIDTH + 1] = ']';
	bar[BAR_WIDTH + 2] = '\0';
}

static void summary_line(const struct run_samples *samples, char *buf)
{
	const struct run_sample *sample = &samples->latest;
	unsigned int running = 0, ended = 0;

	for (unsigned int i = 0; i < samples->nr_guests; i++) {
		running += sample->guests[i].state == RUN_GUEST_RUNNING;
		ended += sample->guests[i].state == RUN_GUEST_ENDED;
	}
	snprintf(buf, TOP_WIDTH, "stage2 run  %.1f s  %s  %u of %u guests running, %u ended",
		 sample->seconds, sample->has_pool ? s2_gate_name(samples->gate) : "plain memory",
		 running, samples->nr_guests, ended);
}

static void pool_line(const struct run_samples *samples, char *buf)
{
	const struct s2_pool_stats *pool = &samples->latest.pool;
	uint64_t used = pool->free_frames + pool->shared_frames;
	/* Counted while they change: the parts may be more than the whole for a moment. */
	uint64_t own = pool->frames > used ? pool->frames - used : 0;
	const uint64_t parts[] = { own, pool->shared_frames, pool->free_frames };
	char bar[BAR_WIDTH + 3], owned[24], shared[24], unused[24];

	make_bar(bar, pool->frames, 3, parts, "#=.");
	snprintf(buf, TOP_WIDTH, "pool  %s # %s own, = %s shared, . %s free", bar,
		 run_pages_text(own, owned, sizeof(owned)),
		 run_pages_text(pool->shared_frames, shared, sizeof(shared)),
		 run_pages_text(pool->free_frames, unused, sizeof(unused)));
}

/* Beside what all guests have: no tier can be asked for more. */
static void tier_line(const struct run_samples *samples, unsigned int tier, char *buf)
{
	uint64_t pages = samples->latest.pool.tier_pages[tier];
	uint64_t whole = samples->guest_pages * samples->nr_guests;
	char bar[BAR_WIDTH + 3], size[24], of[24];

	make_bar(bar, whole, 1, &pages, "#");
	snprintf(buf, TOP_WIDTH, "%-5.5s %s # %s, of guests' %s", samples->tiers[tier], bar,
		 run_pages_text(pages, size, sizeof(size)), run_pages_text(whole, of, sizeof(of)));
}

static void invalidations_line(const struct run_samples *samples, char *buf)
{
	const struct run_sample *sample = &samples->latest;
	const struct s2_mm_stats *mm = &sample->mm;
	char rate[24], lock[24], all[24];

	snprintf(buf, TOP_WIDTH, "%s invalidations, %.1f%% of %s elided, mmu_lock taken %s times",
		 plot_number(PLOT_RATE, sample->invalidations_per_s, rate, sizeof(rate)),
		 run_share(mm->elided, mm->invalidations),
		 plot_number(PLOT_COUNT, (double)mm->invalidations, all, sizeof(all)),
		 plot_number(PLOT_COUNT, (double)mm->mmu_lock_acquired, lock, sizeof(lock)));
}

static void event_line(const struct run_samples *samples, unsigned int event, char *buf)
{
	static const double percents[] = { 50, 90, 99, 100 };
	static const char *const names[] = { "p50", "p90", "p99", "max" };
	size_t len = (size_t)snprintf(buf, TOP_WIDTH, "%-14s", run_event_names[event]);
	char text[24];

	for (unsigned int i = 0; i < 4; i++)
		len += (size_t)snprintf(buf + len, TOP_WIDTH - len, "  %s %7s", names[i],
					latency_percentile_text(&samples->events[event],
								percents[i], text, sizeof(text)));
}

bool top_total(const struct run_samples *samples, unsigned int line, unsigned int width, char *buf)
{
	unsigned int tiers = samples->nr_tiers < S2_POOL_TIERS ? samples->nr_tiers : S2_POOL_TIERS;

	if (line > 0 && !samples->latest.has_pool)
		return false;
	if (line == 0)
		summary_line(samples, buf);
	else if (line == 1)
		pool_line(samples, buf);
	else if (line == 2)
		invalidations_line(samples, buf);
	else if (line - 3 < tiers)
		tier_line(samples, line - 3, buf);
	else if (line - 3 - tiers < RUN_NR_EVENTS)
		event_line(samples, line - 3 - tiers, buf);
	else
		return false;
	cut(buf, width);
	return true;
}
