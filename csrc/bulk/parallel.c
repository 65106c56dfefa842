/* SPDX-License-Identifier: GPL-2.0-only */
#include "bulk/parallel.h"

#include <stdint.h>

#include <pthread.h>

/* A smaller part is finished before a thread could start. */
#define PGTABLE_MIN_PART ((size_t)64 * 1024)
#define PGTABLE_GRAIN ((size_t)512)

struct part {
	pgtable_part *run;
	void *context;
	unsigned index;
	size_t first;
	size_t n;
};

unsigned pgtable_parts(size_t n, unsigned threads)
{
	size_t worth = n / PGTABLE_MIN_PART;

	if (threads > PGTABLE_MAX_THREADS)
		threads = PGTABLE_MAX_THREADS;
	if (threads > worth)
		threads = (unsigned)worth;
	return threads ? threads : 1;
}

static void *run_part(void *arg)
{
	struct part *part = arg;

	part->run(part->context, part->index, part->first, part->n);
	return NULL;
}

static void run_parts(pgtable_part *run, void *context, size_t n, unsigned parts)
{
	struct part part[PGTABLE_MAX_THREADS];
	size_t grains = n / PGTABLE_GRAIN;

	for (unsigned i = 0; i < parts; i++) {
		size_t first = grains / parts * i + (i < grains % parts ? i : grains % parts);
		size_t next = first + grains / parts + (i < grains % parts);

		part[i] = (struct part){ run, context, i, first * PGTABLE_GRAIN,
					 (next - first) * PGTABLE_GRAIN };
	}
	part[parts - 1].n = n - part[parts - 1].first;

	pthread_t thread[PGTABLE_MAX_THREADS];
	int started[PGTABLE_MAX_THREADS];

	for (unsigned i = 1; i < parts; i++)
		started[i] = !pthread_create(&thread[i], NULL, run_part, &part[i]);
	run_part(&part[0]);
	for (unsigned i = 1; i < parts; i++) {
		/* if no thread could start, this one does its part */
		if (started[i])
			pthread_join(thread[i], NULL);
		else
			run_part(&part[i]);
	}
}

void pgtable_parallel(pgtable_part *run, void *context, size_t n, unsigned parts)
{
	if (parts <= 1)
		run(context, 0, 0, n);
	else
		run_parts(run, context, n, parts);
}
