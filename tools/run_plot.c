/* SPDX-License-Identifier: MIT */
/*
 * Plots as SVG. All coordinates pass through plot_scale_at(), which knows what has no place, and
 * are written with a tenth of a pixel: more would only make the page longer.
 */
#include "run_plot.h"

#include "run_escape.h"

#include <stdarg.h>

/* Around what is drawn: numbers left and below, labels to the right, a level's text above. */
#define LEFT 58
#define RIGHT 112
#define TOP 16
#define BOTTOM 24
#define TICK_PIXELS_Y 36
#define TICK_PIXELS_LOG 26
#define TICK_PIXELS_X 70
#define LABEL_GAP 13
#define LABEL_HALF 4
#define MARK_SIZE 4.5

void plot_begin(struct plot *plot, const char *title, const char *desc)
{
	double around = plot->plain ? 2 : 0;

	plot->x.from = plot->plain ? around : LEFT;
	plot->x.to = plot->width - (plot->plain ? around : RIGHT);
	plot->y.from = plot->height - (plot->plain ? around : BOTTOM);
	plot->y.to = plot->plain ? around : TOP;
	plot->nr_labels = 0;
	fprintf(plot->out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\"><title>", plot->width,
		plot->height);
	html_escape(plot->out, title);
	fputs("</title><desc>", plot->out);
	html_escape(plot->out, desc);
	fputs("</desc>\n", plot->out);
	if (plot->plain)
		fprintf(plot->out,
			"<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", plot->x.from,
			plot->y.from, plot->x.to);
}

