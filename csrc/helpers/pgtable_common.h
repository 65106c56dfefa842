/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bulk calls of most helpers run a closed form that was found from this text (form/form.h),
 * not the text itself.  native(forms=False), or PGTABLE_FORMS=0, runs the text.
 *
 * The helpers that are the same in all rule sets.  pgtable.h and pgtable_saved_dirty.h include this
 * first.  The order is the kernel's.
 */
#ifndef PGTABLE_COMMON_H
#define PGTABLE_COMMON_H

#include "helpers/pgtable_types.h"

/*
 * A non-zero entry with PRESENT=0 stores its frame inverted, so that a speculative walk cannot
 * reach cached data (L1TF).  Earlier kernels (PGTABLE_PLAIN_FRAMES) do not invert it.
 */
static inline bool __pte_needs_invert(uint64_t val)
{
#ifdef PGTABLE_PLAIN_FRAMES
	(void)val;
	return false;
#else
	return val && !(val & _PAGE_PRESENT);
#endif
}

/* What a frame is XORed with: all ones if the entry stores it inverted. */
static inline uint64_t protnone_mask(uint64_t val)
{
	return __pte_needs_invert(val) ? ~(uint64_t)0 : 0;
}

/* Invert the frame if only one of the two entries stores it inverted. */
static inline uint64_t flip_protnone_guard(uint64_t oldval, uint64_t val, uint64_t mask)
{
	return val ^ ((protnone_mask(oldval) ^ protnone_mask(val)) & mask);
}

/*
 * The bit that makes an entry writable besides Write.  It is Dirty, on a processor with shadow
 * stacks: with Write=0 it means a shadow stack, and with Write=1 it changes nothing.  So "Write or
 * shadow stack" is one test of two bits.
 */
static inline uint64_t __shstk_dirty(void)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) ? _PAGE_DIRTY : 0;
}

static inline bool pte_young(pte_t pte)
{
	return pte_val(pte) & _PAGE_ACCESSED;
}

static inline bool pmd_young(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_ACCESSED;
}

static inline bool pud_young(pud_t pud)
{
	return pud_val(pud) & _PAGE_ACCESSED;
}

static inline bool pte_huge(pte_t pte)
{
	return pte_val(pte) & _PAGE_PSE;
}

static inline bool pte_global(pte_t pte)
{
	return pte_val(pte) & _PAGE_GLOBAL;
}

static inline bool pte_exec(pte_t pte)
{
	return !(pte_val(pte) & _PAGE_NX);
}

static inline bool pte_special(pte_t pte)
{
	return pte_val(pte) & _PAGE_SPECIAL;
}

static inline uint64_t pte_pfn(pte_t pte)
{
	uint64_t pfn = pte_val(pte) ^ protnone_mask(pte_val(pte));

	return (pfn & PTE_PFN_MASK) >> PAGE_SHIFT;
}

static inline uint64_t pmd_pfn(pmd_t pmd)
{
	uint64_t pfn = pmd_val(pmd) ^ protnone_mask(pmd_val(pmd));

	return (pfn & pmd_pfn_mask(pmd)) >> PAGE_SHIFT;
}

static inline uint64_t pud_pfn(pud_t pud)
{
	uint64_t pfn = pud_val(pud) ^ protnone_mask(pud_val(pud));

	return (pfn & pud_pfn_mask(pud)) >> PAGE_SHIFT;
}

static inline bool pmd_leaf(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_PSE;
}

static inline bool pmd_trans_huge(pmd_t pmd)
{
	return (pmd_val(pmd) & (_PAGE_PSE | _PAGE_DEVMAP)) == _PAGE_PSE;
}

static inline bool pud_trans_huge(pud_t pud)
{
	return (pud_val(pud) & (_PAGE_PSE | _PAGE_DEVMAP)) == _PAGE_PSE;
}

static inline bool pmd_devmap(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_DEVMAP;
}

static inline bool pud_devmap(pud_t pud)
{
	return pud_val(pud) & _PAGE_DEVMAP;
}

static inline pte_t pte_set_flags(pte_t pte, pteval_t set)
{
	return __pte(pte_val(pte) | set);
}

static inline pte_t pte_clear_flags(pte_t pte, pteval_t clear)
{
	return __pte(pte_val(pte) & ~clear);
}

static inline bool pte_uffd_wp(pte_t pte)
{
	return pte_val(pte) & _PAGE_UFFD_WP;
}

