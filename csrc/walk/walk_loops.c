/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes rows of a table of level 1.  A walk spends its time here.  Compiled once for each
 * instruction set.
 *
 * Copying leaves out entries that are 0.  Then the traits of all rows are computed as if all
 * entries were present, and corrected for those that are not.
 */
#include <string.h>

#include "bulk/bulk_loops.h"
#include "walk/walk.h"
#include "walk/walk_entry.h"

/* Entries in a block: as many as a mask has bits. */
#define WALK_BLOCK 32
#define RIGHTS (PGTABLE_WRITABLE | PGTABLE_USER | PGTABLE_NX)

/* Where entries that are not 0 go, and their addresses; both have room for a block. */
struct walk_out {
	uint64_t *va;
	uint64_t *entry;
};

#if defined(__AVX2__) && !defined(PGTABLE_SCALAR)
#include <immintrin.h>
#define WALK_VECTOR 4

/* Which halves of four words to take, for each set of words that are not zero. */
static const uint32_t walk_squeezed[16][8] = {
#define PLACE(w) 2 * (w), 2 * (w) + 1
	{ 0 },
	{ PLACE(0) },
	{ PLACE(1) },
	{ PLACE(0), PLACE(1) },
	{ PLACE(2) },
	{ PLACE(0), PLACE(2) },
	{ PLACE(1), PLACE(2) },
	{ PLACE(0), PLACE(1), PLACE(2) },
	{ PLACE(3) },
	{ PLACE(0), PLACE(3) },
	{ PLACE(1), PLACE(3) },
	{ PLACE(0), PLACE(1), PLACE(3) },
	{ PLACE(2), PLACE(3) },
	{ PLACE(0), PLACE(2), PLACE(3) },
	{ PLACE(1), PLACE(2), PLACE(3) },
	{ PLACE(0), PLACE(1), PLACE(2), PLACE(3) },
#undef PLACE
};

static inline __m256i walk_load(const void *words)
{
	return _mm256_loadu_si256(words);
}

static inline __m256i walk_addresses(uint64_t va)
{
	__m256i four = _mm256_setr_epi64x(0, 1 << PAGE_SHIFT, 2 << PAGE_SHIFT, 3 << PAGE_SHIFT);

	return _mm256_add_epi64(_mm256_set1_epi64x((long long)va), four);
}

static inline unsigned walk_nonzero(__m256i entries)
{
	__m256i zero = _mm256_cmpeq_epi64(entries, _mm256_setzero_si256());

	return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(zero)) ^ 15;
}

static inline size_t walk_squeeze(const pgtable_word *in, uint64_t va, struct walk_out out)
{
	size_t n = 0;

	for (size_t i = 0; i < WALK_BLOCK; i += WALK_VECTOR) {
		__m256i entries = walk_load(in + i);
		unsigned nonzero = walk_nonzero(entries);
		__m256i places = walk_load(walk_squeezed[nonzero]);
		__m256i addresses = walk_addresses(va + (i << PAGE_SHIFT));

		_mm256_storeu_si256((void *)(out.entry + n),
				    _mm256_permutevar8x32_epi32(entries, places));
		_mm256_storeu_si256((void *)(out.va + n),
				    _mm256_permutevar8x32_epi32(addresses, places));
		n += (size_t)__builtin_popcount(nonzero);
	}
	return n;
}

/* Most blocks are full or empty. */
static inline size_t walk_block(const pgtable_word *in, uint64_t va, struct walk_out out)
{
	__m256i zero = _mm256_setzero_si256(), any = zero, some_zero = zero;

	for (size_t i = 0; i < WALK_BLOCK; i += WALK_VECTOR) {
		__m256i entries = walk_load(in + i);

		any = _mm256_or_si256(any, entries);
		some_zero = _mm256_or_si256(some_zero, _mm256_cmpeq_epi64(entries, zero));
	}
	if (_mm256_testz_si256(any, any))
		return 0;
	if (!_mm256_testz_si256(some_zero, some_zero))
		return walk_squeeze(in, va, out);
	for (size_t i = 0; i < WALK_BLOCK; i += WALK_VECTOR) {
		_mm256_storeu_si256((void *)(out.entry + i), walk_load(in + i));
		_mm256_storeu_si256((void *)(out.va + i), walk_addresses(va + (i << PAGE_SHIFT)));
	}
	return WALK_BLOCK;
}

