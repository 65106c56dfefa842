/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/walk.h"

#include <stdlib.h>
#include <string.h>

#include "bulk/bulk_loops.h"
#include "form/form.h"
#include "census/census.h"
#include "walk/walk_entry.h"
#include "walk/walk_order.h"

#define MAX_LEVELS 5
#define MAX_LOOPS 1000

struct pgtable_walk {
	const struct pgtable_loops *isa_loops;
	const struct pgtable_segment *segments;
	size_t nsegments;
	size_t last_segment;
	unsigned levels;
	int nxe;
	uint64_t frame_mask;	/* where an entry has the address of a table */

	struct pgtable_table *tables;
	size_t ntables;
	size_t tables_capacity;
	size_t level_end[MAX_LEVELS + 1];

	/* (pa, level) to index + 1; 0 is free */
	uint32_t *slots;
	unsigned slots_bits;

	struct pgtable_loop loops[MAX_LOOPS];
	uint64_t nloops;
	int stopped;
	uint64_t stopped_va;
};

static inline unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

/* Address of an entry; the top table's upper half is sign-extended. */
static inline uint64_t entry_va(const struct pgtable_walk *walk, uint64_t table_va, unsigned level,
				size_t i)
{
	uint64_t va = table_va + ((uint64_t)i << level_shift(level));

	if (level == walk->levels && i >= TABLE_ENTRIES / 2)
		va |= ~(uint64_t)0 << (level_shift(level) + 9);
	return va;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Where a page of the machine is, or NULL when the image does not have all of it. */
static const void *find_page(struct pgtable_walk *walk, uint64_t pa)
{
	size_t low = 0, high = walk->nsegments;
	const struct pgtable_segment *at;

	if (!high)
		return NULL;
	at = &walk->segments[walk->last_segment];
	if (pa < at->pa || pa - at->pa >= at->size) {
		while (high - low > 1) {
			size_t middle = low + (high - low) / 2;

			if (walk->segments[middle].pa <= pa)
				low = middle;
			else
				high = middle;
		}
		walk->last_segment = low;
		at = &walk->segments[low];
	}
	if (pa < at->pa || pa - at->pa >= at->size || at->size - (pa - at->pa) < TABLE_BYTES)
		return NULL;
	return (const char *)at->data + (pa - at->pa);
}

static inline size_t hash_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level)
{
	return ((pa >> PAGE_SHIFT << 3 | level) * (uint64_t)0x9e3779b97f4a7c15) >>
	       (64 - walk->slots_bits);
}

/* The slot that holds this table, or the free one where it belongs. */
static uint32_t *find_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level)
{
	size_t mask = ((size_t)1 << walk->slots_bits) - 1;

	for (size_t slot = hash_slot(walk, pa, level);; slot = (slot + 1) & mask) {
		uint32_t found = walk->slots[slot];

		if (!found)
			return &walk->slots[slot];
		if (walk->tables[found - 1].pa == pa && walk->tables[found - 1].level == level)
			return &walk->slots[slot];
	}
}

static int grow_slots(struct pgtable_walk *walk, unsigned bits)
{
	uint32_t *slots = calloc((size_t)1 << bits, sizeof(*slots));

	if (!slots)
		return -1;
	free(walk->slots);
	walk->slots = slots;
	walk->slots_bits = bits;
	for (size_t i = 0; i < walk->ntables; i++)
		*find_slot(walk, walk->tables[i].pa, walk->tables[i].level) = i + 1;
	return 0;
}

static int grow_tables(struct pgtable_walk *walk)
{
	size_t capacity = walk->tables_capacity + walk->tables_capacity / 2 + 64;
	struct pgtable_table *tables;

	if (capacity >= UINT32_MAX)
		return -1;
	tables = realloc(walk->tables, capacity * sizeof(*tables));
	if (!tables)
		return -1;
	walk->tables = tables;
	walk->tables_capacity = capacity;
	return 0;
}

