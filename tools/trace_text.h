/* SPDX-License-Identifier: MIT */
/*
 * Reading a recording's text, plain or .xz, into memory.
 */
#ifndef STAGE2_TOOLS_TRACE_TEXT_H
#define STAGE2_TOOLS_TRACE_TEXT_H

#include <stddef.h>

/*
 * Returns 0 and a malloc()ed *text of *len bytes (NULL if empty), or a negative errno with the
 * reason, without the file's name, in @why.
 */
int trace_text_read(const char *path, size_t max_bytes, char **text, size_t *len, char *why,
		    size_t why_len);

#endif
