/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tree's helpers as functions of single words, for proofs, which read the machine code and do not
 * run it.  A file with one TREE_SCALAR for each helper includes this.
 *
 *   scalar_<id>   the helper
 *   gives_<id>    what it gives, as a number: the place of its type in TREE_RESULT
 */
#ifndef PGTABLE_TREE_SCALARS_H
#define PGTABLE_TREE_SCALARS_H

#include "words.h"

#define TREE_SCALAR_PUBLIC __attribute__((__visibility__("default"), __noinline__, __used__))

#define TREE_SCALAR(id, value)							\
TREE_APPLY(id, value)								\
TREE_SCALAR_PUBLIC uint64_t scalar_##id(uint64_t word, uint64_t arg);		\
TREE_SCALAR_PUBLIC uint64_t gives_##id(uint64_t word, uint64_t arg);		\
uint64_t scalar_##id(uint64_t word, uint64_t arg)				\
{										\
	return apply_##id(word, arg);						\
}										\
uint64_t gives_##id(uint64_t word, uint64_t arg)				\
{										\
	(void)word;								\
	(void)arg;								\
	return TREE_RESULT(value, 0, 1, 2, 3, 4, 5, 6, 7, 8);			\
}

/* Where in boot_cpu_data the bit of shadow stacks is, counted in bits; ~0: nowhere. */
#define TREE_SCALAR_FEATURE							\
TREE_SCALAR_PUBLIC uint64_t tree_feature_place(void);				\
uint64_t tree_feature_place(void)						\
{										\
	return TREE_FEATURE_PLACE;						\
}
#ifdef X86_FEATURE_SHSTK
#define TREE_FEATURE_PLACE							\
	(8 * ((unsigned long)boot_cpu_data.x86_capability - (unsigned long)&boot_cpu_data) + \
	 X86_FEATURE_SHSTK)
#else
#define TREE_FEATURE_PLACE ~(uint64_t)0
#endif

#endif
