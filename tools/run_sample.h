/* SPDX-License-Identifier: MIT */
/*
 * What `stage2 run` saw while guests ran: a sample every now and then, for who looks on (the status
 * line, --top), and the series of them, for who plots it afterwards. The thread that takes the
 * samples is the only one that touches them.
 */
#ifndef STAGE2_TOOLS_RUN_SAMPLE_H
#define STAGE2_TOOLS_RUN_SAMPLE_H

#include "latency.h"

#include <stage2/pool.h>
#include <stdbool.h>

#define RUN_MAX_GUESTS 256

/* What is timed by itself while guests run. */
enum run_event {
	RUN_UNRELATED, /* a pair around addresses that no guest has */
	RUN_RELATED,   /* a pair around pages of a guest, which loses what it has mapped of them */
	RUN_UPDATE,    /* of a memslot */
	RUN_NR_EVENTS
};

/* "unrelated", "related", "memslot update". */
extern const char *const run_event_names[RUN_NR_EVENTS];

enum run_guest_state { RUN_GUEST_STARTING, RUN_GUEST_RUNNING, RUN_GUEST_ENDED };

/* "starting", "running", "ended". */
extern const char *const run_guest_state_names[];

/* All but the state are counts since the guest began; of plain memory some are 0. */
struct run_guest_sample {
	enum run_guest_state state;
	int status;	   /* once it has ended: 0 to 255, as a shell has it */
	uint64_t resident; /* pages, now */
	uint64_t shared;   /* pages, now, that share a frame with others */
	uint64_t swapped;  /* pages, now */
	uint64_t merged;   /* pages that gave up a frame because another was equal */
	uint64_t swap_ins;
	uint64_t swap_outs;
	uint64_t faults;	  /* of its window and of its vCPU */
	double faults_per_s;	  /* since the last sample */
	uint64_t invalidations;	  /* of anybody's memory, while its VM lived */
	uint64_t elided;	  /* ... that did not take its mmu_lock */
	uint64_t window_mappings; /* of the kernel's, now */
	uint64_t output;	  /* bytes */
	uint64_t syscalls;
};

struct run_event_sample {
	uint64_t count; /* since the last sample */
	uint64_t p50;	/* ns, of those; 0 if there were none */
	uint64_t p99;
};

/* Of the process, in bytes. @pool: frames as the kernel has allocated them, or guests' plain memory. */
struct run_memory_sample {
	uint64_t pool;
	uint64_t other; /* everything else, above what there was before */
};

struct run_sample {
	double seconds;		    /* since the guests began */
	bool has_pool;		    /* false: plain memory; pool and mm are all 0 */
	struct s2_pool_stats pool;  /* in pages; tier_pages[i] is of the tier named tiers[i] */
	struct s2_mm_stats mm;	    /* invalidations, elided, ... since the guests began */
	double invalidations_per_s; /* since the last sample */
	struct run_event_sample events[RUN_NR_EVENTS];
	struct run_memory_sample memory;
	unsigned int nr_guests;
	struct run_guest_sample *guests; /* [nr_guests] */
};

/*
 * The series of one run, under one gate. At most RUN_MAX_SAMPLES of them: when they are as many,
 * every second one is dropped, and from then on they are taken half as often. So the points
 * are spread evenly, however long it takes.
 */
#define RUN_MAX_SAMPLES 512

struct run_samples {
	enum s2_gate gate;
	unsigned int nr_guests;
	const char *const *names; /* [nr_guests]: "1 busybox sort words", ... */
	unsigned int nr_tiers;
	char tiers[S2_POOL_TIERS][32]; /* "zstd", "file", ... */
	uint64_t guest_pages;	       /* of each guest's memory */
	unsigned int nr;
	struct run_sample *sample;	      /* [nr], oldest first */
	struct run_sample latest;	      /* may be younger than the last of the series */
	struct latency events[RUN_NR_EVENTS]; /* of the whole run so far */
	unsigned int stride;		      /* of the samples taken, how many make a point */
	unsigned int skipped;		      /* since the last point */
};

/* @names stays the caller's. -ENOMEM. */
int run_samples_create(unsigned int nr_guests, const char *const *names,
		       struct run_samples **samples);
void run_samples_destroy(struct run_samples *samples);

/*
 * samples->latest has been filled in; makes a point of it if it is time for one. -ENOMEM: the
 * series stays as it was.
 */
int run_samples_add(struct run_samples *samples);

/*
 * Who looks on while guests run, always by the same thread.
 *
 * @show: samples->latest is new; several times a second. False: the user wants to end the run, as
 *        by 'q'.
 * @hide: something else is going to be printed; what was shown has to make room for it. May be
 * NULL.
 */
struct run_view {
	bool (*show)(struct run_view *view, const struct run_samples *samples);
	void (*hide)(struct run_view *view);
	void (*destroy)(struct run_view *view);
};

#endif
