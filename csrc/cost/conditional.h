/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules cow and saved_dirty with the branches of the patch and of the merged text. pgtable.h
 * and pgtable_saved_dirty.h compute the same by shifts and masks, so that a loop becomes vector
 * code.  Here the cost of the branches is measured.  Include this before those.
 */
#ifndef PGTABLE_CONDITIONAL_H
#define PGTABLE_CONDITIONAL_H

#define pte_write	shifting_pte_write
#define pmd_write	shifting_pmd_write
#ifdef PGTABLE_RULES_SAVED_DIRTY
#include "helpers/pgtable_saved_dirty.h"
#else
#define pte_wrprotect	shifting_pte_wrprotect
#define pte_mkdirty	shifting_pte_mkdirty
#define pte_mkwrite	shifting_pte_mkwrite
#define pmd_wrprotect	shifting_pmd_wrprotect
#define pmd_mkdirty	shifting_pmd_mkdirty
#define pmd_mkwrite	shifting_pmd_mkwrite
#define pud_wrprotect	shifting_pud_wrprotect
#define pud_mkwrite	shifting_pud_mkwrite
#include "helpers/pgtable.h"
#undef pte_wrprotect
#undef pte_mkdirty
#undef pte_mkwrite
#undef pmd_wrprotect
#undef pmd_mkdirty
#undef pmd_mkwrite
#undef pud_wrprotect
#undef pud_mkwrite
#endif
#undef pte_write
#undef pmd_write

/* Writable as all are, or as a shadow stack: the second question for some only. */
#define CONDITIONAL_WRITE(lvl)							\
static inline bool lvl##_write(lvl##_t lvl)					\
{										\
	return (lvl##_val(lvl) & _PAGE_RW) || lvl##_shstk(lvl);			\
}

/*
 * mkcow and clear_cow are unconditional, so their callers test whether the entry is dirty.  They
 * test the feature themselves, so only for dirty entries.
 */
#define CONDITIONAL_MOVES(lvl)							\
static inline lvl##_t lvl##_wrprotect(lvl##_t lvl)				\
{										\
	lvl = lvl##_clear_flags(lvl, _PAGE_RW);					\
	return lvl##_dirty(lvl) ? lvl##_mkcow(lvl) : lvl;			\
}										\
static inline lvl##_t lvl##_mkwrite(lvl##_t lvl)				\
{										\
	lvl = lvl##_set_flags(lvl, _PAGE_RW);					\
	return lvl##_dirty(lvl) ? lvl##_clear_cow(lvl) : lvl;			\
}

/* A pud's write and mkdirty are in pgtable.h as the patch has them. */
#define CONDITIONAL_MKDIRTY(lvl)						\
static inline lvl##_t lvl##_mkdirty(lvl##_t lvl)				\
{										\
	bool read_only = cpu_feature_enabled(X86_FEATURE_SHSTK) &&		\
			 !lvl##_write(lvl);					\
										\
	return lvl##_set_flags(lvl, _PAGE_SOFT_DIRTY |				\
				    (read_only ? _PAGE_COW : _PAGE_DIRTY));	\
}

CONDITIONAL_WRITE(pte)
CONDITIONAL_WRITE(pmd)
#ifndef PGTABLE_RULES_SAVED_DIRTY
CONDITIONAL_MOVES(pte)
CONDITIONAL_MOVES(pmd)
CONDITIONAL_MOVES(pud)
CONDITIONAL_MKDIRTY(pte)
CONDITIONAL_MKDIRTY(pmd)
#endif

#endif
