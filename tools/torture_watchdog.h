/* SPDX-License-Identifier: MIT */
/*
 * Tells a deadlock from a slow machine, and what each thread holds and waits for when there is
 * one. Each thread keeps a record of its own up to date; the watchdog only reads them.
 */
#ifndef STAGE2_TOOLS_TORTURE_WATCHDOG_H
#define STAGE2_TOOLS_TORTURE_WATCHDOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a thread can do, wait for or hold; in the comments, the meaning of the two arguments. */
enum watch_kind {
	WATCH_NOTHING,
	WATCH_GUEST,	 /* accesses to guest memory (VM) */
	WATCH_START,	 /* start, or as something held: the invalidation (start, end) */
	WATCH_END,	 /* end (start, end) */
	WATCH_MAPPING,	 /* a system call (start, end) */
	WATCH_UPDATE,	 /* memslot update (slot, VM) */
	WATCH_DIRTY_LOG, /* (slot, VM) */
	WATCH_VM_CREATE,
	WATCH_VM_PUT,
	WATCH_RECLAIM,	/* and what else a pool's calls are */
	WATCH_AGE,
	WATCH_LIMIT,
	WATCH_MERGE,
	WATCH_COMPACT,
	WATCH_COLLAPSE, /* (start, end) */
	WATCH_ADVISE,	/* (start, end) */
	WATCH_DISCARD,	/* (start, end) */
	WATCH_HOST,	/* the host's own access (start, end) */
	WATCH_CLONE,	/* (hva) */
	WATCH_UNMAP,	/* (hva) */
	WATCH_LOCK, /* the lock M of the scenario */
	WATCH_PEER, /* another thread of the scenario */
};

struct watch_entry {
	uint64_t kind;
	uint64_t a;
	uint64_t b;
	uint64_t since_ns;
};

#define WATCH_HELD 4

/*
 * A thread's record, of which each member but the last two is written by that thread only.
 *
 * @invalidates: it starts and ends invalidations all the time; if these threads get on, one that
 *               waits for them to pause starves, which is not a deadlock.
 */
struct watch_record {
	char name[24];
	bool invalidates;
	uint64_t finished;
	uint64_t progress;
	struct watch_entry now;
	struct watch_entry held[WATCH_HELD];
	uint64_t seen;
	unsigned int still;
};

/* What the thread does from here on. Each call is progress. */
void watch_now(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b);
/* Still the same, and getting on with it. */
void watch_progress(struct watch_record *record);
/* What it holds until watch_release() of the same. */
void watch_hold(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b);
void watch_release(struct watch_record *record, enum watch_kind kind, uint64_t a, uint64_t b);
/* The thread is done. */
void watch_finish(struct watch_record *record);
bool watch_finished(const struct watch_record *record);

/*
 * @patience_s:    a thread without progress for that long is stuck; under a sanitizer, five times
 *                 that long.
 * @updates_starve: the gate lets memslot updates and VM creation wait for as long as invalidations
 *                 go on, so that they are stuck only if no invalidation gets on either.
 * @deadlock:      called on the watchdog's thread with one line for each thread that is not done,
 *                 once. The stuck threads cannot be joined, so it has no way but to end the
 * process.
 */
struct watchdog_config {
	struct watch_record **records;
	unsigned int nr_records;
	double patience_s;
	bool updates_starve;
	void (*deadlock)(void *ctx, const char *threads);
	void *ctx;
};

struct watchdog;

/* NULL: no memory or no thread. The records must outlive it. */
struct watchdog *watchdog_start(const struct watchdog_config *config);
void watchdog_stop(struct watchdog *watchdog);

#endif
