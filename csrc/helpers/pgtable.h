/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bulk calls of most helpers run a closed form that was found from this text (form/form.h),
 * not the text itself.  native(forms=False), or PGTABLE_FORMS=0, runs the text.
 *
 * The helpers of the patch that introduced the Cow bit.  Without CONFIG_X86_SHADOW_STACK, and with
 * the feature off, these are the helpers from before that patch.
 *
 * The feature and the Cow bit: only a processor with shadow stacks (X86_FEATURE_SHSTK) gives
 * Write=0,Dirty=1 a special meaning.  So only there dirtiness moves to Cow, and each helper that
 * moves it tests the feature.  A helper that *reads* dirtiness always looks at both bits, which is
 * right for entries without Cow as well.
 */
#ifndef PGTABLE_H
#define PGTABLE_H

#include "helpers/pgtable_common.h"

/*
 * Moves dirtiness to where a write-protected entry keeps it.  It shifts and does not branch, so
 * that a loop over it becomes vector code.  If Cow is compiled out and the feature is on, Dirty is
 * lost here.
 */
static inline uint64_t __dirty_to_cow(uint64_t val)
{
	uint64_t cow = (val & _PAGE_DIRTY) << (_PAGE_BIT_COW - _PAGE_BIT_DIRTY);

	return (val & ~_PAGE_DIRTY) | (cow & _PAGE_COW);
}

/* Moves dirtiness back to Dirty, where a writable entry keeps it. */
static inline uint64_t __cow_to_dirty(uint64_t val)
{
	uint64_t dirty = (val & _PAGE_COW) >> (_PAGE_BIT_COW - _PAGE_BIT_DIRTY);

	return (val & ~_PAGE_COW) | dirty;
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

static inline bool pmd_shstk(pmd_t pmd)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pmd_val(pmd) & (_PAGE_RW | _PAGE_DIRTY)) == _PAGE_DIRTY;
}

static inline bool pud_dirty(pud_t pud)
{
	return pud_val(pud) & _PAGE_DIRTY_BITS;
}

/* Call instructions write to a shadow stack although Write is 0. */
static inline bool pte_write(pte_t pte)
{
	return pte_val(pte) & (_PAGE_RW | __shstk_dirty());
}

static inline bool pmd_write(pmd_t pmd)
{
	return pmd_val(pmd) & (_PAGE_RW | __shstk_dirty());
}

/* The patch did not change this level: only Write counts. */
static inline bool pud_write(pud_t pud)
{
	return pud_val(pud) & _PAGE_RW;
}

static inline bool pud_leaf(pud_t pud)
{
	return (pud_val(pud) & (_PAGE_PSE | _PAGE_PRESENT)) ==
	       (_PAGE_PSE | _PAGE_PRESENT);
}

/*
 * Sets Cow and clears Dirty, so that Write can be cleared: hardware would take Write=0,Dirty=1 for
 * a shadow stack.  It does so unconditionally and makes a clean entry dirty, so callers check
 * first.
 */
static inline pte_t pte_mkcow(pte_t pte)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pte;
	pte = pte_clear_flags(pte, _PAGE_DIRTY);
	return pte_set_flags(pte, _PAGE_COW);
}

/*
 * The opposite, for an entry that becomes writable or a shadow stack: dirtiness returns to Dirty.
 * Clearing Cow alone would lose it.  Unconditional as well.
 */
static inline pte_t pte_clear_cow(pte_t pte)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pte;
	pte = pte_set_flags(pte, _PAGE_DIRTY);
	return pte_clear_flags(pte, _PAGE_COW);
}

static inline pte_t pte_mkuffd_wp(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_UFFD_WP);
}

static inline pte_t pte_mkclean(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_DIRTY_BITS);
}

/*
 * Clearing Write of a dirty entry would make a shadow stack by accident.  So its dirtiness moves to
 * Cow in the same step.
 */
