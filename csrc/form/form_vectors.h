/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Vectors of entries, in the compiler's own vector types: loaded and stored, compared, and
 * chosen from.  The scalar build has one entry instead of a vector.
 */
#ifndef PGTABLE_FORM_VECTORS_H
#define PGTABLE_FORM_VECTORS_H

#include <string.h>

#include "bulk/bulk_loops.h"
#include "bulk/stream.h"
#include "form/form.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define ROUND (2 * PGTABLE_LINE)
#define ROUND_WORDS (ROUND / sizeof(uint64_t))

/* How many bytes ahead memory is asked for.  A larger distance made reading slower. */
#define FORM_AHEAD (PGTABLE_ASK_AHEAD ? 512 : 0)

#ifdef PGTABLE_SCALAR
typedef pgtable_word words;
#else
#if defined(__AVX512F__)
#define PGTABLE_VECTOR 64
#define HAS_MASKS 1
#elif defined(__AVX2__)
#define PGTABLE_VECTOR 32
#else
#define PGTABLE_VECTOR 16
#endif
typedef uint64_t words __attribute__((vector_size(PGTABLE_VECTOR), aligned(1), may_alias));
#endif
#define ROUND_VECTORS (ROUND / sizeof(words))

/* Vector k of the round that begins at this byte. */
ALWAYS_INLINE words load(const void *in, size_t at, size_t k)
{
	words v = *(const words *)((const char *)in + at + k * sizeof(words));

#ifdef HAS_MASKS
	/* else gcc loads the vector for each use, and a load takes as long as a store */
	__asm__("" : "+v"(v));
#endif
	return v;
}

ALWAYS_INLINE void store(void *out, size_t at, size_t k, words v)
{
	*(words *)((char *)out + at + k * sizeof(words)) = v;
}

ALWAYS_INLINE void prefetch_ahead(const void *in, size_t at)
{
	for (size_t i = 0; i < ROUND; i += PGTABLE_LINE)
		__builtin_prefetch((const void *)((uintptr_t)in + at + FORM_AHEAD + i));
}

/* How many entries whole rounds have.  The rest has a loop of its own. */
static inline size_t in_rounds(size_t n)
{
	return n / ROUND_WORDS * ROUND_WORDS;
}

static inline uint64_t word_at(const void *words, size_t i)
{
	return ((const pgtable_word *)words)[i];
}

/* All ones for an entry that has the value: that is what comparing vectors gives. */
ALWAYS_INLINE words ones_if_value(words v, uint64_t mask, uint64_t value)
{
#ifdef PGTABLE_SCALAR
	return -(uint64_t)((v & mask) == value);
#else
	return (words)((v & mask) == value);
#endif
}

/*
 * Which entries of a vector are chosen: with mask registers one bit for each, else all ones or 0.
 * Making a mask takes one instruction if the condition is "some bit set" or "no bit set".
 */
enum choice { BY_BYTE, IF_SOME_SET, IF_NONE_SET, IF_NOT_VALUE, IF_VALUE };

#ifdef HAS_MASKS
typedef __mmask8 chosen;

ALWAYS_INLINE __m512i vector_of(uint64_t word)
{
	return _mm512_set1_epi64((long long)word);
}

ALWAYS_INLINE chosen chosen_if(const struct pgtable_condition *condition, words v,
			       enum choice choice)
{
	const __m512i entries = (__m512i)v, mask = vector_of(condition->mask);

	switch (choice) {
	case IF_SOME_SET:
		return _mm512_test_epi64_mask(entries, mask);
	case IF_NONE_SET:
		return _mm512_testn_epi64_mask(entries, mask);
	case IF_NOT_VALUE:
		return _mm512_cmpneq_epi64_mask((__m512i)(v & condition->mask),
						vector_of(condition->value));
	default:
		return _mm512_cmpeq_epi64_mask((__m512i)(v & condition->mask),
					       vector_of(condition->value));
	}
}

ALWAYS_INLINE words choose(chosen chosen, words yes, words no)
{
	return (words)_mm512_mask_blend_epi64(chosen, (__m512i)no, (__m512i)yes);
}

static inline enum choice choice_of(const struct pgtable_condition *condition)
{
	if (condition->value)
		return condition->negate ? IF_NOT_VALUE : IF_VALUE;
	return condition->negate ? IF_SOME_SET : IF_NONE_SET;
}
#else
typedef words chosen;

ALWAYS_INLINE chosen chosen_if(const struct pgtable_condition *condition, words v,
			       enum choice choice)
{
	const uint64_t flip = -(uint64_t)(condition->negate != 0);

	(void)choice;
	return ones_if_value(v, condition->mask, condition->value) ^ flip;
}

ALWAYS_INLINE words choose(chosen chosen, words yes, words no)
{
	return no ^ ((no ^ yes) & chosen);
}

/* One loop for both: a negated condition flips the result. */
static inline enum choice choice_of(const struct pgtable_condition *condition)
{
	(void)condition;
	return IF_VALUE;
}
#endif

/* Entries whose byte is not 0; there is a byte for each entry of a vector. */
static inline chosen chosen_by(const uint8_t *where)
{
#ifdef PGTABLE_SCALAR
	return -(uint64_t)(*where != 0);
#elif defined(__AVX512F__)
	__m512i wide = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)where));

	return _mm512_test_epi64_mask(wide, wide);
#elif defined(__AVX2__)
	int four;

	memcpy(&four, where, sizeof(four));
	return (words)((words)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four)) != 0);
#elif defined(__SSE2__)
	uint16_t two;
	__m128i wide;

	/* each byte eight times */
	memcpy(&two, where, sizeof(two));
	wide = _mm_cvtsi32_si128(two);
	wide = _mm_unpacklo_epi8(wide, wide);
	wide = _mm_unpacklo_epi16(wide, wide);
	wide = _mm_unpacklo_epi32(wide, wide);
	return ~(words)_mm_cmpeq_epi8(wide, _mm_setzero_si128());
#else
	return (words){ -(uint64_t)(where[0] != 0), -(uint64_t)(where[1] != 0) };
#endif
}

#endif