/* Note that a table is reached so many times (more), first at va. */
static int reach(struct pgtable_walk *walk, uint64_t pa, unsigned level, uint64_t va, uint64_t times)
{
	uint32_t *slot = find_slot(walk, pa, level);
	struct pgtable_table *table;

	if (*slot) {
		table = &walk->tables[*slot - 1];
		table->times = add_saturating(table->times, times);
		return 0;
	}
	if (walk->ntables == walk->tables_capacity && grow_tables(walk))
		return -1;
	table = &walk->tables[walk->ntables];
	memset(table, 0, sizeof(*table));
	table->data = find_page(walk, pa);
	table->pa = pa;
	table->va = va;
	table->times = times;
	table->level = level;
	*slot = ++walk->ntables;
	/* at most half full */
	if (walk->ntables >= (size_t)1 << (walk->slots_bits - 1))
		return grow_slots(walk, walk->slots_bits + 1);
	return 0;
}

struct pgtable_walk *pgtable_walk_new(const struct pgtable_loops *isa_loops,
				      const struct pgtable_segment *segments, size_t n,
				      const struct pgtable_root *root)
{
	struct pgtable_walk *walk = calloc(1, sizeof(*walk));

	if (!walk)
		return NULL;
	walk->isa_loops = isa_loops;
	walk->segments = segments;
	walk->nsegments = n;
	walk->levels = root->levels;
	walk->nxe = root->nxe;
	walk->frame_mask = PTE_PFN_MASK & ~root->encryption;
	if (grow_slots(walk, 10) || reach(walk, root->pa, root->levels, 0, 1)) {
		pgtable_walk_free(walk);
		return NULL;
	}
	if (root->top)
		walk->tables[0].data = root->top;
	return walk;
}

void pgtable_walk_free(struct pgtable_walk *walk)
{
	if (!walk)
		return;
	free(walk->tables);
	free(walk->slots);
	free(walk);
}

/*
 * Meanwhile memory ahead (or NULL) is asked for: the next table is seldom the next page,
 * so the processor does not foresee it.
 */
static size_t count_entries(const struct pgtable_walk *walk, const void *table, const void *ahead)
{
	const struct pgtable_condition not_zero = { .mask = ~(uint64_t)0, .negate = 1 };
	size_t some = TABLE_ENTRIES / 8, count = 0;

	for (size_t i = 0; i < TABLE_ENTRIES; i += some) {
		for (size_t line = 0; ahead && line < some; line += 8)
			__builtin_prefetch((const pgtable_word *)ahead + i + line);
		count += walk->isa_loops->form->count(&not_zero, (const pgtable_word *)table + i, some);
	}
	return count;
}

/* The first entry from i on that is not zero, or TABLE_ENTRIES; most upper tables are nearly empty. */
static inline size_t next_used(const pgtable_word *entries, size_t i)
{
	while (i % 8 && i < TABLE_ENTRIES && !entries[i])
		i++;
	if (i % 8)
		return i;
	for (; i < TABLE_ENTRIES; i += 8) {
		uint64_t any = 0;

		for (size_t j = 0; j < 8; j++)
			any |= entries[i + j];
		if (any)
			break;
	}
	while (i < TABLE_ENTRIES && !entries[i])
		i++;
	return i;
}

static int discover_table(struct pgtable_walk *walk, size_t index)
{
	/* a copy: reach() may move the tables */
	struct pgtable_table table = walk->tables[index];
	const pgtable_word *entries = table.data;

	if (!entries)
		return 0;
	walk->tables[index].entries = count_entries(
		walk, entries, index + 1 < walk->ntables ? walk->tables[index + 1].data : NULL);
	for (size_t i = next_used(entries, 0); i < TABLE_ENTRIES; i = next_used(entries, i + 1)) {
		uint64_t entry = entries[i];

		if (is_table(entry, table.level) &&
		    reach(walk, entry & walk->frame_mask, table.level - 1,
			  entry_va(walk, table.va, table.level, i), table.times))
			return -1;
	}
	return 0;
}

