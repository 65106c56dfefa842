/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Closed forms.  Most helpers treat every bit of an entry by itself, but that
 * Dirty may move to Cow or back.  Two such helpers, one after the other, are one
 * more of that kind: so a chain of them is a single loop however long it is.
 *
 * A form is found by running the compiled helper on entries that would give
 * away any other dependence, never written down by hand.  That it holds for all
 * others is for someone else to show: tests do of our helpers, and the compiler
 * does of a kernel tree's (kernel_tree/form_proofs.h).
 */
#ifndef PGTABLE_FORM_H
#define PGTABLE_FORM_H

#include <stddef.h>
#include <stdint.h>

#include "bulk/bulk.h"

/* From Dirty, bit 6, to Cow, bit 58. */
enum { PGTABLE_FORM_SHIFT = 52 };

/*
 * The form of a map of the entry alone, or with its argument fixed; returns 0
 * where it has none (then *form is undefined).
 */
int pgtable_form_of_map(const struct pgtable_helper *helper, uint64_t arg,
			struct pgtable_form *form);

/*
 * The same for a test of the entry alone.  One with an argument has none: it may be true
 * for entries that no list of others would make one think of.
 */
int pgtable_form_of_test(const struct pgtable_helper *helper, struct pgtable_condition *condition);

/*
 * Write to fused what does the same as the steps, with neighbours that have a
 * form made into one; forms is where these go.  Both have room for nsteps.
 * Returns how many steps are left.  Steps that have a form come with it.
 */
size_t pgtable_fuse(const struct pgtable_step *steps, size_t nsteps,
		    struct pgtable_step *fused, struct pgtable_form *forms);

#endif
