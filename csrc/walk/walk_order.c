/* SPDX-License-Identifier: GPL-2.0-only */
#include "walk/walk_order.h"

#include <stdlib.h>

#include "walk/walk_entry.h"

/* Memory is divided into stretches of one size, at most two for each table. */
struct stretches {
	uintptr_t start;
	size_t n;
	unsigned shift;
};

static int is_due(const struct pgtable_due *due)
{
	return due->times[0] || due->times[1];
}

static size_t stretch_of(const struct stretches *stretches, const struct pgtable_due *due)
{
	return ((uintptr_t)due->data - stretches->start) >> stretches->shift;
}

static struct stretches all_stretches(const struct pgtable_due *in, size_t n)
{
	struct stretches all = { UINTPTR_MAX, 0, PAGE_SHIFT };
	uintptr_t last = 0;

	for (size_t i = 0; i < n; i++) {
		uintptr_t address = (uintptr_t)in[i].data;

		if (!is_due(&in[i]))
			continue;
		all.start = address < all.start ? address : all.start;
		last = address > last ? address : last;
	}
	if (!last)
		return all;
	while ((last - all.start) >> all.shift >= 2 * n)
		all.shift++;
	all.n = ((last - all.start) >> all.shift) + 1;
	return all;
}

/* A counting sort. */
int pgtable_by_place(const struct pgtable_due *in, size_t n, struct pgtable_due *out,
		     size_t *found)
{
	struct stretches all = all_stretches(in, n);
	/* where stretch i begins in the output; later, up to where it is filled */
	uint32_t *at = calloc(all.n + 1, sizeof(*at));

	if (!at)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (is_due(&in[i]))
			at[stretch_of(&all, &in[i]) + 1]++;
	for (size_t i = 0; i < all.n; i++)
		at[i + 1] += at[i];
	*found = at[all.n];
	for (size_t i = 0; i < n; i++)
		if (is_due(&in[i]))
			out[at[stretch_of(&all, &in[i])]++] = in[i];
	free(at);
	return 0;
}
