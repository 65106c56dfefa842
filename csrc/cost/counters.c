// SPDX-License-Identifier: GPL-2.0-only
#include "counters.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint64_t events[COUNTERS] = {
	[COUNTER_CYCLES] = PERF_COUNT_HW_CPU_CYCLES,
	[COUNTER_INSTRUCTIONS] = PERF_COUNT_HW_INSTRUCTIONS,
	[COUNTER_BRANCHES] = PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
	[COUNTER_MISSES] = PERF_COUNT_HW_BRANCH_MISSES,
};

static int open_event(uint64_t event, int leader)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = event,
		.read_format = PERF_FORMAT_GROUP,
		/* they must count all the time: an estimate from a share of it is a guess */
		.pinned = leader < 0,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, leader, PERF_FLAG_FD_CLOEXEC);
}

void counters_open(struct counters *counters)
{
	int open = 0;

	counters->leader = -1;
	counters->error = 0;
	for (int i = 0; i < COUNTERS; i++) {
		int file = open_event(events[i], counters->leader);

		counters->files[i] = file;
		counters->place[i] = file < 0 ? -1 : open++;
		if (file < 0 && !counters->error)
			counters->error = errno;
		if (file >= 0 && counters->leader < 0)
			counters->leader = file;
	}
}

void counters_close(struct counters *counters)
{
	for (int i = 0; i < COUNTERS; i++)
		if (counters->files[i] >= 0)
			close(counters->files[i]);
	counters->leader = -1;
}

void counters_read(const struct counters *counters, struct counts *counts)
{
	uint64_t group[1 + COUNTERS];
	ssize_t got = counters->leader < 0 ? -1 : read(counters->leader, group, sizeof(group));

	for (int i = 0; i < COUNTERS; i++) {
		int place = counters->place[i];

		/* a pinned group that lost its counters reads as an end of file */
		counts->value[i] = got <= 0 || place < 0 || (uint64_t)place >= group[0] ?
				   -1 : (double)group[1 + place];
	}
}
