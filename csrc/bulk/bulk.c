/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver: any chain of helpers, with or without where, in one pass over
 * memory.  Work that needs a second look at an entry goes block by block, and a
 * block stays in the first-level cache until it is done.
 */
#include "bulk/bulk.h"

#include "bulk/parallel.h"
#include "bulk/step.h"

/*
 * Entries in a block: 2 KiB.  Blocks are small, so that work in the cache and traffic to memory
 * overlap.  With four times as many entries, chains were a fifth slower.
 */
#define BLOCK ((size_t)256)
/* How many blocks ahead of the current one memory is asked for, if it is asked at all. */
#define AHEAD ((size_t)4)

uint64_t pgtable_one(const struct pgtable_helper *helper, uint64_t entry, uint64_t arg)
{
	return pgtable_run_on_one(helper, entry, arg);
}

/* pgtable_run()'s arguments. */
struct call {
	const struct pgtable_loops *loops;
	const struct pgtable_step *steps;
	size_t nsteps;
	const struct pgtable_step *where_test;
	const uint8_t *where;
	const void *in;
	void *out;
	const void *otherwise;
	size_t n;
	size_t large_from;
};

static const void *entries_at(const void *base, size_t i)
{
	return base ? (const char *)base + i * sizeof(uint64_t) : NULL;
}

/* Else memory would be idle while a block is worked on in the cache. */
static void prefetch_block(const struct call *call, size_t at)
{
	const char *in = entries_at(call->in, at);

	for (size_t i = 0; i < BLOCK * sizeof(uint64_t); i += 64)
		__builtin_prefetch(in + i);
}

static size_t number_of_maps(const struct call *call)
{
	return call->nsteps - !pgtable_step_is_map(&call->steps[call->nsteps - 1]);
}

/* A step over n entries, number at and following.  in, out: where they lie now. */
static uint64_t run_step(const struct call *call, const struct pgtable_step *step, const void *in,
			 void *out, size_t at, size_t n)
{
	return pgtable_run_step(call->loops->form, step, in, entries_at(step->arguments, at), out, n,
				PGTABLE_IN_CACHES);
}

/* All maps of the chain, from in to out; out may be in. */
static void run_maps(const struct call *call, size_t maps, const void *in,
		     void *out, size_t at, size_t n)
{
	for (size_t s = 0; s < maps; s++)
		run_step(call, &call->steps[s], s ? out : in, out, at, n);
}

static const uint8_t *where_of_block(const struct call *call, const void *in,
				     size_t at, size_t n, uint8_t *scratch)
{
	const struct pgtable_step *test = call->where_test;

	if (!test)
		return call->where ? call->where + at : NULL;
	run_step(call, test, in, scratch, at, n);
	return scratch;
}

static void map_block(const struct call *call, int stream, size_t at, size_t n)
{
	_Alignas(64) uint64_t scratch[BLOCK];
	uint8_t where_scratch[BLOCK];
	const void *in = entries_at(call->in, at);
	char *out = (char *)call->out + at * sizeof(uint64_t);
	const uint8_t *where = where_of_block(call, in, at, n, where_scratch);
	const void *otherwise = call->otherwise ? entries_at(call->otherwise, at) : out;

	run_maps(call, call->nsteps, in, where || stream ? (void *)scratch : out, at, n);
	if (where)
		call->loops->block->select(out, scratch, otherwise, where, n);
	else if (stream)
		call->loops->block->stream(out, scratch, n);
}

static uint64_t test_block(const struct call *call, size_t at, size_t n)
{
	const struct pgtable_step *test = &call->steps[call->nsteps - 1];
	_Alignas(64) uint64_t scratch[BLOCK];
	uint8_t where_scratch[BLOCK], result[BLOCK];
	const void *in = entries_at(call->in, at);
	const uint8_t *where = where_of_block(call, in, at, n, where_scratch);
	uint8_t *out = call->out ? (uint8_t *)call->out + at : NULL;

	if (number_of_maps(call)) {
		run_maps(call, number_of_maps(call), in, scratch, at, n);
		in = scratch;
	}
	if (!where && !out)
		return run_step(call, test, in, NULL, at, n);
	run_step(call, test, in, where ? result : out, at, n);
	if (!out)
		return call->loops->block->count_both(result, where, n);
	if (where)
		call->loops->block->select_bytes(out, result, out, where, n);
	return 0;
}

