/* SPDX-License-Identifier: GPL-2.0-only */
/* Stores past the caches, as wide as the instruction set allows. */
#ifndef PGTABLE_STREAM_H
#define PGTABLE_STREAM_H

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

#endif
