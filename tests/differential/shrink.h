/* SPDX-License-Identifier: MIT */
/*
 * Delta debugging: what is left of a failing sequence when nothing more can be
 * taken out, and no argument be made simpler, without the failure going away.
 */
#ifndef TESTS_DIFFERENTIAL_SHRINK_H
#define TESTS_DIFFERENTIAL_SHRINK_H

#include "differential/op.h"

/* Does it still fail, in the same way? */
typedef bool still_fails_fn(const struct sequence *sequence, void *arg);

/* @tries: how often it may ask. */
void shrink(struct sequence *sequence, still_fails_fn *still_fails, void *arg, unsigned tries);

#endif /* TESTS_DIFFERENTIAL_SHRINK_H */
