/* SPDX-License-Identifier: MIT */
/*
 * Who may go next: plays a recording's events on threads of their own, in recorded order, as far as
 * that can be done without ever stopping. Knows nothing of the library, which makes it testable
 * with events that block as the test likes.
 *
 * An event is issued when its thread begins to run it. The next one is issued
 *  - once it has been run to its end, if it cannot be made to wait, so that what overlapped in the
 *    recording overlaps again, and nothing disturbs the measurement of a call;
 *  - at once, if it can: an update while invalidations are in flight, and with a gate where starts
 *    wait for updates, a start while an update has not returned. What it waits for may be an event
 *    yet to be issued.
 * An event that conflicts (replay_plan.h) with an earlier one that has not returned is passed over,
 * and issued as soon as it no longer does.
 */
#ifndef STAGE2_TOOLS_REPLAY_ORDER_H
#define STAGE2_TOOLS_REPLAY_ORDER_H

#include "replay_plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct order_options {
	/* Recorded time is divided by it; 0: as fast as possible. */
	double speed;
	/* Starts may have to wait for an update under way, as behind a rwsem's writer. */
	bool starts_wait;
	/* Give up when no event was issued or returned for so long, though one could be; 0: never.
	 */
	uint64_t stall_ns;
	/* May be NULL. Called a few times a second with how many of the events are done. */
	void (*progress)(void *ctx, size_t done, size_t total);
	void *progress_ctx;
};

#define ORDER_NO_EVENT SIZE_MAX

/*
 * Calls @run(@ctx, event) once for each event, from the event's thread, and returns 0 when all have
 * returned. @run returns false if the replay has failed and its pace no longer matters.
 *
 * -ENOMEM or -EAGAIN: a thread could not be started; -ETIMEDOUT: a stall. In both cases *@stuck is
 * the first event that did not return, or ORDER_NO_EVENT, and threads may be inside @run for ever:
 * what they use must stay, and the process should report and end.
 */
int order_play(const struct replay_plan *plan, const struct order_options *options,
	       bool (*run)(void *ctx, size_t event), void *ctx, size_t *stuck);

#endif
