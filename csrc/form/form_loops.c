/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops over closed forms (form.h): one for each way Dirty may move, with or without
 * bits to set, since what a loop need not do is the most of its time.  A round is two
 * cache lines, in vectors of the compiler's own; the scalar build has none.
 */
#include <string.h>

#include "bulk/bulk_loops.h"
#include "form/form.h"
#include "bulk/stream.h"

#define FORM_CONSTANTS(form)							\
	const uint64_t keep = (form)->keep, set = (form)->set;			\
	const uint64_t to_cow = (form)->to_cow, to_dirty = (form)->to_dirty

#define KEPT(v) ((v) & keep)
#define SET(v) (KEPT(v) | set)
#define TO_COW(v) (((v) & to_cow) << PGTABLE_FORM_SHIFT)
#define TO_DIRTY(v) (((v) & to_dirty) >> PGTABLE_FORM_SHIFT)

#define KEPT_TO_COW(v) (KEPT(v) | TO_COW(v))
#define SET_TO_COW(v) (SET(v) | TO_COW(v))
#define KEPT_TO_DIRTY(v) (KEPT(v) | TO_DIRTY(v))
#define SET_TO_DIRTY(v) (SET(v) | TO_DIRTY(v))
#define FULL_FORM(v) (SET(v) | TO_COW(v) | TO_DIRTY(v))

