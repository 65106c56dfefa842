/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapped files that become shorter: reading what is no longer there raises SIGBUS, which
 * ends a process.  Of memory that is guarded, the rest reads as zeros instead, and the
 * guard says so.  What is not lost costs nothing.
 *
 * The handler of SIGBUS is there while anything is guarded; what it does not guard goes to
 * the handler that was there before.
 */
#ifndef PGTABLE_GUARD_H
#define PGTABLE_GUARD_H

#include <stddef.h>

struct pgtable_guard;

/*
 * Callers see to it that adding and removing are not done by two threads at once.
 * The memory has to be mapped, read-only, until the guard is removed.  NULL without memory
 * or without a handler.
 */
struct pgtable_guard *pgtable_guard_add(const void *start, size_t n);
void pgtable_guard_remove(struct pgtable_guard *guard);

/* Was anything read that is no longer there?  Once it was, this stays so. */
int pgtable_guard_lost(const struct pgtable_guard *guard);

#endif
