/* SPDX-License-Identifier: MIT */
/*
 * Which mutant this process is. A name that is none ends the process: a check that
 * ran without its mutant would look like one that does not see it.
 */
#include "base/mutant.h"

#if S2_MUTANTS

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum s2_mutant s2_mutant;

static __attribute__((constructor)) void choose_mutant(void)
{
#define S2_MUTANT_NAME(name, what) #name,
	static const char *const names[] = { "", S2_FOR_EACH_MUTANT(S2_MUTANT_NAME) };
#undef S2_MUTANT_NAME
	const char *wanted = getenv("S2_MUTANT");
	unsigned nr = sizeof(names) / sizeof(names[0]), i = 0;

	while (wanted && i < nr && strcmp(names[i], wanted))
		i++;
	if (i == nr) {
		fprintf(stderr, "stage2: S2_MUTANT: '%s' is not a mutant; they are in mutant.h\n", wanted);
		_Exit(2);
	}
	s2_mutant = (enum s2_mutant)i;
}

#else
typedef int s2_mutant_is_none; /* ISO C forbids an empty file */
#endif
