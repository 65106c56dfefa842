/* SPDX-License-Identifier: GPL-2.0-only */
/* What a run has to do, read from a file that pgtable.cost writes. */
#ifndef PGTABLE_COST_JOB_H
#define PGTABLE_COST_JOB_H

#include <stddef.h>
#include <stdint.h>

#define TABLE_ENTRIES 512

typedef void cost_loop(const uint64_t *in, uint64_t *out, size_t n, uint64_t arg, uint64_t zero);

/* One loop over one mix of entries. */
struct task {
	cost_loop *loop;
	const uint64_t *source;		/* pool_entries of them */
	const uint64_t *expected;	/* what the loop must give for them */
	uint64_t arg;
	int in_memory;			/* a large array instead of a table */
};

struct job {
	struct task *tasks;
	size_t ntasks;
	size_t pool_entries;		/* of each array in the pool */
	size_t memory_entries;		/* a multiple of pool_entries */
};

/*
 * Lines of the job:
 *   pool ENTRIES MEMORY_ENTRIES
 *   library PATH
 *   task LIBRARY SOURCE EXPECTED ARGUMENT IN_MEMORY SYMBOL
 * The pool is a file of arrays; SOURCE and EXPECTED are their numbers.
 * If the job cannot be read, this ends the process with one line on standard error.
 */
void job_read(struct job *job, const char *path, const char *pool_path);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

#endif
