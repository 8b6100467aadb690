/* SPDX-License-Identifier: MIT */
/* Pages to store, each made from a number, so that what comes back can be checked against it. */
#ifndef TESTS_POOL_PAGES_H
#define TESTS_POOL_PAGES_H

#include <stdbool.h>
#include <stdint.h>

enum page_kind { PAGE_ZERO, PAGE_TEXT, PAGE_MIXED, PAGE_RANDOM };

/* PAGE_MIXED: up to 3 KiB that do not compress, at its beginning. */
void page_make(enum page_kind kind, uint64_t number, void *page);
bool page_is(enum page_kind kind, uint64_t number, const void *page);

#endif /* TESTS_POOL_PAGES_H */
