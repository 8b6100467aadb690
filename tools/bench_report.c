/* SPDX-License-Identifier: MIT */
/*
 * See bench_report.h; also the goals and how they find their numbers among the rows. A goal is told
 * as met or not, and has no effect on the exit status: a machine that is busy is not a failure.
 */
#include "bench_report.h"
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int bench_fail(const struct bench *bench, int error, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: %s: ", bench_suite.program, bench->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(-error));
	return error;
}

static bool has_labels(const json_t *row, json_t *labels)
{
	const char *key;
	json_t *label;

	json_object_foreach (labels, key, label)
		if (!json_equal(json_object_get(row, key), label))
			return false;
	return true;
}

double bench_value(const json_t *results, const char *key, json_t *labels)
{
	const json_t *row;
	double value = 0;
	size_t i;

	json_array_foreach (results, i, row) {
		if (labels && has_labels(row, labels)) {
			value = json_number_value(json_object_get(row, key));
			break;
		}
	}
	json_decref(labels);
	return value;
}

void bench_add_goal(json_t *goals, double value, enum bench_bound bound, double limit,
		    const char *unit, const char *what)
{
	bool met = bound == BENCH_AT_MOST ? value <= limit : value >= limit;
	char text[160];

	if (!isfinite(value) || value <= 0)
		return;
	snprintf(text, sizeof(text), "%s %g %s %s", bound == BENCH_AT_MOST ? "at most" : "at least",
		 limit, unit, what);
	/* Out of memory shows as a goal that is not there. */
	json_array_append_new(goals, json_pack("{s:s, s:f, s:f, s:b}", "goal", text, "value",
					       round(value * 1000) / 1000, "limit", limit, "met",
					       (int)met));
}

/* As in the table, for a label of a row. */
static void label_text(const json_t *label, char *text, size_t size)
{
	if (json_is_boolean(label))
		snprintf(text, size, "%s", json_is_true(label) ? "on" : "off");
	else if (json_is_integer(label))
		snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(label));
	else
		snprintf(text, size, "%s", label ? json_string_value(label) : "");
}

/* Are rows @a and @b on the same line of the table? */
static bool same_line(const struct bench *bench, const json_t *a, const json_t *b)
{
	for (unsigned int i = 0; i < BENCH_ROW_KEYS && bench->row_keys[i]; i++)
		if (!json_equal(json_object_get(a, bench->row_keys[i]),
				json_object_get(b, bench->row_keys[i])))
			return false;
	return true;
}

/*
 * A new array of the column's values, in the order in which the rows bring them up; null alone if
 * no key makes columns, which is what each row has for it.
 */
static json_t *list_columns(const struct bench *bench, const json_t *results)
{
	json_t *columns = json_array(), *known;
	const json_t *row;
	size_t i, j;

	if (!bench->column)
		json_array_append_new(columns, json_null());
	json_array_foreach (results, i, row) {
		json_t *value = json_object_get(row, bench->column);
		bool found = !bench->column;

		json_array_foreach (columns, j, known)
			found = found || json_equal(known, value);
		if (!found)
			json_array_append(columns, value);
	}
	return columns;
}

static unsigned int nr_row_keys(const struct bench *bench)
{
	unsigned int nr = 0;

	while (nr < BENCH_ROW_KEYS && bench->row_keys[nr])
		nr++;
	return nr;
}

static struct table *create_table(const struct bench *bench, const json_t *columns)
{
	unsigned int keys = nr_row_keys(bench), nr = 0;
	unsigned int total = keys + (unsigned int)json_array_size(columns);
	char(*text)[48] = calloc(total, sizeof(*text));
	const char **header = calloc(total, sizeof(*header));
	struct table *table = NULL;

	if (text && header) {
		for (; nr < keys; nr++)
			header[nr] = bench->row_keys[nr];
		for (; nr < total; nr++) {
			char value[32];

			header[nr] = bench->column ? text[nr] : bench->value;
			if (!bench->column)
				continue;
			label_text(json_array_get(columns, nr - keys), value, sizeof(value));
			snprintf(text[nr], sizeof(text[nr]), "%s %s", bench->column, value);
		}
		table = table_create(total, header);
	}
	free(header);
	free(text);
	return table;
}

static void number_text(double value, char *text, size_t size)
{
	snprintf(text, size, "%.*f", value < 10 ? 2 : value < 1000 ? 1 : 0, value);
}

/* The cell of @line's line in @column, or "-". */
static void add_cell(const struct bench *bench, struct table *table, const json_t *results,
		     const json_t *line, json_t *column)
{
	const json_t *row;
	size_t i;

	json_array_foreach (results, i, row) {
		const json_t *also = bench->also ? json_object_get(row, bench->also) : NULL;
		char value[32], second[32];

		if (!same_line(bench, row, line) ||
		    (bench->column && !json_equal(json_object_get(row, bench->column), column)))
			continue;
		number_text(json_number_value(json_object_get(row, bench->value)), value,
			    sizeof(value));
		number_text(json_number_value(also), second, sizeof(second));
		if (also)
			table_cell(table, "%s (%s)", value, second);
		else
			table_cell(table, "%s", value);
		return;
	}
	table_cell(table, "-");
}

static void add_line(const struct bench *bench, struct table *table, const json_t *results,
		     const json_t *line, const json_t *columns)
{
	json_t *column;
	char text[32];
	size_t i;

	for (i = 0; i < BENCH_ROW_KEYS && bench->row_keys[i]; i++) {
		label_text(json_object_get(line, bench->row_keys[i]), text, sizeof(text));
		table_cell(table, "%s", text);
	}
	json_array_foreach (columns, i, column)
		add_cell(bench, table, results, line, column);
}

int bench_print_rows(const struct bench *bench, const json_t *results, FILE *stream)
{
	json_t *columns = list_columns(bench, results);
	struct table *table = columns ? create_table(bench, columns) : NULL;
	size_t nr = json_array_size(results);
	int error = -ENOMEM;

	for (size_t i = 0; table && i < nr; i++) {
		const json_t *line = json_array_get(results, i);
		size_t first = 0;

		while (!same_line(bench, json_array_get(results, first), line))
			first++;
		if (first == i)
			add_line(bench, table, results, line, columns);
	}
	if (table) {
		fprintf(stream, "%s: %s\n\n", bench->name, bench->title);
		error = table_print(table, stream);
		fprintf(stream, "\n");
	}
	table_destroy(table);
	json_decref(columns);
	return error;
}

int bench_print_goals(const json_t *goals, FILE *stream)
{
	static const char *const header[] = { "", "measured", "goal" };
	struct table *table;
	const json_t *goal;
	int error;
	size_t i;

	if (!json_array_size(goals))
		return 0;
	table = table_create(3, header);
	if (!table)
		return -ENOMEM;
	json_array_foreach (goals, i, goal) {
		table_cell(table, "%s",
			   json_is_true(json_object_get(goal, "met")) ? "met" : "not met");
		table_cell(table, "%.2f", json_number_value(json_object_get(goal, "value")));
		table_cell(table, "%s", json_string_value(json_object_get(goal, "goal")));
	}
	error = table_print(table, stream);
	fprintf(stream, "\n");
	table_destroy(table);
	return error;
}
