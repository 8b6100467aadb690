/* SPDX-License-Identifier: MIT */
/*
 * What came of a run: the same guests, once under each gate, and what pairs and updates cost beside
 * more or fewer of them. For the tables, for --json and for --report.
 */
#ifndef STAGE2_TOOLS_RUN_RESULT_H
#define STAGE2_TOOLS_RUN_RESULT_H

#include "run_sample.h"

#define RUN_REASON 160
#define RUN_UNKNOWN_CALLS 128

enum run_same { RUN_NOT_COMPARED, RUN_SAME, RUN_DIFFERENT };

/* "-", "yes", "no". */
extern const char *const run_same_names[];

struct run_guest_result {
	const char *name;		       /* as in run_samples */
	const char *command;		       /* as it was given: "busybox sort /words" */
	int error;			       /* it could not be started: negative errno */
	int status;			       /* 0 to 255, as a shell has it */
	char reason[RUN_REASON];	       /* "", or why it did not end by itself */
	char unknown_calls[RUN_UNKNOWN_CALLS]; /* that got ENOSYS: "getcpu, 999", or "" */
	enum run_same native; /* output and status, as the host's own run had them */
	enum run_same copies; /* ... as the first guest with this command */
	double seconds;
	double cpu_seconds;
	uint64_t resident_peak; /* pages */
	uint64_t swapped_peak;
	uint64_t translations_dropped; /* times its code did not fit into --code */
	struct run_guest_sample last;
};

/*
 * In bytes, above what the process had before. The frames' share is what the kernel has allocated
 * to the pool's memfd; resident set sizes count a page as often as it is mapped.
 *
 * @library: of other_peak, what came back when VMs, windows and pool were destroyed: tables, and
 *           tiers in memory.
 */
struct run_memory_result {
	uint64_t pool_size;
	uint64_t guests;     /* of memory altogether */
	uint64_t pool_peak;  /* frames */
	uint64_t other_peak; /* everything else that was resident: the engines', mostly */
	uint64_t library;
	uint64_t hwm; /* VmHWM, which counts pages that are mapped twice as two */
};

struct run_result {
	enum s2_gate gate;
	bool plain;   /* on plain memory: no pool, and the gate means nothing */
	bool stopped; /* the user ended it */
	double seconds;
	double cpu_seconds;	  /* of the process, meanwhile */
	double guest_cpu_seconds; /* of that, the guests', their faults included */
	struct run_samples *samples;
	unsigned int nr_guests;
	struct run_guest_result *guests;
	unsigned int failed;	/* guests that could not be started or did not end by themselves */
	unsigned int different; /* guests whose output or status is not what it should be */
	struct s2_pool_stats pool; /* at the end, before the guests' memory went */
	struct s2_mm_stats mm;
	struct run_memory_result memory;
};

/* What tells it from the others: "plain memory", or its gate. */
static inline const char *run_result_title(const struct run_result *result)
{
	return result->plain ? "plain memory" : s2_gate_name(result->gate);
}

/* How long each event took beside so many guests, under a gate. */
struct run_compare_cell {
	unsigned int guests;
	enum s2_gate gate;
	struct latency events[RUN_NR_EVENTS];
};

struct run_report {
	const char *command; /* the whole command line, to be told to the reader as it is */
	unsigned int nr_results;
	struct run_result *results; /* plain memory first, if it was asked for */
	unsigned int nr_cells;	    /* of --compare: by guests, then by gate; 0 without */
	struct run_compare_cell *cells;
};

#endif
