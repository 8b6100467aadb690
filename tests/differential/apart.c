/* SPDX-License-Identifier: MIT */
/* The processes of apart.h. */
#include "differential/apart.h"

#include "differential/shrink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHRINK_TRIES 4000
#define SHRINK_TRIES_HANGING 150

static void silence(void)
{
	int fd = open("/dev/null", O_WRONLY);

	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
}

/* The watchdog's SIGALRM ends the process. */
static void run_all(next_sequence_fn *next, void *arg, bool with_kvm, unsigned seconds,
		    struct outcome *outcome)
{
	static struct sequence sequence;
	struct runner *runner = runner_create(&outcome->met);
	const char *why = "";

	signal(SIGALRM, SIG_DFL);
	while (next(&sequence, outcome->nr, arg)) {
		outcome->nr++;
		alarm(seconds);
		if (!runner_run(runner, &sequence, with_kvm, &outcome->found, &why)) {
			snprintf(outcome->why, sizeof(outcome->why), "%s", why);
			outcome->verdict = NO_KVM;
			return;
		}
		if (outcome->found.found) {
			outcome->verdict = DISAGREED;
			return;
		}
	}
	alarm(0);
	runner_destroy(runner);
	outcome->verdict = AGREED;
}

static void await_child(pid_t pid, struct outcome *outcome)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	/* A sanitizer ends a process with a status of its own. */
	outcome->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	outcome->verdict = outcome->signal == SIGALRM ? HUNG : CRASHED;
}

void run_apart(next_sequence_fn *next, void *arg, bool with_kvm, unsigned seconds, bool quiet,
	       struct outcome *outcome)
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (shared == MAP_FAILED)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		if (quiet)
			silence();
		run_all(next, arg, with_kvm, seconds, shared);
		_exit(0);
	}
	await_child(pid, shared);
	*outcome = *shared;
	munmap(shared, sizeof(*shared));
}

struct shrinking {
	bool with_kvm;
	const struct outcome *first;
	enum op_kind kind; /* of the operation that fails; NR_OPS for the look at everything */
};

static bool only_one(struct sequence *sequence, unsigned nr, void *arg)
{
	if (nr)
		return false;
	*sequence = *(const struct sequence *)arg;
	return true;
}

static enum op_kind failing_kind(const struct sequence *sequence, const struct outcome *outcome)
{
	unsigned at = outcome->found.at;

	return at < sequence->nr ? sequence->ops[at].kind : NR_OPS;
}

static bool fails_alike(const struct sequence *sequence, void *arg)
{
	struct shrinking *shrinking = arg;
	struct outcome outcome;

	run_apart(only_one, (void *)sequence, shrinking->with_kvm, 2, true, &outcome);
	return outcome.verdict == shrinking->first->verdict &&
	       outcome.signal == shrinking->first->signal &&
	       (outcome.verdict == HUNG || failing_kind(sequence, &outcome) == shrinking->kind);
}

void shrink_apart(struct sequence *sequence, bool with_kvm, const struct outcome *outcome)
{
	struct shrinking shrinking = {
		.with_kvm = with_kvm,
		.first = outcome,
		.kind = failing_kind(sequence, outcome),
	};

	/* What comes after the operation that failed cannot matter. */
	if (outcome->found.at + 1 < sequence->nr)
		sequence->nr = outcome->found.at + 1;
	shrink(sequence, fails_alike, &shrinking,
	       outcome->verdict == HUNG ? SHRINK_TRIES_HANGING : SHRINK_TRIES);
}
