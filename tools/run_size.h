/* SPDX-License-Identifier: MIT */
/* Sizes of memory as people write and read them: 4096, 64K, 128M, 2G, 1T. */
#ifndef STAGE2_TOOLS_RUN_SIZE_H
#define STAGE2_TOOLS_RUN_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* @text is digits, and perhaps one of K, M, G and T, and nothing else; *@size is set only then. */
bool run_size_parse(const char *text, uint64_t *size);

/*
 * "0", "512B", "64K", "1.95M", "128M": as one would type it, to three digits; returns @buf, which
 * should hold 24 bytes. Wherever this program tells a size to people it is told so.
 */
const char *run_size_text(uint64_t size, char *buf, size_t len);

/* The same of so many pages of 4 KiB. */
const char *run_pages_text(uint64_t pages, char *buf, size_t len);

#endif
