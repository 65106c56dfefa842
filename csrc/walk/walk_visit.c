/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/walk.h"

#include <string.h>

#include "walk/walk_tables.h"

/* Tables are mostly visited in the order in which they were discovered. */
static struct pgtable_table *find_table(struct pgtable_walk *walk, uint64_t pa, unsigned level)
{
	size_t next = walk->next[level];
	uint32_t found;

	if (next < walk->level_end[level] && walk->tables[next].pa == pa) {
		walk->next[level]++;
		return &walk->tables[next];
	}
	found = *pgtable_walk_slot(walk, pa, level);
	return found ? &walk->tables[found - 1] : NULL;
}

/* The table that is probably visited after this one of the same level, or NULL. */
static const void *next_table(const struct pgtable_walk *walk, unsigned level)
{
	size_t next = walk->next[level];

	return next < walk->level_end[level] ? walk->tables[next].data : NULL;
}

static void note_loop(struct pgtable_walk *walk, uint64_t va, uint64_t pa, unsigned level)
{
	if (walk->shared)
		return;
	if (walk->nloops < MAX_LOOPS)
		walk->loops[walk->nloops] = (struct pgtable_loop){ va, pa, level };
	walk->nloops++;
}

struct pgtable_table *pgtable_walk_descend(struct pgtable_walk *walk, uint64_t va, uint64_t entry,
					   unsigned level)
{
	uint64_t pa = entry & walk->frame_mask;
	struct pgtable_table *table;

	for (unsigned above = level; above <= walk->levels; above++) {
		if (walk->path[above] == pa) {
			note_loop(walk, va, pa, level);
			return NULL;
		}
	}
	table = find_table(walk, pa, level - 1);
	if (!table)
		return NULL;
	if (walk->shared && level > 2)
		return table->data ? table : NULL;
	table->reached++;
	if (!table->data || (walk->once && table->reached > 1))
		return NULL;
	return table;
}