int pgtable_walk_discover(struct pgtable_walk *walk)
{
	size_t index = 0;

	for (unsigned level = walk->levels; level > 1; level--) {
		walk->level_end[level] = walk->ntables;
		for (; index < walk->level_end[level]; index++) {
			if (discover_table(walk, index))
				return -1;
		}
	}
	walk->level_end[1] = walk->ntables;
	for (; index < walk->ntables; index++)
		walk->tables[index].entries = walk->tables[index].data ? TABLE_ENTRIES : 0;
	return 0;
}

void pgtable_walk_count(struct pgtable_walk *walk)
{
	for (size_t i = walk->level_end[2]; i < walk->ntables; i++) {
		struct pgtable_table *table = &walk->tables[i];

		if (table->data)
			table->entries = count_entries(walk, table->data,
						       i + 1 < walk->ntables ? table[1].data : NULL);
	}
}

const struct pgtable_table *pgtable_walk_tables(const struct pgtable_walk *walk, size_t *n)
{
	*n = walk->ntables;
	return walk->tables;
}

struct pgtable_bounds pgtable_walk_bounds(const struct pgtable_walk *walk)
{
	struct pgtable_bounds bounds = { 0 };

	for (size_t i = 0; i < walk->ntables; i++) {
		const struct pgtable_table *table = &walk->tables[i];
		uint64_t expanded = multiply_saturating(table->entries, table->times);

		bounds.once += table->entries;
		bounds.everywhere = add_saturating(bounds.everywhere, expanded);
		bounds.tables = add_saturating(bounds.tables, table->times);
	}
	return bounds;
}

/* One visit of all tables in address order, whatever is done with them. */
struct visit {
	struct pgtable_walk *walk;
	const struct pgtable_columns *out;
	struct pgtable_census *const *census;
	struct pgtable_due *due;	/* of the tables of level 1 */
	size_t n;
	size_t capacity;
	int once;
	int err;
	uint64_t path[MAX_LEVELS + 1];
	size_t next[MAX_LEVELS + 1];
};

/* Tables are mostly visited in the order in which they were discovered. */
static struct pgtable_table *find_table(struct visit *visit, uint64_t pa, unsigned level)
{
	struct pgtable_walk *walk = visit->walk;
	size_t next = visit->next[level];
	uint32_t found;

	if (next < walk->level_end[level] && walk->tables[next].pa == pa) {
		visit->next[level]++;
		return &walk->tables[next];
	}
	found = *find_slot(walk, pa, level);
	return found ? &walk->tables[found - 1] : NULL;
}

/* The table that is probably visited after this one of the same level, or NULL. */
static const void *next_table(const struct visit *visit, unsigned level)
{
	size_t next = visit->next[level];

	return next < visit->walk->level_end[level] ? visit->walk->tables[next].data : NULL;
}

static void note_loop(struct pgtable_walk *walk, uint64_t va, uint64_t pa, unsigned level)
{
	if (walk->nloops < MAX_LOOPS)
		walk->loops[walk->nloops] = (struct pgtable_loop){ va, pa, level };
	walk->nloops++;
}

/* The table below an entry, if it is to be visited now. */
static struct pgtable_table *descend(struct visit *visit, uint64_t va, uint64_t entry,
				     unsigned level)
{
	uint64_t pa = entry & visit->walk->frame_mask;
	struct pgtable_table *table;

	for (unsigned above = level; above <= visit->walk->levels; above++) {
		if (visit->path[above] == pa) {
			note_loop(visit->walk, va, pa, level);
			return NULL;
		}
	}
	table = find_table(visit, pa, level - 1);
	if (!table)
		return NULL;
	table->reached++;
	if (!table->data || (visit->once && table->reached > 1))
		return NULL;
	return table;
}

static void stop(struct visit *visit, uint64_t va)
{
	if (!visit->walk->stopped) {
		visit->walk->stopped = 1;
		visit->walk->stopped_va = va;
	}
}

