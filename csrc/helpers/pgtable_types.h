/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bits of an x86-64 page-table entry, the types that hold one, and the
 * masks that say which bits are the frame.  Names, numbers and order are the kernel's.  Differences
 * between rule sets in these bits are decided only here.
 */
#ifndef PGTABLE_TYPES_H
#define PGTABLE_TYPES_H

#include "helpers/shim.h"

#define _PAGE_BIT_PRESENT	0
#define _PAGE_BIT_RW		1
#define _PAGE_BIT_USER		2
#define _PAGE_BIT_PWT		3
#define _PAGE_BIT_PCD		4
#define _PAGE_BIT_ACCESSED	5
#define _PAGE_BIT_DIRTY		6
#define _PAGE_BIT_PSE		7	/* pmd, pud: maps a large page */
#define _PAGE_BIT_PAT		7	/* pte: memory type */
#define _PAGE_BIT_GLOBAL	8
#define _PAGE_BIT_SOFTW1	9
#define _PAGE_BIT_SOFTW2	10
#define _PAGE_BIT_SOFTW3	11
#define _PAGE_BIT_PAT_LARGE	12	/* large pmd, pud: memory type */
#define _PAGE_BIT_SOFTW4	57
#define _PAGE_BIT_SOFTW5	58
#define _PAGE_BIT_PKEY_BIT0	59
#define _PAGE_BIT_PKEY_BIT1	60
#define _PAGE_BIT_PKEY_BIT2	61
#define _PAGE_BIT_PKEY_BIT3	62
#define _PAGE_BIT_NX		63

#define _PAGE_BIT_SPECIAL	_PAGE_BIT_SOFTW1
#define _PAGE_BIT_UFFD_WP	_PAGE_BIT_SOFTW2
#define _PAGE_BIT_SOFT_DIRTY	_PAGE_BIT_SOFTW3
#ifdef PGTABLE_RULES_BASE
#define _PAGE_BIT_DEVMAP	58	/* bit 58 was SOFTW4 before it became Cow */
#else
#define _PAGE_BIT_DEVMAP	_PAGE_BIT_SOFTW4
#endif
#define _PAGE_BIT_COW		_PAGE_BIT_SOFTW5
#define _PAGE_BIT_SAVED_DIRTY	_PAGE_BIT_SOFTW5

/* Only if PRESENT is clear: a page is mapped, but no access is allowed. */
#define _PAGE_BIT_PROTNONE	_PAGE_BIT_GLOBAL

#define PGTABLE_BIT(nr)		((pteval_t)1 << (nr))

#define _PAGE_PRESENT		PGTABLE_BIT(_PAGE_BIT_PRESENT)
#define _PAGE_RW		PGTABLE_BIT(_PAGE_BIT_RW)
#define _PAGE_USER		PGTABLE_BIT(_PAGE_BIT_USER)
#define _PAGE_PWT		PGTABLE_BIT(_PAGE_BIT_PWT)
#define _PAGE_PCD		PGTABLE_BIT(_PAGE_BIT_PCD)
#define _PAGE_ACCESSED		PGTABLE_BIT(_PAGE_BIT_ACCESSED)
#define _PAGE_DIRTY		PGTABLE_BIT(_PAGE_BIT_DIRTY)
#define _PAGE_PSE		PGTABLE_BIT(_PAGE_BIT_PSE)
#define _PAGE_PAT		PGTABLE_BIT(_PAGE_BIT_PAT)
#define _PAGE_GLOBAL		PGTABLE_BIT(_PAGE_BIT_GLOBAL)
#define _PAGE_SPECIAL		PGTABLE_BIT(_PAGE_BIT_SPECIAL)
#define _PAGE_UFFD_WP		PGTABLE_BIT(_PAGE_BIT_UFFD_WP)
#define _PAGE_SOFT_DIRTY	PGTABLE_BIT(_PAGE_BIT_SOFT_DIRTY)
#define _PAGE_PAT_LARGE		PGTABLE_BIT(_PAGE_BIT_PAT_LARGE)
#define _PAGE_DEVMAP		PGTABLE_BIT(_PAGE_BIT_DEVMAP)
#define _PAGE_NX		PGTABLE_BIT(_PAGE_BIT_NX)
#define _PAGE_PROTNONE		PGTABLE_BIT(_PAGE_BIT_PROTNONE)

/*
 * Hardware takes Write=0,Dirty=1 for a shadow stack.  So an ordinary page that is write-protected
 * while dirty must not keep Dirty: the software bit Cow stores the dirtiness instead.  Without
 * shadow stacks Write=0,Dirty=1 has no special meaning, and Cow is compiled out: it is 0, so it is
 * in none of the masks below.
 */
