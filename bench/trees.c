/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls the driver from C again and again, so that no call of Python is timed. */
#include <time.h>

#include "python/operation.h"

/* instance.c refers to this table; the loops that run are those of the installed library */
extern const struct pgtable_loops pgtable_loops_tree;
const struct pgtable_loops pgtable_loops_tree;

/* run: pgtable_run() of the installed library */
uint64_t trees_time(pgtable_run_function *run, const struct pgtable_loops *loops,
		    const struct pgtable_step *steps, size_t nsteps, int counting,
		    const void *in, void *out, size_t n, size_t large_from, size_t times);

/* Returns the nanoseconds of so many calls.  Results, or the count, are in out. */
uint64_t trees_time(pgtable_run_function *run, const struct pgtable_loops *loops,
		    const struct pgtable_step *steps, size_t nsteps, int counting,
		    const void *in, void *out, size_t n, size_t large_from, size_t times)
{
	void *results = counting ? NULL : out;
	struct timespec from, to;
	uint64_t total = 0;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (size_t i = 0; i < times; i++)
		total = run(loops, steps, nsteps, NULL, NULL, in, results, NULL, n, large_from, 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (counting)
		*(uint64_t *)out = total;
	return (to.tv_sec - from.tv_sec) * 1000000000ULL + to.tv_nsec - from.tv_nsec;
}
