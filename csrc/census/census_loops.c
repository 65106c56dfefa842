/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The loop of a census, for whatever instruction set this is compiled for.
 *
 * Neighbours in a table are of few kinds.  So a block is first compared with the kinds of the
 * blocks before, and all entries of a kind are added at once.  Then it is compared with the kind of
 * the first entry that is left, and so on, until few entries are left or a kind is rare.  The time
 * does not depend on the order of kinds, and no counter waits for its own last store.
 */
#include "bulk/bulk_loops.h"
#include "census/census.h"
#include "census/census_key.h"

static inline void census_each(struct pgtable_kinds *kinds, const uint32_t *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pgtable_add_kind(kinds, keys[i], 1);
}

/* Entries in a block: as many as a mask has bits. */
#define CENSUS_BLOCK ((size_t)64)

#if defined(__AVX512BW__) && !defined(PGTABLE_SCALAR)
#include <immintrin.h>
#define CENSUS_PEELS 1

/* Keys of sixteen entries. */
static inline __m512i census_sixteen_keys(const char *in)
{
	__m512i halves = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
	__m512i a = _mm512_loadu_si512(in), b = _mm512_loadu_si512(in + 64);
	__m512i low = _mm512_permutex2var_epi32(a, halves, b);
	__m512i high = _mm512_permutex2var_epi32(
		a, _mm512_add_epi32(halves, _mm512_set1_epi32(1)), b);
	__m512i flags_mask = _mm512_set1_epi32((int)CENSUS_LOW_MASK);
	__m512i flags = _mm512_and_si512(low, flags_mask);
	__m512i frame = _mm512_or_si512(_mm512_andnot_si512(flags_mask, low),
					_mm512_slli_epi32(high, 12));
	__m512i ignored = _mm512_and_si512(high, _mm512_set1_epi32((int)CENSUS_IGNORED_HIGH));
	__m512i top = _mm512_slli_epi32(_mm512_srli_epi32(high, 25), CENSUS_TOP_SHIFT);

	/* whatever is not 0 there is larger than the bit that stands for it */
	frame = _mm512_min_epu32(frame, _mm512_set1_epi32((int)CENSUS_FRAME_BIT));
	ignored = _mm512_min_epu32(ignored, _mm512_set1_epi32((int)CENSUS_IGNORED_BIT));
	return _mm512_or_si512(_mm512_or_si512(flags, frame), _mm512_or_si512(ignored, top));
}

static inline void census_keys(const char *in, uint32_t *keys)
{
	for (size_t i = 0; i < CENSUS_BLOCK; i += 16)
		_mm512_storeu_si512(keys + i, census_sixteen_keys(in + i * 8));
}

static inline __mmask16 census_equal(const uint32_t *keys, __m512i key)
{
	return _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(keys), key);
}

/* The keys of a block that equal this one, as a mask in their order. */
static inline uint64_t census_find(const uint32_t *keys, uint32_t key)
{
	__m512i all = _mm512_set1_epi32((int)key);
	__mmask32 low = _mm512_kunpackw(census_equal(keys + 16, all), census_equal(keys, all));
	__mmask32 high = _mm512_kunpackw(census_equal(keys + 48, all), census_equal(keys + 32, all));

	return _mm512_kunpackd(high, low);
}

static inline unsigned census_place(unsigned bit)
{
	return bit;
}

#elif defined(__AVX2__) && !defined(PGTABLE_SCALAR)
#include <immintrin.h>
#define CENSUS_PEELS 1