#ifdef CONFIG_X86_SHADOW_STACK
#define _PAGE_COW		PGTABLE_BIT(_PAGE_BIT_COW)
#else
#define _PAGE_COW		((pteval_t)0)
#endif
#define _PAGE_SAVED_DIRTY	PGTABLE_BIT(_PAGE_BIT_SAVED_DIRTY)

/* For software an entry is dirty if one of these is set. */
#ifdef PGTABLE_RULES_SAVED_DIRTY
#define _PAGE_DIRTY_BITS	(_PAGE_DIRTY | _PAGE_SAVED_DIRTY)
#else
#define _PAGE_DIRTY_BITS	(_PAGE_DIRTY | _PAGE_COW)
#endif

/* Frame bits.  A large page has fewer; its other low bits are flags. */
#define PTE_PFN_MASK		((pteval_t)0x000ffffffffff000)
#define PHYSICAL_PMD_PAGE_MASK	((pteval_t)0x000fffffffe00000)
#define PHYSICAL_PUD_PAGE_MASK	((pteval_t)0x000fffffc0000000)
#define PTE_FLAGS_MASK		(~PTE_PFN_MASK)
#define PAGE_SHIFT		12

/*
 * The bits of the old entry that *_modify() keeps.  The patch keeps Dirty but not Cow, so it loses
 * dirtiness that is stored in Cow.  The merged version keeps both.
 */
#ifdef PGTABLE_RULES_SAVED_DIRTY
#define PGTABLE_CHG_DIRTY	_PAGE_DIRTY_BITS
#else
#define PGTABLE_CHG_DIRTY	_PAGE_DIRTY
#endif
#define _PAGE_CHG_MASK	(PTE_PFN_MASK | _PAGE_PCD | _PAGE_PWT |			\
			 _PAGE_SPECIAL | _PAGE_ACCESSED | PGTABLE_CHG_DIRTY |	\
			 _PAGE_SOFT_DIRTY | _PAGE_DEVMAP | _PAGE_UFFD_WP |	\
			 _PAGE_PAT)
#define _HPAGE_CHG_MASK	_PAGE_CHG_MASK

/* vm_area_struct.vm_flags: this mapping is a shadow stack. */
#define VM_SHADOW_STACK		((uint64_t)1 << 37)

/* Swap entries: PRESENT=0, so hardware ignores these bits. */
#ifdef PGTABLE_SWP_SOFT_DIRTY_BIT_7
#define _PAGE_SWP_SOFT_DIRTY	_PAGE_PSE	/* up to Linux 4.13 */
#else
#define _PAGE_SWP_SOFT_DIRTY	_PAGE_RW
#endif
#define _PAGE_SWP_UFFD_WP	_PAGE_USER
#define _PAGE_SWP_EXCLUSIVE	_PAGE_PWT

static inline pte_t __pte(pteval_t val) { return (pte_t){ val }; }
static inline pmd_t __pmd(pmdval_t val) { return (pmd_t){ val }; }
static inline pud_t __pud(pudval_t val) { return (pud_t){ val }; }
static inline pgprot_t __pgprot(pgprotval_t val) { return (pgprot_t){ val }; }

static inline pteval_t pte_val(pte_t pte) { return pte.pte; }
static inline pmdval_t pmd_val(pmd_t pmd) { return pmd.pmd; }
static inline pudval_t pud_val(pud_t pud) { return pud.pud; }
static inline pgprotval_t pgprot_val(pgprot_t prot) { return prot.pgprot; }

static inline pmdval_t pmd_pfn_mask(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_PSE ? PHYSICAL_PMD_PAGE_MASK : PTE_PFN_MASK;
}

static inline pudval_t pud_pfn_mask(pud_t pud)
{
	return pud_val(pud) & _PAGE_PSE ? PHYSICAL_PUD_PAGE_MASK : PTE_PFN_MASK;
}

static inline pteval_t pte_flags(pte_t pte)
{
	return pte_val(pte) & PTE_FLAGS_MASK;
}

static inline pmdval_t pmd_flags(pmd_t pmd)
{
	return pmd_val(pmd) & ~pmd_pfn_mask(pmd);
}

static inline pudval_t pud_flags(pud_t pud)
{
	return pud_val(pud) & ~pud_pfn_mask(pud);
}

/* The PAT bit of the memory type is bit 7 of a 4 KiB entry and bit 12 of a large one. */
static inline pgprotval_t protval_4k_2_large(pgprotval_t val)
{
	return (val & ~(_PAGE_PAT | _PAGE_PAT_LARGE)) |
	       (val & _PAGE_PAT) << (_PAGE_BIT_PAT_LARGE - _PAGE_BIT_PAT);
}

static inline pgprotval_t protval_large_2_4k(pgprotval_t val)
{
	return (val & ~(_PAGE_PAT | _PAGE_PAT_LARGE)) |
	       (val & _PAGE_PAT_LARGE) >> (_PAGE_BIT_PAT_LARGE - _PAGE_BIT_PAT);
}

#endif
