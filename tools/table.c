/* SPDX-License-Identifier: MIT */
/*
 * A column is one of numbers, and goes to the right, if each of its cells begins with a digit or a
 * sign, or is "-" for no value, and nobody said otherwise; the header goes along.
 */
#include "table.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct table {
	unsigned int columns;
	unsigned int cells; /* the header's included */
	unsigned int room;
	bool lost;
	uint64_t left; /* a bit for each column */
	char **cell;
};

static void append_cell(struct table *table, char *text)
{
	if (text && table->cells == table->room) {
		unsigned int room = table->room * 2 + table->columns * 8;
		char **cell = reallocarray(table->cell, room, sizeof(*cell));

		if (cell) {
			table->cell = cell;
			table->room = room;
		}
	}
	if (!text || table->cells == table->room) {
		free(text);
		table->lost = true;
		return;
	}
	table->cell[table->cells++] = text;
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	append_cell(table, text);
}

struct table *table_create(unsigned int columns, const char *const *header)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	for (unsigned int i = 0; i < columns; i++)
		append_cell(table, strdup(header[i]));
	if (table->lost) {
		table_destroy(table);
		return NULL;
	}
	return table;
}

void table_destroy(struct table *table)
{
	if (!table)
		return;
	for (unsigned int i = 0; i < table->cells; i++)
		free(table->cell[i]);
	free(table->cell);
	free(table);
}

void table_left(struct table *table, unsigned int column)
{
	table->left |= UINT64_C(1) << column;
}

static bool is_number(const char *text)
{
	return isdigit((unsigned char)text[0]) || text[0] == '-' || text[0] == '+';
}

static void measure_column(const struct table *table, unsigned int column, int *width)
{
	bool numbers = table->cells > table->columns + column &&
		       !(table->left & UINT64_C(1) << column);

	*width = 0;
	for (unsigned int i = column; i < table->cells; i += table->columns) {
		int len = (int)strlen(table->cell[i]);

		if (len > *width)
			*width = len;
		if (i >= table->columns && !is_number(table->cell[i]))
			numbers = false;
	}
	/* As printf takes it: a negative width is a cell to the left. */
	if (!numbers)
		*width = -*width;
}

int table_print(const struct table *table, FILE *stream)
{
	int *width = calloc(table->columns, sizeof(*width));

	if (!width || table->lost) {
		free(width);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < table->columns; i++)
		measure_column(table, i, &width[i]);
	for (unsigned int i = 0; i < table->cells; i++) {
		unsigned int column = i % table->columns;
		bool last = column == table->columns - 1 || i == table->cells - 1;

		/* No blanks at a line's end. */
		fprintf(stream, "%s%*s%s", column ? "  " : "",
			last && width[column] < 0 ? 0 : width[column], table->cell[i],
			last ? "\n" : "");
	}
	free(width);
	return 0;
}
