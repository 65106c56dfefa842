// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the loops of a job and says how long they took.  It is a program of its own, since times
 * depend on the layout in memory, which is different in each process.
 *
 *   runner time JOB POOL OUTPUT SECONDS ROUNDS
 *   runner count JOB POOL
 *
 * "time" writes doubles: a header (struct header), then for each round and task
 * the ticks of a pass, the core cycles per tick and the additions per cycle at that moment. Then
 * follow the counts of each task per pass over a table, NaN if unknown.  A dot on standard output
 * is a hundredth of the work.  "count" runs every task once, in cost_count_one(), which a simulator
 * counts.
 *
 * Exit code 1: a loop gave another result than expected; 2: could not run.
 */
#define _GNU_SOURCE
#include "clock.h"
#include "counters.h"
#include "job.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Passes of one sample.  The first ones train the predictors and are not timed. */
#define WARM_PASSES 4
#define TIMED_PASSES 32
/* So many passes are counted together, so that reading the counters costs little. */
#define COUNTED_PASSES 64
/* How many tables a simulator runs. */
#define SIMULATED_TABLES 16
/* 4096 cycles */
#define CHAIN_ROUNDS 64
#define CHAIN_ROUNDS_COUNTED 1024
#define WIDE_ROUNDS 64
#define MIN_ROUNDS 6
/* The distance of two tables costs up to a tenth of a cycle, so many distances are averaged. */
#define PLACES 16

struct header {
	double rounds;
	double tick_ns;
	double timer_ticks;	/* what timing nothing takes */
	double step_ticks;	/* the resolution of the timer */
	double counted;		/* cycles and counts are the processor's own */
	double error;		/* errno of the counter that could not be had */
};

struct sample {
	double ticks;
	double clock;		/* core cycles per tick */
	double width;		/* independent additions per tick at that moment */
};

