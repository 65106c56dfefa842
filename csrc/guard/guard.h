/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapped files that become shorter.  Reading a page that is no longer in the file raises SIGBUS,
 * which ends a process.  Guarded memory reads as zeros instead, and the guard says so. It costs
 * nothing while no page is lost.
 *
 * The handler of SIGBUS is in place while any memory is guarded.  Other signals go to the handler
 * that was there before.
 */
#ifndef PGTABLE_GUARD_H
#define PGTABLE_GUARD_H

#include <stddef.h>

struct pgtable_guard;

/*
 * The caller makes sure that only one thread adds or removes guards.  The memory must stay mapped,
 * read-only, until the guard is removed.  Returns NULL without memory, or if no handler can be set.
 */
struct pgtable_guard *pgtable_guard_add(const void *start, size_t n);
void pgtable_guard_remove(struct pgtable_guard *guard);

/* Was a page read that is no longer there?  Once true, it stays true. */
int pgtable_guard_lost(const struct pgtable_guard *guard);

#endif
