/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A loop applies the helper's own text to an array.  The compiler makes vector code of it, for the
 * instruction set that this file is compiled for.
 */
#ifndef PGTABLE_BULK_LOOPS_H
#define PGTABLE_BULK_LOOPS_H

#include "bulk/bulk.h"

#if defined(PGTABLE_SCALAR)
#define PGTABLE_THIS_ISA PGTABLE_ISA_SCALAR
#elif defined(__AVX512F__)
#define PGTABLE_THIS_ISA PGTABLE_ISA_AVX512
#elif defined(__AVX2__)
#define PGTABLE_THIS_ISA PGTABLE_ISA_AVX2
#else
#define PGTABLE_THIS_ISA PGTABLE_ISA_BASELINE
#endif

/* A name with the instruction set at its end.  The command line says PGTABLE_ISA=avx2. */
#define PGTABLE_JOIN_(name, isa) name##_##isa
#define PGTABLE_JOIN(name, isa) PGTABLE_JOIN_(name, isa)
#define PGTABLE_OF_ISA(name) PGTABLE_JOIN(name, PGTABLE_ISA)

/*
 * Is memory asked for ahead?  Processors with AVX-512 do well without: asking made loops in place
 * on Zen 4 as much slower as it makes them faster on Zen 3.
 */
#ifdef __AVX512F__
#define PGTABLE_ASK_AHEAD 0
#else
#define PGTABLE_ASK_AHEAD 1
#endif

/* A word of a buffer: any alignment, whatever type the caller's memory has. */
typedef uint64_t pgtable_word __attribute__((aligned(1), may_alias));

/*
 * Input and output are disjoint or the same, so no iteration depends on another.  A round has four
 * vectors: with one, counting rounds takes as long as computing.  PGTABLE_NO_UNROLL is for kernel
 * trees, where the time to compile counts more.
 */
#if defined(PGTABLE_SCALAR)
#define PGTABLE_INDEPENDENT
#elif defined(__clang__)
#define PGTABLE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(PGTABLE_NO_UNROLL)
#define PGTABLE_INDEPENDENT _Pragma("GCC ivdep")
#else
#define PGTABLE_INDEPENDENT _Pragma("GCC ivdep") _Pragma("GCC unroll 4")
#endif

#define PGTABLE_EACH(n, statement)					\
	PGTABLE_INDEPENDENT						\
	for (size_t i = 0; i < (n); i++)				\
		statement

/*
 * A helper is called as apply_<name>(entry, argument).  _1 loops are of helpers that take the entry
 * alone.  _2 loops take an argument for each entry, or one for all.
 */
#define PGTABLE_BODY_1(name, SET)					\
	(void)args;							\
	(void)arg;							\
	PGTABLE_EACH(n, SET(apply_##name(src[i], 0)));

#define PGTABLE_BODY_2(name, SET)					\
	if (args) {							\
		const pgtable_word *each = args;			\
		PGTABLE_EACH(n, SET(apply_##name(src[i], each[i])));	\
	} else if (arg & 1) {						\
		PGTABLE_EACH(n, SET(apply_##name(src[i], arg | 1)));	\
	} else {							\
		PGTABLE_EACH(n, SET(apply_##name(src[i], arg & ~(uint64_t)1))); \
	}

#define PGTABLE_STORE(value) dst[i] = (value)
#define PGTABLE_ADD(value) total += (value)

#define PGTABLE_MAP_LOOP(name, BODY)					\
static int map_##name(const void *in, const void *args, uint64_t arg,	\
		      void *out, size_t n)				\
{									\
	const pgtable_word *src = in;					\
	pgtable_word *dst = out;					\
									\
	BODY(name, PGTABLE_STORE)					\
	return PGTABLE_THIS_ISA;					\
}

#define PGTABLE_TEST_LOOPS(name, BODY)					\
static int test_##name(const void *in, const void *args, uint64_t arg,	\
		       uint8_t *dst, size_t n)				\
{									\
	const pgtable_word *src = in;					\
									\
	BODY(name, PGTABLE_STORE)					\
	return PGTABLE_THIS_ISA;					\
}									\
static uint64_t count_##name(const void *in, const void *args,		\
			     uint64_t arg, size_t n)			\
{									\
	const pgtable_word *src = in;					\
	uint64_t total = 0;						\
									\
	BODY(name, PGTABLE_ADD)						\
	return total;							\
}

#endif