static inline pte_t pte_clear_uffd_wp(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_UFFD_WP);
}

static inline pte_t pte_mkold(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_mkexec(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_NX);
}

static inline pte_t pte_mkyoung(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_mkhuge(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_PSE);
}

static inline pte_t pte_clrhuge(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_PSE);
}

static inline pte_t pte_mkglobal(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_GLOBAL);
}

static inline pte_t pte_clrglobal(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_GLOBAL);
}

static inline pte_t pte_mkspecial(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SPECIAL);
}

static inline pte_t pte_mkdevmap(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SPECIAL | _PAGE_DEVMAP);
}

static inline pmd_t pmd_set_flags(pmd_t pmd, pmdval_t set)
{
	return __pmd(pmd_val(pmd) | set);
}

static inline pmd_t pmd_clear_flags(pmd_t pmd, pmdval_t clear)
{
	return __pmd(pmd_val(pmd) & ~clear);
}

static inline bool pmd_uffd_wp(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_UFFD_WP;
}

static inline pmd_t pmd_clear_uffd_wp(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_UFFD_WP);
}

static inline pmd_t pmd_mkold(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_ACCESSED);
}

static inline pmd_t pmd_mkyoung(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_ACCESSED);
}

static inline pmd_t pmd_mkhuge(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_PSE);
}

static inline pmd_t pmd_mkdevmap(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_DEVMAP);
}

static inline pud_t pud_set_flags(pud_t pud, pudval_t set)
{
	return __pud(pud_val(pud) | set);
}

static inline pud_t pud_clear_flags(pud_t pud, pudval_t clear)
{
	return __pud(pud_val(pud) & ~clear);
}

static inline pud_t pud_mkold(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_ACCESSED);
}

static inline pud_t pud_mkyoung(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_ACCESSED);
}

static inline pud_t pud_mkhuge(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_PSE);
}

static inline pud_t pud_mkdevmap(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_DEVMAP);
}

static inline bool pte_soft_dirty(pte_t pte)
{
	return pte_val(pte) & _PAGE_SOFT_DIRTY;
}

static inline bool pmd_soft_dirty(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_SOFT_DIRTY;
}

static inline bool pud_soft_dirty(pud_t pud)
{
	return pud_val(pud) & _PAGE_SOFT_DIRTY;
}

static inline pte_t pte_mksoft_dirty(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SOFT_DIRTY);
}

static inline pmd_t pmd_mksoft_dirty(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_SOFT_DIRTY);
}

static inline pud_t pud_mksoft_dirty(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_SOFT_DIRTY);
}

static inline pte_t pte_clear_soft_dirty(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_SOFT_DIRTY);
}

static inline pmd_t pmd_clear_soft_dirty(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_SOFT_DIRTY);
}

static inline pud_t pud_clear_soft_dirty(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_SOFT_DIRTY);
}

static inline pte_t pfn_pte(uint64_t page_nr, pgprot_t pgprot)
{
	uint64_t pfn = (page_nr << PAGE_SHIFT) ^ protnone_mask(pgprot_val(pgprot));

	return __pte((pfn & PTE_PFN_MASK) | pgprot_val(pgprot));
}

static inline pmd_t pfn_pmd(uint64_t page_nr, pgprot_t pgprot)
{
	uint64_t pfn = (page_nr << PAGE_SHIFT) ^ protnone_mask(pgprot_val(pgprot));

	return __pmd((pfn & PHYSICAL_PMD_PAGE_MASK) | pgprot_val(pgprot));
}

static inline pud_t pfn_pud(uint64_t page_nr, pgprot_t pgprot)
{
	uint64_t pfn = (page_nr << PAGE_SHIFT) ^ protnone_mask(pgprot_val(pgprot));

	return __pud((pfn & PHYSICAL_PUD_PAGE_MASK) | pgprot_val(pgprot));
}

static inline pmd_t pmd_mkinvalid(pmd_t pmd)
{
	pmdval_t flags = pmd_flags(pmd) & ~(_PAGE_PRESENT | _PAGE_PROTNONE);

	return pfn_pmd(pmd_pfn(pmd), __pgprot(flags));
}

/* A processor erratum may set Dirty or Accessed in an empty entry. */
static inline bool pte_none(pte_t pte)
{
	return !(pte_val(pte) & ~(_PAGE_DIRTY | _PAGE_ACCESSED));
}

static inline bool pte_same(pte_t a, pte_t b)
{
	return pte_val(a) == pte_val(b);
}

