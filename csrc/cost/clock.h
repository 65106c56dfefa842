/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time in ticks, and the number of core cycles in a tick.  Time stamps count at a constant rate,
 * which is not the rate of the cores.
 */
#ifndef PGTABLE_COST_CLOCK_H
#define PGTABLE_COST_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t ticks_now(void)
{
	return __rdtsc();
}

/* The timed code may neither begin before this nor end after it. */
static inline uint64_t ticks_before(void)
{
	uint64_t now;

	_mm_mfence();
	_mm_lfence();
	now = __rdtsc();
	_mm_lfence();
	return now;
}

static inline uint64_t ticks_after(void)
{
	unsigned int processor;
	uint64_t now = __rdtscp(&processor);

	_mm_lfence();
	return now;
}
#else
static inline uint64_t ticks_now(void)
{
	return clock_ns();
}

static inline uint64_t ticks_before(void)
{
	return clock_ns();
}

static inline uint64_t ticks_after(void)
{
	return clock_ns();
}
#endif

#define CHAIN_UNROLLED 64

/*
 * Additions that depend on each other: each takes one cycle on every processor.  They add
 * registers, since some processors add constants in no time.
 */
static inline uint64_t run_chain(uint64_t rounds)
{
	uint64_t sum = rounds, step = rounds | 1;

#define STEP sum += step; __asm__ volatile("" : "+r"(sum), "+r"(step));
#define STEPS8 STEP STEP STEP STEP STEP STEP STEP STEP
	while (rounds--) {
		STEPS8 STEPS8 STEPS8 STEPS8 STEPS8 STEPS8 STEPS8 STEPS8
	}
#undef STEPS8
#undef STEP
	return sum;
}

#define WIDE_UNROLLED 64

/* The same number of additions, in four chains that do not depend on each other. */
static inline uint64_t run_wide(uint64_t rounds)
{
	uint64_t a = rounds, b = rounds, c = rounds, d = rounds, step = rounds | 1;

#define STEPS4 a += step; b += step; c += step; d += step;			\
	__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(step));
#define STEPS16 STEPS4 STEPS4 STEPS4 STEPS4
	while (rounds--) {
		STEPS16 STEPS16 STEPS16 STEPS16
	}
#undef STEPS16
#undef STEPS4
	return a + b + c + d;
}

#endif
