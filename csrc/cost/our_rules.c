/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timed loops of our own helpers, for one rule set with its switches.  The command line says
 * which, as for instance.c.  cost_helpers.def has the lines of helpers.def of the wanted helpers.
 */
#ifndef PGTABLE_RULES_BASE
#include "cost/conditional.h"
#endif
#include "bulk/apply.h"
#include "cost/timed_loops.h"

COST_LOOPS(identity)

#define HELPER(rules, lvl, name, takes, gives)				\
RULES_##rules(								\
PGTABLE_APPLY_1(name, takes, gives)					\
COST_LOOPS(name))

#define HELPER2(rules, lvl, name, takes, gives, argtype, argname)	\
RULES_##rules(								\
PGTABLE_APPLY_2(name, takes, gives, argtype)				\
COST_LOOPS(name))

#include "cost_helpers.def"
