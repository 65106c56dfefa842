/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tree's helpers as loops over words.  A file with one TREE_HELPER for each helper includes this.
 */
#ifndef PGTABLE_TREE_WRAPPERS_H
#define PGTABLE_TREE_WRAPPERS_H

#include "words.h"

#include "bulk/bulk_loops.h"

#define TREE_TEST_LOOP(id, BODY)						\
static int test_##id(const void *in, const void *args, uint64_t arg,		\
		     uint8_t *dst, size_t n)					\
{										\
	const pgtable_word *src = in;						\
										\
	BODY(id, PGTABLE_STORE)							\
	return PGTABLE_THIS_ISA;						\
}

/*
 * A test that gives some bit as an int is counted in 32 bits, which needs half as many vectors. The
 * parts are short enough for that sum.  A test that gives a comparison's 0 or 1 is counted in 64
 * bits, since that is the width of what was compared.
 */
#define TREE_PART ((size_t)1 << 20)
/* Inlining both calls would take a quarter of the time to compile. */
#define TREE_ONE_COPY __attribute__((__noinline__, __noclone__))
/* As a function, since the compiler says of no call in an argument that it is constant. */
static inline __attribute__((__always_inline__)) int tree_is_bit(int value)
{
	return !(__builtin_constant_p(value & ~1) && !(value & ~1));
}
#define TREE_IS_BIT(value) tree_is_bit(_Generic((value), int: (value), default: 0))

#define TREE_COUNT_LOOP(id, BODY, value)					\
static TREE_ONE_COPY uint64_t part_##id(const pgtable_word *src, const pgtable_word *args,	\
			  uint64_t arg, size_t n)				\
{										\
	uint64_t word = n;	/* any: nothing is known of it */		\
										\
	if (TREE_IS_BIT(value)) {						\
		uint32_t total = 0;						\
										\
		BODY(id, PGTABLE_ADD)						\
		return total;							\
	} else {								\
		uint64_t total = 0;						\
										\
		BODY(id, PGTABLE_ADD)						\
		return total;							\
	}									\
}										\
static uint64_t count_##id(const void *in, const void *args, uint64_t arg,	\
			   size_t n)						\
{										\
	const pgtable_word *src = in, *each = args;				\
	uint64_t total = 0;							\
										\
	for (; n > TREE_PART; n -= TREE_PART, src += TREE_PART) {		\
		total += part_##id(src, each, arg, TREE_PART);			\
		each = each ? each + TREE_PART : NULL;				\
	}									\
	return total + part_##id(src, each, arg, n);				\
}

/*
 * id: the helper's name, prefixed so that no macro of the tree meets it.
 * value: the call, of uint64_t word and arg.  Only the loops that its type asks
 * for are ever compiled, and only helpers in the library's table are linked.
 */
#define TREE_HELPER(id, nm, lvl, tk, argname, BODY, value)			\
TREE_APPLY(id, value)								\
PGTABLE_MAP_LOOP(id, BODY)							\
TREE_TEST_LOOP(id, BODY)							\
TREE_COUNT_LOOP(id, BODY, value)						\
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
