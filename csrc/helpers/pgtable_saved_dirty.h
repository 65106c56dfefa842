/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bulk calls of most helpers run a closed form that was found from this text (form/form.h),
 * not the text itself.  native(forms=False), or PGTABLE_FORMS=0, runs the text.
 *
 * The helpers as merged in Linux 6.6.  Bit 58 is called SavedDirty, and dirtiness moves between
 * Dirty and SavedDirty on every processor.  So the bits mean the same everywhere, and there is no
 * branch.  The feature is tested only to tell whether Write=0,Dirty=1 is a shadow stack.
 */
#ifndef PGTABLE_SAVED_DIRTY_H
#define PGTABLE_SAVED_DIRTY_H

#include "helpers/pgtable_common.h"

#define PGTABLE_SAVED_DIRTY_SHIFT (_PAGE_BIT_SAVED_DIRTY - _PAGE_BIT_DIRTY)

/* Write=0: Dirty moves to SavedDirty.  Write=1: nothing moves. */
static inline uint64_t mksaveddirty_shift(uint64_t val)
{
	uint64_t cond = (~val >> _PAGE_BIT_RW) & 1;
	uint64_t moved = ((val >> _PAGE_BIT_DIRTY) & cond) << _PAGE_BIT_SAVED_DIRTY;

	return (val | moved) & ~(cond << _PAGE_BIT_DIRTY);
}

/* Write=1: SavedDirty moves back to Dirty.  Write=0: nothing moves. */
static inline uint64_t clear_saveddirty_shift(uint64_t val)
{
	uint64_t cond = (val >> _PAGE_BIT_RW) & 1;
	uint64_t moved = ((val >> _PAGE_BIT_SAVED_DIRTY) & cond) << _PAGE_BIT_DIRTY;

	return (val | moved) & ~(cond << _PAGE_BIT_SAVED_DIRTY);
}

static inline bool pte_dirty(pte_t pte)
{
	return pte_val(pte) & _PAGE_DIRTY_BITS;
}

static inline bool pte_shstk(pte_t pte)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pte_val(pte) & (_PAGE_RW | _PAGE_DIRTY)) == _PAGE_DIRTY;
}

static inline bool pmd_dirty(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_DIRTY_BITS;
}

/* Only for large pages: in an entry that refers to a table this is no shadow stack. */
static inline bool pmd_shstk(pmd_t pmd)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pmd_val(pmd) & (_PAGE_RW | _PAGE_DIRTY | _PAGE_PSE)) ==
	       (_PAGE_DIRTY | _PAGE_PSE);
}

static inline bool pud_dirty(pud_t pud)
{
	return pud_val(pud) & _PAGE_DIRTY_BITS;
}

static inline bool pud_shstk(pud_t pud)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pud_val(pud) & (_PAGE_RW | _PAGE_DIRTY | _PAGE_PSE)) ==
	       (_PAGE_DIRTY | _PAGE_PSE);
}

static inline bool pte_write(pte_t pte)
{
	return pte_val(pte) & (_PAGE_RW | __shstk_dirty());
}

static inline bool pmd_write(pmd_t pmd)
{
	return (pmd_val(pmd) & _PAGE_RW) || pmd_shstk(pmd);
}

/* Write only at this level, though pud_shstk() exists. */
static inline bool pud_write(pud_t pud)
{
	return pud_val(pud) & _PAGE_RW;
}

static inline bool pud_leaf(pud_t pud)
{
	return pud_val(pud) & _PAGE_PSE;
}

static inline bool pmd_special(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_SPECIAL;
}

static inline bool pud_special(pud_t pud)
{
	return pud_val(pud) & _PAGE_SPECIAL;
}

static inline pte_t pte_mksaveddirty(pte_t pte)
{
	return __pte(mksaveddirty_shift(pte_val(pte)));
}

static inline pte_t pte_clear_saveddirty(pte_t pte)
{
	return __pte(clear_saveddirty_shift(pte_val(pte)));
}

static inline pte_t pte_wrprotect(pte_t pte)
{
	return pte_mksaveddirty(pte_clear_flags(pte, _PAGE_RW));
}

static inline pte_t pte_mkuffd_wp(pte_t pte)
{
	return pte_wrprotect(pte_set_flags(pte, _PAGE_UFFD_WP));
}

static inline pte_t pte_mkclean(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_DIRTY_BITS);
}

static inline pte_t pte_mkdirty(pte_t pte)
{
	return pte_mksaveddirty(pte_set_flags(pte, _PAGE_DIRTY | _PAGE_SOFT_DIRTY));
}

static inline pte_t pte_mkwrite_shstk(pte_t pte)
{
	return pte_set_flags(pte_clear_flags(pte, _PAGE_RW), _PAGE_DIRTY);
}

static inline pte_t pte_mkwrite_novma(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_RW);
}

/* The mapping decides whether the entry becomes writable or a shadow stack. */
static inline pte_t pte_mkwrite(pte_t pte, const struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_SHADOW_STACK)
		return pte_mkwrite_shstk(pte);
	return pte_clear_saveddirty(pte_mkwrite_novma(pte));
}

