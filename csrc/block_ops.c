/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens to a block between the loops of helpers.  Compiled once for each
 * instruction set, as PGTABLE_BLOCK_OPS.
 */
#include <string.h>

#include "bulk_loops.h"
#include "census_loop.h"

#if defined(__SSE2__) && !defined(PGTABLE_SCALAR)
#include <immintrin.h>
#define PGTABLE_HAS_STREAM 1
#if defined(__AVX512F__)
typedef __m512i stream_vector;
#define stream_load(p) _mm512_loadu_si512(p)
#define stream_store(p, v) _mm512_stream_si512((void *)(p), v)
#elif defined(__AVX2__)
typedef __m256i stream_vector;
#define stream_load(p) _mm256_loadu_si256((const void *)(p))
#define stream_store(p, v) _mm256_stream_si256((void *)(p), v)
#else
typedef __m128i stream_vector;
#define stream_load(p) _mm_loadu_si128((const void *)(p))
#define stream_store(p, v) _mm_stream_si128((void *)(p), v)
#endif
#endif

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
	.stream = block_stream,
	.stream_end = block_stream_end,
	.select = block_select,
	.select_bytes = block_select_bytes,
	.count_both = block_count_both,
	.census = census_loop,
};
