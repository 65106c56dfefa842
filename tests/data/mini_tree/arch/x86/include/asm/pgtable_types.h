/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_PGTABLE_TYPES_H
#define _ASM_X86_PGTABLE_TYPES_H
#include <linux/types.h>

#define _PAGE_PRESENT		(1UL << 0)
#define _PAGE_RW		(1UL << 1)
#define _PAGE_USER		(1UL << 2)
#define _PAGE_PWT		(1UL << 3)
#define _PAGE_PCD		(1UL << 4)
#define _PAGE_ACCESSED		(1UL << 5)
#define _PAGE_DIRTY		(1UL << 6)
#define _PAGE_PSE		(1UL << 7)
#define _PAGE_GLOBAL		(1UL << 8)
#define _PAGE_PROTNONE		_PAGE_GLOBAL
#define _PAGE_SPECIAL		(1UL << 9)
#define _PAGE_UFFD_WP		(1UL << 10)
#define _PAGE_SOFT_DIRTY	(1UL << 11)
#define _PAGE_DEVMAP		(1UL << 57)
#define _PAGE_BIT_SAVED_DIRTY	58
#define _PAGE_SAVED_DIRTY	(1UL << _PAGE_BIT_SAVED_DIRTY)
#define _PAGE_NX		(1UL << 63)
#define _PAGE_DIRTY_BITS	(_PAGE_DIRTY | _PAGE_SAVED_DIRTY)

#define _PAGE_CHG_KEPT	(_PAGE_PCD | _PAGE_PWT | _PAGE_SPECIAL | _PAGE_ACCESSED | \
			 _PAGE_DIRTY_BITS | _PAGE_SOFT_DIRTY | _PAGE_DEVMAP | \
			 _PAGE_UFFD_WP | _PAGE_PSE)

#define PTE_PFN_MASK	0x000ffffffffff000UL
#define PMD_PFN_MASK	0x000fffffffe00000UL
#define PUD_PFN_MASK	0x000fffffc0000000UL

typedef unsigned long pteval_t;
typedef unsigned long pmdval_t;
typedef unsigned long pudval_t;
typedef unsigned long pgprotval_t;

typedef struct { pteval_t pte; } pte_t;
typedef struct { pmdval_t pmd; } pmd_t;
typedef struct { pudval_t pud; } pud_t;
typedef struct { unsigned long p4d; } p4d_t;
typedef struct { unsigned long pgd; } pgd_t;
typedef struct pgprot { pgprotval_t pgprot; } pgprot_t;

#define pte_val(x)	((x).pte)
#define pmd_val(x)	((x).pmd)
#define pud_val(x)	((x).pud)
#define p4d_val(x)	((x).p4d)
#define pgd_val(x)	((x).pgd)
#define pgprot_val(x)	((x).pgprot)
#define __pte(x)	((pte_t) { (x) })
#define __pmd(x)	((pmd_t) { (x) })
#define __pud(x)	((pud_t) { (x) })
#define __p4d(x)	((p4d_t) { (x) })
#define __pgd(x)	((pgd_t) { (x) })
#define __pgprot(x)	((pgprot_t) { (x) })

#endif
