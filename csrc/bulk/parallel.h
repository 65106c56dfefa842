/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads for one call: made at its start, joined before it returns, so that
 * nothing is left behind at exit or in a forked child.
 */
#ifndef PGTABLE_PARALLEL_H
#define PGTABLE_PARALLEL_H

#include <stddef.h>

#define PGTABLE_MAX_THREADS 256

/* Entries [first, first + n) are part number index. */
typedef void pgtable_part(void *context, unsigned index, size_t first, size_t n);

/* How many parts n entries are worth at most, of the threads number. */
unsigned pgtable_parts(size_t n, unsigned threads);

/* Run all parts; they split n evenly, at whole tables of 512 entries. */
void pgtable_parallel(pgtable_part *run, void *context, size_t n, unsigned parts);

#endif
