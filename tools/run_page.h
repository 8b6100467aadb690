/* SPDX-License-Identifier: MIT */
/*
 * A page of HTML that needs nothing else: its style is in it, it runs no script, and it tells the
 * browser to load nothing. All text that is not ours is escaped.
 */
#ifndef STAGE2_TOOLS_RUN_PAGE_H
#define STAGE2_TOOLS_RUN_PAGE_H

#include <stdio.h>

/* The classes c0 and on that plots use: one for each gate as it is numbered, then these. */
enum page_colour {
	PAGE_OWN = 4,
	PAGE_SHARED,
	PAGE_FREE,
	PAGE_TIER, /* and the three that follow */
};

void page_begin(FILE *out, const char *title);
void page_end(FILE *out);

/* Escapes what @format makes, which is cut at PAGE_SENTENCE bytes. */
#define PAGE_SENTENCE 1024
void page_text(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* <tag class="class">text</tag>; @class may be NULL, @text of any length. */
void page_element(FILE *out, const char *tag, const char *class, const char *text);

/* A cell of a table, of a number or a word or two. */
void page_number(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A small square of a colour, and what it stands for. */
void page_key(FILE *out, unsigned int colour, const char *text);

/* A figure with one plot in it; page_figure_end() closes it. @unit: what the y axis counts. */
void page_figure(FILE *out, const char *title, const char *unit);
void page_figure_end(FILE *out);

/* A table with @n titles of columns; those from @numbers on hold numbers. */
void page_table(FILE *out, unsigned int n, unsigned int numbers, const char *const *header);
void page_table_end(FILE *out);

#endif
