/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tree's helpers as functions of words.  The compiler finds out the type of each helper's result.
 */
#ifndef PGTABLE_TREE_WORDS_H
#define PGTABLE_TREE_WORDS_H

#include "headers.h"

#include <stdint.h>

static inline uint64_t tree_pte_word(pte_t entry) { return pte_val(entry); }
static inline uint64_t tree_pmd_word(pmd_t entry) { return pmd_val(entry); }
static inline uint64_t tree_pud_word(pud_t entry) { return pud_val(entry); }
static inline uint64_t tree_p4d_word(p4d_t entry) { return p4d_val(entry); }
static inline uint64_t tree_pgd_word(pgd_t entry) { return pgd_val(entry); }
static inline uint64_t tree_pgprot_word(pgprot_t prot) { return pgprot_val(prot); }
static inline uint64_t tree_number_word(uint64_t number) { return number; }
static inline uint64_t tree_truth(int value) { return value != 0; }

#ifdef TREE_HAS_SWP_ENTRY
static inline uint64_t tree_swp_word(swp_entry_t entry) { return entry.val; }
#define TREE_SWP(x) swp_entry_t: (x),
#else
#define TREE_SWP(x)
#endif

/* Predicates are declared bool or int; the words that helpers give are unsigned. */
#define TREE_RESULT(value, pte, pmd, pud, p4d, pgd, prot, swp, number, test)	\
	_Generic((value), pte_t: (pte), pmd_t: (pmd), pud_t: (pud),		\
		 p4d_t: (p4d), pgd_t: (pgd), pgprot_t: (prot), TREE_SWP(swp)	\
		 _Bool: (test), int: (test),					\
		 unsigned char: (number), unsigned short: (number),		\
		 unsigned int: (number), long: (number), unsigned long: (number), \
		 long long: (number), unsigned long long: (number))

#define TREE_WORD(value)							\
	TREE_RESULT(value, tree_pte_word, tree_pmd_word, tree_pud_word,	\
		    tree_p4d_word, tree_pgd_word, tree_pgprot_word,		\
		    tree_swp_word, tree_number_word, tree_truth)(value)
#define TREE_GIVES(value)							\
	TREE_RESULT(value, "pte", "pmd", "pud", "p4d", "pgd", "val", "swp", "val", "test")
#define TREE_IF_TEST(value, then, otherwise)					\
	TREE_RESULT(value, otherwise, otherwise, otherwise, otherwise,		\
		    otherwise, otherwise, otherwise, otherwise, then)

/* value: the call, of uint64_t word and arg. */
#define TREE_APPLY(id, value)							\
static inline __attribute__((__always_inline__))				\
uint64_t apply_##id(uint64_t word, uint64_t arg)				\
{										\
	(void)arg;								\
	return TREE_WORD(value);						\
}

#ifdef TREE_HAS_VMA
/* A mapping of which only the flags are set. */
static struct mm_struct tree_mm;
#define TREE_VMA(flags)								\
	(&(struct vm_area_struct){ .vm_mm = &tree_mm, .vm_flags = (flags) })
/* Makes a helper of a value from one that changes an entry in memory. */
#define TREE_IN_MEMORY(type, make, helper)					\
	({ type tree_entry = make(word); helper(&tree_mm, 0, &tree_entry); tree_entry; })
#endif

#endif