static void stop(struct pgtable_walk *walk, uint64_t va)
{
	walk->stopped = 1;
	walk->stopped_va = va;
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

static size_t count_equal(const uint8_t *traits, uint8_t value, size_t n)
{
	size_t found = 0, i = 0;

	while (i < n) {
		/* as many as a byte can count, so that bytes are added */
		size_t end = n - i < 255 ? n : i + 255;
		uint8_t some = 0;

		for (; i < end; i++)
			some = (uint8_t)(some + (traits[i] == value));
		found += some;
	}
	return found;
}

/* Few values occur, and one value is counted much faster than all. */
void pgtable_walk_tally(const uint8_t *traits, size_t n, uint64_t *counts)
{
	uint8_t seen[256] = { 0 };
	size_t all = 0;

	for (size_t i = 0; all < n; i++) {
		size_t found;

		if (seen[traits[i]])
			continue;
		seen[traits[i]] = 1;
		found = count_equal(traits, traits[i], n);
		counts[traits[i]] += found;
		all += found;
	}
}

static uint8_t nx_mask_of(const struct pgtable_walk *walk)
{
	return walk->nxe ? PGTABLE_NX : 0;
}

static void enter(struct pgtable_walk *walk, struct pgtable_table *table, uint64_t va,
		  uint8_t rights)
{
	struct slice slice = slice_of(walk, va, table->level);

	walk->path[table->level] = table->pa;
	walk->cursor[table->level] = (struct cursor){ table, va, slice.low, slice.high, rights };
	walk->at = table->level;
}

void pgtable_walk_begin_visit(struct pgtable_walk *walk, int once)
{
	for (size_t i = 0; i < walk->ntables; i++)
		walk->tables[i].reached = 0;
	for (unsigned level = 0; level < walk->levels; level++)
		walk->next[level] = walk->level_end[level + 1];
	/* no frame: the tables above are not known yet */
	memset(walk->path, 0xff, sizeof(walk->path));
	walk->tables[0].reached = 1;
	walk->nloops = 0;
	walk->stopped = 0;
	walk->once = once;
}

void pgtable_walk_begin(struct pgtable_walk *walk, int once)
{
	pgtable_walk_begin_visit(walk, once);
	pgtable_walk_enter_top(walk);
}

void pgtable_walk_enter_top(struct pgtable_walk *walk)
{
	walk->at = walk->levels + 1;
	if (walk->tables[0].data)
		enter(walk, &walk->tables[0], 0, PGTABLE_WRITABLE | PGTABLE_USER);
}

/* Rows of a table of level 1, for all of which there is room; the part of it that is walked. */
static size_t list_ptes(const struct pgtable_walk *walk, const struct cursor *cursor,
			const struct pgtable_columns *out, size_t at)
{
	pgtable_word part[TABLE_ENTRIES];
	const void *entries = cursor->table->data;

	if (cursor->next > 0 || cursor->last < TABLE_ENTRIES - 1) {
		memset(part, 0, sizeof(part));
		memcpy(part + cursor->next, (const pgtable_word *)entries + cursor->next,
		       (cursor->last + 1 - cursor->next) * sizeof(*part));
		entries = part;
	}
	return walk->isa_loops->walk->rows(entries, cursor->va, cursor->rights, nx_mask_of(walk),
				    next_table(walk, 1), out->va + at, out->entry + at,
				    out->traits + at);
}

/* Where there may be less room than a table has entries: what fits.  Returns how many. */
static size_t list_last_ptes(struct pgtable_walk *walk, const struct cursor *cursor,
			     const struct pgtable_columns *out, size_t at)
{
	uint64_t addresses[TABLE_ENTRIES], entries[TABLE_ENTRIES];
	uint8_t traits[TABLE_ENTRIES];
	const struct pgtable_columns rows = { addresses, entries, traits, TABLE_ENTRIES };
	size_t n = list_ptes(walk, cursor, &rows, 0);

	if (n > out->capacity - at) {
		n = out->capacity - at;
		stop(walk, addresses[n]);
	}
	memcpy(out->va + at, addresses, n * sizeof(*addresses));
	memcpy(out->entry + at, entries, n * sizeof(*entries));
	memcpy(out->traits + at, traits, n);
	return n;
}

/* One entry of an upper table; enters the table below.  Returns how many rows that is. */
static size_t list_upper(struct pgtable_walk *walk, struct cursor *cursor, uint64_t va,
			 const struct pgtable_columns *out, size_t at)
{
	unsigned level = cursor->table->level;
	uint64_t entry = ((const pgtable_word *)cursor->table->data)[cursor->next++];
	uint8_t rights = combine(cursor->rights, entry, nx_mask_of(walk));
	size_t listed = !walk->begins || va >= walk->first;
	struct pgtable_table *child;

	if (listed) {
		out->va[at] = va;
		out->entry[at] = entry;
		out->traits[at] = traits_of(va, entry, level, rights);
	}
	if (is_table(entry, level)) {
		child = pgtable_walk_descend(walk, va, entry, level);
		if (child)
			enter(walk, child, va, rights);
	}
	return listed;
}

size_t pgtable_walk_next(struct pgtable_walk *walk, const struct pgtable_columns *out, int exact)
{
	size_t n = 0;

	while (walk->at <= walk->levels && !walk->stopped) {
		struct cursor *cursor = &walk->cursor[walk->at];
		int full = out->capacity - n < TABLE_ENTRIES;
		uint64_t va;

		if (walk->at == 1) {
			size_t rows;

			if (full && !exact)
				return n;
			rows = full ? list_last_ptes(walk, cursor, out, n) :
				      list_ptes(walk, cursor, out, n);
			if (!walk->stopped)
				cursor->table->entries = (uint32_t)rows;
			n += rows;
			walk->at++;
			continue;
		}
		cursor->next = next_used(cursor->table->data, cursor->next);
		if (cursor->next > cursor->last) {
			walk->at++;
			continue;
		}
		va = entry_va(walk, cursor->va, walk->at, cursor->next);
		if (n == out->capacity) {
			if (exact)
				stop(walk, va);
			return n;
		}
		n += list_upper(walk, cursor, va, out, n);
	}
	return n;
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
