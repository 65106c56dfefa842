/* SPDX-License-Identifier: GPL-2.0-only */
/* The library's table: the helpers that linking may keep, in the tree's order. */
#include "bulk/bulk.h"

#define TREE_PUBLIC __attribute__((visibility("default")))

typedef const struct pgtable_helper *tree_helper(void);

#define TREE_TABLE(id) extern tree_helper helper_##id;
#include "table.def"
#undef TREE_TABLE

static tree_helper *const helpers[] = {
#define TREE_TABLE(id) helper_##id,
#include "table.def"
};

TREE_PUBLIC size_t pgtable_tree_nhelpers(void);
TREE_PUBLIC const struct pgtable_helper *pgtable_tree_helper(size_t i);

size_t pgtable_tree_nhelpers(void)
{
	return sizeof(helpers) / sizeof(helpers[0]);
}

const struct pgtable_helper *pgtable_tree_helper(size_t i)
{
	return helpers[i]();
}
