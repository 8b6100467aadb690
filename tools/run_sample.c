/* SPDX-License-Identifier: MIT */
/* The series of run_sample.h. */
#include "run_sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const run_event_names[RUN_NR_EVENTS] = {
	[RUN_UNRELATED] = "unrelated",
	[RUN_RELATED] = "related",
	[RUN_UPDATE] = "memslot update",
};

const char *const run_guest_state_names[] = {
	[RUN_GUEST_STARTING] = "starting",
	[RUN_GUEST_RUNNING] = "running",
	[RUN_GUEST_ENDED] = "ended",
};

int run_samples_create(unsigned int nr_guests, const char *const *names, struct run_samples **out)
{
	struct run_samples *samples = calloc(1, sizeof(*samples));

	if (!samples)
		return -ENOMEM;
	*samples = (struct run_samples){ .nr_guests = nr_guests, .names = names, .stride = 1 };
	samples->latest.nr_guests = nr_guests;
	samples->latest.guests = calloc(nr_guests, sizeof(*samples->latest.guests));
	samples->sample = calloc(RUN_MAX_SAMPLES, sizeof(*samples->sample));
	if (!samples->latest.guests || !samples->sample) {
		run_samples_destroy(samples);
		return -ENOMEM;
	}
	*out = samples;
	return 0;
}

void run_samples_destroy(struct run_samples *samples)
{
	if (!samples)
		return;
	for (unsigned int i = 0; i < samples->nr; i++)
		free(samples->sample[i].guests);
	free(samples->sample);
	free(samples->latest.guests);
	free(samples);
}

static void drop_every_second(struct run_samples *samples)
{
	for (unsigned int i = 0; i < samples->nr; i++) {
		if (i % 2)
			free(samples->sample[i].guests);
		else
			samples->sample[i / 2] = samples->sample[i];
	}
	samples->nr = (samples->nr + 1) / 2;
	samples->stride *= 2;
}

int run_samples_add(struct run_samples *samples)
{
	size_t size = samples->nr_guests * sizeof(*samples->latest.guests);
	struct run_guest_sample *guests;

	if (samples->nr && ++samples->skipped < samples->stride)
		return 0;
	if (samples->nr == RUN_MAX_SAMPLES)
		drop_every_second(samples);
	guests = malloc(size);
	if (!guests)
		return -ENOMEM;
	memcpy(guests, samples->latest.guests, size);
	samples->sample[samples->nr] = samples->latest;
	samples->sample[samples->nr++].guests = guests;
	samples->skipped = 0;
	return 0;
}
