/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rows are listed to memory of a thread's own, which the caches hold.  When the pieces before
 * it have said how many rows they have, a piece knows its place, and is copied to it.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sched.h>

#include "walk/walk_tables.h"

/* Tables of level 1 in a piece, and rows that are listed at once. */
#define PIECE_TABLES 32
#define PIECE_ROWS ((size_t)(PIECE_TABLES + 2) * TABLE_ENTRIES)

struct pgtable_pieces {
	struct pgtable_walk *const *walks;
	size_t nwalks;
	struct pgtable_columns out;
	size_t n;		/* pieces */
	size_t *first;		/* of each walk: its first piece; then how many there are */
	atomic_size_t taken;
	atomic_size_t turn;	/* the piece that may say how many rows it has */
	atomic_size_t rows;	/* written by who has the turn */
};

static size_t ptes_of(const struct pgtable_walk *walk)
{
	return walk->level_end[1] - walk->level_end[2];
}

struct pgtable_pieces *pgtable_pieces_new(struct pgtable_walk *const *walks, size_t n,
					  const struct pgtable_columns *out)
{
	struct pgtable_pieces *pieces = calloc(1, sizeof(*pieces));

	if (!pieces)
		return NULL;
	pieces->walks = walks;
	pieces->nwalks = n;
	pieces->out = *out;
	pieces->first = calloc(n + 1, sizeof(*pieces->first));
	if (!pieces->first) {
		free(pieces);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		size_t tables = ptes_of(walks[i]);

		pieces->first[i] = pieces->n;
		pieces->n += tables ? (tables + PIECE_TABLES - 1) / PIECE_TABLES : 1;
	}
	pieces->first[n] = pieces->n;
	atomic_init(&pieces->taken, 0);
	atomic_init(&pieces->turn, 0);
	atomic_init(&pieces->rows, 0);
	return pieces;
}

void pgtable_pieces_free(struct pgtable_pieces *pieces)
{
	if (!pieces)
		return;
	free(pieces->first);
	free(pieces);
}

size_t pgtable_pieces_rows(const struct pgtable_pieces *pieces)
{
	return atomic_load(&pieces->rows);
}

/* The tables of a walk, seen from one piece alone. */
static struct pgtable_walk view_of(const struct pgtable_pieces *pieces, size_t piece)
{
	size_t low = 0, high = pieces->nwalks;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (pieces->first[middle] <= piece)
			low = middle;
		else
			high = middle;
	}

	struct pgtable_walk view = *pieces->walks[low];
	size_t begin = view.level_end[2] + (piece - pieces->first[low]) * PIECE_TABLES;
	size_t end = begin + PIECE_TABLES;

	if (piece > pieces->first[low]) {
		view.first = view.tables[begin].va;
		view.begins = 1;
	}
	if (end < view.level_end[1])
		view.last = view.tables[end].va - 1;
	view.shared = 1;
	view.once = 0;
	view.stopped = 0;
	for (unsigned level = 1; level < view.levels; level++)
		view.next[level] = view.level_end[level + 1];
	view.next[1] = begin;
	memset(view.path, 0xff, sizeof(view.path));
	pgtable_walk_enter_top(&view);
	return view;
}

/* Copy rows to the place at which they are; what has no room there is cut off. */
static void put(const struct pgtable_pieces *pieces, const struct pgtable_loops *isa_loops,
		const struct pgtable_columns *rows, size_t at, size_t n)
{
	const struct pgtable_columns *out = &pieces->out;

	if (at > out->capacity)
		return;
	n = n < out->capacity - at ? n : out->capacity - at;
	isa_loops->block->stream(out->va + at, rows->va, n);
	isa_loops->block->stream(out->entry + at, rows->entry, n);
	memcpy(out->traits + at, rows->traits, n);
}

static void run_piece(struct pgtable_pieces *pieces, size_t piece, const struct pgtable_columns *rows)
{
	struct pgtable_walk view = view_of(pieces, piece);
	size_t n = pgtable_walk_next(&view, rows, 0), at;

	while (atomic_load(&pieces->turn) != piece)
		sched_yield();
	at = atomic_load(&pieces->rows);
	/* seldom more than there was room for: large pages, whose tables are not counted */
	while (view.at <= view.levels && n) {
		put(pieces, view.isa_loops, rows, at, n);
		at += n;
		n = pgtable_walk_next(&view, rows, 0);
	}
	atomic_store(&pieces->rows, at + n);
	atomic_store(&pieces->turn, piece + 1);
	put(pieces, view.isa_loops, rows, at, n);
	view.isa_loops->block->stream_end();
}

int pgtable_pieces_run(struct pgtable_pieces *pieces, size_t most)
{
	const struct pgtable_columns rows = {
		malloc(PIECE_ROWS * sizeof(*rows.va)),
		malloc(PIECE_ROWS * sizeof(*rows.entry)),
		malloc(PIECE_ROWS),
		PIECE_ROWS,
	};
	int more = rows.va && rows.entry && rows.traits ? 1 : -1;

	for (; more > 0 && most; most--) {
		size_t piece = atomic_fetch_add(&pieces->taken, 1);

		if (piece >= pieces->n)
			more = 0;
		else
			run_piece(pieces, piece, &rows);
	}
	free(rows.va);
	free(rows.entry);
	free(rows.traits);
	return more;
}
