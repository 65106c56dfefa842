/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions that are timed for a helper, made from apply_<id>(word, argument).  All loops work
 * out of place, so that the mix stays the same.
 *
 *   cost_table_<id>    every entry on its own
 *   cost_latency_<id>  every entry waits for the former result: it is combined
 *                      with (result & zero), two steps that cost what they cost
 *                      in the loop of the identity.  The compiler must not know
 *                      that zero is 0
 *   cost_alone_<id>    the helper once, for the size of its code
 *
 * cost_*_identity does the same without a helper: that is the share of the loop itself.
 */
#ifndef PGTABLE_COST_LOOPS_H
#define PGTABLE_COST_LOOPS_H

#include "bulk/bulk_loops.h"

#define COST_PUBLIC __attribute__((__visibility__("default"), __noinline__, __used__))

#define COST_DECLARE(id)							\
COST_PUBLIC void cost_table_##id(const uint64_t *in, uint64_t *out, size_t n,	\
				 uint64_t arg, uint64_t zero);			\
COST_PUBLIC void cost_latency_##id(const uint64_t *in, uint64_t *out, size_t n,	\
				   uint64_t arg, uint64_t zero);		\
COST_PUBLIC uint64_t cost_alone_##id(uint64_t word, uint64_t arg);

#define COST_LOOPS(id)								\
COST_DECLARE(id)								\
void cost_table_##id(const uint64_t *in, uint64_t *out, size_t n,		\
		     uint64_t arg, uint64_t zero)				\
{										\
	(void)zero;								\
	PGTABLE_EACH(n, out[i] = apply_##id(in[i], arg);)			\
}										\
void cost_latency_##id(const uint64_t *in, uint64_t *out, size_t n,		\
		       uint64_t arg, uint64_t zero)				\
{										\
	uint64_t last = 0;							\
										\
	for (size_t i = 0; i < n; i++) {					\
		last = apply_##id(in[i] ^ (last & zero), arg);			\
		out[i] = last;							\
	}									\
}										\
uint64_t cost_alone_##id(uint64_t word, uint64_t arg)				\
{										\
	return apply_##id(word, arg);						\
}

static inline uint64_t apply_identity(uint64_t word, uint64_t arg)
{
	(void)arg;
	return word;
}

#endif
