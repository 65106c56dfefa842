/* SPDX-License-Identifier: GPL-2.0-only */
/* Swap entries: type in bits 58 to 62 of a swp_entry_t, in 59 to 63 of an entry. */
#ifndef _LINUX_SWAPOPS_H
#define _LINUX_SWAPOPS_H
#include <linux/swap.h>
#include <linux/pgtable_key.h>

#define TYPE_AT		58
#define OFFSET_MASK	((1UL << TYPE_AT) - 1)
#define FIRST_BIT	9
#define FRAME_BITS	40
#define FLAG_SOFT_DIRTY	(1UL << 1)
#define FLAG_UFFD_WP	(1UL << 2)
#define FLAG_EXCLUSIVE	(1UL << 3)
#define YOUNG		(1UL << 40)
#define MIGRATION_DIRTY	(1UL << 41)

static inline swp_entry_t swp_entry(unsigned long type, unsigned long offset)
{
	return (swp_entry_t){ type << TYPE_AT | (offset & OFFSET_MASK) };
}

static inline unsigned long swp_type(swp_entry_t entry)
{
	return entry.val >> TYPE_AT;
}

static inline unsigned long swp_offset(swp_entry_t entry)
{
	return entry.val & OFFSET_MASK;
}

static inline unsigned long swp_offset_pfn(swp_entry_t entry)
{
	return entry.val & ((1UL << FRAME_BITS) - 1);
}

/* The offset is kept inverted, as frames of entries that are not present are. */
static inline pte_t swp_entry_to_pte(swp_entry_t entry)
{
	unsigned long offset = ~swp_offset(entry) << 14 >> 14 - FIRST_BIT;

	return __pte(swp_type(entry) << 59 | offset);
}

static inline swp_entry_t pte_to_swp_entry(pte_t pte)
{
	return swp_entry(pte_val(pte) >> 59, ~pte_val(pte) << 5 >> 5 + FIRST_BIT);
}

static inline pte_t pte_swp_mksoft_dirty(pte_t pte)
{
	return __pte(pte_val(pte) | FLAG_SOFT_DIRTY);
}

static inline int pte_swp_soft_dirty(pte_t pte)
{
	return (pte_val(pte) & FLAG_SOFT_DIRTY) != 0;
}

static inline pte_t pte_swp_mkuffd_wp(pte_t pte)
{
	return __pte(pte_val(pte) | FLAG_UFFD_WP);
}

static inline int pte_swp_uffd_wp(pte_t pte)
{
	return (pte_val(pte) & FLAG_UFFD_WP) != 0;
}

static inline pte_t pte_swp_mkexclusive(pte_t pte)
{
	return __pte(pte_val(pte) | FLAG_EXCLUSIVE);
}

static inline int pte_swp_exclusive(pte_t pte)
{
	return (pte_val(pte) & FLAG_EXCLUSIVE) != 0;
}

static inline pte_t pte_swp_clear_flags(pte_t pte)
{
	return __pte(pte_val(pte) & ~(FLAG_SOFT_DIRTY | FLAG_UFFD_WP | FLAG_EXCLUSIVE));
}

static inline swp_entry_t make_readable_migration_entry(unsigned long offset)
{
	return swp_entry(30, offset);
}

static inline swp_entry_t make_writable_migration_entry(unsigned long offset)
{
	return swp_entry(31, offset);
}

static inline bool is_writable_migration_entry(swp_entry_t entry)
{
	return swp_type(entry) == 31;
}

static inline bool is_readable_migration_entry(swp_entry_t entry)
{
	return swp_type(entry) == 30;
}

static inline bool is_migration_entry(swp_entry_t entry)
{
	return is_readable_migration_entry(entry) || is_writable_migration_entry(entry);
}

static inline swp_entry_t make_migration_entry_young(swp_entry_t entry)
{
	return swp_entry(swp_type(entry), swp_offset(entry) | YOUNG);
}

static inline bool is_migration_entry_young(swp_entry_t entry)
{
	return swp_offset(entry) & YOUNG;
}

static inline swp_entry_t make_migration_entry_dirty(swp_entry_t entry)
{
	return swp_entry(swp_type(entry), swp_offset(entry) | MIGRATION_DIRTY);
}

static inline bool is_migration_entry_dirty(swp_entry_t entry)
{
	return swp_offset(entry) & MIGRATION_DIRTY;
}

#define CACHING		((1UL << 3) | (1UL << 4))

static inline pgprot_t pgprot_modify(pgprot_t oldprot, pgprot_t newprot)
{
	return __pgprot((pgprot_val(oldprot) & CACHING) | (pgprot_val(newprot) & ~CACHING));
}

#include <linux/pgtable_names.h>

#endif
