/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a census tells apart: everything of an entry but its frame.
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
#define CENSUS_FRAME_MASK ((uint64_t)0x000ffffffffff000)
#define CENSUS_IGNORED_MASK ((uint64_t)0x01f0000000000000)

/* In halves of 32 bits, so that a vector unit takes twice as many at a time. */
static inline uint32_t pgtable_census_key(uint64_t entry)
{
	uint32_t low = (uint32_t)entry, high = (uint32_t)(entry >> 32);
	uint32_t frame = (low & (uint32_t)CENSUS_FRAME_MASK) |
			 (high & (uint32_t)(CENSUS_FRAME_MASK >> 32));
	uint32_t ignored = high & (uint32_t)(CENSUS_IGNORED_MASK >> 32);

	return (low & (uint32_t)CENSUS_LOW_MASK) | (uint32_t)(frame != 0) << 12 |
	       (uint32_t)(ignored != 0) << 13 | high >> 25 << 14;
}

/*
 * Where the counter of a key is.  Kinds that differ in high bits alone would lie a
 * whole number of pages apart, and stores at such distances wait for each other.
 */
#define PGTABLE_CENSUS_GROUP_BITS 10

static inline uint32_t pgtable_census_bin(uint32_t key)
{
	uint32_t group = key >> PGTABLE_CENSUS_GROUP_BITS;

	return key ^ (group * 45 & ((1u << PGTABLE_CENSUS_GROUP_BITS) - 1));
}

/* An entry that stands for all of a key; one bit stands for "any of". */
static inline uint64_t pgtable_census_stand_in(size_t key)
{
	uint64_t entry = key & CENSUS_LOW_MASK;

	entry |= (uint64_t)(key >> 12 & 1) << 30;
	entry |= (uint64_t)(key >> 13 & 1) << 52;
	return entry | (uint64_t)(key >> 14) << 57;
}

#endif
