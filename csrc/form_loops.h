/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops over closed forms (form.h): one for each way Dirty may move.  What does not
 * move costs nothing, and every loop is vector code.
 */
#ifndef PGTABLE_FORM_LOOPS_H
#define PGTABLE_FORM_LOOPS_H

#include "bulk_loops.h"
#include "form.h"
#include "stream.h"

#define KEPT(v) (((v) & keep) | set)
#define TO_COW(v) (((v) & to_cow) << PGTABLE_FORM_SHIFT)
#define TO_DIRTY(v) (((v) & to_dirty) >> PGTABLE_FORM_SHIFT)

#define FORM_CONSTANTS(form)							\
	const uint64_t keep = (form)->keep, set = (form)->set;			\
	const uint64_t to_cow = (form)->to_cow, to_dirty = (form)->to_dirty

#define FORM_KEPT(v) KEPT(v)
#define FORM_TO_COW(v) (KEPT(v) | TO_COW(v))
#define FORM_TO_DIRTY(v) (KEPT(v) | TO_DIRTY(v))
#define FORM_BOTH(v) (KEPT(v) | TO_COW(v) | TO_DIRTY(v))

#define FOR_ITS_MOVES(LOOP)							\
	do {									\
		if (to_cow && to_dirty) {					\
			LOOP(FORM_BOTH);					\
		} else if (to_cow) {						\
			LOOP(FORM_TO_COW);					\
		} else if (to_dirty) {						\
			LOOP(FORM_TO_DIRTY);					\
		} else {							\
			LOOP(FORM_KEPT);					\
		}								\
	} while (0)

static void block_form(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	FORM_CONSTANTS(form);
	const pgtable_word *src = in;
	pgtable_word *dst = out;

#define LOOP(FORM) PGTABLE_EACH(n, dst[i] = FORM(src[i]))
	FOR_ITS_MOVES(LOOP);
#undef LOOP
}

static void block_form_where(const struct pgtable_form *form,
			     const struct pgtable_condition *condition,
			     const void *in, void *out, size_t n)
{
	FORM_CONSTANTS(form);
	const uint64_t mask = condition->mask, value = condition->value;
	const uint64_t negate = -(uint64_t)(condition->negate != 0);
	const pgtable_word *src = in;
	pgtable_word *dst = out;

#define HIT(v) (-(uint64_t)(((v) & mask) == value) ^ negate)
#define LOOP(FORM)								\
	PGTABLE_EACH(n, {							\
		uint64_t v = src[i];						\
		dst[i] = v ^ ((v ^ FORM(v)) & HIT(v));				\
	})
	FOR_ITS_MOVES(LOOP);
#undef LOOP
}

#ifdef PGTABLE_HAS_STREAM
/* The same vectors as the compiler's own: it writes the arithmetic, we the stores. */
typedef uint64_t words __attribute__((vector_size(sizeof(stream_vector)), aligned(1), may_alias));

#define STREAM_AHEAD 2048	/* bytes that memory is asked for beforehand */
#endif

/* Returns how many entries were done: all but the ends where out is not aligned. */
static size_t form_stream_lines(const struct pgtable_form *form, const char *in, char *out, size_t n)
{
#ifdef PGTABLE_HAS_STREAM
	FORM_CONSTANTS(form);
	size_t size = n * sizeof(uint64_t) / PGTABLE_LINE * PGTABLE_LINE;

#define LOOP(FORM)								\
	for (size_t at = 0; at < size; at += PGTABLE_LINE) {				\
		__builtin_prefetch((const void *)((uintptr_t)in + at + STREAM_AHEAD));			\
		for (size_t i = at; i < at + PGTABLE_LINE; i += sizeof(words)) {	\
			words v = *(const words *)(in + i);			\
										\
			stream_store(out + i, (stream_vector)(FORM(v)));	\
		}								\
	}
	FOR_ITS_MOVES(LOOP);
#undef LOOP
	return size / sizeof(uint64_t);
#else
	(void)form;
	(void)in;
	(void)out;
	(void)n;
	return 0;
#endif
}

static void block_form_stream(const struct pgtable_form *form, const void *in, void *out, size_t n)
{
	const char *src = in;
	char *dst = out;
	size_t head = -(uintptr_t)dst % PGTABLE_LINE / sizeof(uint64_t);
	size_t done;

	if ((uintptr_t)dst % sizeof(uint64_t)) {
		block_form(form, in, out, n);
		return;
	}
	if (head > n)
		head = n;
	block_form(form, src, dst, head);
	src += head * sizeof(uint64_t);
	dst += head * sizeof(uint64_t);
	done = form_stream_lines(form, src, dst, n - head);
	block_form(form, src + done * sizeof(uint64_t), dst + done * sizeof(uint64_t), n - head - done);
}

#endif
