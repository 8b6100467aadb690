/* SPDX-License-Identifier: MIT */
/*
 * Stores of guests at the speed of their loads.
 */
#ifndef STAGE2_TOOLS_GUEST_STORES_H
#define STAGE2_TOOLS_GUEST_STORES_H

#include <stdint.h>

/*
 * Before the calling thread runs an engine: stores become fast but for those to its guest's code,
 * from @code_start to @code_end, which have to be refused. Where Unicorn is not the version that
 * needs this and allows it, nothing happens.
 */
void guest_stores_begin(uint64_t code_start, uint64_t code_end);

#endif
