/* SPDX-License-Identifier: MIT */
/* A directory for the files of tiers, below TMPDIR, and one name in it. */
#ifndef TESTS_POOL_TIER_PATH_H
#define TESTS_POOL_TIER_PATH_H

extern char tier_directory[64], tier_path[96];

/* Setup and teardown of a group of tests; the latter fails if a file is left. */
int make_tier_directory(void **state);
int remove_tier_directory(void **state);

#endif /* TESTS_POOL_TIER_PATH_H */