/* Memory of the loops, in pages as page tables are. */
struct bench {
	struct job job;
	struct counters counters;
	uint64_t *in, *out;		/* PLACES tables each */
	uint64_t *large_in, *large_out;	/* where a job asks for them */
	const uint64_t *large_filled;	/* with which source */
	uint64_t random;
	volatile uint64_t zero;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t *pages(size_t entries)
{
	void *got = mmap(NULL, entries * sizeof(uint64_t), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (got == MAP_FAILED)
		die("no memory for %zu entries: %s", entries, strerror(errno));
	return got;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * The mean of the middle half.  Time stamps have steps of some ten cycles, so the median of a few
 * would jump.  Passes that met an interrupt lie outside of the middle half.
 */
static double middle(double *values, size_t n)
{
	double sum = 0;

	qsort(values, n, sizeof(*values), compare_doubles);
	for (size_t i = n / 4; i < n - n / 4; i++)
		sum += values[i];
	return sum / (double)(n - 2 * (n / 4));
}

static void check(size_t task, const uint64_t *out, const uint64_t *expected, size_t n)
{
	if (!memcmp(out, expected, n * sizeof(*out)))
		return;
	for (size_t i = 0; i < n; i++) {
		if (out[i] != expected[i]) {
			printf("\nwrong %zu %zu %#" PRIx64 " %#" PRIx64 "\n", task, i, out[i],
			       expected[i]);
			exit(1);
		}
	}
}

/*
 * Write word by word, which puts the table into the first-level cache.  memcpy() and memset() may
 * leave it in the second.  The output is overwritten, so that no former result can pass for the
 * next.
 */
static void lay_out(volatile uint64_t *in, volatile uint64_t *out, const uint64_t *source)
{
	for (size_t i = 0; i < TABLE_ENTRIES; i++) {
		in[i] = source[i];
		out[i] = ~source[i];
	}
}

/* One pass over another table: predictors learn a table that comes again. */
static double table_pass(struct bench *bench, size_t number)
{
	const struct task *task = &bench->job.tasks[number];
	size_t tables = bench->job.pool_entries / TABLE_ENTRIES;
	size_t first = next_random(&bench->random) % tables * TABLE_ENTRIES;
	uint64_t *in = bench->in + next_random(&bench->random) % PLACES * TABLE_ENTRIES;
	uint64_t *out = bench->out + next_random(&bench->random) % PLACES * TABLE_ENTRIES;
	uint64_t zero = bench->zero, start, end;

	lay_out(in, out, task->source + first);
	start = ticks_before();
	task->loop(in, out, TABLE_ENTRIES, task->arg, zero);
	end = ticks_after();
	check(number, out, task->expected + first, TABLE_ENTRIES);
	return (double)(end - start);
}

static double chain_ticks(uint64_t rounds)
{
	uint64_t start = ticks_before();

	run_chain(rounds);
	return (double)(ticks_after() - start);
}

/* Core cycles per tick: counted, or from a chain of additions, whose cycles are known. */
static double core_clock(const struct bench *bench)
{
	struct counts before, after;
	double ticks, fastest = INFINITY;

	counters_read(&bench->counters, &before);
	ticks = chain_ticks(CHAIN_ROUNDS_COUNTED);
	counters_read(&bench->counters, &after);
	if (before.value[COUNTER_CYCLES] >= 0 && after.value[COUNTER_CYCLES] >= 0)
		return (after.value[COUNTER_CYCLES] - before.value[COUNTER_CYCLES]) / ticks;
	for (int i = 0; i < 5; i++)
		fastest = fmin(fastest, chain_ticks(CHAIN_ROUNDS) - chain_ticks(0));
	return CHAIN_ROUNDS * CHAIN_UNROLLED / fastest;
}

/*
 * Independent additions per tick.  There are fewer while another thread runs on the same core, also
 * in another guest.  Then all timed code takes longer.
 */
static double core_width(void)
{
	double fastest = INFINITY;

	for (int i = 0; i < 3; i++) {
		uint64_t start = ticks_before();

		run_wide(WIDE_ROUNDS);
		fastest = fmin(fastest, (double)(ticks_after() - start));
	}
	return WIDE_ROUNDS * WIDE_UNROLLED / fastest;
}

static struct sample table_sample(struct bench *bench, size_t number)
{
	double ticks[TIMED_PASSES];
	struct sample sample = { .clock = core_clock(bench), .width = core_width() };

	for (int i = 0; i < WARM_PASSES; i++)
		table_pass(bench, number);
	for (int i = 0; i < TIMED_PASSES; i++)
		ticks[i] = table_pass(bench, number);
	sample.ticks = middle(ticks, TIMED_PASSES);
	sample.width = fmin(sample.width, core_width());
	return sample;
}

static struct sample memory_sample(struct bench *bench, size_t number)
{
	const struct task *task = &bench->job.tasks[number];
	size_t n = bench->job.memory_entries, part = bench->job.pool_entries;
	struct sample sample;
	uint64_t zero = bench->zero, start, end;

	if (!bench->large_in) {
		bench->large_in = pages(n);
		bench->large_out = pages(n);
	}
	for (size_t i = 0; bench->large_filled != task->source && i < n; i += part)
		memcpy(bench->large_in + i, task->source, part * sizeof(uint64_t));
	bench->large_filled = task->source;
	/* no former result may pass for this one */
	memset(bench->large_out, 0xa5, n * sizeof(uint64_t));
	sample.clock = core_clock(bench);
	sample.width = core_width();
	start = ticks_before();
	task->loop(bench->large_in, bench->large_out, n, task->arg, zero);
	end = ticks_after();
	for (size_t i = 0; i < n; i += part)
		check(number, bench->large_out + i, task->expected, part);
	sample.ticks = (double)(end - start);
	return sample;
}

/* The time of timing nothing, as a sample is taken. */
static double timer_ticks(void)
{
	double ticks[1024];

	for (size_t i = 0; i < 1024; i++) {
		uint64_t start = ticks_before();

		ticks[i] = (double)(ticks_after() - start);
	}
	return middle(ticks, 1024);
}

/* The shortest time between two different readings: time stamps may have steps. */
static double step_ticks(void)
{
	uint64_t shortest = UINT64_MAX, last = ticks_now();

	for (int i = 0; i < 10000; i++) {
		uint64_t now = ticks_now();

		if (now > last && now - last < shortest)
			shortest = now - last;
		last = now;
	}
	return (double)shortest;
}

/* Nanoseconds per tick, measured so long that reading two clocks does not matter. */
static double tick_ns(uint64_t start_ns, uint64_t start_ticks)
{
	while (clock_ns() - start_ns < 50000000)
		continue;
	return (double)(clock_ns() - start_ns) / (double)(ticks_after() - start_ticks);
}

static void shuffle(struct bench *bench, size_t *order, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t other = next_random(&bench->random) % i;
		size_t kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

/* Filling the large array takes longer than a pass, so tasks of one source run together. */
static void order_memory(const struct job *job, size_t *order, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		for (size_t j = i; j > 0; j--) {
			const struct task *a = &job->tasks[order[j - 1]];
			const struct task *b = &job->tasks[order[j]];
			size_t kept = order[j];

			if (!b->in_memory || (a->in_memory && a->source <= b->source))
				break;
			order[j] = order[j - 1];
			order[j - 1] = kept;
		}
	}
}

struct progress {
	double seconds;
	uint64_t started;
	int shown;
};

static double spent(const struct progress *progress)
{
	return (double)(clock_ns() - progress->started) / 1e9;
}

static void show(struct progress *progress, double part)
{
	int hundredths = (int)fmin(100 * part, 100);

	for (; progress->shown < hundredths; progress->shown++)
		putchar('.');
	fflush(stdout);
}

struct limits {
	double seconds;
	size_t rounds;
};

/* In each round every task has one turn, in another order. */
static size_t time_all(struct bench *bench, const struct limits *limits, struct sample *samples)
{
	size_t n = bench->job.ntasks, round = 0;
	size_t *order = calloc(n, sizeof(*order));
	struct progress progress = { .seconds = limits->seconds, .started = clock_ns() };

	if (!order)
		die("no memory for the order of tasks");
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (; round < limits->rounds; round++) {
		double in_rounds = (double)round / (double)limits->rounds;

		show(&progress, fmax(in_rounds, spent(&progress) / limits->seconds));
		if (round >= MIN_ROUNDS && spent(&progress) >= limits->seconds)
			break;
		shuffle(bench, order, n);
		order_memory(&bench->job, order, n);
		for (size_t i = 0; i < n; i++) {
			struct sample *sample = &samples[round * n + order[i]];

			if (bench->job.tasks[order[i]].in_memory)
				*sample = memory_sample(bench, order[i]);
			else
				*sample = table_sample(bench, order[i]);
		}
	}
	show(&progress, 1);
	free(order);
	return round;
}

/* The processor's counts of a pass.  They include reading the counters, as the identity's do. */
static void count_all(struct bench *bench, struct counts *counts)
{
	for (size_t task = 0; task < bench->job.ntasks; task++) {
		struct counts before, after;

		table_pass(bench, task);
		counters_read(&bench->counters, &before);
		for (int i = 0; i < COUNTED_PASSES; i++)
			table_pass(bench, task);
		counters_read(&bench->counters, &after);
		for (int i = 0; i < COUNTERS; i++)
			counts[task].value[i] =
				before.value[i] < 0 || after.value[i] < 0 ? NAN :
				(after.value[i] - before.value[i]) / COUNTED_PASSES;
	}
}

static void write_out(const char *path, const struct header *header, const struct sample *samples,
		      size_t nsamples, const struct counts *counts, size_t ntasks)
{
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(header, sizeof(*header), 1, file) != 1 ||
	    fwrite(samples, sizeof(*samples), nsamples, file) != nsamples ||
	    fwrite(counts, sizeof(*counts), ntasks, file) != ntasks || fclose(file))
		die("%s: %s", path, strerror(errno));
}

static void run_time(struct bench *bench, const char *output, const struct limits *limits)
{
	size_t n = bench->job.ntasks;
	struct sample *samples = calloc(limits->rounds * n, sizeof(*samples));
	struct counts *counts = calloc(n, sizeof(*counts)), first;
	uint64_t start_ns = clock_ns(), start_ticks = ticks_after();
	struct header header = { .timer_ticks = timer_ticks(), .step_ticks = step_ticks() };

	if (!samples || !counts)
		die("no memory for the samples");
	counters_open(&bench->counters);
	/* a counter that was opened may still not count, if others use all of them */
	counters_read(&bench->counters, &first);
	header.counted = first.value[COUNTER_CYCLES] >= 0;
	header.error = header.counted || bench->counters.error ? bench->counters.error : EBUSY;
	header.rounds = (double)time_all(bench, limits, samples);
	count_all(bench, counts);
	counters_close(&bench->counters);
	header.tick_ns = tick_ns(start_ns, start_ticks);
	write_out(output, &header, samples, (size_t)header.rounds * n, counts, n);
	free(samples);
	free(counts);
}

/* The simulator counts only in this function. */
__attribute__((noinline)) void cost_count_one(const struct task *task, uint64_t *out, size_t n,
					      uint64_t zero);

void cost_count_one(const struct task *task, uint64_t *out, size_t n, uint64_t zero)
{
	task->loop(task->source, out, n, task->arg, zero);
}

static void run_count(struct bench *bench)
{
	size_t n = SIMULATED_TABLES * TABLE_ENTRIES;
	uint64_t *out;

	n = n < bench->job.pool_entries ? n : bench->job.pool_entries;
	out = pages(n);
	for (size_t i = 0; i < bench->job.ntasks; i++) {
		cost_count_one(&bench->job.tasks[i], out, n, bench->zero);
		check(i, out, bench->job.tasks[i].expected, n);
	}
}

int main(int argc, char **argv)
{
	struct bench bench = { .counters.leader = -1 };

	if (argc == 7 && !strcmp(argv[1], "time")) {
		struct limits limits = {
			.seconds = strtod(argv[5], NULL),
			.rounds = strtoul(argv[6], NULL, 10),
		};

		job_read(&bench.job, argv[2], argv[3]);
		bench.in = pages(PLACES * TABLE_ENTRIES);
		bench.out = pages(PLACES * TABLE_ENTRIES);
		bench.random = clock_ns() | 1;
		run_time(&bench, argv[4], &limits);
	} else if (argc == 4 && !strcmp(argv[1], "count")) {
		job_read(&bench.job, argv[2], argv[3]);
		run_count(&bench);
	} else {
		die("runner time JOB POOL OUTPUT SECONDS ROUNDS | runner count JOB POOL");
	}
	free(bench.job.tasks);
	return 0;
}
