/* SPDX-License-Identifier: MIT */
/*
 * Each plot is columns of the samples, as arrays of doubles. A rate is made of counts that go on
 * from point to point, so that it is right however many samples a point stands for.
 */
#include "run_report_plots.h"

#include "run_page.h"
#include "run_plot.h"

#include <math.h>

#define WIDTH 440
#define HEIGHT 220
#define SMALL_WIDTH 150
#define SMALL_HEIGHT 56
#define SMALL_POINTS 64

struct column {
	double v[RUN_MAX_SAMPLES];
};

static struct plot new_plot(FILE *out, enum plot_unit x, enum plot_unit y, bool log)
{
	struct plot plot = { .out = out, .width = WIDTH, .height = HEIGHT };

	plot_scale_init(&plot.x, x, log && x != PLOT_SECONDS);
	plot_scale_init(&plot.y, y, log);
	return plot;
}

static void times_of(const struct run_samples *samples, struct column *times)
{
	for (unsigned int i = 0; i < samples->nr; i++)
		times->v[i] = samples->sample[i].seconds;
}

static void include_column(struct plot_scale *scale, const struct column *column, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		plot_scale_include(scale, column->v[i]);
}

/*
 * Counts become counts per second since the point before, or an earlier one if that is too near, as
 * it may be of the last; of two points or more.
 */
static void make_rate(const struct column *times, struct column *counts, unsigned int n)
{
	double near = (times->v[n - 1] - times->v[0]) / (n - 1) / 2;

	/* From the last on, so that what is needed is still a count. */
	for (unsigned int i = n - 1; i > 0; i--) {
		unsigned int from = i - 1;

		while (from && times->v[i] - times->v[from] < near)
			from--;
		counts->v[i] = fmax(counts->v[i] - counts->v[from], 0) /
			       (times->v[i] - times->v[from]);
	}
	counts->v[0] = counts->v[1];
}

static double most_of(const struct column *column, const struct column *beneath, unsigned int n)
{
	double most = 0;

	for (unsigned int i = 0; i < n; i++)
		most = fmax(most, column->v[i] - beneath->v[i]);
	return most;
}

/* A layer of memory over time: how much of it there is in a sample, in pages. */
struct layer {
	const char *name;
	unsigned int colour;
	double (*pages)(const struct run_sample *sample, unsigned int which);
	unsigned int which;
};

static double own_pages(const struct run_sample *sample, unsigned int which)
{
	const struct s2_pool_stats *pool = &sample->pool;

	(void)which;
	return fmax((double)pool->frames - (double)pool->free_frames - (double)pool->shared_frames,
		    0);
}

static double shared_pages(const struct run_sample *sample, unsigned int which)
{
	(void)which;
	return (double)sample->pool.shared_frames;
}

static double free_pages(const struct run_sample *sample, unsigned int which)
{
	(void)which;
	return (double)sample->pool.free_frames;
}

static double tier_pages(const struct run_sample *sample, unsigned int which)
{
	return (double)sample->pool.tier_pages[which];
}

#define MAX_LAYERS (3 + S2_POOL_TIERS)

/* What has frames below, what lies in tiers above: the pool's size is a level between them. */
static unsigned int memory_layers(const struct run_samples *samples, struct layer *layers)
{
	unsigned int n = 0;

	layers[n++] = (struct layer){ "own", PAGE_OWN, own_pages, 0 };
	layers[n++] = (struct layer){ "shared", PAGE_SHARED, shared_pages, 0 };
	layers[n++] = (struct layer){ "free", PAGE_FREE, free_pages, 0 };
	for (unsigned int i = 0; i < samples->nr_tiers && i < S2_POOL_TIERS; i++)
		layers[n++] = (struct layer){ samples->tiers[i], PAGE_TIER + i, tier_pages, i };
	return n;
}

/* @upper becomes what is beneath the next layer. */
static void stack_layer(const struct run_samples *samples, const struct layer *layer,
			struct column *lower, struct column *upper)
{
	*lower = *upper;
	for (unsigned int i = 0; i < samples->nr; i++)
		upper->v[i] += layer->pages(&samples->sample[i], layer->which) * S2_PAGE_SIZE;
}

/* Named where it ends, with the most that it was: when all is over there is often nothing left. */
static void draw_band(struct plot *plot, unsigned int colour, const char *name, unsigned int n,
		      const struct column *times, const struct column *lower,
		      const struct column *upper)
{
	double most = most_of(upper, lower, n);
	char text[24];

	if (most <= 0)
		return;
	plot_band(plot, colour, n, times->v, lower->v, upper->v);
	plot_label(plot, colour, (lower->v[n - 1] + upper->v[n - 1]) / 2, "%s %s", name,
		   plot_number(plot->y.unit, most, text, sizeof(text)));
}