static void draw_text(struct plot *plot, const char *class, double x, double y, const char *text)
{
	fprintf(plot->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
	html_escape(plot->out, text);
	fputs("</text>\n", plot->out);
}

void plot_y_axis(struct plot *plot)
{
	double pixels = plot->y.log ? TICK_PIXELS_LOG : TICK_PIXELS_Y;
	unsigned int wanted = (unsigned int)((plot->y.from - plot->y.to) / pixels);
	double ticks[PLOT_MAX_TICKS], y;
	unsigned int n = plot_scale_ticks(&plot->y, wanted, ticks);
	char text[24];

	for (unsigned int i = 0; i < n; i++) {
		if (!plot_scale_at(&plot->y, ticks[i], &y))
			continue;
		fprintf(plot->out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", plot->x.from,
			y, plot->x.to);
		draw_text(plot, "end", plot->x.from - 6, y + LABEL_HALF,
			  plot_number(plot->y.unit, ticks[i], text, sizeof(text)));
	}
}

static void draw_x_tick(struct plot *plot, double at, const char *text)
{
	double x;

	if (!plot_scale_at(&plot->x, at, &x))
		return;
	fprintf(plot->out, "<path class=\"axis\" d=\"M%.1f %.1fv4\"/>\n", x, plot->y.from);
	draw_text(plot, "middle", x, plot->y.from + 17, text);
}

static void draw_x_line(struct plot *plot)
{
	fprintf(plot->out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", plot->x.from,
		plot->y.from, plot->x.to);
}

void plot_x_axis(struct plot *plot)
{
	unsigned int wanted = (unsigned int)((plot->x.to - plot->x.from) / TICK_PIXELS_X);
	double ticks[PLOT_MAX_TICKS];
	unsigned int n = plot_scale_ticks(&plot->x, wanted, ticks);
	char text[24];

	draw_x_line(plot);
	for (unsigned int i = 0; i < n; i++)
		draw_x_tick(plot, ticks[i],
			    plot_number(plot->x.unit, ticks[i], text, sizeof(text)));
}

void plot_x_axis_at(struct plot *plot, unsigned int n, const double *at, const char *const *text)
{
	draw_x_line(plot);
	for (unsigned int i = 0; i < n; i++)
		draw_x_tick(plot, at[i], text[i]);
}

static bool place(const struct plot *plot, double x, double y, double *px, double *py)
{
	return plot_scale_at(&plot->x, x, px) && plot_scale_at(&plot->y, y, py);
}

void plot_line(struct plot *plot, unsigned int colour, size_t n, const double *x, const double *y)
{
	double px, py;
	bool drawing = false;

	fprintf(plot->out, "<path class=\"line c%u\" d=\"", colour);
	for (size_t i = 0; i < n; i++) {
		bool placed = place(plot, x[i], y[i], &px, &py);

		/* A line of no length, which round ends make a dot. */
		if (placed)
			fprintf(plot->out, drawing ? "L%.1f %.1f" : "M%.1f %.1fh0", px, py);
		drawing = placed;
	}
	fputs("\"/>\n", plot->out);
}

void plot_band(struct plot *plot, unsigned int colour, size_t n, const double *x,
	       const double *lower, const double *upper)
{
	double px, py, unused;
	bool drawing = false;

	fprintf(plot->out, "<path class=\"band c%u\" d=\"", colour);
	for (size_t i = 0; i < n; i++) {
		if (!plot_scale_at(&plot->y, lower[i], &unused) ||
		    !place(plot, x[i], upper[i], &px, &py))
			continue;
		fprintf(plot->out, "%c%.1f %.1f", drawing ? 'L' : 'M', px, py);
		drawing = true;
	}
	for (size_t i = n; drawing && i-- > 0;) {
		if (plot_scale_at(&plot->y, upper[i], &unused) &&
		    place(plot, x[i], lower[i], &px, &py))
			fprintf(plot->out, "L%.1f %.1f", px, py);
	}
	fputs(drawing ? "Z\"/>\n" : "\"/>\n", plot->out);
}

/* Shapes as well as colours, so that who sees no colours can tell the marks apart. */
static void draw_shape(FILE *out, unsigned int shape, double x, double y)
{
	double r = MARK_SIZE;

	switch (shape % 4) {
	case 0:
		fprintf(out, "M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0Z", x - r, y,
			r, r, 2 * r, r, r, -2 * r);
		break;
	case 1:
		fprintf(out, "M%.1f %.1fh%.1fv%.1fh%.1fZ", x - r + 0.5, y - r + 0.5, 2 * r - 1,
			2 * r - 1, 1 - 2 * r);
		break;
	case 2:
		fprintf(out, "M%.1f %.1fL%.1f %.1fL%.1f %.1fZ", x, y - r - 0.5, x + r + 0.5,
			y + r - 0.5, x - r - 0.5, y + r - 0.5);
		break;
	case 3:
		fprintf(out, "M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fZ", x, y - r - 1, x + r + 1,
			y, x, y + r + 1, x - r - 1, y);
		break;
	}
}

void plot_mark(struct plot *plot, unsigned int colour, double x, double y, double upper,
	       const char *tip)
{
	double px, py, top;

	if (!place(plot, x, y, &px, &py))
		return;
	fputs("<g><title>", plot->out);
	html_escape(plot->out, tip);
	fputs("</title>", plot->out);
	if (plot_scale_at(&plot->y, upper, &top) && top < py)
		fprintf(plot->out, "<path class=\"whisker c%u\" d=\"M%.1f %.1fV%.1fm-3 0h6\"/>",
			colour, px, py, top);
	fprintf(plot->out, "<path class=\"mark c%u\" d=\"", colour);
	draw_shape(plot->out, colour, px, py);
	fputs("\"/></g>\n", plot->out);
}

void plot_level(struct plot *plot, double y, const char *text)
{
	double py;

	if (!plot_scale_at(&plot->y, y, &py))
		return;
	fprintf(plot->out, "<path class=\"level\" d=\"M%.1f %.1fH%.1f\"/>\n", plot->x.from, py,
		plot->x.to);
	draw_text(plot, "end halo", plot->x.to - 2, py - LABEL_HALF, text);
}

void plot_label(struct plot *plot, unsigned int colour, double y, const char *format, ...)
{
	struct plot_label *label = &plot->labels[plot->nr_labels];
	double py;
	va_list args;

	if (plot->nr_labels == PLOT_MAX_LABELS || !plot_scale_at(&plot->y, y, &py))
		return;
	label->y = py;
	label->colour = colour;
	va_start(args, format);
	vsnprintf(label->text, sizeof(label->text), format, args);
	va_end(args);
	plot->nr_labels++;
}

static void sort_labels(struct plot_label *labels, unsigned int n)
{
	for (unsigned int i = 1; i < n; i++) {
		struct plot_label label = labels[i];
		unsigned int at = i;

		for (; at && labels[at - 1].y > label.y; at--)
			labels[at] = labels[at - 1];
		labels[at] = label;
	}
}

void plot_spread(struct plot_label *labels, unsigned int n, double gap, double top, double bottom)
{
	double y = top;

	sort_labels(labels, n);
	for (unsigned int i = 0; i < n; i++) {
		if (labels[i].y < y)
			labels[i].y = y;
		y = labels[i].y + gap;
	}
	y = bottom;
	for (unsigned int i = n; i-- > 0;) {
		if (labels[i].y > y)
			labels[i].y = y;
		y = labels[i].y - gap;
	}
}

/* A short line leads from where each belongs to where there was room for it. */
static void draw_labels(struct plot *plot)
{
	double x = plot->x.to, from[PLOT_MAX_LABELS];

	sort_labels(plot->labels, plot->nr_labels);
	for (unsigned int i = 0; i < plot->nr_labels; i++)
		from[i] = plot->labels[i].y;
	plot_spread(plot->labels, plot->nr_labels, LABEL_GAP, plot->y.to, plot->y.from);
	for (unsigned int i = 0; i < plot->nr_labels; i++) {
		const struct plot_label *label = &plot->labels[i];

		fprintf(plot->out, "<path class=\"lead c%u\" d=\"M%.1f %.1fL%.1f %.1fh4\"/>\n",
			label->colour, x + 2, from[i], x + 9, label->y);
		draw_text(plot, "label", x + 16, label->y + LABEL_HALF, label->text);
	}
}

void plot_end(struct plot *plot)
{
	draw_labels(plot);
	fputs("</svg>\n", plot->out);
}
