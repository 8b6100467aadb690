/* SPDX-License-Identifier: MIT */
/*
 * How a table looks, to the blank.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../tools/table.h"

static void assert_prints(const struct table *table, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	assert_int_equal(table_print(table, stream), 0);
	fclose(stream);
	assert_string_equal(text, expected);
	free(text);
}

static const char *const header[] = { "gate", "locks", "note" };

static void test_numbers_go_right_and_words_left(void **state)
{
	struct table *table = table_create(3, header);

	(void)state;
	table_cell(table, "%s", "range");
	table_cell(table, "%d", 7);
	table_cell(table, "x");
	table_cell(table, "always");
	table_cell(table, "%d", 1234567);
	table_cell(table, "long note");
	assert_prints(table, "gate      locks  note\n"
			     "range         7  x\n"
			     "always  1234567  long note\n");
	table_destroy(table);
}

static void test_a_dash_stands_for_no_number(void **state)
{
	struct table *table = table_create(2, header);

	(void)state;
	table_cell(table, "a");
	table_cell(table, "-");
	table_cell(table, "b");
	table_cell(table, "1.5 us");
	assert_prints(table, "gate   locks\n"
			     "a          -\n"
			     "b     1.5 us\n");
	table_destroy(table);
}

static void test_a_column_of_names_goes_left(void **state)
{
	struct table *table = table_create(2, header);

	(void)state;
	table_left(table, 0);
	table_cell(table, "1 sort");
	table_cell(table, "5");
	table_cell(table, "2 a");
	table_cell(table, "7");
	assert_prints(table, "gate    locks\n"
			     "1 sort      5\n"
			     "2 a         7\n");
	table_destroy(table);
}

static void test_a_header_alone_is_a_table(void **state)
{
	struct table *table = table_create(3, header);

	(void)state;
	assert_prints(table, "gate  locks  note\n");
	table_destroy(table);
}

static void test_the_last_row_may_be_short(void **state)
{
	struct table *table = table_create(3, header);

	(void)state;
	table_cell(table, "range");
	assert_prints(table, "gate   locks  note\n"
			     "range\n");
	table_destroy(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_go_right_and_words_left),
		cmocka_unit_test(test_a_dash_stands_for_no_number),
		cmocka_unit_test(test_a_column_of_names_goes_left),
		cmocka_unit_test(test_a_header_alone_is_a_table),
		cmocka_unit_test(test_the_last_row_may_be_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
