/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Proofs that a tree's helpers have the closed forms (form.h) that trying them suggests.  The
 * compiler proves them from the tree's own text.  It tracks what is known of each bit.  So if some
 * bits of an entry are fixed and all others are unknown, it can see that a bit of the result is
 * constant.  Each bit of a form needs a few such cases.  For a helper with an argument the proof is
 * that each bit of the result depends only on the same bit of entry and argument.  Then trying the
 * helper with an argument shows its form for that argument.
 *
 * If the compiler cannot see one case, a call of unproved_<helper>() stays in the object file.  The
 * object is never linked or run.
 */
#ifndef PGTABLE_TREE_PROOFS_H
#define PGTABLE_TREE_PROOFS_H

#include "words.h"

/* Inline even a long helper: the compiler does not look into calls. */
#define TREE_WHOLE __attribute__((__flatten__))

#define TREE_PROOF(id, value)							\
TREE_APPLY(id, value)								\
void unproved_##id(void);							\
void proof_##id(uint64_t any, uint64_t other);					\
TREE_WHOLE void proof_##id(uint64_t any, uint64_t other)			\
{										\
	int proved = 1;

/* If the fixed bits of an entry have the value to, the bits of the result have the value are. */
#define TREE_CASE(id, fixed, to, bits, are)					\
	{									\
		uint64_t result = apply_##id((any & ~(uint64_t)fixed) | to, 0) & bits; \
										\
		proved &= __builtin_constant_p(result) && result == are;	\
	}

#define TREE_WITH(word, bit, is) (((word) & ~(uint64_t)(bit)) | ((is) ? (bit) : 0))

/* If a bit has these values in entry and argument, it has this value in the result. */
#define TREE_BIT_CASE(id, bit, in, arg)						\
	{									\
		uint64_t result = apply_##id(TREE_WITH(any, bit, in),		\
					     TREE_WITH(other, bit, arg)) & bit;	\
										\
		proved &= __builtin_constant_p(result);				\
	}

/* A bit of the result depends only on the same bit of entry and argument. */
#define TREE_BITWISE(id, bit)							\
	TREE_BIT_CASE(id, bit, 0, 0)						\
	TREE_BIT_CASE(id, bit, 0, 1)						\
	TREE_BIT_CASE(id, bit, 1, 0)						\
	TREE_BIT_CASE(id, bit, 1, 1)

#define TREE_PROOF_END(id)							\
	if (!proved)								\
		unproved_##id();						\
}

#endif
