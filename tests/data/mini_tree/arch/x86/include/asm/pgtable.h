/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_PGTABLE_H
#define _ASM_X86_PGTABLE_H
#include <asm/cpufeature.h>
#include <asm/pgtable_types.h>

/* If Write=0, move Dirty to SavedDirty. */
static inline pgprotval_t mksaveddirty_shift(pgprotval_t v)
{
	pgprotval_t move = (~v >> 1) & 1;

	v |= (v >> 6 & move) << _PAGE_BIT_SAVED_DIRTY;
	return v & ~(move << 6);
}

/* If Write=1, move SavedDirty to Dirty. */
static inline pgprotval_t clear_saveddirty_shift(pgprotval_t v)
{
	pgprotval_t move = (v >> 1) & 1;

	v |= (v >> _PAGE_BIT_SAVED_DIRTY & move) << 6;
	return v & ~(move << _PAGE_BIT_SAVED_DIRTY);
}

/* A frame is stored inverted where the entry is neither empty nor present. */
static inline u64 protnone_mask(u64 v)
{
	return v && !(v & _PAGE_PRESENT) ? ~0ULL : 0;
}

static inline u64 flip_protnone(u64 old, u64 v, u64 frame)
{
	return protnone_mask(old) == protnone_mask(v) ? v : (v & ~frame) | (~v & frame);
}

/* pte */

static inline pteval_t pte_flags(pte_t pte)
{
	return pte_val(pte) & ~PTE_PFN_MASK;
}

static inline bool pte_dirty(pte_t pte)
{
	return (pte_val(pte) & _PAGE_DIRTY_BITS) != 0;
}

static inline bool pte_shstk(pte_t pte)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pte_val(pte) & (_PAGE_RW | _PAGE_DIRTY)) == _PAGE_DIRTY;
}

/* Declared int, and neither 0 nor 1: older trees do so. */
static inline int pte_young(pte_t pte)
{
	return pte_val(pte) & _PAGE_ACCESSED;
}

static inline int pte_write(pte_t pte)
{
	return (pte_val(pte) & _PAGE_RW) || pte_shstk(pte);
}

static inline pte_t pte_set_flags(pte_t pte, pteval_t set)
{
	return __pte(pte_val(pte) | set);
}

static inline pte_t pte_clear_flags(pte_t pte, pteval_t clear)
{
	return __pte(pte_val(pte) & ~clear);
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
	pte = pte_clear_flags(pte, _PAGE_RW);
	return pte_mksaveddirty(pte);
}

static inline pte_t pte_mkclean(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_DIRTY_BITS);
}

static inline pte_t pte_mkdirty(pte_t pte)
{
	pte = pte_set_flags(pte, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);
	return pte_mksaveddirty(pte);
}

static inline pte_t pte_mkold(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_mkyoung(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_mkwrite_shstk(pte_t pte)
{
	return pte_set_flags(pte_clear_flags(pte, _PAGE_RW), _PAGE_DIRTY);
}

static inline pte_t pte_mkwrite_novma(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_RW);
}

struct vm_area_struct;
pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *vma);

static inline bool pte_none(pte_t pte)
{
	return (pte_val(pte) & ~(_PAGE_DIRTY | _PAGE_ACCESSED)) == 0;
}

static inline int pte_present(pte_t pte)
{
	return pte_val(pte) & (_PAGE_PRESENT | _PAGE_PROTNONE);
}

static inline int pte_same(pte_t a, pte_t b)
{
	return pte_val(a) == pte_val(b);
}

static inline pte_t pte_modify(pte_t pte, pgprot_t newprot)
{
	const pteval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT;
	pteval_t old = pte_val(pte);
	pte_t result = __pte(flip_protnone(old, (old & kept) | (pgprot_val(newprot) & ~kept),
					  PTE_PFN_MASK));

	return old & _PAGE_RW ? pte_mksaveddirty(result) : pte_clear_saveddirty(result);
}

static inline bool pte_access_permitted(pte_t pte, bool write)
{
	pteval_t need = _PAGE_PRESENT | _PAGE_USER | (write ? _PAGE_RW : 0);

	return (pte_val(pte) & need) == need;
}

/* pmd */

static inline pmdval_t pmd_flags(pmd_t pmd)
{
	return pmd_val(pmd) & ~(pmd_val(pmd) & _PAGE_PSE ? PMD_PFN_MASK : PTE_PFN_MASK);
}

static inline bool pmd_dirty(pmd_t pmd)
{
	return (pmd_val(pmd) & _PAGE_DIRTY_BITS) != 0;
}

static inline bool pmd_shstk(pmd_t pmd)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pmd_val(pmd) & (_PAGE_RW | _PAGE_DIRTY | _PAGE_PSE)) == (_PAGE_DIRTY | _PAGE_PSE);
}

/* Declared int, and neither 0 nor 1: older trees do so. */
static inline int pmd_young(pmd_t pmd)
{
	return pmd_val(pmd) & _PAGE_ACCESSED;
}

static inline int pmd_write(pmd_t pmd)
{
	return (pmd_val(pmd) & _PAGE_RW) || pmd_shstk(pmd);
}

static inline pmd_t pmd_set_flags(pmd_t pmd, pmdval_t set)
{
	return __pmd(pmd_val(pmd) | set);
}

