/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a census tells apart, everything of an entry but its frame, and where it counts.
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

/* In halves of 32 bits, so that a vector unit takes twice as many at a time. */
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

/* An entry that stands for all of a key; one bit stands for "any of".  Ascends with it. */
static inline uint64_t pgtable_census_stand_in(size_t key)
{
	uint64_t entry = key & CENSUS_LOW_MASK;

	entry |= (uint64_t)(key >> 12 & 1) << 30;
	entry |= (uint64_t)(key >> 13 & 1) << 52;
	return entry | (uint64_t)(key >> CENSUS_TOP_SHIFT) << 57;
}

/* Kinds that are listed; with more of them all counters are looked at. */
#define PGTABLE_LISTED_KINDS 1024
#define PGTABLE_USUAL_KINDS 16

/*
 * Counters by key, and the kinds that were seen, in the order in which they were.
 * usual: kinds that the last blocks were made of, so that the next are asked for them.
 * found: how many of each these had, as long as that is not counted yet.
 */
struct pgtable_kinds {
	unsigned nusual;
	uint32_t usual[PGTABLE_USUAL_KINDS];
	uint32_t found[PGTABLE_USUAL_KINDS];
	size_t n;	/* may be more than are listed */
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