void pgtable_walk_kinds(const uint8_t *restrict traits, uint8_t *restrict kinds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t absent = -(traits[i] / PGTABLE_NOT_PRESENT & 1);	/* all bits or none */
		uint8_t present = traits[i] / PGTABLE_TABLE & 1;	/* PGTABLE_KIND_LEAF or _TABLE */

		kinds[i] = (traits[i] % PGTABLE_NOT_PRESENT & absent) | (present & ~absent);
	}
}

void pgtable_walk_flags(const uint8_t *restrict traits, uint8_t mask, uint8_t value,
			uint8_t *restrict flags, size_t n)
{
	for (size_t i = 0; i < n; i++)
		flags[i] = (traits[i] & mask) == value;
}

static uint8_t nx_mask_of(const struct pgtable_walk *walk)
{
	return walk->nxe ? PGTABLE_NX : 0;
}

static size_t list_ptes(const struct visit *visit, const struct pgtable_table *table, uint64_t va,
			uint8_t above, const struct pgtable_columns *out, size_t at)
{
	return visit->walk->isa_loops->walk->rows(table->data, va, above, nx_mask_of(visit->walk),
					   next_table(visit, 1), out->va + at, out->entry + at,
					   out->traits + at);
}

/* Where there may be less room than a table has entries. */
static void fill_last_ptes(struct visit *visit, const struct pgtable_table *table, uint64_t va,
			   uint8_t above)
{
	uint64_t addresses[TABLE_ENTRIES], entries[TABLE_ENTRIES];
	uint8_t traits[TABLE_ENTRIES];
	const struct pgtable_columns rows = { addresses, entries, traits, TABLE_ENTRIES };
	const struct pgtable_columns *out = visit->out;
	size_t n = list_ptes(visit, table, va, above, &rows, 0);

	if (n > visit->capacity - visit->n) {
		n = visit->capacity - visit->n;
		stop(visit, addresses[n]);
	}
	memcpy(out->va + visit->n, addresses, n * sizeof(*addresses));
	memcpy(out->entry + visit->n, entries, n * sizeof(*entries));
	memcpy(out->traits + visit->n, traits, n);
	visit->n += n;
}

static void fill_ptes(struct visit *visit, struct pgtable_table *table, uint64_t va, uint8_t above)
{
	if (visit->capacity - visit->n < TABLE_ENTRIES) {
		fill_last_ptes(visit, table, va, above);
		return;
	}
	table->entries = list_ptes(visit, table, va, above, visit->out, visit->n);
	visit->n += table->entries;
}

static void fill_table(struct visit *visit, struct pgtable_table *table, uint64_t va,
		       uint8_t above)
{
	const pgtable_word *entries = table->data;
	const struct pgtable_columns *out = visit->out;
	unsigned level = table->level;

	if (level == 1) {
		fill_ptes(visit, table, va, above);
		return;
	}
	visit->path[level] = table->pa;
	for (size_t i = next_used(entries, 0); i < TABLE_ENTRIES && !visit->walk->stopped;
	     i = next_used(entries, i + 1)) {
		uint64_t entry = entries[i], at = entry_va(visit->walk, va, level, i);
		uint8_t rights = combine(above, entry, nx_mask_of(visit->walk));
		struct pgtable_table *child;

		if (visit->n == visit->capacity) {
			stop(visit, at);
			return;
		}
		out->va[visit->n] = at;
		out->entry[visit->n] = entry;
		out->traits[visit->n] = traits_of(at, entry, level, rights);
		visit->n++;
		if (!is_table(entry, level))
			continue;
		child = descend(visit, at, entry, level);
		if (child)
			fill_table(visit, child, at, rights);
	}
}

