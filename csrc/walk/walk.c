/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/walk.h"

#include <stdlib.h>
#include <string.h>

#include "form/form.h"
#include "walk/walk_tables.h"

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Where a page of the machine is in the image; NULL if the image does not have all of it. */
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

/* The slot of this table; if it has none, the free slot for it. */
uint32_t *pgtable_walk_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level)
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
		*pgtable_walk_slot(walk, walk->tables[i].pa, walk->tables[i].level) = i + 1;
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

/* Note that a table is reached so many times more; at va, if this is the first time. */
static int reach(struct pgtable_walk *walk, uint64_t pa, unsigned level, uint64_t va, uint64_t times)
{
	uint32_t *slot = pgtable_walk_slot(walk, pa, level);
	struct pgtable_table *table;
	struct slice slice = slice_of(walk, va, level);

	if (*slot) {
		table = &walk->tables[*slot - 1];
		table->times = add_saturating(table->times, times);
		table->low = slice.low < table->low ? slice.low : table->low;
		table->high = slice.high > table->high ? slice.high : table->high;
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
	table->low = slice.low;
	table->high = slice.high;
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
	walk->first = root->first;
	walk->last = root->last;
	walk->begins = root->begins;
	walk->discovering = root->levels;
	if (grow_slots(walk, 10) || reach(walk, root->pa, root->levels, 0, 1)) {
		pgtable_walk_free(walk);
		return NULL;
	}
	if (root->top)
		walk->tables[0].data = root->top;
	walk->level_end[walk->levels] = 1;
	walk->loops = calloc(MAX_LOOPS, sizeof(*walk->loops));
	if (!walk->loops) {
		pgtable_walk_free(walk);
		return NULL;
	}
	return walk;
}

void pgtable_walk_free(struct pgtable_walk *walk)
{
	if (!walk)
		return;
	free(walk->tables);
	free(walk->slots);
	free(walk->due);
	free(walk->loops);
	free(walk);
}

/*
 * ahead (or NULL) is memory to ask for meanwhile.  The next table is seldom the next page, so the
 * processor does not foresee it.
 */
static uint32_t count_entries(const struct pgtable_walk *walk, const struct pgtable_table *table,
			      const void *ahead)
{
	const struct pgtable_condition not_zero = { .mask = ~(uint64_t)0, .negate = 1 };
	const pgtable_word *entries = table->data;
	size_t some = TABLE_ENTRIES / 8, count = 0;

	for (size_t i = table->low; i <= table->high; i += some) {
		size_t left = table->high + 1 - i;

		for (size_t line = 0; ahead && line < some; line += 8)
			__builtin_prefetch((const pgtable_word *)ahead +
					   (i + line) % TABLE_ENTRIES);
		count += walk->isa_loops->form->count(&not_zero, entries + i, left < some ? left : some);
	}
	return (uint32_t)count;
}

static int discover_table(struct pgtable_walk *walk, size_t index)
{
	/* a copy: reach() may move the tables */
	struct pgtable_table table = walk->tables[index];
	const pgtable_word *entries = table.data;

	if (!entries)
		return 0;
	walk->tables[index].entries = count_entries(
		walk, &table, index + 1 < walk->ntables ? walk->tables[index + 1].data : NULL);
	for (size_t i = next_used(entries, table.low); i <= table.high;
	     i = next_used(entries, i + 1)) {
		uint64_t entry = entries[i];

		if (is_table(entry, table.level) &&
		    reach(walk, entry & walk->frame_mask, table.level - 1,
			  entry_va(walk, table.va, table.level, i), table.times))
			return -1;
	}
	return 0;
}

int pgtable_walk_discover(struct pgtable_walk *walk, unsigned lowest, size_t most)
{
	for (; walk->discovering > lowest; walk->discovering--) {
		unsigned level = walk->discovering;

		for (; walk->discovered < walk->level_end[level]; walk->discovered++) {
			if (!most--)
				return 1;
			if (discover_table(walk, walk->discovered))
				return -1;
		}
		walk->level_end[level - 1] = walk->ntables;
	}
	walk->counted = walk->discovered;
	if (lowest > 1)
		return pgtable_walk_count(walk, SIZE_MAX);
	for (size_t i = walk->discovered; i < walk->ntables; i++) {
		struct pgtable_table *table = &walk->tables[i];

		table->entries = table->data ? table->high + 1 - table->low : 0;
	}
	return 0;
}

int pgtable_walk_count(struct pgtable_walk *walk, size_t most)
{
	for (; walk->counted < walk->ntables; walk->counted++) {
		struct pgtable_table *table = &walk->tables[walk->counted];

		if (!most--)
			return 1;
		if (table->data)
			table->entries = count_entries(
				walk, table,
				walk->counted + 1 < walk->ntables ? table[1].data : NULL);
	}
	return 0;
}

const struct pgtable_table *pgtable_walk_tables(const struct pgtable_walk *walk, size_t *n)
{
	*n = walk->ntables;
	return walk->tables;
}

const struct pgtable_table *pgtable_walk_level(const struct pgtable_walk *walk, unsigned level,
					       size_t *n)
{
	size_t start = level < walk->levels ? walk->level_end[level + 1] : 0;

	*n = level > walk->levels || level < walk->discovering ? 0 : walk->level_end[level] - start;
	return walk->tables + start;
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
