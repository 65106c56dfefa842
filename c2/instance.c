/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All helpers of one rule set, one setting of its switches, one instruction
 * set.  Compiled once for each combination; the command line says which:
 *   PGTABLE_INSTANCE             name of the table defined here
 *   PGTABLE_ISA_NAME             how users call the instruction set
 *   PGTABLE_BLOCK_OPS            the block operations that go with it
 *   PGTABLE_RULES_{BASE,COW,SAVED_DIRTY}
 *   PGTABLE_SHSTK                0 or 1
 *   CONFIG_X86_SHADOW_STACK      defined or not
 */
#include "bulk_loops.h"
#ifdef PGTABLE_RULES_SAVED_DIRTY
#include "pgtable_saved_dirty.h"
#else
#include "pgtable.h"
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

/* A word into what a helper takes, and what it gives into a word or a bool. */
#define TAKES_pte(word) __pte(word)
#define TAKES_pmd(word) __pmd(word)
#define TAKES_pud(word) __pud(word)
#define TAKES_pgprot(word) __pgprot(word)
#define TAKES_val(word) (word)
#define TAKES_bool(word) ((word) != 0)
#define TAKES_vma(word) (&(struct vm_area_struct){ .vm_flags = (word) })
#define GIVES_pte(value) pte_val(value)
#define GIVES_pmd(value) pmd_val(value)
#define GIVES_pud(value) pud_val(value)
#define GIVES_val(value) (value)
#define GIVES_test(value) (value)

#define LOOPS_pte(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_pmd(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_pud(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_val(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_test(name, body) PGTABLE_TEST_LOOPS(name, body)

#define HELPER(rules, lvl, name, takes, gives)				\
RULES_##rules(								\
static inline uint64_t apply_##name(uint64_t word, uint64_t arg)	\
{									\
	(void)arg;							\
	return GIVES_##gives(name(TAKES_##takes(word)));		\
}									\
LOOPS_##gives(name, PGTABLE_BODY_1))

#define HELPER2(rules, lvl, name, takes, gives, argtype, argname)	\
RULES_##rules(								\
static inline uint64_t apply_##name(uint64_t word, uint64_t arg)	\
{									\
	return GIVES_##gives(name(TAKES_##takes(word), TAKES_##argtype(arg))); \
}									\
LOOPS_##gives(name, PGTABLE_BODY_2))

#include "helpers.def"
#undef HELPER
#undef HELPER2

#define FIELDS_pte(name) .map = map_##name
#define FIELDS_pmd(name) .map = map_##name
#define FIELDS_pud(name) .map = map_##name
#define FIELDS_val(name) .map = map_##name
#define FIELDS_test(name) .test = test_##name, .count = count_##name

#define HELPER(rules, lvl, nm, tk, gv)					\
RULES_##rules({ .name = #nm, .level = #lvl, .takes = #tk, .gives = #gv,	\
		FIELDS_##gv(nm) },)
#define HELPER2(rules, lvl, nm, tk, gv, argtype, argname)		\
RULES_##rules({ .name = #nm, .level = #lvl, .takes = #tk, .gives = #gv,	\
		.argument = #argname, FIELDS_##gv(nm) },)

static const struct pgtable_helper helpers[] = {
#include "helpers.def"
};

extern const struct pgtable_block_ops PGTABLE_BLOCK_OPS;
extern const struct pgtable_instance PGTABLE_INSTANCE;

const struct pgtable_instance PGTABLE_INSTANCE = {
	.isa = PGTABLE_ISA_NAME,
	.rules = PGTABLE_RULES_NAME,
	.shstk = PGTABLE_SHSTK,
#if defined(CONFIG_X86_SHADOW_STACK)
	.config = 1,
#endif
	.nhelpers = sizeof(helpers) / sizeof(helpers[0]),
	.helpers = helpers,
	.ops = &PGTABLE_BLOCK_OPS,
};
