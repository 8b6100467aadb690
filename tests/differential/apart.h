/* SPDX-License-Identifier: MIT */
/*
 * Runs sequences in a process of their own, since a library that is wrong may
 * also crash or wait for ever, and since after a disagreement nothing can be relied
 * on.
 */
#ifndef TESTS_DIFFERENTIAL_APART_H
#define TESTS_DIFFERENTIAL_APART_H

#include "differential/run.h"

enum verdict { AGREED, DISAGREED, CRASHED, HUNG, NO_KVM };

struct outcome {
	enum verdict verdict;
	unsigned nr; /* how many sequences were run; the last of them is the one meant */
	int signal;
	struct disagreement found;
	struct met met;
	char why[80];
};

/* Fills in sequence @nr; false if there is none. Called in that process. */
typedef bool next_sequence_fn(struct sequence *sequence, unsigned nr, void *arg);

/* @seconds: the watchdog, of one sequence. @quiet: what the library prints as it dies is not
 * wanted. */
void run_apart(next_sequence_fn *next, void *arg, bool with_kvm, unsigned seconds, bool quiet,
	       struct outcome *outcome);

/* Cuts a failing sequence down to the least that fails alike. */
void shrink_apart(struct sequence *sequence, bool with_kvm, const struct outcome *outcome);

#endif /* TESTS_DIFFERENTIAL_APART_H */
