/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: BUG().  It would kill the process; as a function that nobody has,
 * it shows which helpers can get to it, and these are not offered.
 */
#if __has_include(<linux/bug.h>)
#include <linux/bug.h>
#ifdef _ASM_X86_PGTABLE_H
#error "linux/bug.h of this tree reads asm/pgtable.h: BUG() cannot be replaced"
#endif
#undef BUG
#define BUG() pgtable_tree_bug()
void pgtable_tree_bug(void) __attribute__((__noreturn__));
#endif
