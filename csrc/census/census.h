/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One histogram over everything but the frame: every count of every test of an
 * entry follows from it.
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

/* Forget what was counted, and go on with that instruction set. */
void pgtable_census_clear(struct pgtable_census *census, const struct pgtable_loops *loops);

/*
 * Count n more entries, fewer than 2^32 at a time.  Returns 0, or -1 without memory
 * or for more (nothing counted).
 */
int pgtable_census_add(struct pgtable_census *census, const void *in, size_t n,
		       unsigned threads);

/* The same of one table, while the memory of the next one (or NULL) is asked for. */
int pgtable_census_add_table(struct pgtable_census *census, const void *in, size_t n,
			     const void *next);

/*
 * The kinds of entries seen, in ascending order: one entry that stands for all
 * of its kind, and how many there were.  At most capacity rows are written;
 * returns how many there are.
 *
 * The stand-in has bits 0 to 11 and 57 to 63 of its kind.  Bit 52 is set for
 * any of 52 to 56, bit 30 for any of the frame's bits 12 to 51: no test
 * of an entry looks at more of these than whether one is set.
 */
size_t pgtable_census_rows(const struct pgtable_census *census, uint64_t *entries,
			   uint64_t *counts, size_t capacity);

#endif
