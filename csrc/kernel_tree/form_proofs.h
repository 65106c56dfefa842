/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Proofs that a tree's helpers have the closed forms (form.h) which trying them
 * suggests.  The compiler gives them, out of the tree's own text: it follows what is
 * known of every bit, so where some bits of an entry are fixed and all others are
 * anything, it can tell that some bit of the result is a constant.  A form takes a
 * few of these cases for each bit that it has.  Of a helper with an argument it is
 * proved that it treats every bit by itself: then trying it with an argument shows
 * the form that it has with this one.
 *
 * Where one case is not seen to be so, a call of unproved_<helper>() is left in the
 * object, which nobody links and nothing ever runs.
 */
#ifndef PGTABLE_TREE_PROOFS_H
#define PGTABLE_TREE_PROOFS_H

#include "words.h"

/* However long the helper: what is not inlined is not looked into. */
#define TREE_WHOLE __attribute__((__flatten__))

#define TREE_PROOF(id, value)							\
TREE_APPLY(id, value)								\
void unproved_##id(void);							\
void proof_##id(uint64_t any, uint64_t other);					\
TREE_WHOLE void proof_##id(uint64_t any, uint64_t other)			\
{										\
	int proved = 1;

/* Where the fixed bits of an entry are to, the bits of the result are what is told. */
#define TREE_CASE(id, fixed, to, bits, are)					\
	{									\
		uint64_t result = apply_##id((any & ~(uint64_t)fixed) | to, 0) & bits; \
										\
		proved &= __builtin_constant_p(result) && result == are;	\
	}

#define TREE_WITH(word, bit, is) (((word) & ~(uint64_t)(bit)) | ((is) ? (bit) : 0))

/* Where a bit of the entry and of the argument is told, so is it of the result. */
#define TREE_BIT_CASE(id, bit, in, arg)						\
	{									\
		uint64_t result = apply_##id(TREE_WITH(any, bit, in),		\
					     TREE_WITH(other, bit, arg)) & bit;	\
										\
		proved &= __builtin_constant_p(result);				\
	}

/* A bit of the result depends on no other than the same bit of entry and argument. */
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
