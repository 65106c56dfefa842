/* SPDX-License-Identifier: GPL-2.0-only */
/* The processor's own counters, as far as the system lets us have them. */
#ifndef PGTABLE_COST_COUNTERS_H
#define PGTABLE_COST_COUNTERS_H

#include <stdint.h>

enum counter { COUNTER_CYCLES, COUNTER_INSTRUCTIONS, COUNTER_BRANCHES, COUNTER_MISSES, COUNTERS };

struct counters {
	int leader;		/* -1: none */
	int files[COUNTERS];	/* -1: not this one */
	int place[COUNTERS];	/* in what is read of the group */
	int error;		/* errno of the first that could not be had */
};

/* What was counted; a negative number is not known. */
struct counts {
	double value[COUNTERS];
};

/* Open what can be had, for this process in user mode. */
void counters_open(struct counters *counters);
void counters_close(struct counters *counters);

/* Read all at one moment; all unknown where they were not counting all the time. */
void counters_read(const struct counters *counters, struct counts *counts);

#endif
