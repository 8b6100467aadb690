/* SPDX-License-Identifier: MIT */
/* See run_outcome.h. */
#include "run_outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const run_same_names[] = {
	[RUN_NOT_COMPARED] = "-",
	[RUN_SAME] = "yes",
	[RUN_DIFFERENT] = "no",
};

/* Those that find no room are counted in the JSON all the same. */
static void name_unknown_calls(const struct guest_result *guest, char *text, size_t size)
{
	size_t len = 0;

	*text = '\0';
	for (unsigned int i = 0; i < guest->nr_unknown && len < size; i++) {
		const struct guest_unknown_call *call = &guest->unknown[i];
		const char *separator = i ? ", " : "";

		if (call->name)
			len += (size_t)snprintf(text + len, size - len, "%s%s", separator,
						call->name);
		else
			len += (size_t)snprintf(text + len, size - len, "%s%llu", separator,
						(unsigned long long)call->number);
	}
}

static enum run_same compare(const struct run_guest *guest, const struct run_expectation *expected)
{
	bool same = false;

	if (!expected || expected->status < 0)
		return RUN_NOT_COMPARED;
	if (expected->status != guest->result.status ||
	    run_output_same(expected->fd, guest->out, &same))
		return RUN_DIFFERENT;
	return same ? RUN_SAME : RUN_DIFFERENT;
}

/* Copies are expected to do what the first one did. */
static void expect(const struct run_guest *guest, struct run_expectation *first)
{
	int fd;

	if (first->status >= 0 || guest->error || guest->result.reason[0])
		return;
	fd = fcntl(guest->out, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		*first = (struct run_expectation){ .fd = fd, .status = guest->result.status };
}

static void judge(const struct run_pass *pass, const struct run_guest *guest,
		  struct run_guest_result *result)
{
	if (guest->error || pass->stream || pass->measure > 0)
		return;
	if (pass->native)
		result->native = compare(guest, &pass->native[guest->command]);
	if (!pass->first)
		return;
	result->copies = compare(guest, &pass->first[guest->command]);
	expect(guest, &pass->first[guest->command]);
}

static bool has_failed(const struct run_guest_result *guest)
{
	return guest->error || guest->reason[0] || (guest->status && guest->native != RUN_SAME);
}

static bool differs(const struct run_guest_result *guest)
{
	return guest->native == RUN_DIFFERENT || guest->copies == RUN_DIFFERENT;
}

static void tell(const struct run_pass *pass, const struct run_sampler *sampler, unsigned int i,
		 struct run_guest_result *result)
{
	const struct run_guest *guest = &sampler->guests[i];

	*result = (struct run_guest_result){
		.name = sampler->samples->names[i],
		.command = pass->options->commands.command[guest->command].text,
		.error = guest->error,
		.status = guest->result.status,
		.seconds = (double)guest->result.ns / 1e9,
		.cpu_seconds = (double)guest->cpu_ns / 1e9,
		.resident_peak = sampler->resident_peak[i],
		.swapped_peak = sampler->swapped_peak[i],
		.translations_dropped = guest->result.translations_dropped,
		.last = guest->last,
	};
	result->last.state = RUN_GUEST_ENDED;
	result->last.status = guest->result.status;
	snprintf(result->reason, sizeof(result->reason), "%s", guest->result.reason);
	name_unknown_calls(&guest->result, result->unknown_calls, sizeof(result->unknown_calls));
}

int run_outcome(const struct run_pass *pass, const struct run_sampler *sampler,
		struct run_result *result)
{
	result->guests = calloc(pass->nr_guests, sizeof(*result->guests));
	if (!result->guests)
		return -ENOMEM;
	result->nr_guests = pass->nr_guests;
	for (unsigned int i = 0; i < pass->nr_guests; i++) {
		tell(pass, sampler, i, &result->guests[i]);
		if (!result->stopped)
			judge(pass, &sampler->guests[i], &result->guests[i]);
		result->guest_cpu_seconds += result->guests[i].cpu_seconds;
		result->failed += has_failed(&result->guests[i]);
		result->different += differs(&result->guests[i]);
	}
	return 0;
}
