/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sorts tables by their place in memory.  A kernel uses any free page for a table.  So in the order
 * of the addresses that tables translate, the processor cannot foresee the next page, and nearly
 * each read waits for a lookup of its address.
 */
#ifndef PGTABLE_WALK_ORDER_H
#define PGTABLE_WALK_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* A table, and how often it counts for the lower half and for the upper half. */
struct pgtable_due {
	const void *data;
	uint64_t times[2];
};

/*
 * Write the tables that have to be counted to out, which has room for n.  They are nearly sorted:
 * tables that are out of order lie close together.  Sets *found to their number. Returns 0, or -1
 * without memory.
 */
int pgtable_by_place(const struct pgtable_due *in, size_t n, struct pgtable_due *out,
		     size_t *found);

#endif
