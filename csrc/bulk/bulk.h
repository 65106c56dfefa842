/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way into compiled helpers: tables of loops, and a driver that runs any chain of them over
 * memory in one pass.  The driver runs the loops of kernel trees as it runs ours.
 *
 * Buffers hold entries as native 64-bit words at any alignment.  The caller checks lengths. Input
 * and output are disjoint or start at the same byte.
 */
#ifndef PGTABLE_BULK_H
#define PGTABLE_BULK_H

#include <stddef.h>
#include <stdint.h>

struct pgtable_census_loops;
struct pgtable_condition;
struct pgtable_form;
struct pgtable_form_loops;
struct pgtable_walk_loops;

/* Bytes of a cache line. */
#define PGTABLE_LINE 64

/* The instruction set that a loop was compiled for.  Every loop returns it. */
enum pgtable_isa_id {
	PGTABLE_ISA_SCALAR,
	PGTABLE_ISA_BASELINE,	/* what every processor of the architecture has */
	PGTABLE_ISA_AVX2,
	PGTABLE_ISA_AVX512,
};

/*
 * A helper's second argument: args has one for each entry; if args is NULL, all entries get arg.
 * Helpers without a second argument ignore both.
 */
typedef int pgtable_map_loop(const void *in, const void *args, uint64_t arg,
			     void *out, size_t n);
typedef int pgtable_test_loop(const void *in, const void *args, uint64_t arg,
			      uint8_t *out, size_t n);
typedef uint64_t pgtable_count_loop(const void *in, const void *args, uint64_t arg,
				    size_t n);

/* A map has map, a test has test and count; the others are NULL. */
struct pgtable_helper {
	const char *name;
	const char *level;
	const char *takes;	/* "pte", "pmd", "pud": an entry; "val": a number */
	const char *gives;	/* the same, or "test": a bool */
	const char *argument;	/* name of the second argument, or NULL */
	pgtable_map_loop *map;
	pgtable_test_loop *test;
	pgtable_count_loop *count;
};

/* What the driver does to a block between the loops of helpers. */
struct pgtable_block_loops {
	/* Is it quicker to ask for memory ahead?  Some processors do better by themselves. */
	int ask_ahead;
	/* copies to memory that is not read again soon, past the caches */
	void (*stream)(void *out, const void *in, size_t n);
	/* after the last of them: orders these stores before what the caller does next */
	void (*stream_end)(void);
	/* out[i] = where[i] ? yes[i] : no[i], of words and of bytes */
	void (*select)(void *out, const void *yes, const void *no,
		       const uint8_t *where, size_t n);
	void (*select_bytes)(uint8_t *out, const uint8_t *yes, const uint8_t *no,
			     const uint8_t *where, size_t n);
	uint64_t (*count_both)(const uint8_t *a, const uint8_t *b, size_t n);
};

/* The loops of each directory, compiled for one instruction set. */
struct pgtable_loops {
	int isa;	/* enum pgtable_isa_id */
	const struct pgtable_block_loops *block;
	const struct pgtable_form_loops *form;
	const struct pgtable_census_loops *census;
	const struct pgtable_walk_loops *walk;
};

/* All helpers of one rule set and its switches, for one instruction set. */
struct pgtable_instance {
	const char *isa;
	const char *rules;
	int shstk;
	int config;
	const char *variant;	/* what an older kernel does otherwise; "": nothing */
	size_t nhelpers;
	const struct pgtable_helper *helpers;
	const struct pgtable_loops *loops;
};

struct pgtable_step {
	const struct pgtable_helper *helper;	/* NULL: the form stands for several helpers */
	const void *arguments;
	uint64_t argument;
	const struct pgtable_form *form;		/* of a map that has one, or NULL */
	const struct pgtable_condition *condition;	/* of a test that has one, or NULL */
};

/* One helper on one entry. */
uint64_t pgtable_one(const struct pgtable_helper *helper, uint64_t entry, uint64_t arg);

/*
 * One pass over n entries, whatever the steps.  Returns the count when out is NULL,
 * else 0.
 *   steps        maps; the last may be a test
 *   where_test   asked of the input, or NULL
 *   where        0 or 1 per entry, or NULL
 *   out          words, or 0/1 bytes for a test; NULL: count
 *   otherwise    what out gets for the other entries; NULL: out stays as it is there
 *   large_from   from so many entries on, the caches are too small
 */
uint64_t pgtable_run(const struct pgtable_loops *loops,
		     const struct pgtable_step *steps, size_t nsteps,
		     const struct pgtable_step *where_test, const uint8_t *where,
		     const void *in, void *out, const void *otherwise, size_t n,
		     size_t large_from, unsigned threads);

/* Do the processor and the operating system allow this instruction set? */
int pgtable_isa_usable(const char *isa);

/* All compiled instances; NULL is the end. */
extern const struct pgtable_instance *const pgtable_instances[];

#endif
