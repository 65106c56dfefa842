/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A histogram of entries by all bits but the frame.  The count of any test of an entry follows from
 * it.
 */
#ifndef PGTABLE_CENSUS_H
#define PGTABLE_CENSUS_H

#include <stddef.h>
#include <stdint.h>

struct pgtable_census;
struct pgtable_kinds;
struct pgtable_loops;

/* The loop of a census, for one instruction set. */
struct pgtable_census_loops {
	/* ahead: as much memory again, which is asked for meanwhile, or NULL */
	void (*count_kinds)(struct pgtable_kinds *kinds, const void *in, size_t n,
			    const void *ahead);
};

/* loops: of the instruction set to use.  Returns NULL when there is no memory. */
struct pgtable_census *pgtable_census_new(const struct pgtable_loops *loops);
void pgtable_census_free(struct pgtable_census *census);

/* Set all counts to 0, and use this instruction set from now on. */
void pgtable_census_clear(struct pgtable_census *census, const struct pgtable_loops *loops);

/*
 * Count n more entries, fewer than 2^32.  Returns 0; or -1, and counts nothing, for more entries or
 * without memory.
 */
int pgtable_census_add(struct pgtable_census *census, const void *in, size_t n,
		       unsigned threads);

/* Count one table, and ask for the memory of the next one (or NULL) meanwhile. */
int pgtable_census_add_table(struct pgtable_census *census, const void *in, size_t n,
			     const void *next);

/*
 * List the kinds of entries in ascending order: an entry that stands for its kind, and the count.
 * Writes at most capacity rows; returns how many kinds there are.
 *
 * The stand-in has bits 0 to 11 and 57 to 63 of its kind.  Bit 52 is set for
 * any of 52 to 56, bit 30 for any of the frame's bits 12 to 51: no test
 * of an entry looks at more of these than whether one is set.
 */
size_t pgtable_census_rows(const struct pgtable_census *census, uint64_t *entries,
			   uint64_t *counts, size_t capacity);

#endif
