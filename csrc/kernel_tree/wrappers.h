/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tree's helpers as loops over words.  What is included after this is one
 * TREE_HELPER for each helper.
 */
#ifndef PGTABLE_TREE_WRAPPERS_H
#define PGTABLE_TREE_WRAPPERS_H

#include "words.h"

#include "bulk_loops.h"

/*
 * id: the helper's name, prefixed so that no macro of the tree meets it.
 * value: the call, of uint64_t word and arg.  Only the loops that its type asks
 * for are ever compiled, and only helpers in the library's table are linked.
 */
#define TREE_HELPER(id, nm, lvl, tk, argname, BODY, value)			\
TREE_APPLY(id, value)								\
PGTABLE_MAP_LOOP(id, BODY)							\
PGTABLE_TEST_LOOPS(id, BODY)							\
const struct pgtable_helper *helper_##id(void);					\
const struct pgtable_helper *helper_##id(void)					\
{										\
	uint64_t word = 0, arg = 0;						\
	static const struct pgtable_helper helper = {				\
		.name = nm, .level = lvl, .takes = tk, .argument = argname,	\
		.gives = TREE_GIVES(value),					\
		.map = TREE_IF_TEST(value, NULL, map_##id),			\
		.test = TREE_IF_TEST(value, test_##id, NULL),			\
		.count = TREE_IF_TEST(value, count_##id, NULL),			\
	};									\
										\
	(void)word;								\
	(void)arg;								\
	return &helper;								\
}

#endif
