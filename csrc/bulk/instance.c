/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All helpers of one rule set, one setting of its switches, one instruction
 * set.  Compiled once for each combination; the command line says which:
 *   PGTABLE_INSTANCE             name of the table defined here
 *   PGTABLE_ISA                  the instruction set, as users call it
 *   PGTABLE_RULES_{BASE,COW,SAVED_DIRTY}
 *   PGTABLE_SHSTK                0 or 1
 *   CONFIG_X86_SHADOW_STACK      defined or not
 *   PGTABLE_VARIANT_NAME         what an older kernel does otherwise, "" for nothing:
 *   PGTABLE_PLAIN_FRAMES, PGTABLE_SWP_SOFT_DIRTY_BIT_7, PGTABLE_PMD_MODIFY_DROPS_DIRTY
 *                                defined or not
 */
#include "bulk/bulk_loops.h"
#include "bulk/apply.h"

#define LOOPS_pte(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_pmd(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_pud(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_val(name, body) PGTABLE_MAP_LOOP(name, body)
#define LOOPS_test(name, body) PGTABLE_TEST_LOOPS(name, body)

#define HELPER(rules, lvl, name, takes, gives)				\
RULES_##rules(								\
PGTABLE_APPLY_1(name, takes, gives)					\
LOOPS_##gives(name, PGTABLE_BODY_1))

#define HELPER2(rules, lvl, name, takes, gives, argtype, argname)	\
RULES_##rules(								\
PGTABLE_APPLY_2(name, takes, gives, argtype)				\
LOOPS_##gives(name, PGTABLE_BODY_2))

#include "helpers/helpers.def"
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

#define ISA_NAME_(isa) #isa
#define ISA_NAME(isa) ISA_NAME_(isa)

static const struct pgtable_helper helpers[] = {
#include "helpers/helpers.def"
};

extern const struct pgtable_loops PGTABLE_OF_ISA(pgtable_loops);
extern const struct pgtable_instance PGTABLE_INSTANCE;

const struct pgtable_instance PGTABLE_INSTANCE = {
	.isa = ISA_NAME(PGTABLE_ISA),
	.rules = PGTABLE_RULES_NAME,
	.shstk = PGTABLE_SHSTK,
#if defined(CONFIG_X86_SHADOW_STACK)
	.config = 1,
#endif
	.variant = PGTABLE_VARIANT_NAME,
	.nhelpers = sizeof(helpers) / sizeof(helpers[0]),
	.helpers = helpers,
	.loops = &PGTABLE_OF_ISA(pgtable_loops),
};
