/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables in the order in which they lie in memory.  A kernel takes a page for a table
 * wherever one is free: read in the order of what they translate, nearly each costs a
 * search for where its page is, and the processor foresees none.
 */
#ifndef PGTABLE_WALK_ORDER_H
#define PGTABLE_WALK_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* A table, and how often it is to be counted as one of the lower half and of the upper. */
struct pgtable_due {
	const void *data;
	uint64_t times[2];
};

/*
 * Write those of n that are to be counted at all to out, which has room for as many,
 * nearly sorted by place: what is out of order lies close together.  Sets *found to how
 * many there are.  Returns 0, or -1 without memory.
 */
int pgtable_by_place(const struct pgtable_due *in, size_t n, struct pgtable_due *out,
		     size_t *found);

#endif
