/* SPDX-License-Identifier: MIT */
/*
 * Round numbers of 1, 2 and 5 times a power of ten, and where they are. Sums of floating-point
 * numbers miss round ones by a little, hence the small tolerances.
 */
#include "run_scale.h"

#include "latency.h"
#include "run_size.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

static const char *shortened(double value, double base, const char *const *prefixes,
			     const char *suffix, char *buf, size_t size)
{
	unsigned int i = 0;

	while (value >= base && prefixes[i + 1]) {
		value /= base;
		i++;
	}
	/* %.3g would write 1023 as 1.02e+03. */
	if (value >= 999.5)
		snprintf(buf, size, "%.0f%s%s", value, prefixes[i], suffix);
	else
		snprintf(buf, size, "%.3g%s%s", value, prefixes[i], suffix);
	return buf;
}

const char *plot_number(enum plot_unit unit, double value, char *buf, size_t size)
{
	static const char *const thousands[] = { "", "k", "M", "G", "T", NULL };
	static const char *const none[] = { "", NULL };

	if (!isfinite(value)) {
		snprintf(buf, size, "-");
		return buf;
	}
	if (value <= 0)
		value = 0;
	if (value > 1e18)
		value = 1e18;
	switch (unit) {
	case PLOT_BYTES:
		return run_size_text((uint64_t)(value + 0.5), buf, size);
	case PLOT_NS:
		/* Rounded: 0.99999 of a power of ten is one. */
		return latency_text((uint64_t)(value + 0.5), buf, size);
	case PLOT_SECONDS:
		return shortened(value, DBL_MAX, none, " s", buf, size);
	case PLOT_RATE:
		return shortened(value, 1000, thousands, "/s", buf, size);
	case PLOT_COUNT:
		break;
	}
	return shortened(value, 1000, thousands, "", buf, size);
}

void plot_scale_init(struct plot_scale *scale, enum plot_unit unit, bool log)
{
	*scale = (struct plot_scale){ .unit = unit, .log = log, .min = log ? DBL_MAX : 0 };
	scale->max = -DBL_MAX;
}

static bool has_place(const struct plot_scale *scale, double value)
{
	return isfinite(value) && fabs(value) < 1e30 && (!scale->log || value > 1e-30);
}

void plot_scale_include(struct plot_scale *scale, double value)
{
	if (!has_place(scale, value))
		return;
	if (value < scale->min)
		scale->min = value;
	if (value > scale->max)
		scale->max = value;
}

/* The largest of 1, 2 and 5 times a power of ten that is not above @value. */
static double round_below(double value)
{
	double power = pow(10, floor(log10(value)));

	/* log10() of a power of ten may be a bit less than whole. */
	if (value >= 9.999999 * power)
		return 10 * power;
	if (value >= 4.999999 * power)
		return 5 * power;
	return value >= 1.999999 * power ? 2 * power : power;
}

static double round_above(double value)
{
	double below = round_below(value);

	return value <= below * 1.000001 ? below : round_below(below * 2.6);
}

/* Bytes are counted in powers of two, all else by 1, 2 and 5. */
static double round_step(enum plot_unit unit, double least)
{
	if (unit == PLOT_BYTES)
		return exp2(ceil(log2(least) - 1e-9));
	if (unit == PLOT_COUNT && least < 1)
		return 1;
	return round_above(least);
}

static double step_of(const struct plot_scale *scale, unsigned int wanted)
{
	return round_step(scale->unit, (scale->max - scale->min) / (wanted ? wanted : 1));
}

void plot_scale_round(struct plot_scale *scale)
{
	if (scale->max < scale->min) {
		scale->min = scale->log ? 1 : 0;
		scale->max = scale->log ? 10 : 1;
	}
	if (scale->log) {
		scale->min = round_below(scale->min);
		scale->max = round_above(scale->max);
		if (scale->max < scale->min * 9.99)
			scale->max = scale->min * 10;
		return;
	}
	if (scale->max - scale->min < 1e-9)
		scale->max = scale->min + 1;
	/* Time ends where it ends: a round end would leave a gap. */
	if (scale->unit == PLOT_SECONDS)
		return;

	double step = step_of(scale, 4);

	scale->min = floor(scale->min / step) * step;
	scale->max = ceil(scale->max / step - 1e-9) * step;
}

bool plot_scale_at(const struct plot_scale *scale, double value, double *pixel)
{
	double part;

	if (!has_place(scale, value))
		return false;
	if (value < scale->min)
		value = scale->min;
	if (value > scale->max)
		value = scale->max;
	if (scale->log)
		part = log(value / scale->min) / log(scale->max / scale->min);
	else
		part = (value - scale->min) / (scale->max - scale->min);
	*pixel = scale->from + part * (scale->to - scale->from);
	return isfinite(*pixel);
}

/* Powers of ten, every n-th if there are many; between few of them also twos and fives. */
static unsigned int log_ticks(const struct plot_scale *scale, unsigned int wanted, double *ticks)
{
	static const double steps[] = { 1, 2, 5 };
	double decades = log10(scale->max / scale->min);
	int every = wanted && decades > wanted ? (int)ceil(decades / wanted) : 1;
	unsigned int per_decade = decades * 3 <= wanted + 1 ? 3 : 1, n = 0;

	for (int power = (int)floor(log10(scale->min) + 1e-9); n < PLOT_MAX_TICKS; power += every) {
		for (unsigned int i = 0; i < per_decade && n < PLOT_MAX_TICKS; i++) {
			double tick = steps[i] * pow(10, power);

			if (tick > scale->max * 1.000001)
				return n;
			if (tick >= scale->min * 0.999999)
				ticks[n++] = tick;
		}
	}
	return n;
}

unsigned int plot_scale_ticks(const struct plot_scale *scale, unsigned int wanted,
			      double ticks[PLOT_MAX_TICKS])
{
	unsigned int n = 0;

	if (!(scale->max > scale->min))
		return 0;
	if (scale->log)
		return log_ticks(scale, wanted, ticks);

	double step = step_of(scale, wanted);
	double first = ceil(scale->min / step - 1e-9);

	/* Counted, so that a step too small to change the sum cannot hang here. */
	while (n < PLOT_MAX_TICKS && (first + n) * step <= scale->max + step * 1e-6) {
		ticks[n] = (first + n) * step;
		n++;
	}
	return n;
}
