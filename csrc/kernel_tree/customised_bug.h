/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: BUG(), which would kill the process.  Here it calls a function that nobody defines.
 * So the symbols of a helper show whether it can reach BUG(), and such a helper is not offered.
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
