// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters for machines that have none: stands in for perf_event_open(), loaded
 * before the C library.  Every reading is one step further than the last; an
 * entry has 7 instructions, 3 branches and 1 misprediction in a step of the
 * runner's 64 passes over 512 entries.  PERF_MISSING: no mispredictions;
 * PERF_BUSY: opened, and never counting.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STEPS 100000

static int make_group(void)
{
	uint64_t counters = getenv("PERF_MISSING") ? 3 : 4, entries = 64 * 512;
	int file = memfd_create("perf", 0);

	for (uint64_t i = 0; i < STEPS && !getenv("PERF_BUSY"); i++) {
		/* the runner reads this much at a time */
		uint64_t group[5] = { counters, 100000 * i, 7 * entries * i, 3 * entries * i,
				      entries * i };

		if (write(file, group, sizeof(group)) != sizeof(group))
			abort();
	}
	lseek(file, 0, SEEK_SET);
	return file;
}

long syscall(long number, ...)
{
	struct perf_event_attr *attr;
	va_list arguments;
	int leader;

	if (number != SYS_perf_event_open)
		abort();
	va_start(arguments, number);
	attr = va_arg(arguments, struct perf_event_attr *);
	(void)va_arg(arguments, int);
	(void)va_arg(arguments, int);
	leader = va_arg(arguments, int);
	va_end(arguments);
	if (attr->config == PERF_COUNT_HW_BRANCH_MISSES && getenv("PERF_MISSING")) {
		errno = ENOENT;
		return -1;
	}
	return leader < 0 ? make_group() : memfd_create("member", 0);
}
