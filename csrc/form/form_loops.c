/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops over closed forms (form.h).  There is a loop for each shape of a form, so that no loop
 * computes what its form does not need.  The shape is a constant argument of functions that are
 * always inlined.  A loop goes in rounds of two cache lines.
 */
#include <string.h>

#include "form/form_vectors.h"

/* What a form does, beside keeping bits.  Always a constant argument. */
enum shape {
	SETS = 1,
	TO_COW = 2,
	TO_DIRTY = 4,
	FULL_SHAPE = SETS | TO_COW | TO_DIRTY,
};

ALWAYS_INLINE words apply(struct pgtable_form form, words v, enum shape shape)
{
	words kept = v & form.keep;

	if (shape & SETS)
		kept |= form.set;
	if (shape & TO_COW)
		kept |= (v & form.to_cow) << PGTABLE_FORM_SHIFT;
	if (shape & TO_DIRTY)
		kept |= (v & form.to_dirty) >> PGTABLE_FORM_SHIFT;
	return kept;
}

ALWAYS_INLINE uint64_t apply_to_one(struct pgtable_form form, uint64_t v)
{
	return (v & form.keep) | form.set | (v & form.to_cow) << PGTABLE_FORM_SHIFT |
	       (v & form.to_dirty) >> PGTABLE_FORM_SHIFT;
}

/* Where a loop writes; always a constant. */
enum target { CACHE, MEMORY, PAST_CACHES };

ALWAYS_INLINE void map_rounds(struct pgtable_form form, const void *in, void *out, size_t n,
			      enum shape shape, enum target target)
{
	for (size_t at = 0, end = in_rounds(n) * sizeof(uint64_t); at < end; at += ROUND) {
		if (target != CACHE && FORM_AHEAD > 0)
			prefetch_ahead(in, at);
#pragma GCC unroll 8
		for (size_t k = 0; k < ROUND_VECTORS; k++) {
			words v = apply(form, load(in, at, k), shape);

#ifdef PGTABLE_HAS_STREAM
			if (target == PAST_CACHES)
				stream_store((char *)out + at + k * sizeof(words), (stream_vector)v);
			else
#endif
				store(out, at, k, v);
		}
	}
}

/* form is a copy, so that no store to out can change it. */
ALWAYS_INLINE void map_to(struct pgtable_form form, const void *in, void *out, size_t n,
			  enum target target)
{
	pgtable_word *dst = out;

	if (form.to_cow && form.to_dirty)
		map_rounds(form, in, out, n, FULL_SHAPE, target);
	else if (form.to_cow && form.set)
		map_rounds(form, in, out, n, SETS | TO_COW, target);
	else if (form.to_cow)
		map_rounds(form, in, out, n, TO_COW, target);
	else if (form.to_dirty && form.set)
		map_rounds(form, in, out, n, SETS | TO_DIRTY, target);
	else if (form.to_dirty)
		map_rounds(form, in, out, n, TO_DIRTY, target);
	else if (form.set)
		map_rounds(form, in, out, n, SETS, target);
	else
		map_rounds(form, in, out, n, 0, target);
	for (size_t i = in_rounds(n); i < n; i++)
		dst[i] = apply_to_one(form, word_at(in, i));
}

static void map_form(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	map_to(*form, in, out, n, CACHE);
}

static void map_form_large(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	map_to(*form, in, out, n, MEMORY);
}

static void map_form_stream(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
#ifdef PGTABLE_HAS_STREAM
	/* such a store needs aligned memory */
	if ((uintptr_t)out % sizeof(words) == 0) {
		map_to(*form, in, out, n, PAST_CACHES);
		return;
	}
#endif
	map_form_large(form, in, out, n);
}

/* A map of some entries: condition or where choose them, and the others get otherwise. */
struct map_where {
	struct pgtable_form form;
	struct pgtable_condition condition;
	const uint8_t *where;
	const void *in;
	const void *otherwise;
	void *out;
	size_t n;
};

ALWAYS_INLINE void where_rounds(struct map_where map, enum shape shape, enum choice choice,
				int keeps_input)
{
	for (size_t at = 0, end = in_rounds(map.n) * sizeof(uint64_t); at < end; at += ROUND) {
		const uint8_t *where =
			choice == BY_BYTE ? map.where + at / sizeof(uint64_t) : NULL;

#pragma GCC unroll 8
		for (size_t k = 0; k < ROUND_VECTORS; k++) {
			words v = load(map.in, at, k), mapped = apply(map.form, v, shape);
			words other = keeps_input ? v : load(map.otherwise, at, k);
			chosen those = choice != BY_BYTE ? chosen_if(&map.condition, v, choice) :
				       chosen_by(where + k * (sizeof(words) / sizeof(uint64_t)));

			store(map.out, at, k, choose(those, mapped, other));
		}
	}
}

