/* SPDX-License-Identifier: MIT */
/*
 * stage2 bench: which benchmarks there are. What is measured is in the bench_*.c files, how it is
 * measured in bench_loop.c, options and report in bench_main.c.
 */
#include "bench.h"
#include "cmd.h"

static const struct bench *const benches[] = {
	&bench_gate,
	&bench_access,
	&bench_fault,
	&bench_slots,
	NULL,
};

static const char about[] =
	"Measures, on this machine and with all gates in the same run:\n"
	"\n"
	"  gate    a start and end that overlap no memslot, by threads and VMs\n"
	"  access  loads, stores and 4 KiB reads of a guest, and its TLB misses\n"
	"  fault   faults per second with and without unrelated invalidations\n"
	"  slots   memslot updates and lookups, by number of memslots\n"
	"  all     all of these (the default), in about half a minute\v"
	"Each number is the median of the rounds. A round measures every number of the benchmark "
	"for 20 ms, so that a ratio of two numbers holds better than the numbers do. Threads are "
	"pinned, one to a CPU; other work on the machine shows in the results, and its share of the "
	"time is reported.\n"
	"\n"
	"gate's ns are wall time divided by the pairs each thread got done. fault's vCPUs leave one "
	"CPU to the storm. slots: lookup_hva is a whole unrelated start and end, of which the lookup "
	"is the part that grows; add+delete is one of each together. plain_load64, plain_miss and "
	"memcpy4k, in access, do without the library.\n"
	"\n"
	"The goals are what this project has set itself. Whether they are met has no effect on the "
	"exit status.\n"
	"\n"
	"Example: all gates, on one thread and on two\n"
	"  stage2 bench gate --threads 1,2\n";

const struct bench_suite bench_suite = {
	.program = "stage2 bench",
	.about = about,
	.benches = benches,
};

int cmd_bench(int argc, char **argv)
{
	return bench_main(argc, argv);
}