/* Whatever follows the loop's name is handed on to it. */
#define IF_SET(with, without, LOOP, ...)					\
	do {									\
		if (set) {							\
			LOOP(with, ##__VA_ARGS__);				\
		} else {							\
			LOOP(without, ##__VA_ARGS__);				\
		}								\
	} while (0)

#define SHORTEST_FORM(LOOP, ...)						\
	do {									\
		if (to_cow && to_dirty) {					\
			LOOP(FULL_FORM, ##__VA_ARGS__);				\
		} else if (to_cow) {						\
			IF_SET(SET_TO_COW, KEPT_TO_COW, LOOP, ##__VA_ARGS__);	\
		} else if (to_dirty) {						\
			IF_SET(SET_TO_DIRTY, KEPT_TO_DIRTY, LOOP, ##__VA_ARGS__); \
		} else {							\
			IF_SET(SET, KEPT, LOOP, ##__VA_ARGS__);			\
		}								\
	} while (0)

#define CONDITION_CONSTANTS(condition)						\
	const uint64_t mask = (condition)->mask, value = (condition)->value

#define ROUND (2 * PGTABLE_LINE)
#define ROUND_WORDS (ROUND / sizeof(uint64_t))

/* How far ahead, in bytes, memory is asked for.  More made reading slower. */
#define FORM_AHEAD (PGTABLE_ASK_AHEAD ? 512 : 0)

static inline void prefetch_ahead(const char *in)
{
	for (size_t i = 0; i < ROUND; i += PGTABLE_LINE)
		__builtin_prefetch((const void *)((uintptr_t)in + FORM_AHEAD + i));
}

#ifdef PGTABLE_SCALAR
typedef pgtable_word words;
#else
#if defined(__AVX512F__)
#define PGTABLE_VECTOR 64
#elif defined(__AVX2__)
#define PGTABLE_VECTOR 32
#else
#define PGTABLE_VECTOR 16
#endif
typedef uint64_t words __attribute__((vector_size(PGTABLE_VECTOR), aligned(1), may_alias));
#endif

/*
 * Left alone, gcc loads a vector as often as it is used, which takes as long as storing
 * it does.
 */
#if defined(__AVX512F__) && !defined(PGTABLE_SCALAR)
#define ONE_LOAD(v) __asm__("" : "+v"(v))
#else
#define ONE_LOAD(v) (void)0
#endif

/* All ones where the condition is met: comparing vectors gives just that. */
#ifdef PGTABLE_SCALAR
#define ALL_ONES_IF(comparison) (-(uint64_t)(comparison))
#else
#define ALL_ONES_IF(comparison) ((words)(comparison))
#endif
#define MET(v) ALL_ONES_IF(((v) & mask) == value)
#define EITHER_MET(v) (MET(v) | ALL_ONES_IF(((v) & or_mask) == or_value))

/*
 * Which entries of a vector are chosen: a bit each, where there are masks of bits, else
 * all ones or none.  Masks come of one instruction where no bit must be set or some bit.
 */
#if defined(__AVX512F__) && !defined(PGTABLE_SCALAR)
typedef __mmask8 chosen;
#define VECTOR(word) _mm512_set1_epi64((long long)(word))
#define NONE_SET(v, k) _mm512_testn_epi64_mask((__m512i)(v), VECTOR(mask))
#define SOME_SET(v, k) _mm512_test_epi64_mask((__m512i)(v), VECTOR(mask))
#define MEETING(v, k) _mm512_cmpeq_epi64_mask((__m512i)((v) & mask), VECTOR(value))
#define FAILING(v, k) _mm512_cmpneq_epi64_mask((__m512i)((v) & mask), VECTOR(value))
#define CHOOSE(chosen, v, other)						\
	((words)_mm512_mask_blend_epi64((chosen), (__m512i)(other), (__m512i)(v)))
#define BY_CONDITION(LOOPS)							\
	do {									\
		if (!value && negate)						\
			LOOPS(SOME_SET);					\
		else if (!value)						\
			LOOPS(NONE_SET);					\
		else if (negate)						\
			LOOPS(FAILING);						\
		else								\
			LOOPS(MEETING);						\
	} while (0)
#else
typedef words chosen;
#define MEETING(v, k) (MET(v) ^ flip)
#define CHOOSE(chosen, v, other) ((other) ^ (((other) ^ (v)) & (chosen)))
#define BY_CONDITION(LOOPS)							\
	do {									\
		const words flip = (words){ 0 } - (uint64_t)negate;		\
										\
		LOOPS(MEETING);							\
	} while (0)
#endif

/* Those whose byte is not 0, of as many bytes as words has entries. */
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
#else
	return (words){ -(uint64_t)(where[0] != 0), -(uint64_t)(where[1] != 0) };
#endif
}

#define EACH_ROUND(n)								\
	for (size_t first = 0, end = in_rounds(n); first < end; first += ROUND_WORDS)
#define EACH_VECTOR(k)								\
	_Pragma("GCC unroll 8")							\
	for (size_t k = 0; k < ROUND / sizeof(words); k++)

/* Where vector k of a round is. */
#define AT(k) (first * sizeof(uint64_t) + (k) * sizeof(words))
#define LOAD(in, k) (*(const words *)((const char *)(in) + AT(k)))
#define STORE(out, k, v) (*(words *)((char *)(out) + AT(k)) = (v))
#define STREAM(out, k, v) stream_store((char *)(out) + AT(k), (stream_vector)(v))

/* Entries in whole rounds; what is left has a loop of its own. */
static inline size_t in_rounds(size_t n)
{
	return n / ROUND_WORDS * ROUND_WORDS;
}

static void form_rest(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	FORM_CONSTANTS(form);
	const pgtable_word *src = in;
	pgtable_word *dst = out;

	for (size_t i = in_rounds(n); i < n; i++)
		dst[i] = FULL_FORM(src[i]);
}

#define FORM_ROUNDS(FORM, PUT, PREFETCH)						\
	EACH_ROUND(n) {								\
		if (PREFETCH && FORM_AHEAD)					\
			prefetch_ahead((const char *)in + first * sizeof(uint64_t)); \
		EACH_VECTOR(k) {						\
			words v = LOAD(in, k);					\
										\
			ONE_LOAD(v);						\
			PUT(out, k, FORM(v));					\
		}								\
	}

static void map_form(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	FORM_CONSTANTS(form);

#define LOOP(FORM) FORM_ROUNDS(FORM, STORE, 0)
	SHORTEST_FORM(LOOP);
#undef LOOP
	form_rest(form, in, out, n);
}

static void map_form_large(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	FORM_CONSTANTS(form);

#define LOOP(FORM) FORM_ROUNDS(FORM, STORE, 1)
	SHORTEST_FORM(LOOP);
#undef LOOP
	form_rest(form, in, out, n);
}

/* Where such stores can be made: to a whole vector, which out starts at. */
static void map_form_stream(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
#ifdef PGTABLE_HAS_STREAM
	FORM_CONSTANTS(form);

	if ((uintptr_t)out % sizeof(words) == 0) {
#define LOOP(FORM) FORM_ROUNDS(FORM, STREAM, 1)
		SHORTEST_FORM(LOOP);
#undef LOOP
		form_rest(form, in, out, n);
		return;
	}
#endif
	map_form_large(form, in, out, n);
}

static inline uint64_t word_at(const void *words, size_t i)
{
	return ((const pgtable_word *)words)[i];
}

#define WHERE_ROUNDS(FORM, CHOSEN, OTHER)					\
	EACH_ROUND(n) {								\
		EACH_VECTOR(k) {						\
			words v = LOAD(in, k);					\
										\
			ONE_LOAD(v);						\
			STORE(out, k, CHOOSE(CHOSEN(v, k), FORM(v), OTHER(v, k))); \
		}								\
	}
#define SAME(v, k) (v)
#define OTHER(v, k) LOAD(otherwise, k)
/* What is kept is mostly what came in: loaded once, it takes a third less time. */
#define WHERE_LOOPS(CHOSEN)							\
	do {									\
		if (otherwise == in)						\
			SHORTEST_FORM(WHERE_ROUNDS, CHOSEN, SAME);		\
		else								\
			SHORTEST_FORM(WHERE_ROUNDS, CHOSEN, OTHER);		\
	} while (0)

static void map_form_where(const struct pgtable_form *form, const uint8_t *where,
				 const void *in, const void *otherwise, void *out, size_t n)
{
	FORM_CONSTANTS(form);
	pgtable_word *dst = out;

#define BYTE_SET(v, k) chosen_by(where + AT(k) / sizeof(uint64_t))
	WHERE_LOOPS(BYTE_SET);
#undef BYTE_SET
	for (size_t i = in_rounds(n); i < n; i++)
		dst[i] = where[i] ? FULL_FORM(word_at(in, i)) : word_at(otherwise, i);
}

static void map_form_if(const struct pgtable_form *form,
			     const struct pgtable_condition *condition,
			     const void *in, const void *otherwise, void *out, size_t n)
{
	FORM_CONSTANTS(form);
	CONDITION_CONSTANTS(condition);
	const int negate = condition->negate != 0;
	pgtable_word *dst = out;

	BY_CONDITION(WHERE_LOOPS);
	for (size_t i = in_rounds(n); i < n; i++) {
		uint64_t v = word_at(in, i);

		dst[i] = ((v & mask) == value) != negate ? FULL_FORM(v) : word_at(otherwise, i);
	}
}

static void test_condition(const struct pgtable_condition *condition, const void *in, uint8_t *out,
		       size_t n)
{
	CONDITION_CONSTANTS(condition);
	const uint64_t or_mask = condition->or_mask, or_value = condition->or_value;
	const int negate = condition->negate != 0;
	const pgtable_word *src = in;

	if (condition->either) {
		PGTABLE_EACH(n, out[i] = (((src[i] & mask) == value) |
					  ((src[i] & or_mask) == or_value)) ^ negate);
	} else if (!value && negate) {
		PGTABLE_EACH(n, out[i] = (src[i] & mask) != 0);
	} else if (!value) {
		PGTABLE_EACH(n, out[i] = (src[i] & mask) == 0);
	} else if (negate) {
		PGTABLE_EACH(n, out[i] = (src[i] & mask) != value);
	} else {
		PGTABLE_EACH(n, out[i] = (src[i] & mask) == value);
	}
}

#define COUNT_MET(ones_if_met, is_met)						\
	do {									\
		EACH_ROUND(n) {							\
			EACH_VECTOR(k) {					\
				words v = LOAD(in, k);				\
										\
				met[k] -= ones_if_met(v);			\
			}							\
		}								\
		for (size_t i = in_rounds(n); i < n; i++)			\
			total += is_met(word_at(in, i));			\
	} while (0)

/* One comparison (or two) and one subtraction a vector, whatever the test. */
static uint64_t count_condition(const struct pgtable_condition *condition, const void *in, size_t n)
{
	CONDITION_CONSTANTS(condition);
	const uint64_t or_mask = condition->or_mask, or_value = condition->or_value;
	words met[ROUND / sizeof(words)] = { 0 };
	uint64_t lanes[ROUND_WORDS], total = 0;

#define IS_MET(v) (((v) & mask) == value)
#define IS_EITHER(v) (IS_MET(v) | (((v) & or_mask) == or_value))
	if (condition->either)
		COUNT_MET(EITHER_MET, IS_EITHER);
	else
		COUNT_MET(MET, IS_MET);
#undef IS_MET
#undef IS_EITHER
	memcpy(lanes, met, sizeof(lanes));
	for (size_t i = 0; i < ROUND_WORDS; i++)
		total += lanes[i];
	return condition->negate ? n - total : total;
}

extern const struct pgtable_form_loops PGTABLE_OF_ISA(pgtable_form_loops);

const struct pgtable_form_loops PGTABLE_OF_ISA(pgtable_form_loops) = {
	.map = map_form,
	.map_large = map_form_large,
	.map_stream = map_form_stream,
	.map_if = map_form_if,
	.map_where = map_form_where,
	.test = test_condition,
	.count = count_condition,
};
