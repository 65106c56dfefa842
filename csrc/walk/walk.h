/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads the page tables of a machine out of its physical pages, into columns.
 *
 * A walk has two steps.  Discovery goes level by level over the upper tables, which
 * bounds the result before its memory is made; then rows are listed in address order, some
 * at a time.  Tables of level 1, nearly all memory there is, are read once only,
 * unless an exact count is asked for in between.  Nothing in the image is trusted:
 * what changes or lies in between is cut off, never followed out of bounds.
 */
#ifndef PGTABLE_WALK_H
#define PGTABLE_WALK_H

#include <stddef.h>
#include <stdint.h>

struct pgtable_census;
struct pgtable_loops;
struct pgtable_walk;

/* Physical memory [pa, pa + size) is at data.  Segments are sorted and do not overlap. */
struct pgtable_segment {
	const void *data;
	uint64_t pa;
	uint64_t size;
};

/* What a non-zero entry is.  All but the first two are not present to hardware. */
enum pgtable_kind {
	PGTABLE_KIND_LEAF,	/* maps a page */
	PGTABLE_KIND_TABLE,	/* refers to a table one level down */
	PGTABLE_KIND_PROT_NONE,	/* PROTNONE: a page is there, no access allowed */
	PGTABLE_KIND_SWAP,	/* the page is in a swap file */
	PGTABLE_KIND_MIGRATION,	/* migration, device-private or poisoned: depends on the kernel */
	PGTABLE_KIND_MARKER,	/* no page: a marker (uffd-wp, poison, guard) */
	PGTABLE_KIND_OTHER	/* made inaccessible some other way */
};

/* A table page at one level, in the order of discovery: highest level first. */
struct pgtable_table {
	const void *data;	/* NULL: its page is outside the image */
	uint64_t pa;
	uint64_t va;		/* lowest address that it translates */
	uint64_t times;		/* at how many addresses it can be reached; saturates */
	uint64_t reached;	/* how often the last list or census came to it */
	uint32_t entries;	/* non-zero ones, at most: until counted or listed, all of level 1 */
	uint32_t level;
	uint32_t low, high;	/* the entries [low, high] that are walked */
};

/* A table entry that was not followed: it refers to a table above itself. */
struct pgtable_loop {
	uint64_t va;
	uint64_t pa;
	uint64_t level;		/* of the entry */
};

/*
 * What is known of an entry, in one byte: its level times 32; and, if it is present to hardware,
 * what all levels down to it allow together; else PGTABLE_NOT_PRESENT and its kind.
 */
enum pgtable_trait {
	PGTABLE_WRITABLE = 1,
	PGTABLE_USER = 2,
	PGTABLE_NX = 4,
	PGTABLE_TABLE = 8,
	PGTABLE_NOT_PRESENT = 16,
	PGTABLE_LEVEL = 32
};

/* A row for each entry. */
struct pgtable_columns {
	uint64_t *va;
	uint64_t *entry;
	uint8_t *traits;
	size_t capacity;
};

/* Loops over tables and rows, for one instruction set. */
struct pgtable_walk_loops {
	/*
	 * List the entries of a table of level 1 at va that are not 0.  The columns have room for
	 * 512 rows.  ahead: memory to ask for meanwhile, or NULL.
	 * above: what the levels above allow; nx_mask: PGTABLE_NX or 0.
	 */
	size_t (*rows)(const void *table, uint64_t va, unsigned above, unsigned nx_mask,
		       const void *ahead, uint64_t *out_va, uint64_t *out_entry, uint8_t *traits);
	/* the frame of each row, not inverted; 0 if its kind has none */
	void (*frames)(const uint64_t *entry, const uint8_t *traits, uint64_t *pa, size_t n);
};

/* Where a walk begins, and how it reads entries. */
struct pgtable_root {
	uint64_t pa;		/* of the top table */
	const void *top;	/* the top table's 4096 bytes; NULL: read them from the image */
	uint64_t encryption;	/* the bit of an entry that says "encrypted": no part of a frame */
	unsigned levels;	/* 4 or 5 */
	int nxe;		/* EFER.NXE: bit 63 means no execution */
	uint64_t first, last;	/* addresses that are walked, both canonical: 0 and ~0 are all */
	int begins;		/* of entries that translate more than that, list none */
};

/* The walk uses segments and root->top until it is freed.  Returns NULL without memory. */
struct pgtable_walk *pgtable_walk_new(const struct pgtable_loops *loops,
				      const struct pgtable_segment *segments, size_t n,
				      const struct pgtable_root *root);