/* Keys of eight entries, in the order 0, 1, 4, 5, 2, 3, 6, 7. */
static inline __m256i census_eight_keys(const char *in)
{
	__m256 a = _mm256_loadu_ps((const float *)(const void *)in);
	__m256 b = _mm256_loadu_ps((const float *)(const void *)(in + 32));
	__m256i low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
	__m256i high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
	__m256i flags_mask = _mm256_set1_epi32((int)CENSUS_LOW_MASK);
	__m256i flags = _mm256_and_si256(low, flags_mask);
	__m256i frame = _mm256_or_si256(_mm256_andnot_si256(flags_mask, low),
					_mm256_slli_epi32(high, 12));
	__m256i ignored = _mm256_and_si256(high, _mm256_set1_epi32((int)CENSUS_IGNORED_HIGH));
	__m256i top = _mm256_slli_epi32(_mm256_srli_epi32(high, 25), CENSUS_TOP_SHIFT);

	/* whatever is not 0 there is larger than the bit that stands for it */
	frame = _mm256_min_epu32(frame, _mm256_set1_epi32((int)CENSUS_FRAME_BIT));
	ignored = _mm256_min_epu32(ignored, _mm256_set1_epi32((int)CENSUS_IGNORED_BIT));
	return _mm256_or_si256(_mm256_or_si256(flags, frame), _mm256_or_si256(ignored, top));
}

static inline void census_keys(const char *in, uint32_t *keys)
{
	for (size_t i = 0; i < CENSUS_BLOCK; i += 8)
		_mm256_storeu_si256((void *)(keys + i), census_eight_keys(in + i * 8));
}

static inline __m256i census_equal(const uint32_t *keys, __m256i key)
{
	return _mm256_cmpeq_epi32(_mm256_loadu_si256((const void *)keys), key);
}

static inline uint32_t census_find_32(const uint32_t *keys, __m256i key)
{
	__m256i a = _mm256_packs_epi32(census_equal(keys, key), census_equal(keys + 8, key));
	__m256i b = _mm256_packs_epi32(census_equal(keys + 16, key), census_equal(keys + 24, key));

	return (uint32_t)_mm256_movemask_epi8(_mm256_packs_epi16(a, b));
}

/* The keys of a block that equal this one, as a mask in the order of census_place(). */
static inline uint64_t census_find(const uint32_t *keys, uint32_t key)
{
	__m256i all = _mm256_set1_epi32((int)key);

	return census_find_32(keys, all) | (uint64_t)census_find_32(keys + 32, all) << 32;
}

/* Packing works in halves of vectors: bits 2 and 3 stand where 3 and 4 should, 4 for 2. */
static inline unsigned census_place(unsigned bit)
{
	return (bit & 0x23) | (bit & 0x0c) << 1 | (bit & 0x10) >> 2;
}

#elif defined(__SSE2__) && !defined(PGTABLE_SCALAR)
#include <emmintrin.h>
#define CENSUS_PEELS 1

static inline void census_keys(const char *in, uint32_t *keys)
{
	const pgtable_word *src = (const void *)in;

	PGTABLE_EACH(CENSUS_BLOCK, keys[i] = pgtable_census_key(src[i]));
}

static inline __m128i census_equal(const uint32_t *keys, __m128i key)
{
	return _mm_cmpeq_epi32(_mm_loadu_si128((const void *)keys), key);
}

static inline uint32_t census_find_16(const uint32_t *keys, __m128i key)
{
	__m128i a = _mm_packs_epi32(census_equal(keys, key), census_equal(keys + 4, key));
	__m128i b = _mm_packs_epi32(census_equal(keys + 8, key), census_equal(keys + 12, key));

	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(a, b));
}

static inline uint64_t census_find(const uint32_t *keys, uint32_t key)
{
	__m128i all = _mm_set1_epi32((int)key);
	uint64_t found = 0;

	for (unsigned i = 0; i < CENSUS_BLOCK; i += 16)
		found |= (uint64_t)census_find_16(keys + i, all) << i;
	return found;
}

static inline unsigned census_place(unsigned bit)
{
	return bit;
}
#endif

#ifdef CENSUS_PEELS
/* A kind with fewer entries in a block is rare: comparing with it does not pay. */
#define CENSUS_RARE 3
/* So few entries are counted one by one. */
#define CENSUS_FEW 8
/* After so many blocks, a table, the usual kinds are chosen again. */
#define CENSUS_SPAN 8

static inline uint32_t census_first(const uint32_t *keys, uint64_t left)
{
	return keys[census_place((unsigned)__builtin_ctzll(left))];
}