static void draw_layers(struct plot *plot, const struct run_samples *samples,
			const struct column *times, const struct layer *layers, unsigned int n)
{
	struct column lower, upper = { { 0 } };

	for (unsigned int i = 0; i < n; i++) {
		stack_layer(samples, &layers[i], &lower, &upper);
		draw_band(plot, layers[i].colour, layers[i].name, samples->nr, times, &lower,
			  &upper);
	}
}

void report_plot_memory(FILE *out, const struct run_samples *samples)
{
	struct plot plot = new_plot(out, PLOT_SECONDS, PLOT_BYTES, false);
	struct layer layers[MAX_LAYERS];
	unsigned int n = memory_layers(samples, layers);
	struct column times, lower, upper = { { 0 } };

	if (samples->nr < 2 || !samples->sample[0].has_pool)
		return;
	times_of(samples, &times);
	include_column(&plot.x, &times, samples->nr);
	for (unsigned int i = 0; i < n; i++)
		stack_layer(samples, &layers[i], &lower, &upper);
	include_column(&plot.y, &upper, samples->nr);
	plot_scale_round(&plot.x);
	plot_scale_round(&plot.y);

	page_figure(out, "Where guest memory is",
		    "the pool's frames, above them what lies in tiers; at the right: the most of "
		    "each");
	plot_begin(&plot, "Where guest memory is",
		   "Bytes over time, stacked: frames of one guest, shared frames, free frames, "
		   "and pages in each tier.");
	plot_y_axis(&plot);
	draw_layers(&plot, samples, &times, layers, n);
	plot_x_axis(&plot);
	plot_level(&plot, (double)samples->sample[samples->nr - 1].pool.frames * S2_PAGE_SIZE,
		   "the pool");
	plot_end(&plot);
	page_figure_end(out);
}

/* One or two amounts over time, the second on top of the first. */
struct stacked {
	const char *title;
	const char *unit;
	const char *name[2];
	unsigned int colour[2];
	enum plot_unit y;
};

static void draw_stacked(FILE *out, const struct stacked *what, unsigned int n,
			 const struct column *times, const struct column *first,
			 const struct column *sum)
{
	struct plot plot = new_plot(out, PLOT_SECONDS, what->y, false);
	struct column zero = { { 0 } };

	include_column(&plot.x, times, n);
	include_column(&plot.y, sum, n);
	plot_scale_round(&plot.x);
	plot_scale_round(&plot.y);
	page_figure(out, what->title, what->unit);
	plot_begin(&plot, what->title, what->unit);
	plot_y_axis(&plot);
	draw_band(&plot, what->colour[0], what->name[0], n, times, &zero, first);
	if (what->name[1])
		draw_band(&plot, what->colour[1], what->name[1], n, times, first, sum);
	plot_x_axis(&plot);
	plot_end(&plot);
	page_figure_end(out);
}

void report_plot_process(FILE *out, const struct run_samples *samples)
{
	static const struct stacked what = {
		.title = "Memory of the process",
		.unit = "what guests have, and everything else; at the right: the most of each",
		.name = { "beside", "guests" },
		.colour = { PAGE_TIER, PAGE_OWN },
		.y = PLOT_BYTES,
	};
	struct column times, other, sum;

	if (samples->nr < 2)
		return;
	times_of(samples, &times);
	for (unsigned int i = 0; i < samples->nr; i++) {
		other.v[i] = (double)samples->sample[i].memory.other;
		sum.v[i] = other.v[i] + (double)samples->sample[i].memory.pool;
	}
	draw_stacked(out, &what, samples->nr, &times, &other, &sum);
}

void report_plot_faults(FILE *out, const struct run_samples *samples)
{
	static const struct stacked what = {
		.title = "Faults per second",
		.unit = "of all guests; at the right: the most",
		.name = { "faults" },
		.colour = { PAGE_OWN },
		.y = PLOT_RATE,
	};
	struct column times, faults;

	if (samples->nr < 2 || !samples->sample[0].has_pool)
		return;
	times_of(samples, &times);
	for (unsigned int i = 0; i < samples->nr; i++) {
		faults.v[i] = 0;
		for (unsigned int g = 0; g < samples->nr_guests; g++)
			faults.v[i] += (double)samples->sample[i].guests[g].faults;
	}
	make_rate(&times, &faults, samples->nr);
	draw_stacked(out, &what, samples->nr, &times, &faults, &faults);
}

