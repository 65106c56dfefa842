/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: masks that are variables, because booting sets them.  With TREE_CONSTANTS they are
 * constants with the values of copies.c.  The form of a helper that reads a variable could not be
 * proved.
 */
#ifdef TREE_CONSTANTS
#if __has_include(<asm/pgtable_types.h>)
#include <asm/pgtable_types.h>
#endif
#define __supported_pte_mask (~(pteval_t)0)
/* The bit that marks encrypted memory, by either name: none. */
#ifdef _PAGE_ENC
#undef _PAGE_ENC
#define _PAGE_ENC ((pteval_t)0)
#endif
#ifdef _PAGE_CC
#undef _PAGE_CC
#define _PAGE_CC ((pteval_t)0)
#endif
#endif
