/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The helpers of one rule set as functions of words, and which lines of helpers.def belong to it.
 * The command line says which rules: see instance.c.
 */
#ifndef PGTABLE_APPLY_H
#define PGTABLE_APPLY_H

#ifdef PGTABLE_RULES_SAVED_DIRTY
#include "helpers/pgtable_saved_dirty.h"
#else
#include "helpers/pgtable.h"
#endif

#define RULES_ALL(...) __VA_ARGS__
#ifdef PGTABLE_RULES_BASE
#define PGTABLE_RULES_NAME "base"
#define RULES_BASE_COW(...) __VA_ARGS__
#define RULES_COW(...)
#define RULES_COW_SAVED(...)
#define RULES_SAVED(...)
#elif defined(PGTABLE_RULES_COW)
#define PGTABLE_RULES_NAME "cow"
#define RULES_BASE_COW(...) __VA_ARGS__
#define RULES_COW(...) __VA_ARGS__
#define RULES_COW_SAVED(...) __VA_ARGS__
#define RULES_SAVED(...)
#else
#define PGTABLE_RULES_NAME "saved_dirty"
#define RULES_BASE_COW(...)
#define RULES_COW(...)
#define RULES_COW_SAVED(...) __VA_ARGS__
#define RULES_SAVED(...) __VA_ARGS__
#endif

/* From a word to what a helper takes, and from what it gives to a word or a bool. */
#define TAKES_pte(word) __pte(word)
#define TAKES_pmd(word) __pmd(word)
#define TAKES_pud(word) __pud(word)
#define TAKES_pgprot(word) __pgprot(word)
#define TAKES_val(word) (word)
#define TAKES_bool(word) ((word) != 0)
#define TAKES__Bool(word) TAKES_bool(word)	/* bool, where it is a macro */
#define TAKES_vma(word) (&(struct vm_area_struct){ .vm_flags = (word) })
#define GIVES_pte(value) pte_val(value)
#define GIVES_pmd(value) pmd_val(value)
#define GIVES_pud(value) pud_val(value)
#define GIVES_val(value) (value)
#define GIVES_test(value) (value)

/* apply_<name>(word, argument): what the loops are made of. */
#define PGTABLE_APPLY_1(name, takes, gives)				\
static inline uint64_t apply_##name(uint64_t word, uint64_t arg)	\
{									\
	(void)arg;							\
	return GIVES_##gives(name(TAKES_##takes(word)));		\
}

#define PGTABLE_APPLY_2(name, takes, gives, argtype)			\
static inline uint64_t apply_##name(uint64_t word, uint64_t arg)	\
{									\
	return GIVES_##gives(name(TAKES_##takes(word), TAKES_##argtype(arg))); \
}

#endif
