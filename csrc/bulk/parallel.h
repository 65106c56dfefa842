/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that share the work of one call.
 *
 * They start when a call first asks for them, and wait for more work as long as the process lives.
 * Any number of calls may run at once; what one leaves to do, any thread takes.  The caller works
 * too, so a thread that wakes up late costs nothing.  A forked child begins without threads.
 */
#ifndef PGTABLE_PARALLEL_H
#define PGTABLE_PARALLEL_H

#include <stddef.h>

#define PGTABLE_MAX_THREADS 256

/*
 * Work on entries [first, first + n).  index is below the number of parts, and is that of one thread:
 * it may come several times, one after the other.
 */
typedef void pgtable_part(void *context, unsigned index, size_t first, size_t n);

/* How many threads n entries are worth, of at most so many. */
unsigned pgtable_parts(size_t n, unsigned threads);

/* Work on n entries with at most so many threads, in runs that begin at multiples of 512 entries. */
void pgtable_parallel(pgtable_part *run, void *context, size_t n, unsigned parts);

#endif
