/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The key of an entry in a census, which has all bits but the frame, and the counters.
 *
 *	key	entry
 *	0..11	0..11
 *	12	any of the frame's bits, 12..51
 *	13	any of the ignored bits, 52..56
 *	14..20	57..63
 */
#ifndef PGTABLE_CENSUS_KEY_H
#define PGTABLE_CENSUS_KEY_H

#include <stddef.h>
#include <stdint.h>

#define PGTABLE_CENSUS_KEYS ((size_t)1 << 21)

#define CENSUS_LOW_MASK ((uint64_t)0xfff)
#define CENSUS_IGNORED_HIGH ((uint32_t)0x1f00000)	/* of the upper 32 bits */
#define CENSUS_FRAME_BIT ((uint32_t)1 << 12)
#define CENSUS_IGNORED_BIT ((uint32_t)1 << 13)
#define CENSUS_TOP_SHIFT 14

/* Works on halves of 32 bits: a vector has twice as many of these. */
static inline uint32_t pgtable_census_key(uint64_t entry)
{
	uint32_t low = (uint32_t)entry, high = (uint32_t)(entry >> 32);
	uint32_t flags = low & (uint32_t)CENSUS_LOW_MASK;
	/* bits 12 to 51: the shift leaves those of the upper half alone */
	uint32_t frame = (low ^ flags) | high << 12;

	return flags | (frame ? CENSUS_FRAME_BIT : 0) |
	       (high & CENSUS_IGNORED_HIGH ? CENSUS_IGNORED_BIT : 0) |
	       high >> 25 << CENSUS_TOP_SHIFT;
}

/* The entry that stands for a key: one bit stands for "any of these".  It ascends with the key. */
static inline uint64_t pgtable_census_stand_in(size_t key)
{
	uint64_t entry = key & CENSUS_LOW_MASK;

	entry |= (uint64_t)(key >> 12 & 1) << 30;
	entry |= (uint64_t)(key >> 13 & 1) << 52;
	return entry | (uint64_t)(key >> CENSUS_TOP_SHIFT) << 57;
}

/* How many kinds are listed.  If there are more, all counters are looked at. */
#define PGTABLE_LISTED_KINDS 1024
#define PGTABLE_USUAL_KINDS 16

/*
 * Counters by key, and the kinds in the order in which they were seen.  usual: the kinds of the
 * last blocks; the next blocks are compared with these first.  found: how many entries of each
 * usual kind were found and are not in the counters yet.
 */
struct pgtable_kinds {
	unsigned nusual;
	uint32_t usual[PGTABLE_USUAL_KINDS];
	uint32_t found[PGTABLE_USUAL_KINDS];
	size_t n;	/* may be more than the list has */
	uint32_t listed[PGTABLE_LISTED_KINDS];
	uint32_t count[PGTABLE_CENSUS_KEYS];
};

static inline void pgtable_add_kind(struct pgtable_kinds *kinds, uint32_t key, uint32_t n)
{
	uint32_t count = kinds->count[key];

	kinds->count[key] = count + n;
	if (__builtin_expect(count != 0, 1))
		return;
	if (kinds->n < PGTABLE_LISTED_KINDS)
		kinds->listed[kinds->n] = key;
	kinds->n++;
}

#endif