/* Count the entries of usual kinds, without a branch on what is found.  Returns the others. */
static inline uint64_t census_usual(struct pgtable_kinds *kinds, const uint32_t *keys)
{
	uint64_t left = ~(uint64_t)0;

	for (unsigned i = 0; i < kinds->nusual; i++) {
		uint64_t found = census_find(keys, kinds->usual[i]);

		kinds->found[i] += (uint32_t)__builtin_popcountll(found);
		left &= ~found;
	}
	return left;
}

/* A kind with so many entries in a block becomes usual. */
static inline void census_add_usual(struct pgtable_kinds *kinds, uint32_t key, uint32_t n)
{
	if (kinds->nusual == PGTABLE_USUAL_KINDS) {
		pgtable_add_kind(kinds, key, n);
		return;
	}
	kinds->usual[kinds->nusual] = key;
	kinds->found[kinds->nusual++] = n;
}

static inline void census_block(struct pgtable_kinds *kinds, const char *in)
{
	_Alignas(64) uint32_t keys[CENSUS_BLOCK];
	uint64_t left;

	census_keys(in, keys);
	left = census_usual(kinds, keys);
	while (__builtin_popcountll(left) >= CENSUS_FEW) {
		uint32_t key = census_first(keys, left);
		uint64_t found = census_find(keys, key);
		uint32_t n = (uint32_t)__builtin_popcountll(found);

		if (n < CENSUS_RARE)
			break;
		census_add_usual(kinds, key, n);
		left &= ~found;
	}
	if (!~left) {
		census_each(kinds, keys, CENSUS_BLOCK);
		return;
	}
	for (; left; left &= left - 1)
		pgtable_add_kind(kinds, census_first(keys, left), 1);
}

/* Add what was found in these blocks to the counters, and keep the kinds that are still usual. */
static inline void census_settle(struct pgtable_kinds *kinds, size_t blocks)
{
	unsigned n = kinds->nusual;

	kinds->nusual = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t key = kinds->usual[i], found = kinds->found[i];

		if (found)
			pgtable_add_kind(kinds, key, found);
		kinds->usual[kinds->nusual] = key;
		kinds->found[kinds->nusual] = 0;
		kinds->nusual += found >= blocks;
	}
}
#else
/* Here no mask can be made from a vector.  Tables have many runs of a kind: add four at once. */
static inline void census_block(struct pgtable_kinds *kinds, const char *in)
{
	const pgtable_word *src = (const void *)in;
	uint32_t keys[CENSUS_BLOCK];

	PGTABLE_EACH(CENSUS_BLOCK, keys[i] = pgtable_census_key(src[i]));
	for (size_t i = 0; i < CENSUS_BLOCK; i += 4) {
		const uint32_t *four = keys + i;

		if (four[0] == four[1] && four[0] == four[2] && four[0] == four[3])
			pgtable_add_kind(kinds, four[0], 4);
		else
			census_each(kinds, four, 4);
	}
}

#define CENSUS_SPAN 1
static inline void census_settle(struct pgtable_kinds *kinds, size_t blocks)
{
	(void)kinds;
	(void)blocks;
}
#endif

static void census_count_kinds(struct pgtable_kinds *kinds, const void *entries, size_t n,
			       const void *ahead)
{
	const pgtable_word *in = entries;
	size_t done = 0, blocks = 0;

	for (; n - done >= CENSUS_BLOCK; done += CENSUS_BLOCK) {
		/* else memory would be idle while a block is counted */
		if (ahead)
			for (size_t i = 0; i < CENSUS_BLOCK; i += 64 / sizeof(*in))
				__builtin_prefetch((const pgtable_word *)ahead + done + i);
		census_block(kinds, (const char *)(in + done));
		if (++blocks == CENSUS_SPAN) {
			census_settle(kinds, blocks);
			blocks = 0;
		}
	}
	if (blocks)
		census_settle(kinds, blocks);
	for (; done < n; done++)
		pgtable_add_kind(kinds, pgtable_census_key(in[done]), 1);
}

extern const struct pgtable_census_loops PGTABLE_OF_ISA(pgtable_census_loops);

const struct pgtable_census_loops PGTABLE_OF_ISA(pgtable_census_loops) = {
	.count_kinds = census_count_kinds,
};