static inline pmd_t pmd_clear_flags(pmd_t pmd, pmdval_t clear)
{
	return __pmd(pmd_val(pmd) & ~clear);
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
	pmd = pmd_clear_flags(pmd, _PAGE_RW);
	return pmd_mksaveddirty(pmd);
}

static inline pmd_t pmd_mkclean(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_DIRTY_BITS);
}

static inline pmd_t pmd_mkdirty(pmd_t pmd)
{
	pmd = pmd_set_flags(pmd, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);
	return pmd_mksaveddirty(pmd);
}

static inline pmd_t pmd_mkold(pmd_t pmd)
{
	return pmd_clear_flags(pmd, _PAGE_ACCESSED);
}

static inline pmd_t pmd_mkyoung(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_ACCESSED);
}

static inline pmd_t pmd_mkwrite_shstk(pmd_t pmd)
{
	return pmd_set_flags(pmd_clear_flags(pmd, _PAGE_RW), _PAGE_DIRTY);
}

static inline pmd_t pmd_mkwrite_novma(pmd_t pmd)
{
	return pmd_set_flags(pmd, _PAGE_RW);
}

struct vm_area_struct;
pmd_t pmd_mkwrite(pmd_t pmd, struct vm_area_struct *vma);

static inline bool pmd_none(pmd_t pmd)
{
	return (pmd_val(pmd) & ~(_PAGE_DIRTY | _PAGE_ACCESSED)) == 0;
}

static inline int pmd_present(pmd_t pmd)
{
	return pmd_val(pmd) & (_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE);
}

static inline int pmd_same(pmd_t a, pmd_t b)
{
	return pmd_val(a) == pmd_val(b);
}

static inline pmd_t pmd_modify(pmd_t pmd, pgprot_t newprot)
{
	const pmdval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT;
	pmdval_t old = pmd_val(pmd);
	pmd_t result = __pmd(flip_protnone(old, (old & kept) | (pgprot_val(newprot) & ~kept),
					  PMD_PFN_MASK));

	return old & _PAGE_RW ? pmd_mksaveddirty(result) : pmd_clear_saveddirty(result);
}

static inline bool pmd_access_permitted(pmd_t pmd, bool write)
{
	pmdval_t need = _PAGE_PRESENT | _PAGE_USER | (write ? _PAGE_RW : 0);

	return (pmd_val(pmd) & need) == need;
}

/* pud */

static inline pudval_t pud_flags(pud_t pud)
{
	return pud_val(pud) & ~(pud_val(pud) & _PAGE_PSE ? PUD_PFN_MASK : PTE_PFN_MASK);
}

static inline bool pud_dirty(pud_t pud)
{
	return (pud_val(pud) & _PAGE_DIRTY_BITS) != 0;
}

static inline bool pud_shstk(pud_t pud)
{
	return cpu_feature_enabled(X86_FEATURE_SHSTK) &&
	       (pud_val(pud) & (_PAGE_RW | _PAGE_DIRTY | _PAGE_PSE)) == (_PAGE_DIRTY | _PAGE_PSE);
}

/* Declared int, and neither 0 nor 1: older trees do so. */
static inline int pud_young(pud_t pud)
{
	return pud_val(pud) & _PAGE_ACCESSED;
}

static inline int pud_write(pud_t pud)
{
	return pud_val(pud) & _PAGE_RW;
}

static inline pud_t pud_set_flags(pud_t pud, pudval_t set)
{
	return __pud(pud_val(pud) | set);
}

static inline pud_t pud_clear_flags(pud_t pud, pudval_t clear)
{
	return __pud(pud_val(pud) & ~clear);
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
	pud = pud_clear_flags(pud, _PAGE_RW);
	return pud_mksaveddirty(pud);
}

static inline pud_t pud_mkclean(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_DIRTY_BITS);
}

static inline pud_t pud_mkdirty(pud_t pud)
{
	pud = pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);
	return pud_mksaveddirty(pud);
}

static inline pud_t pud_mkold(pud_t pud)
{
	return pud_clear_flags(pud, _PAGE_ACCESSED);
}

static inline pud_t pud_mkyoung(pud_t pud)
{
	return pud_set_flags(pud, _PAGE_ACCESSED);
}

static inline pud_t pud_mkwrite(pud_t pud)
{
	return pud_clear_saveddirty(pud_set_flags(pud, _PAGE_RW));
}

static inline bool pud_none(pud_t pud)
{
	return (pud_val(pud) & ~(_PAGE_DIRTY | _PAGE_ACCESSED)) == 0;
}

static inline int pud_present(pud_t pud)
{
	return pud_val(pud) & (_PAGE_PRESENT);
}

static inline int pud_same(pud_t a, pud_t b)
{
	return pud_val(a) == pud_val(b);
}

static inline pud_t pud_modify(pud_t pud, pgprot_t newprot)
{
	const pudval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT;
	pudval_t old = pud_val(pud);
	pud_t result = __pud(flip_protnone(old, (old & kept) | (pgprot_val(newprot) & ~kept),
					  PUD_PFN_MASK));

	return old & _PAGE_RW ? pud_mksaveddirty(result) : pud_clear_saveddirty(result);
}

static inline bool pud_access_permitted(pud_t pud, bool write)
{
	pudval_t need = _PAGE_PRESENT | _PAGE_USER | (write ? _PAGE_RW : 0);

	return (pud_val(pud) & need) == need;
}

#endif
