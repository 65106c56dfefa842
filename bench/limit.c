/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limit: loops that read and write the same bytes as a helper, and do nothing else. Compiler,
 * flags and threads are those of the library.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "form/form.h"
#include "bulk/parallel.c"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LIMIT_KEY ((uint64_t)0x0123456789abcdef)
/* Two operations on an entry are done block by block. */
#define LIMIT_BLOCK ((size_t)1024)

struct limit_call {
	void *out;
	const void *in;
	const uint8_t *where;
	uint64_t total[PGTABLE_MAX_THREADS];
};

static uint64_t run_limit(pgtable_part *part, struct limit_call *call, size_t n, unsigned threads)
{
	unsigned parts = pgtable_parts(n, threads);
	uint64_t total = 0;

	pgtable_parallel(part, call, n, parts);
	for (unsigned i = 0; i < parts; i++)
		total += call->total[i];
	return total;
}

static void xor_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;
	uint64_t *a = (uint64_t *)call->out + first;

	for (size_t i = 0; i < n; i++)
		a[i] ^= LIMIT_KEY;
	call->total[index] = 0;
}

/* In place: a[i] ^= k. */
void limit_xor(void *a, size_t n, unsigned threads)
{
	struct limit_call call = { .out = a };

	run_limit(xor_part, &call, n, threads);
}

/* The same, with the parameters of the library's loops. */
int limit_xor_loop(const void *in, const void *args, uint64_t arg, void *out, size_t n)
{
	uint64_t *a = out;

	(void)in;
	(void)args;
	for (size_t i = 0; i < n; i++)
		a[i] ^= arg;
	return 0;
}

static uint64_t sum(const uint64_t *a, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += a[i];
	return total;
}

static uint64_t sum_bytes(const uint8_t *a, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += a[i];
	return total;
}

static void xor_where_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;
	uint64_t *a = (uint64_t *)call->out + first;
	uint64_t total = 0;

	for (size_t done = 0; done < n; done += LIMIT_BLOCK) {
		size_t len = n - done < LIMIT_BLOCK ? n - done : LIMIT_BLOCK;

		total += sum_bytes(call->where + first + done, len);
		for (size_t i = 0; i < len; i++)
			a[done + i] ^= LIMIT_KEY;
	}
	call->total[index] = total;
}

/* In place, and one more byte is read for each entry. */
uint64_t limit_xor_where(void *a, const void *where, size_t n, unsigned threads)
{
	struct limit_call call = { .out = a, .where = where };

	return run_limit(xor_where_part, &call, n, threads);
}

static void sum_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;

	call->total[index] = sum((const uint64_t *)call->in + first, n);
}

/* Read only: sum += a[i]. */
uint64_t limit_sum(const void *a, size_t n, unsigned threads)
{
	struct limit_call call = { .in = a };

	return run_limit(sum_part, &call, n, threads);
}

static void sum_fill_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;
	const uint64_t *a = (const uint64_t *)call->in + first;
	uint8_t *out = (uint8_t *)call->out + first;
	uint64_t total = 0;

	for (size_t done = 0; done < n; done += LIMIT_BLOCK) {
		size_t len = n - done < LIMIT_BLOCK ? n - done : LIMIT_BLOCK;

		total += sum(a + done, len);
		memset(out + done, 1, len);
	}
	call->total[index] = total;
}

/* Read, and one byte is written for each entry. */
uint64_t limit_sum_fill(const void *a, void *out, size_t n, unsigned threads)
{
	struct limit_call call = { .in = a, .out = out };

	return run_limit(sum_fill_part, &call, n, threads);
}

static void memcpy_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;

	memcpy((uint64_t *)call->out + first, (const uint64_t *)call->in + first,
	       n * sizeof(uint64_t));
	call->total[index] = 0;
}

/* Out of place: memcpy. */
void limit_memcpy(void *out, const void *in, size_t n, unsigned threads)
{
	struct limit_call call = { .out = out, .in = in };

	run_limit(memcpy_part, &call, n, threads);
}

static void stream_part(void *context, unsigned index, size_t first, size_t n)
{
	struct limit_call *call = context;
	uint64_t *out = (uint64_t *)call->out + first;
	const uint64_t *in = (const uint64_t *)call->in + first;
	size_t i = 0;

#if defined(__x86_64__)
	/* up to the first aligned vector */
	while (i < n && (uintptr_t)(out + i) % 64) {
		out[i] = in[i];
		i++;
	}
#if defined(__AVX512F__)
	for (; n - i >= 8; i += 8)
		_mm512_stream_si512((void *)(out + i), _mm512_loadu_si512(in + i));
#elif defined(__AVX2__)
	for (; n - i >= 4; i += 4)
		_mm256_stream_si256((void *)(out + i), _mm256_loadu_si256((const void *)(in + i)));
#else
	for (; n - i >= 2; i += 2)
		_mm_stream_si128((void *)(out + i), _mm_loadu_si128((const void *)(in + i)));
#endif
	_mm_sfence();
#endif
	for (; i < n; i++)
		out[i] = in[i];
	call->total[index] = 0;
}

/* Out of place: a copy past the caches; a plain one if there are no such stores. */
void limit_stream(void *out, const void *in, size_t n, unsigned threads)
{
	struct limit_call call = { .out = out, .in = in };

	run_limit(stream_part, &call, n, threads);
}

/* Call a loop in place again and again, without Python in between. */
void limit_repeat(uintptr_t loop, void *entries, size_t n, uint64_t arg, size_t times)
{
	pgtable_map_loop *run = (pgtable_map_loop *)loop;

	for (size_t i = 0; i < times; i++)
		run(entries, NULL, arg, entries, n);
}

/* The same, for the loop of a form. */
void limit_repeat_form(uintptr_t loop, void *entries, size_t n, uintptr_t form, size_t times)
{
	struct pgtable_form_loops loops = { .map = 0 };

	loops.map = (__typeof__(loops.map))loop;
	for (size_t i = 0; i < times; i++)
		loops.map((const struct pgtable_form *)form, entries, entries, n);
}

uintptr_t limit_xor_address(void)
{
	return (uintptr_t)limit_xor_loop;
}