/* Level 1 is put off: in which order it is counted makes no difference. */
static void census_table(struct visit *visit, const struct pgtable_table *table, uint64_t va)
{
	const pgtable_word *entries = table->data;
	unsigned level = table->level;
	/* only the top table has entries of both halves */
	size_t step = level == visit->walk->levels ? TABLE_ENTRIES / 2 : TABLE_ENTRIES;

	if (level == 1) {
		visit->due[table - &visit->walk->tables[visit->walk->level_end[2]]].times[va >> 63]++;
		return;
	}
	for (size_t i = 0; i < TABLE_ENTRIES; i += step) {
		size_t half = entry_va(visit->walk, va, level, i) >> 63;

		visit->err |= pgtable_census_add_table(
			visit->census[half * MAX_LEVELS + level - 1], entries + i, step, NULL);
	}
	visit->path[level] = table->pa;
	for (size_t i = next_used(entries, 0); i < TABLE_ENTRIES; i = next_used(entries, i + 1)) {
		uint64_t entry = entries[i], at = entry_va(visit->walk, va, level, i);
		const struct pgtable_table *child;

		if (!is_table(entry, level))
			continue;
		child = descend(visit, at, entry, level);
		if (child)
			census_table(visit, child, at);
	}
}

static void census_ptes(struct visit *visit, const struct pgtable_due *due, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t half = 0; half < 2; half++)
			for (uint64_t left = due[i].times[half]; left; left--)
				visit->err |= pgtable_census_add_table(
					visit->census[half * MAX_LEVELS], due[i].data, TABLE_ENTRIES,
					i + 1 < n ? due[i + 1].data : NULL);
}

static void begin(struct visit *visit)
{
	struct pgtable_walk *walk = visit->walk;

	for (size_t i = 0; i < walk->ntables; i++)
		walk->tables[i].reached = 0;
	for (unsigned level = 0; level < walk->levels; level++)
		visit->next[level] = walk->level_end[level + 1];
	/* no frame: the tables above are not known yet */
	memset(visit->path, 0xff, sizeof(visit->path));
	walk->tables[0].reached = 1;
	walk->nloops = 0;
	walk->stopped = 0;
}

size_t pgtable_walk_fill(struct pgtable_walk *walk, const struct pgtable_columns *out, int once)
{
	struct visit visit = { .walk = walk, .out = out, .capacity = out->capacity, .once = once };

	begin(&visit);
	if (walk->tables[0].data)
		fill_table(&visit, &walk->tables[0], 0, PGTABLE_WRITABLE | PGTABLE_USER);
	return visit.n;
}

int pgtable_walk_census(struct pgtable_walk *walk, struct pgtable_census *const *census, int once)
{
	const struct pgtable_table *ptes = &walk->tables[walk->level_end[2]];
	size_t nptes = walk->level_end[1] - walk->level_end[2], n;
	struct visit visit = { .walk = walk, .census = census, .once = once };
	struct pgtable_due *by_place = malloc((nptes + 1) * sizeof(*by_place));

	visit.due = calloc(nptes + 1, sizeof(*visit.due));
	visit.err = by_place && visit.due ? 0 : -1;
	for (size_t i = 0; i < nptes && !visit.err; i++)
		visit.due[i].data = ptes[i].data;
	begin(&visit);
	if (walk->tables[0].data && !visit.err)
		census_table(&visit, &walk->tables[0], 0);
	if (!visit.err)
		visit.err = pgtable_by_place(visit.due, nptes, by_place, &n);
	if (!visit.err)
		census_ptes(&visit, by_place, n);
	free(by_place);
	free(visit.due);
	return visit.err;
}

const struct pgtable_loop *pgtable_walk_loops(const struct pgtable_walk *walk, size_t *kept,
					      uint64_t *all)
{
	*kept = walk->nloops < MAX_LOOPS ? walk->nloops : MAX_LOOPS;
	*all = walk->nloops;
	return walk->loops;
}

int pgtable_walk_stopped(const struct pgtable_walk *walk, uint64_t *va)
{
	*va = walk->stopped_va;
	return walk->stopped;
}