static inline bool pmd_same(pmd_t a, pmd_t b)
{
	return pmd_val(a) == pmd_val(b);
}

static inline bool pud_same(pud_t a, pud_t b)
{
	return pud_val(a) == pud_val(b);
}

static inline bool pte_present(pte_t pte)
{
	return pte_val(pte) & (_PAGE_PRESENT | _PAGE_PROTNONE);
}

static inline bool pte_devmap(pte_t pte)
{
	return pte_val(pte) & _PAGE_DEVMAP;
}

static inline bool pte_protnone(pte_t pte)
{
	return (pte_val(pte) & (_PAGE_PRESENT | _PAGE_PROTNONE)) == _PAGE_PROTNONE;
}

static inline bool pmd_protnone(pmd_t pmd)
{
	return (pmd_val(pmd) & (_PAGE_PRESENT | _PAGE_PROTNONE)) == _PAGE_PROTNONE;
}

/* While a huge page is split, PRESENT is clear for a moment, and PSE says that it is mapped. */
static inline bool pmd_present(pmd_t pmd)
{
	return pmd_val(pmd) & (_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE);
}

static inline bool pmd_none(pmd_t pmd)
{
	return !(pmd_val(pmd) & ~(_PAGE_DIRTY | _PAGE_ACCESSED));
}

static inline bool pmd_bad(pmd_t pmd)
{
	return (pmd_flags(pmd) & ~(_PAGE_USER | _PAGE_ACCESSED)) !=
	       (_PAGE_PRESENT | _PAGE_RW | _PAGE_DIRTY);
}

static inline bool pud_none(pud_t pud)
{
	return !(pud_val(pud) & ~(_PAGE_DIRTY | _PAGE_ACCESSED));
}

static inline bool pud_present(pud_t pud)
{
	return pud_val(pud) & _PAGE_PRESENT;
}

static inline bool pud_bad(pud_t pud)
{
	return pud_flags(pud) & ~(_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED |
				    _PAGE_DIRTY | _PAGE_USER);
}

static inline pte_t pte_swp_mksoft_dirty(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SWP_SOFT_DIRTY);
}

static inline bool pte_swp_soft_dirty(pte_t pte)
{
	return pte_val(pte) & _PAGE_SWP_SOFT_DIRTY;
}

static inline pte_t pte_swp_clear_soft_dirty(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_SWP_SOFT_DIRTY);
}

static inline pmd_t pmd_swp_mksoft_dirty(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_SWP_SOFT_DIRTY);
}

static inline bool pmd_swp_soft_dirty(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_SWP_SOFT_DIRTY;
}

static inline pmd_t pmd_swp_clear_soft_dirty(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_SWP_SOFT_DIRTY);
}

static inline pte_t pte_swp_mkuffd_wp(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SWP_UFFD_WP);
}

static inline bool pte_swp_uffd_wp(pte_t pte)
{
	return pte_val(pte) & _PAGE_SWP_UFFD_WP;
}

static inline pte_t pte_swp_clear_uffd_wp(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_SWP_UFFD_WP);
}

static inline pmd_t pmd_swp_mkuffd_wp(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_SWP_UFFD_WP);
}

static inline bool pmd_swp_uffd_wp(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_SWP_UFFD_WP;
}

static inline pmd_t pmd_swp_clear_uffd_wp(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_SWP_UFFD_WP);
}

static inline pte_t pte_swp_mkexclusive(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SWP_EXCLUSIVE);
}

static inline bool pte_swp_exclusive(pte_t pte)
{
	return pte_val(pte) & _PAGE_SWP_EXCLUSIVE;
}

static inline pte_t pte_swp_clear_exclusive(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_SWP_EXCLUSIVE);
}

/* What an access by user mode needs.  Writing needs Write; a shadow stack does not count. */
static inline bool __pte_access_permitted(uint64_t val, bool write)
{
	uint64_t need = _PAGE_PRESENT | _PAGE_USER | (write ? _PAGE_RW : 0);

	return (val & need) == need;
}

static inline bool pte_access_permitted(pte_t pte, bool write)
{
	return __pte_access_permitted(pte_val(pte), write);
}

static inline bool pmd_access_permitted(pmd_t pmd, bool write)
{
	return __pte_access_permitted(pmd_val(pmd), write);
}

static inline bool pud_access_permitted(pud_t pud, bool write)
{
	return __pte_access_permitted(pud_val(pud), write);
}

#endif
