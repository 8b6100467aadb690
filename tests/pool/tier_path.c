/* SPDX-License-Identifier: MIT */
/* The directory of tier_path.h. */
#include "tier_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char tier_directory[64], tier_path[96];

int make_tier_directory(void **state)
{
	const char *parent = getenv("TMPDIR");

	snprintf(tier_directory, sizeof(tier_directory), "%s/stage2-tiers-XXXXXX",
		 parent ? parent : "/tmp");
	if (!mkdtemp(tier_directory))
		return -1;
	snprintf(tier_path, sizeof(tier_path), "%s/swap", tier_directory);
	return 0;
}

int remove_tier_directory(void **state)
{
	return rmdir(tier_directory);
}
