/* SPDX-License-Identifier: GPL-2.0-only */
/* What a call of one helper or of a chain runs.  Python makes it, and fastcall.c reads it. */
#ifndef PGTABLE_OPERATION_H
#define PGTABLE_OPERATION_H

#include "bulk/bulk.h"

typedef uint64_t pgtable_run_function(const struct pgtable_loops *loops,
				      const struct pgtable_step *steps, size_t nsteps,
				      const struct pgtable_step *where_test, const uint8_t *where,
				      const void *in, void *out, const void *otherwise, size_t n,
				      size_t large_from, unsigned threads);

struct pgtable_operation {
	const struct pgtable_helper *last;	/* of the chain */
	const struct pgtable_step *steps;	/* NULL: the argument comes with each call */
	size_t nsteps;
	int is_chain;
	const struct pgtable_loops *loops;
	pgtable_run_function *run;	/* pgtable_run(), which is in another module */
	const void *engine;		/* tells engines apart, never followed */
};

#endif
