/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads for one call.  They start and end within the call, so none is left at exit or in a forked
 * child.
 */
#ifndef PGTABLE_PARALLEL_H
#define PGTABLE_PARALLEL_H

#include <stddef.h>

#define PGTABLE_MAX_THREADS 256

/* Entries [first, first + n) are part number index. */
typedef void pgtable_part(void *context, unsigned index, size_t first, size_t n);

/* Into how many parts n entries are worth dividing, for at most so many threads. */
unsigned pgtable_parts(size_t n, unsigned threads);

/* Run all parts.  They divide n evenly, at multiples of 512 entries. */
void pgtable_parallel(pgtable_part *run, void *context, size_t n, unsigned parts);

#endif
