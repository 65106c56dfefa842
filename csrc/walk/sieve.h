/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which rows have to be looked at closely.  Entries of level 1 that are alike in all but
 * their frame are judged once; where the frame matters, a map of memory tells.
 */
#ifndef PGTABLE_SIEVE_H
#define PGTABLE_SIEVE_H

#include <stddef.h>
#include <stdint.h>

/*
 * A class is what a row of level 1 is but for its frame: bits 0 to 11 and 57 to 63 of the
 * entry, then what all levels allow (3 bits of its traits), then the half.
 */
enum pgtable_sieve_size {
	PGTABLE_CLASSES = 1 << 23
};

/* Of a class: whether it was judged, whether all its rows are to be looked at. */
enum pgtable_sieve_verdict {
	PGTABLE_JUDGED = 128,
	PGTABLE_ALWAYS = 64
};

struct pgtable_sieve {
	uint8_t *classes;	/* verdicts; the lower bits say where the frame must be: cells */
	uint64_t *counts;	/* rows of each class, or NULL: then the next is not counted either */
	uint64_t outside;	/* rows whose cell has a bit of this */
	uint8_t outside_bit;
	const uint8_t *cells;	/* which bits hold for 1 << shift bytes of memory */
	const uint8_t *blocks;	/* which hold for any of 512 cells: few, so that caches hold them */
	size_t ncells;		/* a multiple of 512 */
	unsigned shift;
	uint8_t beyond;		/* the same for what is beyond them */
	uint64_t frame_mask;
	uint64_t always;	/* an entry with any of these bits is looked at */
	uint32_t *fresh;	/* room for classes that were met and not judged */
	size_t nfresh;
	size_t room;
};

/* Write the numbers of rows that are to be looked at, n at most; returns how many. */
size_t pgtable_sieve_rows(struct pgtable_sieve *sieve, const uint64_t *va, const uint64_t *entry,
			  const uint8_t *traits, size_t n, uint32_t *rows);

#endif
