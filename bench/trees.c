/* SPDX-License-Identifier: GPL-2.0-only */
/* Loops of any table of helpers, called from C: no call of Python in the time. */
#include <time.h>

#include "bulk.h"

const struct pgtable_block_ops trees_no_ops;

uint64_t trees_time(const struct pgtable_helper *helper, int counting, const void *in,
		    uint64_t arg, void *out, size_t n, size_t times);

/* Nanoseconds that so many calls take; a map's or a test's results are in out. */
uint64_t trees_time(const struct pgtable_helper *helper, int counting, const void *in,
		    uint64_t arg, void *out, size_t n, size_t times)
{
	struct timespec from, to;
	uint64_t total = 0;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (size_t i = 0; i < times; i++) {
		if (counting)
			total = helper->count(in, NULL, arg, n);
		else if (helper->test)
			helper->test(in, NULL, arg, out, n);
		else
			helper->map(in, NULL, arg, out, n);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (counting)
		*(uint64_t *)out = total;
	return (to.tv_sec - from.tv_sec) * 1000000000ULL + to.tv_nsec - from.tv_nsec;
}
