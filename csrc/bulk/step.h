/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one decision which loop runs a step: the loop of its form or condition if it has
 * one, else the loop of the helper's own text.  The driver comes here for large calls, and
 * python/fastcall.c for short ones.
 */
#ifndef PGTABLE_STEP_H
#define PGTABLE_STEP_H

#include "bulk/bulk.h"
#include "form/form.h"

/* Where the result of a map goes. */
enum pgtable_result_in {
	PGTABLE_IN_CACHES,	/* the caches hold it, and the input too */
	PGTABLE_IN_MEMORY,	/* they do not: memory is asked for ahead */
	PGTABLE_PAST_CACHES,	/* they do not, and it is stored past them */
};

static inline int pgtable_step_is_map(const struct pgtable_step *step)
{
	return step->form || step->helper->map;
}

/*
 * Run a step over n entries.  args: the helper's second argument for each entry, or NULL.
 * out: words of a map, bytes of a test; NULL: the test counts.  Returns that count, else 0.
 */
static inline uint64_t pgtable_run_step(const struct pgtable_form_loops *forms,
					const struct pgtable_step *step, const void *in,
					const void *args, void *out, size_t n,
					enum pgtable_result_in result_in)
{
	const struct pgtable_helper *helper = step->helper;

	if (step->form && result_in == PGTABLE_PAST_CACHES)
		forms->map_stream(step->form, in, out, n);
	else if (step->form && result_in == PGTABLE_IN_MEMORY)
		forms->map_large(step->form, in, out, n);
	else if (step->form)
		forms->map(step->form, in, out, n);
	else if (helper->map)
		helper->map(in, args, step->argument, out, n);
	else if (out && step->condition)
		forms->test(step->condition, in, out, n);
	else if (out)
		helper->test(in, args, step->argument, out, n);
	else if (step->condition)
		return forms->count(step->condition, in, n);
	else
		return helper->count(in, args, step->argument, n);
	return 0;
}

/* Can the loop of the step ask where= itself?  where_test: a test, or NULL for bytes. */
static inline int pgtable_step_takes_where(const struct pgtable_step *step,
					   const struct pgtable_step *where_test)
{
	if (!step->form)
		return 0;
	return !where_test || (where_test->condition && !where_test->condition->either);
}

/* Run such a step; out gets otherwise where the test is false, or the byte 0. */
static inline void pgtable_run_step_where(const struct pgtable_form_loops *forms,
					  const struct pgtable_step *step,
					  const struct pgtable_step *where_test,
					  const uint8_t *where, const void *in,
					  const void *otherwise, void *out, size_t n)
{
	if (where_test)
		forms->map_if(step->form, where_test->condition, in, otherwise, out, n);
	else
		forms->map_where(step->form, where, in, otherwise, out, n);
}

/* One helper on one entry. */
static inline uint64_t pgtable_run_on_one(const struct pgtable_helper *helper, uint64_t entry,
					  uint64_t arg)
{
	if (helper->count)
		return helper->count(&entry, NULL, arg, 1);
	helper->map(&entry, NULL, arg, &entry, 1);
	return entry;
}

#endif
