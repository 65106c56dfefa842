/* SPDX-License-Identifier: GPL-2.0-only */
#include "census.h"

#include <stdlib.h>

#include "bulk_loops.h"
#include "parallel.h"

/* key: bits 0..11, then "any of 12..51", then "any of 52..56", then 57..63 */
#define KEY_BITS 21
#define KEYS ((size_t)1 << KEY_BITS)
#define LOW_MASK ((uint64_t)0xfff)
#define FRAME_MASK ((uint64_t)0x000ffffffffff000)
#define IGNORED_MASK ((uint64_t)0x01f0000000000000)
#define FRAME_STANDS ((uint64_t)1 << 30)
#define IGNORED_STANDS ((uint64_t)1 << 52)

/* Bins that were never touched are never looked at: 512 to a group, a page of memory. */
#define GROUP_BITS 9
#define GROUPS (KEYS >> GROUP_BITS)

/* Words whose keys are made at once: a table. */
#define BLOCK 512

/*
 * Kinds get slots in the order in which they turn up: bins chosen by the key alone
 * would be far apart at like distances, which costs more than the way round.
 * Slot 0 is none.  A count is the sum of its two sides.
 */
struct pgtable_census {
	uint32_t slot[KEYS];
	uint64_t count[KEYS + 1][2];
	uint32_t nslots;
	uint8_t touched[GROUPS];
};

struct pgtable_census *pgtable_census_new(void)
{
	/* calloc: pages of bins that stay empty are never made */
	return calloc(1, sizeof(struct pgtable_census));
}

void pgtable_census_free(struct pgtable_census *census)
{
	free(census);
}

/* In halves of 32 bits, so that any vector unit takes four or more at a time. */
static void keys_of(uint32_t *restrict keys, const pgtable_word *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t entry = in[i];
		uint32_t low = entry, high = entry >> 32;
		uint32_t frame = (low & (uint32_t)FRAME_MASK) | (high & (uint32_t)(FRAME_MASK >> 32));
		uint32_t ignored = high & (uint32_t)(IGNORED_MASK >> 32);

		keys[i] = (low & LOW_MASK) | (uint32_t)(frame != 0) << 12 |
			  (uint32_t)(ignored != 0) << 13 | high >> 25 << 14;
	}
}

static uint64_t stand_in(size_t key)
{
	uint64_t entry = key & LOW_MASK;

	entry |= (key >> 12 & 1) ? FRAME_STANDS : 0;
	entry |= (key >> 13 & 1) ? IGNORED_STANDS : 0;
	return entry | (uint64_t)(key >> 14) << 57;
}

static __attribute__((noinline)) uint32_t new_slot(struct pgtable_census *census, size_t key)
{
	census->touched[key >> GROUP_BITS] = 1;
	return census->slot[key] = ++census->nslots;
}

static inline void add_to_bin(struct pgtable_census *census, unsigned side, size_t key, uint64_t n)
{
	uint32_t slot = census->slot[key];

	if (__builtin_expect(!slot, 0))
		slot = new_slot(census, key);
	census->count[slot][side] += n;
}

static uint64_t total(const struct pgtable_census *census, size_t key)
{
	const uint64_t *sides = census->count[census->slot[key]];

	return sides[0] + sides[1];
}

static int all_alike(const uint32_t *keys, size_t n)
{
	uint32_t differs = 0;

	for (size_t i = 0; i < n; i++)
		differs |= keys[i] ^ keys[0];
	return !differs;
}

/*
 * Adding to one bin again and again waits for its own store each time: a table
 * of one kind and four alike are added at once, and neighbours go to two sides.
 */
static void add_keys(struct pgtable_census *census, const uint32_t *keys, size_t n)
{
	size_t i = 0;

	if (all_alike(keys, n)) {
		add_to_bin(census, 0, keys[0], n);
		return;
	}
	for (; n - i >= 4; i += 4) {
		uint32_t a = keys[i], b = keys[i + 1], c = keys[i + 2], d = keys[i + 3];

		if (((a ^ b) | (b ^ c) | (c ^ d)) == 0) {
			add_to_bin(census, 0, a, 4);
			continue;
		}
		add_to_bin(census, 0, a, 1);
		add_to_bin(census, 1, b, 1);
		add_to_bin(census, 0, c, 1);
		add_to_bin(census, 1, d, 1);
	}
	for (; i < n; i++)
		add_to_bin(census, 0, keys[i], 1);
}

static void add_entries(struct pgtable_census *census, const pgtable_word *in, size_t n)
{
	uint32_t keys[BLOCK];

	for (size_t i = 0; i < n; i += BLOCK) {
		size_t block = n - i < BLOCK ? n - i : BLOCK;

		keys_of(keys, in + i, block);
		add_keys(census, keys, block);
	}
}

struct add {
	struct pgtable_census *census[PGTABLE_MAX_THREADS];
	const pgtable_word *in;
};

static void add_part(void *context, unsigned index, size_t first, size_t n)
{
	struct add *add = context;

	add_entries(add->census[index], add->in + first, n);
}

static void merge(struct pgtable_census *into, const struct pgtable_census *from)
{
	for (size_t group = 0; group < GROUPS; group++) {
		if (!from->touched[group])
			continue;
		for (size_t key = group << GROUP_BITS; key < (group + 1) << GROUP_BITS; key++) {
			if (from->slot[key])
				add_to_bin(into, 0, key, total(from, key));
		}
	}
}

int pgtable_census_add(struct pgtable_census *census, const void *in, size_t n,
		       unsigned threads)
{
	struct add add = { .in = in, .census = { census } };
	unsigned parts = pgtable_parts(n, threads);
	int err = 0;

	for (unsigned i = 1; i < parts; i++) {
		add.census[i] = pgtable_census_new();
		if (!add.census[i])
			err = -1;
	}
	if (!err)
		pgtable_parallel(add_part, &add, n, parts);
	for (unsigned i = 1; i < parts; i++) {
		if (!err)
			merge(census, add.census[i]);
		pgtable_census_free(add.census[i]);
	}
	return err;
}

size_t pgtable_census_rows(const struct pgtable_census *census, uint64_t *entries,
			   uint64_t *counts, size_t capacity)
{
	size_t rows = 0;

	for (size_t key = 0; key < KEYS; key++) {
		if (!census->touched[key >> GROUP_BITS]) {
			key |= ((size_t)1 << GROUP_BITS) - 1;
			continue;
		}
		if (!total(census, key))
			continue;
		if (rows < capacity) {
			entries[rows] = stand_in(key);
			counts[rows] = total(census, key);
		}
		rows++;
	}
	return rows;
}