static inline pmd_t pmd_mksaveddirty(pmd_t pmd)
{
	return __pmd(mksaveddirty_shift(pmd_val(pmd)));
}

static inline pmd_t pmd_clear_saveddirty(pmd_t pmd)
{
	return __pmd(clear_saveddirty_shift(pmd_val(pmd)));
}

static inline pmd_t pmd_wrprotect(pmd_t pmd)
{
	return pmd_mksaveddirty(pmd_clear_flags(pmd, _PAGE_RW));
}

static inline pmd_t pmd_mkuffd_wp(pmd_t pmd)
{
	return pmd_wrprotect(pmd_set_flags(pmd, _PAGE_UFFD_WP));
}

static inline pmd_t pmd_mkclean(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_DIRTY_BITS);
}

static inline pmd_t pmd_mkdirty(pmd_t pmd)
{
	return pmd_mksaveddirty(pmd_set_flags(pmd, _PAGE_DIRTY | _PAGE_SOFT_DIRTY));
}

static inline pmd_t pmd_mkwrite_shstk(pmd_t pmd)
{
	return pmd_set_flags(pmd_clear_flags(pmd, _PAGE_RW), _PAGE_DIRTY);
}

static inline pmd_t pmd_mkwrite_novma(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_RW);
}

static inline pmd_t pmd_mkwrite(pmd_t pmd, const struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_SHADOW_STACK)
		return pmd_mkwrite_shstk(pmd);
	return pmd_clear_saveddirty(pmd_mkwrite_novma(pmd));
}

static inline pmd_t pmd_mkspecial(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_SPECIAL);
}

static inline pud_t pud_mksaveddirty(pud_t pud)
{
	return __pud(mksaveddirty_shift(pud_val(pud)));
}

static inline pud_t pud_clear_saveddirty(pud_t pud)
{
	return __pud(clear_saveddirty_shift(pud_val(pud)));
}

static inline pud_t pud_wrprotect(pud_t pud)
{
	return pud_mksaveddirty(pud_clear_flags(pud, _PAGE_RW));
}

static inline pud_t pud_mkclean(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_DIRTY_BITS);
}

static inline pud_t pud_mkdirty(pud_t pud)
{
	return pud_mksaveddirty(pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY));
}

static inline pud_t pud_mkwrite(pud_t pud)
{
	return pud_clear_saveddirty(pud_set_flags(pud, _PAGE_RW));
}

static inline pud_t pud_mkspecial(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_SPECIAL);
}

static inline pud_t pud_mkinvalid(pud_t pud)
{
	pudval_t flags = pud_flags(pud) & ~(_PAGE_PRESENT | _PAGE_PROTNONE);

	return pfn_pud(pud_pfn(pud), __pgprot(flags));
}

/*
 * newprot may change Write while dirtiness stays.  Then dirtiness moves to the bit that the new
 * Write needs.  The old Write is tested: an entry that was read-only has no Dirty bit that would
 * have to move.
 */
static inline uint64_t __modify_saveddirty(uint64_t oldval, uint64_t val)
{
	return oldval & _PAGE_RW ? mksaveddirty_shift(val) : clear_saveddirty_shift(val);
}

static inline pte_t pte_modify(pte_t pte, pgprot_t newprot)
{
	pteval_t oldval = pte_val(pte);
	pteval_t val = (oldval & _PAGE_CHG_MASK) | (pgprot_val(newprot) & ~_PAGE_CHG_MASK);

	val = flip_protnone_guard(oldval, val, PTE_PFN_MASK);
	return __pte(__modify_saveddirty(oldval, val));
}

static inline pmd_t pmd_modify(pmd_t pmd, pgprot_t newprot)
{
	pmdval_t oldval = pmd_val(pmd);
	pmdval_t val = (oldval & _HPAGE_CHG_MASK) | (pgprot_val(newprot) & ~_HPAGE_CHG_MASK);

	/* from 6.6 until the fix of September 2026 neither the old Dirty nor newprot's got here */
#ifdef PGTABLE_PMD_MODIFY_DROPS_DIRTY
	val &= ~_PAGE_DIRTY;
#endif

	val = flip_protnone_guard(oldval, val, PHYSICAL_PMD_PAGE_MASK);
	return __pmd(__modify_saveddirty(oldval, val));
}

static inline pud_t pud_modify(pud_t pud, pgprot_t newprot)
{
	pudval_t oldval = pud_val(pud);
	pudval_t val = (oldval & _HPAGE_CHG_MASK) | (pgprot_val(newprot) & ~_HPAGE_CHG_MASK);

	val = flip_protnone_guard(oldval, val, PHYSICAL_PUD_PAGE_MASK);
	return __pud(__modify_saveddirty(oldval, val));
}

/* An inverted frame becomes lower by one. */
static inline pte_t pte_advance_pfn(pte_t pte, uint64_t nr)
{
	uint64_t step = nr << PAGE_SHIFT;

	if (__pte_needs_invert(pte_val(pte)))
		return __pte(pte_val(pte) - step);
	return __pte(pte_val(pte) + step);
}

#endif
