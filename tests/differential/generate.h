/* SPDX-License-Identifier: MIT */
/*
 * Random sequences. Crowded: few memslots on few pages, so that they collide, and
 * invalidations, exchanges and accesses mostly meet one.
 */
#ifndef TESTS_DIFFERENTIAL_GENERATE_H
#define TESTS_DIFFERENTIAL_GENERATE_H

#include "differential/op.h"

/* @nr operations after the configuration, which is the caller's. */
void generate(struct sequence *sequence, const struct op *config, unsigned nr, uint64_t seed);

#endif /* TESTS_DIFFERENTIAL_GENERATE_H */
