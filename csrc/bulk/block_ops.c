/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens to a block between the loops of helpers.  Compiled once for each
 * instruction set, as PGTABLE_BLOCK_OPS.
 */
#include <string.h>

#include "bulk/bulk_loops.h"
#include "census/census_loop.h"
#include "form/form_loops.h"
#include "bulk/stream.h"
#include "walk/walk_loops.h"

static void block_stream(void *out, const void *in, size_t n)
{
#ifdef PGTABLE_HAS_STREAM
	const char *src = in;
	char *dst = out;
	size_t nbytes = n * sizeof(uint64_t);
	size_t head = -(uintptr_t)dst % sizeof(stream_vector);

	if (head > nbytes)
		head = nbytes;
	memcpy(dst, src, head);
	for (; nbytes - head >= sizeof(stream_vector); head += sizeof(stream_vector))
		stream_store(dst + head, stream_load(src + head));
	memcpy(dst + head, src + head, nbytes - head);
#else
	memcpy(out, in, n * sizeof(uint64_t));
#endif
}

/* Streamed stores are ordered before whatever the caller does next. */
static void block_stream_end(void)
{
#ifdef PGTABLE_HAS_STREAM
	_mm_sfence();
#endif
}

static void block_select(void *out, const void *yes, const void *no,
			 const uint8_t *where, size_t n)
{
	const pgtable_word *a = yes, *b = no;
	pgtable_word *dst = out;

	PGTABLE_EACH(n, dst[i] = b[i] ^ ((a[i] ^ b[i]) & -(uint64_t)(where[i] != 0)));
}

static void block_select_bytes(uint8_t *out, const uint8_t *yes, const uint8_t *no,
			       const uint8_t *where, size_t n)
{
	PGTABLE_EACH(n, out[i] = where[i] ? yes[i] : no[i]);
}

static uint64_t block_count_both(const uint8_t *a, const uint8_t *b, size_t n)
{
	uint64_t total = 0;

	PGTABLE_EACH(n, total += (a[i] != 0) & (b[i] != 0));
	return total;
}

extern const struct pgtable_block_ops PGTABLE_BLOCK_OPS;

const struct pgtable_block_ops PGTABLE_BLOCK_OPS = {
	.isa = PGTABLE_THIS_ISA,
	.ask_ahead = FORM_AHEAD != 0,
	.form = block_form,
	.form_large = block_form_large,
	.form_where = block_form_where,
	.form_where_set = block_form_where_set,
	.test = block_test,
	.count = block_count,
	.form_stream = block_form_stream,
	.stream = block_stream,
	.stream_end = block_stream_end,
	.select = block_select,
	.select_bytes = block_select_bytes,
	.count_both = block_count_both,
	.census = census_loop,
	.walk_rows = walk_rows,
	.walk_frames = walk_frames,
};