/* Of eight entries, in the order 0, 1, 4, 5, 2, 3, 6, 7: rights, and bit 7 if not present. */
static inline __m256i walk_eight_rights(const uint64_t *entries)
{
	__m256 a = _mm256_loadu_ps((const float *)(const void *)entries);
	__m256 b = _mm256_loadu_ps((const float *)(const void *)(entries + 4));
	__m256i low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
	__m256i high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
	__m256i allowed = _mm256_and_si256(_mm256_srli_epi32(low, _PAGE_BIT_RW),
					   _mm256_set1_epi32(PGTABLE_WRITABLE | PGTABLE_USER));
	__m256i nx = _mm256_slli_epi32(_mm256_srli_epi32(high, 31), 2);
	__m256i absent = _mm256_slli_epi32(_mm256_andnot_si256(low, _mm256_set1_epi32(1)), 7);

	return _mm256_or_si256(_mm256_or_si256(allowed, nx), absent);
}

/* A byte an entry, in order. */
static inline __m256i walk_block_rights(const uint64_t *entries)
{
	__m256i a = _mm256_packs_epi32(walk_eight_rights(entries), walk_eight_rights(entries + 8));
	__m256i b = _mm256_packs_epi32(walk_eight_rights(entries + 16),
				       walk_eight_rights(entries + 24));
	__m256i pairs = _mm256_packus_epi16(a, b);
	__m128i even = _mm256_castsi256_si128(pairs), odd = _mm256_extracti128_si256(pairs, 1);

	return _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
}

/* Write traits as if all entries were present; return a mask of those that are not. */
static inline uint32_t walk_block_traits(uint8_t *traits, const uint64_t *entries, unsigned above,
					 unsigned nx_mask)
{
	/* the levels above forbid writing and user mode, or execution */
	char kept = (char)((above & (PGTABLE_WRITABLE | PGTABLE_USER)) | nx_mask);
	char set = (char)(PGTABLE_LEVEL | (above & PGTABLE_NX));
	__m256i rights = walk_block_rights(entries);
	__m256i found = _mm256_or_si256(_mm256_and_si256(rights, _mm256_set1_epi8(kept)),
					_mm256_set1_epi8(set));

	_mm256_storeu_si256((void *)traits, found);
	return (uint32_t)_mm256_movemask_epi8(rights);
}
#else
static inline size_t walk_block(const pgtable_word *in, uint64_t va, struct walk_out out)
{
	size_t n = 0;

	for (size_t i = 0; i < WALK_BLOCK; i++) {
		uint64_t entry = in[i];

		out.entry[n] = entry;
		out.va[n] = va + ((uint64_t)i << PAGE_SHIFT);
		n += entry != 0;
	}
	return n;
}

static inline uint32_t walk_block_traits(uint8_t *traits, const uint64_t *entries, unsigned above,
					 unsigned nx_mask)
{
	uint32_t absent = 0;

	for (size_t i = 0; i < WALK_BLOCK; i++) {
		traits[i] = PGTABLE_LEVEL | combine(above, entries[i], nx_mask);
		absent |= (uint32_t)!(entries[i] & _PAGE_PRESENT) << i;
	}
	return absent;
}
#endif

static inline void walk_put_traits(uint8_t *traits, const uint64_t *entries, const uint64_t *va,
				   unsigned above, unsigned nx_mask)
{
	uint32_t absent = walk_block_traits(traits, entries, above, nx_mask);

	for (; absent; absent &= absent - 1) {
		unsigned at = (unsigned)__builtin_ctz(absent);

		traits[at] = traits_of(va[at], entries[at], 1, 0);
	}
}

/* The last rows of a table, fewer than a block.  Memory behind them must not change. */
static inline void walk_put_last_traits(uint8_t *traits, const uint64_t *entries,
					const uint64_t *va, size_t n, unsigned above,
					unsigned nx_mask)
{
	uint64_t block[WALK_BLOCK], addresses[WALK_BLOCK] = { 0 };
	uint8_t found[WALK_BLOCK];

	for (size_t i = n; i < WALK_BLOCK; i++)
		block[i] = _PAGE_PRESENT;
	memcpy(block, entries, n * sizeof(*block));
	memcpy(addresses, va, n * sizeof(*addresses));
	walk_put_traits(found, block, addresses, above, nx_mask);
	memcpy(traits, found, n);
}

