/* SPDX-License-Identifier: MIT */
/*
 * How much memory an engine takes for the translations of its guest's code.
 */
#ifndef STAGE2_TOOLS_GUEST_TRANSLATIONS_H
#define STAGE2_TOOLS_GUEST_TRANSLATIONS_H

#include <stdint.h>

/*
 * Before the calling thread makes an engine, and runs it: @bytes, from GUEST_LEAST_CODE to
 * GUEST_MOST_CODE, are all it gets. When they are full, all translations are dropped, and made
 * again as they are needed. Where Unicorn is not the version that allows it, nothing happens.
 */
void guest_translations_limit(uint64_t bytes);

/* How often that has happened since, to the thread's engine. */
uint64_t guest_translations_dropped(void);

#endif
