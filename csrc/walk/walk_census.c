/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/walk.h"

#include <stdlib.h>
#include <string.h>

#include "census/census.h"
#include "walk/walk_order.h"
#include "walk/walk_tables.h"

struct counting {
	struct pgtable_walk *walk;
	struct pgtable_census *const *census;
	struct pgtable_due *due;	/* of the tables of level 1 */
	int err;
};

/* Entries [low, high] of a table, which are all of one half unless it is the top one. */
static void count_slice(struct counting *counting, const struct pgtable_table *table, uint64_t va,
			struct slice slice)
{
	struct pgtable_walk *walk = counting->walk;
	const pgtable_word *entries = table->data;
	size_t low = slice.low, end = slice.high + 1, middle = TABLE_ENTRIES / 2;

	/* what began before is another's */
	if (walk->begins && entry_va(walk, va, table->level, low) < walk->first)
		low++;
	while (low < end) {
		size_t next = table->level == walk->levels && low < middle && end > middle ? middle : end;
		size_t half = entry_va(walk, va, table->level, low) >> 63;

		counting->err |= pgtable_census_add_table(
			counting->census[half * MAX_LEVELS + table->level - 1], entries + low,
			next - low, NULL);
		low = next;
	}
}

/* Level 1 is put off: in which order it is counted makes no difference. */
static void count_table(struct counting *counting, const struct pgtable_table *table, uint64_t va)
{
	struct pgtable_walk *walk = counting->walk;
	const pgtable_word *entries = table->data;
	unsigned level = table->level;
	struct slice slice = slice_of(walk, va, level);

	if (level == 1 && slice.low == 0 && slice.high == TABLE_ENTRIES - 1) {
		counting->due[table - &walk->tables[walk->level_end[2]]].times[va >> 63]++;
		return;
	}
	count_slice(counting, table, va, slice);
	if (level == 1)
		return;
	walk->path[level] = table->pa;
	for (size_t i = next_used(entries, slice.low); i <= slice.high;
	     i = next_used(entries, i + 1)) {
		uint64_t entry = entries[i], at = entry_va(walk, va, level, i);
		const struct pgtable_table *child;

		if (!is_table(entry, level))
			continue;
		child = pgtable_walk_descend(walk, at, entry, level);
		if (child)
			count_table(counting, child, at);
	}
}

int pgtable_walk_census(struct pgtable_walk *walk, struct pgtable_census *const *census, int once)
{
	const struct pgtable_table *ptes = &walk->tables[walk->level_end[2]];
	size_t nptes = walk->level_end[1] - walk->level_end[2];
	struct counting counting = { walk, census, calloc(nptes + 1, sizeof(*counting.due)), 0 };

	free(walk->due);
	walk->due = malloc((nptes + 1) * sizeof(*walk->due));
	walk->due_done = walk->ndue = 0;
	counting.err = walk->due && counting.due ? 0 : -1;
	for (size_t i = 0; i < nptes && !counting.err; i++)
		counting.due[i].data = ptes[i].data;
	pgtable_walk_begin_visit(walk, once);
	if (walk->tables[0].data && !counting.err)
		count_table(&counting, &walk->tables[0], 0);
	if (!counting.err)
		counting.err = pgtable_by_place(counting.due, nptes, walk->due, &walk->ndue);
	free(counting.due);
	return counting.err ? -1 : 0;
}

int pgtable_walk_census_join(struct pgtable_walk *walk, struct pgtable_walk *const *walks, size_t n,
			     size_t *left)
{
	struct pgtable_due *joined, *sorted;
	size_t all = 0, at = 0;
	int err;

	for (size_t i = 0; i < n; i++)
		all += walks[i]->ndue;
	joined = malloc((all + 1) * sizeof(*joined));
	sorted = malloc((all + 1) * sizeof(*sorted));
	err = joined && sorted ? 0 : -1;
	for (size_t i = 0; i < n && !err; i++) {
		memcpy(joined + at, walks[i]->due, walks[i]->ndue * sizeof(*joined));
		at += walks[i]->ndue;
	}
	if (!err)
		err = pgtable_by_place(joined, all, sorted, left);
	free(joined);
	if (err) {
		free(sorted);
		return -1;
	}
	free(walk->due);
	walk->due = sorted;
	walk->ndue = *left;
	return 0;
}

int pgtable_walk_census_some(const struct pgtable_walk *walk, struct pgtable_census *const *census,
			     size_t first, size_t n)
{
	for (size_t i = first; i < walk->ndue && n; i++, n--) {
		const struct pgtable_due *due = &walk->due[i];
		const void *ahead = n > 1 && i + 1 < walk->ndue ? due[1].data : NULL;
		size_t half = due->times[1] != 0;

		if (pgtable_census_add_table(census[half * MAX_LEVELS], due->data, TABLE_ENTRIES,
					     ahead))
			return -1;
	}
	return 0;
}

int pgtable_walk_census_more(struct pgtable_walk *walk, struct pgtable_census *const *census,
			     size_t most)
{
	for (; walk->due_done < walk->ndue; walk->due_done++) {
		const struct pgtable_due *due = &walk->due[walk->due_done];
		const void *ahead = walk->due_done + 1 < walk->ndue ? due[1].data : NULL;

		for (size_t half = 0; half < 2; half++) {
			uint64_t *left = &walk->due[walk->due_done].times[half];

			for (; *left; --*left) {
				if (!most--)
					return 1;
				if (pgtable_census_add_table(census[half * MAX_LEVELS], due->data,
							     TABLE_ENTRIES, ahead))
					return -1;
			}
		}
	}
	return 0;
}
