/* SPDX-License-Identifier: MIT */
/*
 * A table of text for people: columns as wide as their widest cell, numbers to the right.
 */
#ifndef STAGE2_TOOLS_TABLE_H
#define STAGE2_TOOLS_TABLE_H

#include <stdio.h>

struct table;

/* @header: @columns titles. NULL when out of memory. */
struct table *table_create(unsigned int columns, const char *const *header);
void table_destroy(struct table *table);

/* A column that goes to the left though it looks like numbers, as names that begin with one do. */
void table_left(struct table *table, unsigned int column);

/* Fills the next cell, from left to right and then in the next row. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A last row that is not full is printed as it is. Returns 0, or -ENOMEM if cells were lost. */
int table_print(const struct table *table, FILE *stream);

#endif