ALWAYS_INLINE void where_by_shape(struct map_where map, enum choice choice, int keeps_input)
{
	if (map.form.to_cow && map.form.to_dirty)
		where_rounds(map, FULL_SHAPE, choice, keeps_input);
	else if (map.form.to_cow && map.form.set)
		where_rounds(map, SETS | TO_COW, choice, keeps_input);
	else if (map.form.to_cow)
		where_rounds(map, TO_COW, choice, keeps_input);
	else if (map.form.to_dirty && map.form.set)
		where_rounds(map, SETS | TO_DIRTY, choice, keeps_input);
	else if (map.form.to_dirty)
		where_rounds(map, TO_DIRTY, choice, keeps_input);
	else if (map.form.set)
		where_rounds(map, SETS, choice, keeps_input);
	else
		where_rounds(map, 0, choice, keeps_input);
}

/* Mostly the others keep their input.  Loading it once takes a third less time. */
ALWAYS_INLINE void where_loop(struct map_where map, enum choice choice)
{
	if (map.otherwise == map.in)
		where_by_shape(map, choice, 1);
	else
		where_by_shape(map, choice, 0);
}

static void map_form_where(const struct pgtable_form *form, const uint8_t *where,
			   const void *in, const void *otherwise, void *out, size_t n)
{
	const struct map_where map = { .form = *form, .where = where, .in = in,
				       .otherwise = otherwise, .out = out, .n = n };
	pgtable_word *dst = out;

	where_loop(map, BY_BYTE);
	for (size_t i = in_rounds(n); i < n; i++)
		dst[i] = where[i] ? apply_to_one(map.form, word_at(in, i)) : word_at(otherwise, i);
}

static inline int is_value(const struct pgtable_condition *condition, uint64_t v)
{
	return (v & condition->mask) == condition->value;
}

static void map_form_if(const struct pgtable_form *form, const struct pgtable_condition *condition,
			const void *in, const void *otherwise, void *out, size_t n)
{
	const struct map_where map = { .form = *form, .condition = *condition, .in = in,
				       .otherwise = otherwise, .out = out, .n = n };
	const int negate = condition->negate != 0;
	pgtable_word *dst = out;

	switch (choice_of(condition)) {
#ifdef HAS_MASKS
	case IF_SOME_SET:
		where_loop(map, IF_SOME_SET);
		break;
	case IF_NONE_SET:
		where_loop(map, IF_NONE_SET);
		break;
	case IF_NOT_VALUE:
		where_loop(map, IF_NOT_VALUE);
		break;
#endif
	default:
		where_loop(map, IF_VALUE);
	}
	for (size_t i = in_rounds(n); i < n; i++) {
		uint64_t v = word_at(in, i);

		dst[i] = is_value(&map.condition, v) != negate ? apply_to_one(map.form, v) :
			 word_at(otherwise, i);
	}
}

static void test_condition(const struct pgtable_condition *condition, const void *in, uint8_t *out,
			   size_t n)
{
	const uint64_t mask = condition->mask, value = condition->value;
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

/* Subtract all ones, which is -1, for each entry that meets the condition. */
ALWAYS_INLINE void count_rounds(struct pgtable_condition condition, const void *in, size_t n,
				int either, words *met)
{
	for (size_t at = 0, end = in_rounds(n) * sizeof(uint64_t); at < end; at += ROUND) {
#pragma GCC unroll 8
		for (size_t k = 0; k < ROUND_VECTORS; k++) {
			words v = load(in, at, k);
			words ones = ones_if_value(v, condition.mask, condition.value);

			if (either)
				ones |= ones_if_value(v, condition.or_mask, condition.or_value);
			met[k] -= ones;
		}
	}
}

/* Every test takes one comparison (or two) and one subtraction for each vector. */
static uint64_t count_condition(const struct pgtable_condition *condition, const void *in, size_t n)
{
	words met[ROUND_VECTORS] = { 0 };
	uint64_t lanes[ROUND_WORDS], total = 0;

	if (condition->either)
		count_rounds(*condition, in, n, 1, met);
	else
		count_rounds(*condition, in, n, 0, met);
	for (size_t i = in_rounds(n); i < n; i++) {
		uint64_t v = word_at(in, i);

		total += is_value(condition, v) ||
			 (condition->either && (v & condition->or_mask) == condition->or_value);
	}
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
