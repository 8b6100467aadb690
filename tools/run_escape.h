/* SPDX-License-Identifier: MIT */
/* Text that is not ours, on a page: what guests are called is written by whoever starts them. */
#ifndef STAGE2_TOOLS_RUN_ESCAPE_H
#define STAGE2_TOOLS_RUN_ESCAPE_H

#include <stdio.h>

/* Text for HTML and SVG, in quotes too; what is no UTF-8 or a control character becomes U+FFFD. */
void html_escape(FILE *out, const char *text);

#endif
