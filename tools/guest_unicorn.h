/* SPDX-License-Identifier: MIT */
/*
 * Functions inside of Unicorn. Its library calls its own functions through the dynamic linker, so
 * that one of the same name in this program comes first: it can do more, or less, and call the
 * library's. Nothing of Unicorn's structures is assumed, only functions, and these of version
 * 2.0.1, Debian's, alone. Another version is left to do as it does.
 */
#ifndef STAGE2_TOOLS_GUEST_UNICORN_H
#define STAGE2_TOOLS_GUEST_UNICORN_H

#include <stdbool.h>
#include <unicorn/unicorn.h>

#if UC_API_MAJOR == 2 && UC_API_MINOR == 0 && UC_API_PATCH == 1 && defined(__x86_64__)
#define GUEST_UNICORN_KNOWN 1
#else
#define GUEST_UNICORN_KNOWN 0
#endif

/* Is it the version whose functions are known, also now that the program runs? */
bool guest_unicorn_is_known(void);

/* The library's function of that name. */
void *guest_unicorn_function(const char *name);

#endif