void pgtable_walk_free(struct pgtable_walk *walk);

/*
 * Find every table of a level from lowest up, lowest being 1 or more; look into so many of
 * those above at most.  Returns 1 if there are more, 0 once all are known, or -1 without
 * memory.  What has tables below is counted; entries of the lowest level only if that is not 1.
 */
int pgtable_walk_discover(struct pgtable_walk *walk, unsigned lowest, size_t most);

/* Count the entries of level 1 too, which means reading all of it; returns 1 if there is more. */
int pgtable_walk_count(struct pgtable_walk *walk, size_t most);
const struct pgtable_table *pgtable_walk_tables(const struct pgtable_walk *walk, size_t *n);

/* Those of one level, which lie together. */
const struct pgtable_table *pgtable_walk_level(const struct pgtable_walk *walk, unsigned level,
					       size_t *n);

/*
 * How much a visit of all tables is at most.  If all tables are counted and there are no loops,
 * this is exact.  Saturates.
 */
struct pgtable_bounds {
	uint64_t once;		/* rows, with every table expanded at its first address only */
	uint64_t everywhere;	/* rows, with shared tables expanded wherever they are reached */
	uint64_t tables;	/* tables that are visited for everywhere */
};

struct pgtable_bounds pgtable_walk_bounds(const struct pgtable_walk *walk);

/* Begin to list rows; once: every table at its first address only. */
void pgtable_walk_begin(struct pgtable_walk *walk, int once);

/*
 * List the rows that come next in address order, at most capacity.  Returns how many; 0 at
 * the end.  exact: fill all of the room, and stop there for good; else what is left over may
 * be less than a table, and capacity is at least 512.
 */
size_t pgtable_walk_next(struct pgtable_walk *walk, const struct pgtable_columns *out, int exact);

/*
 * The rows of several walks, one after the other, by any number of threads.  The walks are
 * discovered, and no table is in two of them or twice in one; they and the columns stay the
 * caller's and must outlive this.  NULL without memory.
 */
struct pgtable_pieces;

struct pgtable_pieces *pgtable_pieces_new(struct pgtable_walk *const *walks, size_t n,
					  const struct pgtable_columns *out);
void pgtable_pieces_free(struct pgtable_pieces *pieces);

/* Do so many pieces at most.  Returns 1 if there are more, 0, or -1 without memory. */
int pgtable_pieces_run(struct pgtable_pieces *pieces, size_t most);

/* How many rows there are so far: when all threads are done, in all. */
size_t pgtable_pieces_rows(const struct pgtable_pieces *pieces);

/* Add how many rows have each value of traits. */
void pgtable_walk_tally(const uint8_t *traits, size_t n, uint64_t *counts);

/* The enum pgtable_kind of each. */
void pgtable_walk_kinds(const uint8_t *traits, uint8_t *kinds, size_t n);

/* Whether (traits & mask) == value, of each: 0 or 1. */
void pgtable_walk_flags(const uint8_t *traits, uint8_t mask, uint8_t value, uint8_t *flags,
			size_t n);

/*
 * Count the entries of every table, also those that are 0, in census[half * 5 + level - 1]. Half 0
 * is the lower one, of user mode.  Returns 0, or -1 without memory.  Whole tables of level 1 are
 * left for what follows.
 */
int pgtable_walk_census(struct pgtable_walk *walk, struct pgtable_census *const *census, int once);

/*
 * Take what other walks left for later to that of one, in the order of memory; sets *left to
 * how many tables those are.  No table is in two of them, or twice in one.  Returns 0, or -1.
 */
int pgtable_walk_census_join(struct pgtable_walk *walk, struct pgtable_walk *const *walks, size_t n,
			     size_t *left);

/* Count n of the joined tables, from the first one on; threads may do so at the same time. */
int pgtable_walk_census_some(const struct pgtable_walk *walk, struct pgtable_census *const *census,
			     size_t first, size_t n);

/* Count so many tables of level 1 at most.  Returns 1 if there are more, 0, or -1. */
int pgtable_walk_census_more(struct pgtable_walk *walk, struct pgtable_census *const *census,
			     size_t most);

/* Of the last list or census: the first loops met, and how many there were in all. */
const struct pgtable_loop *pgtable_walk_loops(const struct pgtable_walk *walk, size_t *kept,
					      uint64_t *all);

/* Whether the last list stopped at its capacity, and at which address. */
int pgtable_walk_stopped(const struct pgtable_walk *walk, uint64_t *va);

#endif
