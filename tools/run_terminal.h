/* SPDX-License-Identifier: MIT */
/*
 * A terminal that a full-screen view uses is left as it was, whichever way the program ends: by a
 * signal, by exit(), or by destroying the view.
 */
#ifndef STAGE2_TOOLS_RUN_TERMINAL_H
#define STAGE2_TOOLS_RUN_TERMINAL_H

#include <stddef.h>

/* Remembers how it is, before the view changes it; of one view at a time. 0 or a negative errno. */
int run_terminal_guard(void);

/* What brings the screen back, from now on; the view is up. */
void run_terminal_reset_with(const char *const *sequences, size_t n);

/* The view has left the screen by itself; signals are as before. */
void run_terminal_unguard(void);

#endif
