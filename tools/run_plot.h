/* SPDX-License-Identifier: MIT */
/*
 * Plots as inline SVG: lines, bands and marks, each named beside it rather than in a legend.
 * Colours are the page's: what is drawn has a class, "c0" and so on. What has no place on an axis
 * is left out, and nothing but finite numbers is ever written.
 */
#ifndef STAGE2_TOOLS_RUN_PLOT_H
#define STAGE2_TOOLS_RUN_PLOT_H

#include "run_scale.h"

#include <stdio.h>

#define PLOT_MAX_LABELS 12

struct plot_label {
	double y; /* pixels */
	unsigned int colour;
	char text[48];
};

/*
 * One plot. The scales' ends are set before plot_begin(), which gives them their pixels.
 * @plain: no room for numbers and labels, as in one of many small ones.
 */
struct plot {
	FILE *out;
	double width, height;
	bool plain;
	struct plot_scale x, y;
	unsigned int nr_labels;
	struct plot_label labels[PLOT_MAX_LABELS];
};

/* @title and @desc: what a screen reader says of it. */
void plot_begin(struct plot *plot, const char *title, const char *desc);

/* Grid and numbers of the y axis, and of the x axis: at round values, or at @n given ones. */
void plot_y_axis(struct plot *plot);
void plot_x_axis(struct plot *plot);
void plot_x_axis_at(struct plot *plot, unsigned int n, const double *at, const char *const *text);

/* Through @n points; broken where one has no place, and a dot where one stands alone. */
void plot_line(struct plot *plot, unsigned int colour, size_t n, const double *x, const double *y);

/* What is between two lines. Points that have no place are left out. */
void plot_band(struct plot *plot, unsigned int colour, size_t n, const double *x,
	       const double *lower, const double *upper);

/*
 * A mark of a shape that goes with the colour, and a thin line from there to @upper. @tip: what it
 * says when pointed at.
 */
void plot_mark(struct plot *plot, unsigned int colour, double x, double y, double upper,
	       const char *tip);

/* A line across at @y, with text above its end. */
void plot_level(struct plot *plot, double y, const char *text);

/* Names what ends at @y at the right side; beyond PLOT_MAX_LABELS, or without a place: nothing. */
void plot_label(struct plot *plot, unsigned int colour, double y, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Moves labels apart so that each has @gap pixels, between @top and @bottom as far as they fit. */
void plot_spread(struct plot_label *labels, unsigned int n, double gap, double top, double bottom);

void plot_end(struct plot *plot);

#endif
