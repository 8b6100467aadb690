/* SPDX-License-Identifier: MIT */
/*
 * stage2 bench: which benchmarks there are. What is measured is in the bench_*.c files, how it is
 * measured in bench_loop.c, options and report in bench_main.c.
 */
#include "bench.h"
#include "cmd.h"

static const struct bench *const benches[] = {
	&bench_gate,	   &bench_access, &bench_fault,	 &bench_slots, &bench_growth,
	&bench_invalidate, &bench_shootdown, &bench_dirty, &bench_memory,
#ifdef S2_HAVE_POOL
	&bench_pool_swap,  &bench_pool_fault, &bench_pool_access,
	&bench_pool_merge, &bench_pool_clone, &bench_pool_memory,
	&bench_window,	   &bench_window_ways,
#endif
	NULL,
};

static const char about[] =
	"Measures, on this machine and with all gates in the same run:\n"
	"\n"
	"  gate        a start and end that overlap no memslot, by threads and VMs\n"
	"  access      loads, stores and 4 KiB copies of a guest, and its TLB misses\n"
	"  fault       faults per second with and without unrelated invalidations\n"
	"  slots       memslot updates and lookups, by number of memslots\n"
	"  growth      start and end by nesting, threads beyond the table, memslots, VMs\n"
	"  invalidate  a start and end of a mapped page, by vCPUs and how many are busy\n"
	"  shootdown   safepoints and rseq: a load, an invalidation with a busy or sleeping vCPU\n"
	"  dirty       the dirty log of 1 GiB, by how much of it is dirty\n"
	"  memory      bytes for each s2_mm, VM, vCPU, memslot and mapped page\n"
#ifdef S2_HAVE_POOL
	"  pool        all of these:\n"
	"  pool-swap   pages swapped out and in by tier, beside memcpy and the compressors\n"
	"  pool-fault  percentiles of a fault's time, with 1, 2 and 4 times the pool's memory\n"
	"  pool-access accesses per second of the same guests\n"
	"  pool-merge  the scanner for equal pages\n"
	"  pool-clone  clones of 64 MiB, and the first write to their pages\n"
	"  pool-memory bytes for each clone\n"
	"  window      guest memory by plain pointers and by vCPUs; and also\n"
	"  window-ways the kernel's ways to tell of an access and to take a page away\n"
#else
	"  (This build has no pool provider, and so not its benchmarks: libxxhash is missing.)\n"
#endif
	"  all         all of these (the default), in about two minutes and a half\v"
	"Each number is the median of the rounds. A round measures every number of the "
	"benchmark for 20 ms, so that a ratio of two numbers holds better than the numbers do. "
	"Threads are pinned, one to a CPU; other work on the machine shows in the results, and "
	"its share of the time is reported.\n"
	"\n"
	"gate's ns are wall time divided by the pairs each thread got done. The last three are "
	"no gates: floor is the least that any design with a claim and a lookup does, one "
	"compare-exchange on a line of the thread's own, one load and one store; floor+range "
	"does it in two calls and writes the range down for a memslot update to find; rwlock is "
	"the same lookup with a pthread_rwlock_t held for reading from start to end. fault's "
	"storm has a CPU of its own, so that there is none with as many vCPUs as CPUs. slots: "
	"lookup_hva is a whole unrelated start and end, of which the lookup is the part that "
	"grows; add+delete is one of each together. plain_load64, plain_miss, memcpy4k and "
	"memcpy4k_write, in access, do without the library.\n"
	"\n"
	"growth: all under the range gate. A nested pair of size n has n - 1 open around it; a "
	"thread's pair is measured on so many threads at once, which take turns if there are "
	"more than CPUs; beside memslots and VMs there is guest memory on either side of the "
	"range. invalidate: busy vCPUs are in guest mode, load, and poll every 64 loads, which "
	"those with rseq need not; the others are out of it. dirty: scan twice is what finding "
	"the dirty pages in the log costs its user. memory: as the library asks its allocator, "
	"without what malloc adds.\n"
	"\n"
#ifdef S2_HAVE_POOL
	"pool-swap: each thread has a VM of 2 MiB, all in one pool; of its pages, a tenth is "
	"zeroes, a tenth random, and LZ4 makes a third of the others. The number in parentheses "
	"is the share of what only copying or only compressing the same pages reaches. The tier "
	"\"copy\" copies, and shows the pool's own cost. Pages that LZ4 and zstd cannot make "
	"smaller go to it. pool-fault and pool-access: nine of ten accesses are to a tenth of the "
	"memory, one in four writes; with 1 times the pool's memory, pool-fault begins with all of "
	"it swapped out. \"thread\" is whether the pool has one that reclaims in the "
	"background.\n"
	"\n"
#endif
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
