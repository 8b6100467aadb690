/* SPDX-License-Identifier: MIT */
/*
 * Carries a sequence out against the library, the flat model and, if asked, the
 * kernel, and compares every answer. Operations that make no sense where they
 * stand (an end without a start) do nothing: whatever shrink.c takes out, the rest
 * is still a sequence.
 */
#ifndef TESTS_DIFFERENTIAL_RUN_H
#define TESTS_DIFFERENTIAL_RUN_H

#include "differential/op.h"

struct disagreement {
	bool found;
	unsigned at; /* the operation; sequence->nr for the look at everything that comes last */
	char text[256];
};

enum answer {
	ANSWER_0,
	ANSWER_EINVAL,
	ANSWER_EEXIST,
	ANSWER_ENOENT,
	ANSWER_ENXIO,
	ANSWER_EROFS,
	ANSWER_EFAULT,
	ANSWER_EAGAIN,
	ANSWER_EDEADLK,
	NR_ANSWERS
};

/* How often each kind of operation got which answer: what was never met was not compared. */
struct met {
	unsigned long counts[NR_OPS][NR_ANSWERS];
};

/* Keeps the host's memory from one sequence to the next. */
struct runner;

struct runner *runner_create(struct met *met);
void runner_destroy(struct runner *runner);

/*
 * False, with a word of @why, if @with_kvm and there is none. After a disagreement
 * the library is left as it is, for the process to end.
 */
bool runner_run(struct runner *runner, const struct sequence *sequence, bool with_kvm,
		struct disagreement *found, const char **why);

#endif /* TESTS_DIFFERENTIAL_RUN_H */
