/* SPDX-License-Identifier: GPL-2.0-only */
#include "census.h"

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/mman.h>
#endif

#include "bulk.h"
#include "census_key.h"
#include "parallel.h"

#define KEYS PGTABLE_CENSUS_KEYS
/* Bins are found of so many entries at a time, and stay in the first-level cache. */
#define BLOCK ((size_t)256)
/* Blocks ahead of the one in work that memory is asked for. */
#define AHEAD ((size_t)4)

/* Bins that were never touched are never looked at: 1024 to a group, a page of memory. */
#define GROUP_BITS PGTABLE_CENSUS_GROUP_BITS
#define GROUPS (KEYS >> GROUP_BITS)

/*
 * Bins are small so that many fit the caches; before one can overflow, all go
 * to total, which is made only then.
 */
struct pgtable_census {
	const struct pgtable_block_ops *ops;
	uint32_t count[KEYS];
	uint8_t touched[GROUPS];
	uint64_t *total;
	uint64_t pending;	/* entries in count */
};

/* Zeroed memory of which only the pages that are touched are ever made. */
static void *new_pages(size_t size)
{
#ifdef MAP_ANONYMOUS
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
#else
	return calloc(1, size);
#endif
}

static void free_pages(void *pages, size_t size)
{
	if (!pages)
		return;
#ifdef MAP_ANONYMOUS
	munmap(pages, size);
#else
	(void)size;
	free(pages);
#endif
}

struct pgtable_census *pgtable_census_new(const struct pgtable_block_ops *ops)
{
	struct pgtable_census *census = new_pages(sizeof(*census));

	if (census)
		census->ops = ops;
	return census;
}

void pgtable_census_free(struct pgtable_census *census)
{
	if (!census)
		return;
	free_pages(census->total, KEYS * sizeof(uint64_t));
	free_pages(census, sizeof(*census));
}

static inline void add_to_bin(struct pgtable_census *census, uint32_t bin, uint32_t n)
{
	uint32_t count = census->count[bin];

	census->count[bin] = count + n;
	if (!count)
		census->touched[bin >> GROUP_BITS] = 1;
}

/* As words of two, which saves half the compares. */
static inline int four_alike(const uint32_t *bins)
{
	uint64_t two[2];

	memcpy(two, bins, sizeof(two));
	return two[0] == two[1] && bins[0] == bins[1];
}

static inline void add_four(struct pgtable_census *census, const uint32_t *bins)
{
	if (four_alike(bins)) {
		add_to_bin(census, bins[0], 4);
		return;
	}
	for (size_t i = 0; i < 4; i++)
		add_to_bin(census, bins[i], 1);
}

/*
 * Tables hold runs of one kind, and adding to one bin again and again waits for
 * its own store each time: eight or four alike are added at once.  Ends of runs
 * are not looked for, as in mixed tables the processor could not foresee them.
 */
static void add_to_bins(struct pgtable_census *census, const uint32_t *bins, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		if (four_alike(bins + i) && four_alike(bins + i + 4) && bins[i] == bins[i + 4]) {
			add_to_bin(census, bins[i], 8);
			continue;
		}
		add_four(census, bins + i);
		add_four(census, bins + i + 4);
	}
	for (; i < n; i++)
		add_to_bin(census, bins[i], 1);
}

static void add_entries(struct pgtable_census *census, const char *in, size_t n)
{
	uint32_t bins[BLOCK];

	while (n) {
		size_t len = n < BLOCK ? n : BLOCK;

		/* memory would idle while a block is counted */
		if (n >= (AHEAD + 1) * BLOCK)
			for (size_t i = 0; i < BLOCK * sizeof(uint64_t); i += 64)
				__builtin_prefetch(in + AHEAD * BLOCK * sizeof(uint64_t) + i);
		census->ops->census_bins(in, bins, len);
		add_to_bins(census, bins, len);
		in += len * sizeof(uint64_t);
		n -= len;
	}
}

static uint64_t count_of(const struct pgtable_census *census, size_t key)
{
	uint32_t bin = pgtable_census_bin((uint32_t)key);

	return census->count[bin] + (census->total ? census->total[bin] : 0);
}

static int make_total(struct pgtable_census *census)
{
	if (!census->total)
		census->total = new_pages(KEYS * sizeof(uint64_t));
	return census->total ? 0 : -1;
}

/* Move what `from` has counted in small bins to the totals of `into`. */
static void move_to_total(struct pgtable_census *into, struct pgtable_census *from)
{
	for (size_t group = 0; group < GROUPS; group++) {
		if (!from->touched[group])
			continue;
		into->touched[group] = 1;
		for (size_t bin = group << GROUP_BITS; bin < (group + 1) << GROUP_BITS; bin++) {
			uint32_t count = from->count[bin];

			if (count) {
				from->count[bin] = 0;
				into->total[bin] += count;
			}
		}
	}
	from->pending = 0;
}

struct add {
	struct pgtable_census *census[PGTABLE_MAX_THREADS];
	const char *in;
};

static void add_part(void *context, unsigned index, size_t first, size_t n)
{
	struct add *add = context;

	add_entries(add->census[index], add->in + first * sizeof(uint64_t), n);
}

/* One more part for each further thread; it is thrown away after being added. */
static int add_in_parts(struct pgtable_census *census, struct add *add, size_t n, unsigned parts)
{
	int err = parts > 1 ? make_total(census) : 0;

	add->census[0] = census;
	for (unsigned i = 1; i < parts; i++) {
		add->census[i] = err ? NULL : pgtable_census_new(census->ops);
		if (!add->census[i])
			err = -1;
	}
	if (!err)
		pgtable_parallel(add_part, add, n, parts);
	for (unsigned i = 1; i < parts; i++) {
		if (!err)
			move_to_total(census, add->census[i]);
		pgtable_census_free(add->census[i]);
	}
	return err;
}

int pgtable_census_add(struct pgtable_census *census, const void *in, size_t n,
		       unsigned threads)
{
	struct add add = { .in = in };

	/* before a bin of 32 bits could overflow */
	if (n > UINT32_MAX - census->pending) {
		if (n > UINT32_MAX || make_total(census))
			return -1;
		move_to_total(census, census);
	}
	if (add_in_parts(census, &add, n, pgtable_parts(n, threads)))
		return -1;
	census->pending += n;
	return 0;
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
		if (!count_of(census, key))
			continue;
		if (rows < capacity) {
			entries[rows] = pgtable_census_stand_in(key);
			counts[rows] = count_of(census, key);
		}
		rows++;
	}
	return rows;
}
