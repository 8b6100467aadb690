/* SPDX-License-Identifier: MIT */
/*
 * The axes of plots: values to pixels, round ticks, and numbers with their units.
 *
 * Values come from measurements and may be anything: what has no place on an axis, as a NaN, or
 * zero on a logarithmic one, is never given one.
 */
#ifndef STAGE2_TOOLS_RUN_SCALE_H
#define STAGE2_TOOLS_RUN_SCALE_H

#include <stdbool.h>
#include <stddef.h>

enum plot_unit { PLOT_COUNT, PLOT_RATE, PLOT_BYTES, PLOT_NS, PLOT_SECONDS };

/* "1.5 GiB", "12k", "3.4M/s", "1.24 us", "20 s"; returns @buf, which should hold 24 bytes. */
const char *plot_number(enum plot_unit unit, double value, char *buf, size_t size);

#define PLOT_MAX_TICKS 24

/* From values to pixels; @min above @max: no value yet. */
struct plot_scale {
	enum plot_unit unit;
	bool log;
	double min, max;
	double from, to;
};

/* A linear one begins at zero, since all that is plotted is an amount. */
void plot_scale_init(struct plot_scale *scale, enum plot_unit unit, bool log);

/* Makes room for a value; one that has no place there is ignored. */
void plot_scale_include(struct plot_scale *scale, double value);

/* Moves the ends to round numbers, and makes an empty scale one that can be drawn. */
void plot_scale_round(struct plot_scale *scale);

/* Where @value is; false if it has no place. What is beyond an end is at that end. */
bool plot_scale_at(const struct plot_scale *scale, double value, double *pixel);

/* About @wanted round values from min to max; returns how many, at most PLOT_MAX_TICKS. */
unsigned int plot_scale_ticks(const struct plot_scale *scale, unsigned int wanted,
			      double ticks[PLOT_MAX_TICKS]);

#endif
