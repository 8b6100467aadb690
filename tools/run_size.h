/* SPDX-License-Identifier: MIT */
/* Sizes of memory as people write them: 4096, 64K, 128M, 2G, 1T. */
#ifndef STAGE2_TOOLS_RUN_SIZE_H
#define STAGE2_TOOLS_RUN_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* @text is digits, and perhaps one of K, M, G and T, and nothing else; *@size is set only then. */
bool run_size_parse(const char *text, uint64_t *size);

/* "512", "64K", "1.5M", "128M": as short as it can be said; returns @buf, which should hold 24
 * bytes. */
const char *run_size_text(uint64_t size, char *buf, size_t len);

#endif
