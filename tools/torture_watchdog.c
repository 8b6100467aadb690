/* SPDX-License-Identifier: MIT */
/*
 * Patience is counted in ticks of the watchdog's own thread, not read from a clock: while the
 * whole machine stands still, so does the count. Records are read without a lock, since a thread
 * that is stuck does not change its own.
 */
#include "torture_watchdog.h"

#include "clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TICKS_PER_SECOND 20

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWDOWN 5
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOWDOWN 5
#endif
#endif
#ifndef SLOWDOWN
#define SLOWDOWN 1
#endif

struct watchdog {
	struct watchdog_config config;
	pthread_t thread;
	uint64_t stop;
	uint64_t invalidators_seen;
	unsigned int invalidators_still;
	char text[16384];
};

static uint64_t peek(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void poke(uint64_t *value, uint64_t to)
{
	__atomic_store_n(value, to, __ATOMIC_RELAXED);
}

static void set_entry(struct watch_entry *entry, enum watch_kind kind, uint64_t a, uint64_t b)
{
	poke(&entry->a, a);
	poke(&entry->b, b);
	poke(&entry->since_ns, clock_ns());
	poke(&entry->kind, kind);
}

void watch_progress(struct watch_record *record)
{
	poke(&record->progress, peek(&record->progress) + 1);
}

void watch_now(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b)
{
	set_entry(&record->now, kind, a, b);
	watch_progress(record);
}

void watch_hold(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b)
{
	for (unsigned int i = 0; i < WATCH_HELD; i++) {
		if (peek(&record->held[i].kind) != WATCH_NOTHING)
			continue;
		set_entry(&record->held[i], kind, a, b);
		return;
	}
}

void watch_release(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b)
{
	for (unsigned int i = 0; i < WATCH_HELD; i++) {
		struct watch_entry *held = &record->held[i];

		if (peek(&held->kind) != (uint64_t)kind || peek(&held->a) != a ||
		    peek(&held->b) != b)
			continue;
		poke(&held->kind, WATCH_NOTHING);
		return;
	}
}

void watch_finish(struct watch_record *record)
{
	__atomic_store_n(&record->finished, 1, __ATOMIC_RELEASE);
}

bool watch_finished(const struct watch_record *record)
{
	return __atomic_load_n(&record->finished, __ATOMIC_ACQUIRE);
}

/* With the two arguments; those that say nothing about them leave them out. */
static const char *const kind_formats[] = {
	[WATCH_NOTHING] = "nothing",
	[WATCH_GUEST] = "accesses to memory of VM %" PRIu64,
	[WATCH_START] = "start of [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_END] = "end of [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_MAPPING] = "system call on [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_UPDATE] = "memslot update of slot %" PRIu64 " of VM %" PRIu64,
	[WATCH_DIRTY_LOG] = "dirty log of slot %" PRIu64 " of VM %" PRIu64,
	[WATCH_VM_CREATE] = "creation of a VM",
	[WATCH_VM_PUT] = "destruction of a VM",
	[WATCH_RECLAIM] = "reclaim",
	[WATCH_AGE] = "aging",
	[WATCH_LIMIT] = "setting of a limit",
	[WATCH_MERGE] = "merging",
	[WATCH_COMPACT] = "compaction",
	[WATCH_COLLAPSE] = "collapse of [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_ADVISE] = "advice for [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_DISCARD] = "discard of [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_HOST] = "host's access to [%#" PRIx64 ", %#" PRIx64 ")",
	[WATCH_CLONE] = "cloning of %#" PRIx64,
	[WATCH_UNMAP] = "unmapping of %#" PRIx64,
	[WATCH_LOCK] = "the caller's lock M",
	[WATCH_PEER] = "another thread's next step",
};

static void print_entry(FILE *out, const struct watch_entry *entry, bool held)
{
	double seconds = (double)(clock_ns() - peek(&entry->since_ns)) / 1e9;
	uint64_t kind = peek(&entry->kind);
	const char *format = kind_formats[kind];

	if (held && kind == WATCH_START)
		format = "invalidation [%#" PRIx64 ", %#" PRIx64 ")";
	fprintf(out, format, peek(&entry->a), peek(&entry->b));
	if (kind != WATCH_NOTHING)
		fprintf(out, " since %.1f s", seconds);
}

static void print_record(FILE *out, const struct watch_record *record)
{
	const char *separator = "";

	fprintf(out, "%s: holds ", record->name);
	for (unsigned int i = 0; i < WATCH_HELD; i++) {
		if (peek(&record->held[i].kind) == WATCH_NOTHING)
			continue;
		fputs(separator, out);
		print_entry(out, &record->held[i], true);
		separator = ", ";
	}
	fputs(*separator ? "; is in: " : "nothing; is in: ", out);
	print_entry(out, &record->now, false);
	fputc('\n', out);
}

static void report(struct watchdog *watchdog)
{
	FILE *out = fmemopen(watchdog->text, sizeof(watchdog->text), "w");

	for (unsigned int i = 0; out && i < watchdog->config.nr_records; i++) {
		const struct watch_record *record = watchdog->config.records[i];

		if (!watch_finished(record))
			print_record(out, record);
	}
	if (out)
		fclose(out);
	watchdog->text[sizeof(watchdog->text) - 1] = '\0';
	watchdog->config.deadlock(watchdog->config.ctx, watchdog->text);
}

static bool may_starve(const struct watchdog *watchdog, const struct watch_record *record)
{
	uint64_t kind = peek(&record->now.kind);

	return watchdog->config.updates_starve && (kind == WATCH_UPDATE || kind == WATCH_VM_CREATE);
}

/* Has any of the threads made no progress for the @limit last ticks? */
static bool somebody_is_stuck(struct watchdog *watchdog, unsigned int limit)
{
	uint64_t invalidations = 0;
	bool stuck = false;

	for (unsigned int i = 0; i < watchdog->config.nr_records; i++) {
		struct watch_record *record = watchdog->config.records[i];
		uint64_t progress = peek(&record->progress);

		if (record->invalidates)
			invalidations += progress;
		if (watch_finished(record))
			continue;
		record->still = record->seen == progress ? record->still + 1 : 0;
		record->seen = progress;
		if (record->still >= limit &&
		    (!may_starve(watchdog, record) || watchdog->invalidators_still >= limit))
			stuck = true;
	}
	watchdog->invalidators_still =
		watchdog->invalidators_seen == invalidations ? watchdog->invalidators_still + 1 : 0;
	watchdog->invalidators_seen = invalidations;
	return stuck;
}

static void *watch(void *arg)
{
	struct watchdog *watchdog = arg;
	const struct timespec tick = { .tv_nsec = 1000000000 / TICKS_PER_SECOND };
	unsigned int limit =
		(unsigned int)(watchdog->config.patience_s * TICKS_PER_SECOND) * SLOWDOWN;

	while (!__atomic_load_n(&watchdog->stop, __ATOMIC_ACQUIRE)) {
		nanosleep(&tick, NULL);
		if (somebody_is_stuck(watchdog, limit ? limit : 1)) {
			report(watchdog);
			break;
		}
	}
	return NULL;
}

struct watchdog *watchdog_start(const struct watchdog_config *config)
{
	struct watchdog *watchdog = calloc(1, sizeof(*watchdog));

	if (!watchdog)
		return NULL;
	watchdog->config = *config;
	if (pthread_create(&watchdog->thread, NULL, watch, watchdog)) {
		free(watchdog);
		return NULL;
	}
	return watchdog;
}

void watchdog_stop(struct watchdog *watchdog)
{
	__atomic_store_n(&watchdog->stop, 1, __ATOMIC_RELEASE);
	pthread_join(watchdog->thread, NULL);
	free(watchdog);
}