static inline pte_t pte_wrprotect(pte_t pte)
{
	pte = pte_clear_flags(pte, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pte = __pte(__dirty_to_cow(pte_val(pte)));
	return pte;
}

/* Write decides where dirtiness goes: a read-only entry must use Cow. */
static inline pte_t pte_mkdirty(pte_t pte)
{
	pteval_t dirty = _PAGE_DIRTY;

	if (cpu_feature_enabled(X86_FEATURE_SHSTK) && !pte_write(pte))
		dirty = _PAGE_COW;
	return pte_set_flags(pte, dirty | _PAGE_SOFT_DIRTY);
}

/* Makes Write=0,Dirty=1 on purpose: an entry of a shadow stack. */
static inline pte_t pte_mkwrite_shstk(pte_t pte)
{
	return pte_clear_cow(pte);
}

static inline pte_t pte_mkwrite(pte_t pte)
{
	pte = pte_set_flags(pte, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pte = __pte(__cow_to_dirty(pte_val(pte)));
	return pte;
}

static inline pmd_t pmd_mkcow(pmd_t pmd)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pmd;
	pmd = pmd_clear_flags(pmd, _PAGE_DIRTY);
	return pmd_set_flags(pmd, _PAGE_COW);
}

static inline pmd_t pmd_clear_cow(pmd_t pmd)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pmd;
	pmd = pmd_set_flags(pmd, _PAGE_DIRTY);
	return pmd_clear_flags(pmd, _PAGE_COW);
}

static inline pmd_t pmd_mkuffd_wp(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_UFFD_WP);
}

static inline pmd_t pmd_mkclean(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_DIRTY_BITS);
}

static inline pmd_t pmd_wrprotect(pmd_t pmd)
{
	pmd = pmd_clear_flags(pmd, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pmd = __pmd(__dirty_to_cow(pmd_val(pmd)));
	return pmd;
}

static inline pmd_t pmd_mkdirty(pmd_t pmd)
{
	pmdval_t dirty = _PAGE_DIRTY;

	if (cpu_feature_enabled(X86_FEATURE_SHSTK) && !pmd_write(pmd))
		dirty = _PAGE_COW;
	return pmd_set_flags(pmd, dirty | _PAGE_SOFT_DIRTY);
}

static inline pmd_t pmd_mkwrite_shstk(pmd_t pmd)
{
	return pmd_clear_cow(pmd);
}

static inline pmd_t pmd_mkwrite(pmd_t pmd)
{
	pmd = pmd_set_flags(pmd, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pmd = __pmd(__cow_to_dirty(pmd_val(pmd)));
	return pmd;
}

static inline pud_t pud_mkcow(pud_t pud)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pud;
	pud = pud_clear_flags(pud, _PAGE_DIRTY);
	return pud_set_flags(pud, _PAGE_COW);
}

static inline pud_t pud_clear_cow(pud_t pud)
{
	if (!cpu_feature_enabled(X86_FEATURE_SHSTK))
		return pud;
	pud = pud_set_flags(pud, _PAGE_DIRTY);
	return pud_clear_flags(pud, _PAGE_COW);
}

static inline pud_t pud_mkclean(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_DIRTY_BITS);
}

static inline pud_t pud_wrprotect(pud_t pud)
{
	pud = pud_clear_flags(pud, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pud = __pud(__dirty_to_cow(pud_val(pud)));
	return pud;
}

/* pud_write() knows no shadow stack, so Write=0,Dirty=1 gets Cow on top of Dirty. */
static inline pud_t pud_mkdirty(pud_t pud)
{
	pudval_t dirty = _PAGE_DIRTY;

	if (cpu_feature_enabled(X86_FEATURE_SHSTK) && !pud_write(pud))
		dirty = _PAGE_COW;
	return pud_set_flags(pud, dirty | _PAGE_SOFT_DIRTY);
}

static inline pud_t pud_mkwrite(pud_t pud)
{
	pud = pud_set_flags(pud, _PAGE_RW);
	if (cpu_feature_enabled(X86_FEATURE_SHSTK))
		pud = __pud(__cow_to_dirty(pud_val(pud)));
	return pud;
}

/* Dirtiness does not move here: newprot may clear Write while Dirty stays set. */
static inline pte_t pte_modify(pte_t pte, pgprot_t newprot)
{
	pteval_t oldval = pte_val(pte);
	pteval_t val = (oldval & _PAGE_CHG_MASK) | (pgprot_val(newprot) & ~_PAGE_CHG_MASK);

	return __pte(flip_protnone_guard(oldval, val, PTE_PFN_MASK));
}

static inline pmd_t pmd_modify(pmd_t pmd, pgprot_t newprot)
{
	pmdval_t oldval = pmd_val(pmd);
	pmdval_t val = (oldval & _HPAGE_CHG_MASK) | (pgprot_val(newprot) & ~_HPAGE_CHG_MASK);

	return __pmd(flip_protnone_guard(oldval, val, PHYSICAL_PMD_PAGE_MASK));
}

#endif
