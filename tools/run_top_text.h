/* SPDX-License-Identifier: MIT */
/* What --top writes, line by line, whatever draws it. Plain ASCII, cut to the width. */
#ifndef STAGE2_TOOLS_RUN_TOP_TEXT_H
#define STAGE2_TOOLS_RUN_TOP_TEXT_H

#include "run_sample.h"

#include <stddef.h>

#define TOP_WIDTH 512

/* The columns of the table of guests, by which it can be sorted. */
enum top_column {
	TOP_GUEST,
	TOP_STATE,
	TOP_RESIDENT,
	TOP_SWAPPED,
	TOP_MERGED,
	TOP_FAULTS,
	TOP_INVALIDATIONS,
	TOP_ELIDED,
	TOP_SHARED,
	TOP_CALLS,
	TOP_MAPPINGS,
	TOP_SWAP_INS,
	TOP_OUTPUT,
	TOP_NR_COLUMNS
};

/* The key that sorts by a column, as its name has it; TOP_NR_COLUMNS for any other key. */
enum top_column top_column_of(int key);

/* How many columns have room in @width. */
unsigned int top_columns(unsigned int width);

/*
 * Each writes up to @width columns to @buf of TOP_WIDTH bytes. @sort: the column that is marked.
 */
void top_header(enum top_column sort, unsigned int width, char *buf);
void top_guest(const struct run_samples *samples, unsigned int guest, unsigned int width,
	       char *buf);

/* Guests in the order of a column: what is most first, but names and states from the first on. */
void top_order(const struct run_samples *samples, enum top_column sort, unsigned int *order);

/* What stands above the table, most important first; false: there is no such line. */
bool top_total(const struct run_samples *samples, unsigned int line, unsigned int width, char *buf);

#endif
