/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Closed forms.  Most helpers change each bit of an entry without looking at the
 * other bits.  The only exception is Dirty, which may move to Cow and back.  Two such
 * helpers, one after the other, are again such a helper.  So a chain of them is one
 * loop, however long the chain is.
 *
 * Nobody writes a form by hand.  form.c runs the compiled helper on chosen entries,
 * and if any other dependence shows, the helper has no form.  That the form holds for
 * all other entries is shown elsewhere: by tests for our helpers, by the compiler for
 * those of a kernel tree (kernel_tree/form_proofs.h).
 */
#ifndef PGTABLE_FORM_H
#define PGTABLE_FORM_H

#include <stddef.h>
#include <stdint.h>

#include "bulk/bulk.h"

/* From Dirty, bit 6, to Cow, bit 58. */
enum { PGTABLE_FORM_SHIFT = 52 };

/* out = (in & keep) | set | what moves between Dirty and Cow. */
struct pgtable_form {
	uint64_t keep;
	uint64_t set;
	uint64_t to_cow;	/* the Dirty bit, or 0 */
	uint64_t to_dirty;	/* the Cow bit, or 0 */
};

/*
 * True where (entry & mask) == value or, if either, (entry & or_mask) == or_value;
 * negate: where not.
 */
struct pgtable_condition {
	uint64_t mask;
	uint64_t value;
	uint64_t or_mask;
	uint64_t or_value;
	int either;
	int negate;
};

/* Loops over forms and conditions, for one instruction set. */
struct pgtable_form_loops {
	void (*map)(const struct pgtable_form *form, const void *in, void *out, size_t n);
	/* the same, if the caches are too small for the entries */
	void (*map_large)(const struct pgtable_form *form, const void *in, void *out, size_t n);
	/* the same, and the results are stored past the caches */
	void (*map_stream)(const struct pgtable_form *form, const void *in, void *out, size_t n);
	/* if the condition (without either) holds for an entry, else out gets otherwise */
	void (*map_if)(const struct pgtable_form *form, const struct pgtable_condition *condition,
		       const void *in, const void *otherwise, void *out, size_t n);
	/* if the entry's byte of where is not 0, else out gets otherwise */
	void (*map_where)(const struct pgtable_form *form, const uint8_t *where,
			  const void *in, const void *otherwise, void *out, size_t n);
	void (*test)(const struct pgtable_condition *condition, const void *in, uint8_t *out,
		     size_t n);
	uint64_t (*count)(const struct pgtable_condition *condition, const void *in, size_t n);
};

/*
 * Find the form of a map, with this argument.  Returns 0 if it has none; then *form is undefined.
 */
int pgtable_form_of_map(const struct pgtable_helper *helper, uint64_t arg,
			struct pgtable_form *form);

/*
 * Find the condition of a test likewise.  A test with an argument has none: it may depend on the
 * argument in ways that trying a few would not show.
 */
int pgtable_form_of_test(const struct pgtable_helper *helper, struct pgtable_condition *condition);

/*
 * Write to fused steps that do the same as these, with neighbours that have a form made into one;
 * forms gets their forms.  Both have room for nsteps.  Returns the number of fused steps.
 */
size_t pgtable_fuse(const struct pgtable_step *steps, size_t nsteps,
		    struct pgtable_step *fused, struct pgtable_form *forms);

#endif
