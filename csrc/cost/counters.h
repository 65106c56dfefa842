/* SPDX-License-Identifier: GPL-2.0-only */
/* The processor's own counters, if the system allows them. */
#ifndef PGTABLE_COST_COUNTERS_H
#define PGTABLE_COST_COUNTERS_H

#include <stdint.h>

enum counter { COUNTER_CYCLES, COUNTER_INSTRUCTIONS, COUNTER_BRANCHES, COUNTER_MISSES, COUNTERS };

struct counters {
	int leader;		/* -1: none */
	int files[COUNTERS];	/* -1: not this one */
	int place[COUNTERS];	/* in what is read of the group */
	int error;		/* errno of the first counter that could not be opened */
};

/* What was counted; a negative number means unknown. */
struct counts {
	double value[COUNTERS];
};

/* Open the counters that the system allows, for this process in user mode. */
void counters_open(struct counters *counters);
void counters_close(struct counters *counters);

/* Read all at one moment.  All are unknown if one did not count all the time. */
void counters_read(const struct counters *counters, struct counts *counts);

#endif
