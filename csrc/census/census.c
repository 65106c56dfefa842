/* SPDX-License-Identifier: GPL-2.0-only */
#include "census/census.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bulk/bulk.h"
#include "census/census_key.h"
#include "bulk/parallel.h"

#define KEYS PGTABLE_CENSUS_KEYS
/* How many entries ahead memory is asked for. */
#define AHEAD ((size_t)1024)
/* A further thread needs counters of its own, so it pays only for so many times more entries. */
#define WORTH 8

/*
 * Counters are small, so that many fit the caches.  Before one can overflow, all are added to
 * total, which is allocated only then.
 */
struct pgtable_census {
	const struct pgtable_loops *loops;
	uint64_t *total;
	uint64_t pending;	/* entries in kinds */
	struct pgtable_kinds kinds;
};

/* Zeroed memory.  The system makes a page of it when the page is first used. */
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

struct pgtable_census *pgtable_census_new(const struct pgtable_loops *loops)
{
	struct pgtable_census *census = new_pages(sizeof(*census));

	if (census)
		census->loops = loops;
	return census;
}

void pgtable_census_free(struct pgtable_census *census)
{
	if (!census)
		return;
	free_pages(census->total, KEYS * sizeof(uint64_t));
	free_pages(census, sizeof(*census));
}

/* Are all kinds that were ever counted in the list? */
static int all_listed(const struct pgtable_census *census)
{
	return !census->total && census->kinds.n <= PGTABLE_LISTED_KINDS;
}

void pgtable_census_clear(struct pgtable_census *census, const struct pgtable_loops *loops)
{
	struct pgtable_kinds *kinds = &census->kinds;

	if (all_listed(census)) {
		for (size_t i = 0; i < kinds->n; i++)
			kinds->count[kinds->listed[i]] = 0;
	} else {
		memset(kinds->count, 0, sizeof(kinds->count));
	}
	free_pages(census->total, KEYS * sizeof(uint64_t));
	census->total = NULL;
	kinds->n = 0;
	kinds->nusual = 0;
	census->pending = 0;
	census->loops = loops;
}

static int move_to_total(struct pgtable_census *census)
{
	if (!census->total)
		census->total = new_pages(KEYS * sizeof(uint64_t));
	if (!census->total)
		return -1;
	for (size_t key = 0; key < KEYS; key++) {
		uint32_t count = census->kinds.count[key];

		if (count) {
			census->kinds.count[key] = 0;
			census->total[key] += count;
		}
	}
	census->kinds.n = 0;
	census->kinds.nusual = 0;
	census->pending = 0;
	return 0;
}

static void add_kinds(struct pgtable_kinds *into, const struct pgtable_kinds *from)
{
	if (from->n <= PGTABLE_LISTED_KINDS) {
		for (size_t i = 0; i < from->n; i++)
			pgtable_add_kind(into, from->listed[i], from->count[from->listed[i]]);
		return;
	}
	for (uint32_t key = 0; key < KEYS; key++)
		if (from->count[key])
			pgtable_add_kind(into, key, from->count[key]);
}

struct add {
	struct pgtable_census *census[PGTABLE_MAX_THREADS];
	const char *in;
};

static void add_part(void *context, unsigned index, size_t first, size_t n)
{
	struct add *add = context;
	struct pgtable_census *census = add->census[index];
	const char *in = add->in + first * sizeof(uint64_t);
	size_t last = n < AHEAD ? n : AHEAD;

	if (n > last)
		census->loops->census->count_kinds(&census->kinds, in, n - last, in + last * sizeof(uint64_t));
	census->loops->census->count_kinds(&census->kinds, in + (n - last) * sizeof(uint64_t), last, NULL);
}

/* Each further thread counts into a census of its own, which is then added and freed. */
static int add_in_parts(struct pgtable_census *census, struct add *add, size_t n, unsigned parts)
{
	int err = 0;

	add->census[0] = census;
	for (unsigned i = 1; i < parts; i++) {
		add->census[i] = err ? NULL : pgtable_census_new(census->loops);
		if (!add->census[i])
			err = -1;
	}
	if (!err)
		pgtable_parallel(add_part, add, n, parts);
	for (unsigned i = 1; i < parts; i++) {
		if (!err)
			add_kinds(&census->kinds, &add->census[i]->kinds);
		pgtable_census_free(add->census[i]);
	}
	return err;
}

/* Move counts to total before a counter of 32 bits could overflow. */
static int make_room(struct pgtable_census *census, size_t n)
{
	if (n <= UINT32_MAX - census->pending)
		return 0;
	return n > UINT32_MAX ? -1 : move_to_total(census);
}

int pgtable_census_add(struct pgtable_census *census, const void *in, size_t n,
		       unsigned threads)
{
	struct add add;

	if (make_room(census, n))
		return -1;
	add.in = in;
	if (add_in_parts(census, &add, n, pgtable_parts(n / WORTH, threads)))
		return -1;
	census->pending += n;
	return 0;
}

int pgtable_census_add_table(struct pgtable_census *census, const void *in, size_t n,
			     const void *next)
{
	if (make_room(census, n))
		return -1;
	census->loops->census->count_kinds(&census->kinds, in, n, next);
	census->pending += n;
	return 0;
}

struct rows {
	const struct pgtable_census *census;
	uint64_t *entries;
	uint64_t *counts;
	size_t capacity;
	size_t n;
};

static void put_row(struct rows *rows, uint32_t key)
{
	uint64_t count = rows->census->kinds.count[key];

	if (rows->census->total)
		count += rows->census->total[key];
	if (!count)
		return;
	if (rows->n < rows->capacity) {
		rows->entries[rows->n] = pgtable_census_stand_in(key);
		rows->counts[rows->n] = count;
	}
	rows->n++;
}

/* So many counters are looked at together, for most are 0. */
#define GROUP 32

static int any_counted(const uint32_t *counts)
{
	uint32_t any = 0;

	for (size_t i = 0; i < GROUP; i++)
		any |= counts[i];
	return any != 0;
}

static int compare_keys(const void *a, const void *b)
{
	uint32_t first, second;

	memcpy(&first, a, sizeof(first));
	memcpy(&second, b, sizeof(second));
	return (first > second) - (first < second);
}

size_t pgtable_census_rows(const struct pgtable_census *census, uint64_t *entries,
			   uint64_t *counts, size_t capacity)
{
	struct rows rows = { census, entries, counts, capacity, 0 };
	uint32_t keys[PGTABLE_LISTED_KINDS];
	size_t n = census->kinds.n;

	if (all_listed(census)) {
		memcpy(keys, census->kinds.listed, n * sizeof(*keys));
		qsort(keys, n, sizeof(*keys), compare_keys);
		for (size_t i = 0; i < n; i++)
			put_row(&rows, keys[i]);
	} else {
		for (uint32_t first = 0; first < KEYS; first += GROUP)
			if (census->total || any_counted(census->kinds.count + first))
				for (uint32_t key = first; key < first + GROUP; key++)
					put_row(&rows, key);
	}
	return rows.n;
}
