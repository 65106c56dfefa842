/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of a walk share: its tables, and where in them it is. */
#ifndef PGTABLE_WALK_TABLES_H
#define PGTABLE_WALK_TABLES_H

#include "bulk/bulk_loops.h"
#include "walk/walk.h"
#include "walk/walk_entry.h"

#define MAX_LEVELS 5
#define MAX_LOOPS 1000

/* Entries [low, high] of a table. */
struct slice {
	unsigned low;
	unsigned high;
};

/* A table that is being visited: where it begins, what is allowed above, the entry that is next. */
struct cursor {
	struct pgtable_table *table;
	uint64_t va;
	size_t next;
	size_t last;
	uint8_t rights;
};

struct pgtable_due;

struct pgtable_walk {
	const struct pgtable_loops *isa_loops;
	const struct pgtable_segment *segments;
	size_t nsegments;
	size_t last_segment;
	unsigned levels;
	int nxe;
	uint64_t frame_mask;	/* where an entry has the address of a table */
	uint64_t first, last;	/* addresses that are walked */
	int begins;		/* only entries that begin there */

	struct pgtable_table *tables;
	size_t ntables;
	size_t tables_capacity;
	size_t level_end[MAX_LEVELS + 1];
	/* up to where tables were discovered, and in which level; up to where counted */
	size_t discovered;
	unsigned discovering;
	size_t counted;

	/* (pa, level) to index + 1; 0 is free */
	uint32_t *slots;
	unsigned slots_bits;

	/* the visit that is under way: tables by level, frames above, which table is probably next */
	struct cursor cursor[MAX_LEVELS + 1];
	unsigned at;
	int once;
	int shared;		/* others visit the tables above level 1 at the same time */
	uint64_t path[MAX_LEVELS + 1];
	size_t next[MAX_LEVELS + 1];

	/* of a census: tables of level 1 by place, how many there are, how many are done */
	struct pgtable_due *due;
	size_t ndue;
	size_t due_done;

	struct pgtable_loop *loops;
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

/* The entries of a table at va that translate anything of what is walked. */
static inline struct slice slice_of(const struct pgtable_walk *walk, uint64_t va, unsigned level)
{
	struct slice all = { 0, TABLE_ENTRIES - 1 };
	unsigned shift = level_shift(level);
	uint64_t end;

	if (level == walk->levels) {
		all.low = walk->first >> shift & (TABLE_ENTRIES - 1);
		all.high = walk->last >> shift & (TABLE_ENTRIES - 1);
		return all;
	}
	end = va + (((uint64_t)TABLE_ENTRIES << shift) - 1);
	if (walk->first > va)
		all.low = (unsigned)((walk->first - va) >> shift);
	if (walk->last < end)
		all.high = (unsigned)((walk->last - va) >> shift);
	return all;
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

/* Begin a visit of all tables, whatever is done with them. */
void pgtable_walk_begin_visit(struct pgtable_walk *walk, int once);

/* Enter the top table, where a visit of rows begins. */
void pgtable_walk_enter_top(struct pgtable_walk *walk);

/* The table below an entry, if it is to be visited now. */
struct pgtable_table *pgtable_walk_descend(struct pgtable_walk *walk, uint64_t va, uint64_t entry,
					   unsigned level);

/* The slot that holds this table, or the free one where it belongs. */
uint32_t *pgtable_walk_slot(const struct pgtable_walk *walk, uint64_t pa, unsigned level);

#endif
