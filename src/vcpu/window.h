/* SPDX-License-Identifier: MIT */
/* Which of the process's addresses are windows', for the handler of SIGSEGV. */
#ifndef S2_VCPU_WINDOW_H
#define S2_VCPU_WINDOW_H

#include <stdbool.h>

struct s2_window;

/* -ENOMEM. Waits for an RCU grace period, so that the caller is in no section. */
int s2_window_signals_add(struct s2_window *window);
/*
 * Never fails, since what it needs was allocated by s2_window_signals_add(). Nobody
 * accesses the window any more.
 */
void s2_window_signals_remove(struct s2_window *window);

/* Is the page mapped at @addr? A hint; @addr is in the window. */
bool s2_window_is_readable(struct s2_window *window, const void *addr);

#endif /* S2_VCPU_WINDOW_H */