static size_t walk_rows(const void *table, uint64_t va, unsigned above, unsigned nx_mask,
			const void *ahead, uint64_t *out_va, uint64_t *out_entry, uint8_t *traits)
{
	const pgtable_word *in = table;
	size_t n = 0, done = 0;

	for (size_t i = 0; i < TABLE_ENTRIES; i += WALK_BLOCK) {
		struct walk_out out = { out_va + n, out_entry + n };

		for (size_t line = 0; ahead && line < WALK_BLOCK; line += 8)
			__builtin_prefetch((const pgtable_word *)ahead + i + line);
		n += walk_block(in + i, va + ((uint64_t)i << PAGE_SHIFT), out);
		for (; n - done >= WALK_BLOCK; done += WALK_BLOCK)
			walk_put_traits(traits + done, out_entry + done, out_va + done, above,
					nx_mask);
	}
	if (n > done)
		walk_put_last_traits(traits + done, out_entry + done, out_va + done, n - done,
				     above, nx_mask);
	return n;
}

/* Do all traits of a block have this value in these bits? */
static inline int walk_all_are(const uint8_t *traits, uint8_t bits, uint8_t value)
{
	uint8_t others = 0;

	for (size_t i = 0; i < WALK_BLOCK; i++)
		others |= (traits[i] & bits) ^ value;
	return !others;
}

/* frame_of() in level 1, where all frames have one mask: as bytes, then as words. */
static inline void walk_block_frames(const uint64_t *restrict entry,
				     const uint8_t *restrict traits, uint64_t *restrict pa)
{
	int8_t absent[WALK_BLOCK], migrating[WALK_BLOCK], some[WALK_BLOCK];

	for (size_t i = 0; i < WALK_BLOCK; i++) {
		uint8_t kind = traits[i] % PGTABLE_LEVEL;

		absent[i] = kind & PGTABLE_NOT_PRESENT ? -1 : 0;
		migrating[i] = kind == (PGTABLE_NOT_PRESENT | PGTABLE_KIND_MIGRATION) ? -1 : 0;
		some[i] = ((kind != (PGTABLE_NOT_PRESENT | PGTABLE_KIND_SWAP)) &
			   (kind != (PGTABLE_NOT_PRESENT | PGTABLE_KIND_MARKER))) ? -1 : 0;
	}
	for (size_t i = 0; i < WALK_BLOCK; i++) {
		uint64_t is_migrating = (uint64_t)(int64_t)migrating[i];
		uint64_t stored = entry[i] ^ (uint64_t)(int64_t)absent[i];
		uint64_t frame = stored & PTE_PFN_MASK;
		uint64_t moved = (stored >> SWP_OFFSET_SHIFT & SWP_PFN_MASK) << PAGE_SHIFT;

		frame ^= (frame ^ moved) & is_migrating;
		pa[i] = frame & (uint64_t)(int64_t)some[i];
	}
}

static void walk_frames(const uint64_t *entry, const uint8_t *traits, uint64_t *pa, size_t n)
{
	size_t i = 0;

	for (; n - i >= WALK_BLOCK; i += WALK_BLOCK) {
		if (walk_all_are(traits + i, (uint8_t)~RIGHTS, PGTABLE_LEVEL)) {
			for (size_t j = i; j < i + WALK_BLOCK; j++)
				pa[j] = entry[j] & PTE_PFN_MASK;
		} else if (walk_all_are(traits + i, (uint8_t)-PGTABLE_LEVEL, PGTABLE_LEVEL)) {
			walk_block_frames(entry + i, traits + i, pa + i);
		} else {
			for (size_t j = i; j < i + WALK_BLOCK; j++)
				pa[j] = frame_of(entry[j], traits[j]);
		}
	}
	for (; i < n; i++)
		pa[i] = frame_of(entry[i], traits[i]);
}

extern const struct pgtable_walk_loops PGTABLE_OF_ISA(pgtable_walk_loops);

const struct pgtable_walk_loops PGTABLE_OF_ISA(pgtable_walk_loops) = {
	.rows = walk_rows,
	.frames = walk_frames,
};