void report_plot_invalidations(FILE *out, const struct run_samples *samples)
{
	static const struct stacked what = {
		.title = "Invalidations per second",
		.unit = "elided ones took no VM's mmu_lock; at the right: the most of each",
		.name = { "elided", "others" },
		.colour = { PAGE_SHARED, 1 },
		.y = PLOT_RATE,
	};
	struct column times, elided, all;

	if (samples->nr < 2 || !samples->sample[0].has_pool)
		return;
	times_of(samples, &times);
	for (unsigned int i = 0; i < samples->nr; i++) {
		elided.v[i] = (double)samples->sample[i].mm.elided;
		all.v[i] = (double)samples->sample[i].mm.invalidations;
	}
	make_rate(&times, &elided, samples->nr);
	make_rate(&times, &all, samples->nr);
	draw_stacked(out, &what, samples->nr, &times, &elided, &all);
}

/* Points of one guest, so few that a small plot shows each. */
struct guest_columns {
	unsigned int n;
	double x[SMALL_POINTS + 1], zero[SMALL_POINTS + 1];
	double own[SMALL_POINTS + 1], shared[SMALL_POINTS + 1], all[SMALL_POINTS + 1];
};

static void add_point(struct guest_columns *columns, const struct run_sample *sample,
		      unsigned int guest)
{
	const struct run_guest_sample *at = &sample->guests[guest];
	unsigned int i = columns->n++;

	columns->x[i] = sample->seconds;
	columns->own[i] = (double)at->resident * S2_PAGE_SIZE;
	columns->shared[i] = columns->own[i] + (double)at->shared * S2_PAGE_SIZE;
	columns->all[i] = columns->shared[i] + (double)at->swapped * S2_PAGE_SIZE;
}

static void guest_columns(const struct run_samples *samples, unsigned int guest,
			  struct guest_columns *columns)
{
	unsigned int every = samples->nr / SMALL_POINTS + 1;

	*columns = (struct guest_columns){ 0 };
	for (unsigned int i = 0; i < samples->nr - 1; i += every)
		add_point(columns, &samples->sample[i], guest);
	add_point(columns, &samples->sample[samples->nr - 1], guest);
}

static void draw_guest(FILE *out, const struct run_samples *samples, unsigned int guest,
		       const struct plot_scale *y)
{
	struct plot plot = { .out = out, .width = SMALL_WIDTH, .height = SMALL_HEIGHT,
			     .plain = true, .y = *y };
	struct guest_columns columns;

	guest_columns(samples, guest, &columns);
	plot_scale_init(&plot.x, PLOT_SECONDS, false);
	plot_scale_include(&plot.x, samples->sample[samples->nr - 1].seconds);
	plot_scale_round(&plot.x);
	page_figure(out, samples->names[guest], "");
	plot_begin(&plot, samples->names[guest], "Own, shared and swapped bytes over time.");
	plot_band(&plot, PAGE_OWN, columns.n, columns.x, columns.zero, columns.own);
	plot_band(&plot, PAGE_SHARED, columns.n, columns.x, columns.own, columns.shared);
	plot_band(&plot, PAGE_TIER, columns.n, columns.x, columns.shared, columns.all);
	plot_end(&plot);
	page_figure_end(out);
}

/* One scale for all, so that they can be compared. */
static void scale_guests(const struct run_samples *samples, unsigned int guests,
			 struct plot_scale *y)
{
	plot_scale_init(y, PLOT_BYTES, false);
	for (unsigned int i = 0; i < samples->nr; i++) {
		for (unsigned int g = 0; g < guests; g++) {
			const struct run_guest_sample *at = &samples->sample[i].guests[g];

			plot_scale_include(y, (double)(at->resident + at->shared + at->swapped) *
						      S2_PAGE_SIZE);
		}
	}
}

void report_plot_guests(FILE *out, const struct run_samples *samples)
{
	unsigned int guests = samples->nr_guests;
	struct plot_scale y;
	char most[24];

	if (samples->nr < 2 || !samples->sample[0].has_pool)
		return;
	if (guests > REPORT_MAX_SMALL)
		guests = REPORT_MAX_SMALL;
	scale_guests(samples, guests, &y);
	plot_scale_round(&y);
	fputs("<h3>Each guest's memory</h3>\n<p class=\"soft\">", out);
	page_key(out, PAGE_OWN, "own,");
	page_key(out, PAGE_SHARED, "shared and");
	page_key(out, PAGE_TIER, "swapped");
	page_text(out, "pages over time, stacked in this order; the height is %s.",
		  plot_number(PLOT_BYTES, y.max, most, sizeof(most)));
	if (guests < samples->nr_guests)
		page_text(out, " The first %u of %u guests.", guests, samples->nr_guests);
	fputs("</p>\n<div class=\"small\">\n", out);
	for (unsigned int g = 0; g < guests; g++)
		draw_guest(out, samples, g, &y);
	fputs("</div>\n", out);
}
