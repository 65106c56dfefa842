/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timed loops of a kernel tree's own helpers.  A file with one COST_TREE_HELPER for each helper
 * includes this.
 */
#ifndef PGTABLE_COST_TREE_H
#define PGTABLE_COST_TREE_H

#include "kernel_tree/words.h"

#include "cost/timed_loops.h"

#define COST_TREE_HELPER(id, value)						\
TREE_APPLY(id, value)								\
COST_LOOPS(id)

#endif
