/* SPDX-License-Identifier: MIT */
/*
 * Plots: round numbers on axes, nothing but finite numbers in the SVG whatever was measured, and
 * text that cannot become markup.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_escape.h"
#include "../../tools/run_plot.h"

#include <math.h>

static struct plot_scale scale_of(enum plot_unit unit, bool log, double a, double b)
{
	struct plot_scale scale;

	plot_scale_init(&scale, unit, log);
	plot_scale_include(&scale, a);
	plot_scale_include(&scale, b);
	plot_scale_round(&scale);
	scale.from = 0;
	scale.to = 100;
	return scale;
}

static void assert_ticks(const struct plot_scale *scale, unsigned int wanted, unsigned int n,
			 const double *expected)
{
	double ticks[PLOT_MAX_TICKS];

	assert_int_equal(plot_scale_ticks(scale, wanted, ticks), n);
	for (unsigned int i = 0; i < n; i++)
		assert_true(fabs(ticks[i] - expected[i]) <= 1e-9 * fabs(expected[i]));
}

static void test_a_linear_scale_begins_at_zero_and_ends_round(void **state)
{
	struct plot_scale scale = scale_of(PLOT_RATE, false, 870, 430);

	assert_true(scale.min == 0);
	assert_true(scale.max == 1000);
	assert_ticks(&scale, 5, 6, (const double[]){ 0, 200, 400, 600, 800, 1000 });
}

static void test_bytes_go_by_powers_of_two(void **state)
{
	struct plot_scale scale = scale_of(PLOT_BYTES, false, 100 << 20, 0);

	assert_ticks(&scale, 4, 5,
		     (const double[]){ 0, 32 << 20, 64 << 20, 96 << 20, 128 << 20 });
}

static void test_counts_have_no_ticks_between_whole_numbers(void **state)
{
	struct plot_scale scale = scale_of(PLOT_COUNT, false, 2, 0);

	assert_ticks(&scale, 8, 3, (const double[]){ 0, 1, 2 });
}

static void test_time_ends_where_it_ends(void **state)
{
	struct plot_scale scale = scale_of(PLOT_SECONDS, false, 0, 47.3);

	assert_true(scale.max == 47.3);
	assert_ticks(&scale, 3, 3, (const double[]){ 0, 20, 40 });
}

static void test_a_log_scale_has_powers_of_ten(void **state)
{
	struct plot_scale scale = scale_of(PLOT_NS, true, 13, 240000);

	assert_true(fabs(scale.min - 10) < 1e-9);
	assert_true(fabs(scale.max - 500000) < 1e-3);
	assert_ticks(&scale, 6, 5, (const double[]){ 10, 100, 1e3, 1e4, 1e5 });
}

static void test_a_short_log_scale_has_twos_and_fives(void **state)
{
	struct plot_scale scale = scale_of(PLOT_NS, true, 100, 900);

	assert_ticks(&scale, 6, 4, (const double[]){ 100, 200, 500, 1000 });
}

static void test_one_value_makes_a_log_scale_of_a_decade(void **state)
{
	struct plot_scale scale = scale_of(PLOT_NS, true, 100, 100);
	double pixel;

	assert_true(scale.max >= scale.min * 9.99);
	assert_true(plot_scale_at(&scale, 100, &pixel));
}

static void test_an_empty_scale_can_be_drawn(void **state)
{
	struct plot_scale scale = scale_of(PLOT_BYTES, false, NAN, INFINITY);
	double pixel;

	assert_true(scale.max > scale.min);
	assert_true(plot_scale_at(&scale, 0, &pixel));
	scale = scale_of(PLOT_NS, true, 0, -3);
	assert_true(scale.min > 0);
	assert_true(scale.max > scale.min);
}

static void test_all_zeroes_make_a_scale(void **state)
{
	struct plot_scale scale = scale_of(PLOT_RATE, false, 0, 0);

	assert_true(scale.max > scale.min);
}

static void test_zero_has_no_place_on_a_log_axis(void **state)
{
	struct plot_scale scale = scale_of(PLOT_NS, true, 1, 1000);
	double pixel;

	assert_false(plot_scale_at(&scale, 0, &pixel));
	assert_false(plot_scale_at(&scale, -5, &pixel));
	assert_false(plot_scale_at(&scale, NAN, &pixel));
	assert_false(plot_scale_at(&scale, INFINITY, &pixel));
	assert_true(plot_scale_at(&scale, 1, &pixel));
	assert_true(fabs(pixel) < 1e-9);
}

static void test_what_is_beyond_an_end_is_at_the_end(void **state)
{
	struct plot_scale scale = scale_of(PLOT_RATE, false, 0, 100);
	double pixel;

	assert_true(plot_scale_at(&scale, 1e9, &pixel));
	assert_true(pixel == 100);
	assert_true(plot_scale_at(&scale, -1e9, &pixel));
	assert_true(pixel == 0);
}

static void test_ticks_are_never_too_many(void **state)
{
	struct plot_scale scale = scale_of(PLOT_COUNT, false, 0, 1e29);
	double ticks[PLOT_MAX_TICKS];

	assert_true(plot_scale_ticks(&scale, 1000, ticks) <= PLOT_MAX_TICKS);
	scale = scale_of(PLOT_NS, true, 1e-29, 1e29);
	assert_true(plot_scale_ticks(&scale, 1000, ticks) <= PLOT_MAX_TICKS);
}

static void assert_number(enum plot_unit unit, double value, const char *expected)
{
	char text[24];

	assert_string_equal(plot_number(unit, value, text, sizeof(text)), expected);
}

static void test_numbers_have_units(void **state)
{
	assert_number(PLOT_BYTES, 1536, "1.5K");
	assert_number(PLOT_RATE, 12000, "12k/s");
	assert_number(PLOT_COUNT, 3.4e6, "3.4M");
	assert_number(PLOT_NS, 1240, "1.24 us");
	assert_number(PLOT_SECONDS, 20, "20 s");
	assert_number(PLOT_NS, NAN, "-");
	assert_number(PLOT_NS, -1, "0 ns");
}

/* What @draw writes, until the next call. */
static const char *drawn(void (*draw)(FILE *out))
{
	static char text[1 << 16];
	FILE *out = fmemopen(text, sizeof(text), "w");

	assert_non_null(out);
	draw(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_escaped(const char *raw, const char *expected)
{
	char text[256];
	FILE *out = fmemopen(text, sizeof(text), "w");

	assert_non_null(out);
	html_escape(out, raw);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, expected);
}

#define REPLACED "\xef\xbf\xbd"

static void test_markup_and_quotes_are_escaped(void **state)
{
	assert_escaped("<a b=\"c\" d='e'>&", "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
}

static void test_utf8_stays(void **state)
{
	assert_escaped("gr\xc3\xb6\xc3\x9f""e \xe2\x82\xac \xf0\x9f\x98\x80",
		       "gr\xc3\xb6\xc3\x9f""e \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void test_what_is_no_utf8_is_replaced(void **state)
{
	assert_escaped("\xff", REPLACED);
	assert_escaped("\x80z", REPLACED "z");
	assert_escaped("\xc0\xbc", REPLACED REPLACED);
	assert_escaped("\xe2\x82", REPLACED REPLACED);
	assert_escaped("\xe2<b", REPLACED "&lt;b");
	assert_escaped("\xed\xa0\x80", REPLACED REPLACED REPLACED);
	assert_escaped("\xf4\x90\x80\x80", REPLACED REPLACED REPLACED REPLACED);
}

static void test_control_characters_are_replaced(void **state)
{
	assert_escaped("a\033[1mb\x7f\n", "a" REPLACED "[1mb" REPLACED REPLACED);
	assert_escaped("\xe2\x80\xae" "gpj.exe", REPLACED "gpj.exe");
}

static struct plot new_plot(FILE *out, bool log)
{
	struct plot plot = { .out = out, .width = 400, .height = 200 };

	plot_scale_init(&plot.x, PLOT_SECONDS, false);
	plot_scale_init(&plot.y, PLOT_NS, log);
	plot_scale_include(&plot.x, 3);
	plot_scale_include(&plot.y, 10);
	plot_scale_include(&plot.y, 1000);
	plot_scale_round(&plot.x);
	plot_scale_round(&plot.y);
	plot_begin(&plot, "title", "desc");
	return plot;
}

static void draw_hostile_values(FILE *out)
{
	static const double x[] = { 0, 1, NAN, 2, 3 };
	static const double y[] = { 0, NAN, 5, INFINITY, -INFINITY };
	struct plot plot = new_plot(out, true);

	plot_y_axis(&plot);
	plot_x_axis(&plot);
	plot_line(&plot, 0, 5, x, y);
	plot_band(&plot, 1, 5, x, y, y);
	plot_mark(&plot, 2, NAN, 1, 1, "a");
	plot_mark(&plot, 2, 1, 100, NAN, "b");
	plot_level(&plot, NAN, "c");
	plot_label(&plot, 3, INFINITY, "d");
	plot_end(&plot);
}

static void test_only_finite_numbers_are_written(void **state)
{
	const char *text = drawn(draw_hostile_values);

	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "inf"));
	assert_non_null(strstr(text, ">b<"));
	assert_null(strstr(text, ">a<"));
}

static void draw_empty(FILE *out)
{
	struct plot plot = { .out = out, .width = 400, .height = 200 };

	plot_scale_init(&plot.x, PLOT_SECONDS, false);
	plot_scale_init(&plot.y, PLOT_NS, true);
	plot_scale_round(&plot.x);
	plot_scale_round(&plot.y);
	plot_begin(&plot, "", "");
	plot_y_axis(&plot);
	plot_x_axis(&plot);
	plot_line(&plot, 0, 0, NULL, NULL);
	plot_band(&plot, 0, 0, NULL, NULL, NULL);
	plot_end(&plot);
}

static void test_an_empty_series_is_an_empty_plot(void **state)
{
	const char *text = drawn(draw_empty);

	assert_null(strstr(text, "nan"));
	assert_non_null(strstr(text, "</svg>"));
}

static void draw_broken_line(FILE *out)
{
	static const double x[] = { 0, 1, 2, 3 };
	static const double y[] = { 10, 100, NAN, 1000 };
	struct plot plot = new_plot(out, true);

	plot_line(&plot, 0, 4, x, y);
	plot_end(&plot);
}

static void test_a_line_breaks_where_a_value_is_missing(void **state)
{
	const char *text = drawn(draw_broken_line);
	unsigned int moves = 0, lines = 0;

	assert_non_null(strstr(text, "class=\"line"));
	for (const char *at = strstr(text, " d="); *at != '/'; at++) {
		moves += *at == 'M';
		lines += *at == 'L';
	}
	assert_int_equal(moves, 2);
	assert_int_equal(lines, 1);
}

static void draw_hostile_text(FILE *out)
{
	struct plot plot = { .out = out, .width = 400, .height = 200 };

	plot_scale_init(&plot.x, PLOT_SECONDS, false);
	plot_scale_init(&plot.y, PLOT_NS, false);
	plot_scale_round(&plot.x);
	plot_scale_round(&plot.y);
	plot_begin(&plot, "<b>", "<b>");
	plot_mark(&plot, 0, 0, 0, 0, "<b>");
	plot_level(&plot, 0, "<b>");
	for (unsigned int i = 0; i < PLOT_MAX_LABELS + 5; i++)
		plot_label(&plot, 0, 0, "%s", "<b>");
	plot_end(&plot);
}

static void test_all_text_is_escaped(void **state)
{
	const char *text = drawn(draw_hostile_text);

	assert_null(strstr(text, "<b>"));
	assert_non_null(strstr(text, "&lt;b&gt;"));
}

static void test_labels_move_apart(void **state)
{
	struct plot_label labels[] = { { .y = 50 }, { .y = 10 }, { .y = 51 }, { .y = 99 },
				       { .y = 98 } };

	plot_spread(labels, 5, 10, 0, 100);
	for (unsigned int i = 0; i < 5; i++) {
		assert_true(labels[i].y >= 0 && labels[i].y <= 100);
		if (i)
			assert_true(labels[i].y - labels[i - 1].y >= 9.999);
	}
}

static void test_labels_that_have_their_room_stay(void **state)
{
	struct plot_label labels[] = { { .y = 10 }, { .y = 50 }, { .y = 90 } };

	plot_spread(labels, 3, 10, 0, 100);
	assert_true(labels[0].y == 10 && labels[1].y == 50 && labels[2].y == 90);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_linear_scale_begins_at_zero_and_ends_round),
		cmocka_unit_test(test_bytes_go_by_powers_of_two),
		cmocka_unit_test(test_counts_have_no_ticks_between_whole_numbers),
		cmocka_unit_test(test_time_ends_where_it_ends),
		cmocka_unit_test(test_a_log_scale_has_powers_of_ten),
		cmocka_unit_test(test_a_short_log_scale_has_twos_and_fives),
		cmocka_unit_test(test_one_value_makes_a_log_scale_of_a_decade),
		cmocka_unit_test(test_an_empty_scale_can_be_drawn),
		cmocka_unit_test(test_all_zeroes_make_a_scale),
		cmocka_unit_test(test_zero_has_no_place_on_a_log_axis),
		cmocka_unit_test(test_what_is_beyond_an_end_is_at_the_end),
		cmocka_unit_test(test_ticks_are_never_too_many),
		cmocka_unit_test(test_numbers_have_units),
		cmocka_unit_test(test_markup_and_quotes_are_escaped),
		cmocka_unit_test(test_utf8_stays),
		cmocka_unit_test(test_what_is_no_utf8_is_replaced),
		cmocka_unit_test(test_control_characters_are_replaced),
		cmocka_unit_test(test_only_finite_numbers_are_written),
		cmocka_unit_test(test_an_empty_series_is_an_empty_plot),
		cmocka_unit_test(test_a_line_breaks_where_a_value_is_missing),
		cmocka_unit_test(test_all_text_is_escaped),
		cmocka_unit_test(test_labels_move_apart),
		cmocka_unit_test(test_labels_that_have_their_room_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
