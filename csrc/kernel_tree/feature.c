/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the processor has shadow stacks, as the tree's own code tests it at run time. */
#include "headers.h"

#define TREE_PUBLIC __attribute__((__visibility__("default")))

/* Is the feature a constant to the compiler? */
TREE_PUBLIC int pgtable_tree_feature_is_constant(void);
TREE_PUBLIC int pgtable_tree_feature_is_constant(void)
{
#ifdef X86_FEATURE_SHSTK
	return __builtin_constant_p(cpu_feature_enabled(X86_FEATURE_SHSTK));
#else
	return 1;
#endif
}

TREE_PUBLIC void pgtable_tree_set_feature(int on);
TREE_PUBLIC void pgtable_tree_set_feature(int on)
{
#ifdef X86_FEATURE_SHSTK
	_Static_assert(sizeof(boot_cpu_data) <= TREE_CPU_DATA_SIZE, "copies.c has less room");
	unsigned int *words = (unsigned int *)boot_cpu_data.x86_capability;
	unsigned int bit = 1U << (X86_FEATURE_SHSTK % 32);

	if (on)
		words[X86_FEATURE_SHSTK / 32] |= bit;
	else
		words[X86_FEATURE_SHSTK / 32] &= ~bit;
#else
	(void)on;
#endif
}
