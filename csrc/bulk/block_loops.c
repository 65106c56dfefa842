/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the driver does to a block between the loops of helpers, and the table of all loops of an
 * instruction set.  Compiled once for each instruction set.
 */
#include <string.h>

#include "bulk/bulk_loops.h"
#include "bulk/stream.h"

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

/* The caller's next stores must not become visible before the streamed ones. */
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

extern const struct pgtable_block_loops PGTABLE_OF_ISA(pgtable_block_loops);
extern const struct pgtable_form_loops PGTABLE_OF_ISA(pgtable_form_loops);
extern const struct pgtable_census_loops PGTABLE_OF_ISA(pgtable_census_loops);
extern const struct pgtable_walk_loops PGTABLE_OF_ISA(pgtable_walk_loops);
extern const struct pgtable_loops PGTABLE_OF_ISA(pgtable_loops);

const struct pgtable_block_loops PGTABLE_OF_ISA(pgtable_block_loops) = {
	.ask_ahead = PGTABLE_ASK_AHEAD,
	.stream = block_stream,
	.stream_end = block_stream_end,
	.select = block_select,
	.select_bytes = block_select_bytes,
	.count_both = block_count_both,
};

const struct pgtable_loops PGTABLE_OF_ISA(pgtable_loops) = {
	.isa = PGTABLE_THIS_ISA,
	.block = &PGTABLE_OF_ISA(pgtable_block_loops),
	.form = &PGTABLE_OF_ISA(pgtable_form_loops),
	.census = &PGTABLE_OF_ISA(pgtable_census_loops),
	.walk = &PGTABLE_OF_ISA(pgtable_walk_loops),
};
