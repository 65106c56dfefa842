/* SPDX-License-Identifier: GPL-2.0-only */
/* What one entry is: leaf or table, of what kind, which frame, what it allows. */
#ifndef PGTABLE_WALK_ENTRY_H
#define PGTABLE_WALK_ENTRY_H

#include "walk/walk.h"

#ifndef PGTABLE_SHSTK
#define PGTABLE_SHSTK 0	/* this file uses only bits, which do not depend on these two */
#endif
#include "helpers/pgtable_types.h"

#define TABLE_ENTRIES 512
#define TABLE_BYTES 4096
#define PFN_MASK_2M ((uint64_t)0x000fffffffe00000)
#define PFN_MASK_1G ((uint64_t)0x000fffffc0000000)

/*
 * Swap entries keep their type in bits 59 to 63 and the inverted offset in 9
 * to 58.  Types count from 0 for swap files and from 31 down for special uses.
 * How many of these there are depends on version and configuration, never more
 * than ten; a marker is the topmost or, in 5.19 to 6.2, the one below it.
 */
#define SWP_TYPE_SHIFT 59
#define SWP_OFFSET_SHIFT 9
#define SWP_OFFSET_MASK (((uint64_t)1 << 50) - 1)
#define SWP_PFN_MASK (((uint64_t)1 << 40) - 1)
#define SWP_FIRST_SPECIAL 22
#define SWP_FIRST_MARKER 30
#define SWP_MAX_MARKER 7	/* uffd-wp 1, poisoned 2, guard 4 */
#define SWP_UNUSED_BITS 0xf0	/* bits 4 to 7 of a swap entry are clear */

static inline int is_leaf(uint64_t entry, unsigned level)
{
	if (!(entry & _PAGE_PRESENT))
		return 0;
	return level == 1 || (level <= 3 && (entry & _PAGE_PSE));
}

static inline int is_table(uint64_t entry, unsigned level)
{
	return (entry & _PAGE_PRESENT) && !is_leaf(entry, level);
}

static inline uint64_t frame_mask(uint64_t entry, unsigned level)
{
	int is_large = (entry & _PAGE_PSE) != 0;
	uint64_t mask = PTE_PFN_MASK;

	mask = (is_large & (level == 2)) ? PFN_MASK_2M : mask;
	return (is_large & (level == 3)) ? PFN_MASK_1G : mask;
}

static inline uint64_t swap_offset(uint64_t entry)
{
	return ~entry >> SWP_OFFSET_SHIFT & SWP_OFFSET_MASK;
}

/* Conditional moves and no branches: the next kind cannot be predicted. */
static inline unsigned classify_not_present(uint64_t va, uint64_t entry, unsigned level)
{
	unsigned type = entry >> SWP_TYPE_SHIFT, kind = PGTABLE_KIND_MIGRATION;
	int is_marker = (type >= SWP_FIRST_MARKER) & (swap_offset(entry) - 1 < SWP_MAX_MARKER);
	int is_file = type < SWP_FIRST_SPECIAL;
	/* the kernel half is never swapped, and tables of huge pages have no swap files */
	int is_other = (va >> 63 != 0) | ((entry & SWP_UNUSED_BITS) != 0) | ((level > 1) & is_file);

	kind = is_marker ? PGTABLE_KIND_MARKER : kind;
	kind = is_file ? PGTABLE_KIND_SWAP : kind;
	kind = is_other ? PGTABLE_KIND_OTHER : kind;
	kind = entry & _PAGE_PROTNONE ? PGTABLE_KIND_PROT_NONE : kind;
	return level > 3 ? PGTABLE_KIND_OTHER : kind;
}

/* The frame, likewise without branches. */
static inline uint64_t frame_of(uint64_t entry, unsigned traits)
{
	unsigned absent = traits & PGTABLE_NOT_PRESENT, kind = traits % PGTABLE_NOT_PRESENT;
	/* a non-zero entry that is not present stores its frame inverted */
	uint64_t stored = absent ? ~entry : entry;
	uint64_t frame = stored & frame_mask(entry, traits / PGTABLE_LEVEL);
	uint64_t migrating = (swap_offset(entry) & SWP_PFN_MASK) << PAGE_SHIFT;
	int none = (kind == PGTABLE_KIND_SWAP) | (kind == PGTABLE_KIND_MARKER);

	frame = absent && kind == PGTABLE_KIND_MIGRATION ? migrating : frame;
	return absent && none ? 0 : frame;
}

/* What an entry and the levels above allow together. */
static inline uint8_t combine(unsigned above, uint64_t entry, unsigned nx_mask)
{
	unsigned allowed = (entry >> _PAGE_BIT_RW) & (PGTABLE_WRITABLE | PGTABLE_USER);
	unsigned nx = (entry >> (_PAGE_BIT_NX - 2)) & nx_mask;

	return (above & (allowed | PGTABLE_NX)) | nx;
}

/* rights: of an entry that is present, combined with those above. */
static inline uint8_t traits_of(uint64_t va, uint64_t entry, unsigned level, unsigned rights)
{
	unsigned traits = level * PGTABLE_LEVEL;

	if (!(entry & _PAGE_PRESENT))
		return traits | PGTABLE_NOT_PRESENT | classify_not_present(va, entry, level);
	return traits | rights | (is_leaf(entry, level) ? 0 : PGTABLE_TABLE);
}

#endif