static int is_large(const struct call *call)
{
	return call->n >= call->large_from;
}

/* Can one loop do everything between load and store?  Then blocks are not needed. */
static int is_one_loop(const struct call *call, int stream)
{
	if (call->nsteps != 1)
		return 0;
	if (call->where || call->where_test)
		return pgtable_step_takes_where(call->steps, call->where_test);
	return !stream || call->steps[0].form;
}

static uint64_t run_one_loop(const struct call *call, int stream, size_t at, size_t n)
{
	const struct pgtable_step *step = call->steps;
	const struct pgtable_form_loops *forms = call->loops->form;
	const void *in = entries_at(call->in, at);
	size_t width = pgtable_step_is_map(step) ? sizeof(uint64_t) : 1;
	void *out = call->out ? (char *)call->out + at * width : NULL;
	const void *otherwise = call->otherwise ? entries_at(call->otherwise, at) : out;

	if (!call->where && !call->where_test)
		return pgtable_run_step(forms, step, in, entries_at(step->arguments, at), out, n,
					stream ? PGTABLE_PAST_CACHES :
					is_large(call) ? PGTABLE_IN_MEMORY : PGTABLE_IN_CACHES);
	pgtable_run_step_where(forms, step, call->where_test, call->where ? call->where + at : NULL,
			       in, otherwise, out, n);
	return 0;
}

/*
 * How many entries come before the first cache line of the memory that is written (of a test:
 * read).  Large NumPy arrays start 16 bytes into a page.  There each second vector would lie in two
 * lines, which costs a fifth of the time.
 */
static size_t entries_to_line(const struct call *call, int maps_alone, size_t first, size_t n)
{
	uintptr_t start = (uintptr_t)entries_at(maps_alone ? call->out : call->in, first);
	size_t head = -start % PGTABLE_LINE / sizeof(uint64_t);

	return start % sizeof(uint64_t) || head > n ? 0 : head;
}

static uint64_t run_blocks(const struct call *call, int maps_alone, int stream, size_t first,
			   size_t n)
{
	uint64_t total = 0;
	size_t len = entries_to_line(call, maps_alone, first, n);

	for (size_t done = 0; done < n; done += len) {
		size_t left = n - done;

		/* a short first block aligns all others */
		if (done || !len)
			len = left < BLOCK ? left : BLOCK;
		if (call->loops->block->ask_ahead && left >= (AHEAD + 1) * BLOCK)
			prefetch_block(call, first + done + AHEAD * BLOCK);
		if (maps_alone)
			map_block(call, stream, first + done, len);
		else
			total += test_block(call, first + done, len);
	}
	return total;
}

struct run {
	const struct call *call;
	uint64_t total[PGTABLE_MAX_THREADS];
};

static void run_part(void *context, unsigned index, size_t first, size_t n)
{
	struct run *run = context;
	const struct call *call = run->call;
	int maps_alone = number_of_maps(call) == call->nsteps;
	int stream = maps_alone && call->out != call->in && is_large(call);

	if (is_one_loop(call, stream)) {
		size_t head = entries_to_line(call, maps_alone, first, n);

		if (head)
			run->total[index] += run_one_loop(call, stream, first, head);
		run->total[index] += run_one_loop(call, stream, first + head, n - head);
	} else {
		run->total[index] += run_blocks(call, maps_alone, stream, first, n);
	}
	if (stream)
		call->loops->block->stream_end();
}

uint64_t pgtable_run(const struct pgtable_loops *loops,
		     const struct pgtable_step *steps, size_t nsteps,
		     const struct pgtable_step *where_test, const uint8_t *where,
		     const void *in, void *out, const void *otherwise, size_t n,
		     size_t large_from, unsigned threads)
{
	struct call call = {
		loops, steps, nsteps, where_test, where, in, out, otherwise, n, large_from
	};
	struct run run;
	unsigned parts = pgtable_parts(n, threads);
	uint64_t total = 0;

	run.call = &call;
	for (unsigned i = 0; i < parts; i++)
		run.total[i] = 0;
	pgtable_parallel(run_part, &run, n, parts);
	for (unsigned i = 0; i < parts; i++)
		total += run.total[i];
	return total;
}
