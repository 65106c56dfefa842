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

static inline uint32_t pgtable_census_key(uint64_t entry)
{
	/* a field plus all of its bits carries out of it, unless it is 0 */
	uint64_t frame = (entry & CENSUS_FRAME_MASK) + CENSUS_FRAME_MASK;
	uint64_t ignored = (entry & CENSUS_IGNORED_MASK) + CENSUS_IGNORED_MASK;

	return (uint32_t)((entry & CENSUS_LOW_MASK) | (frame >> 52 & 1) << 12 |
			  (ignored >> 57 & 1) << 13 | entry >> 57 << 14);
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
