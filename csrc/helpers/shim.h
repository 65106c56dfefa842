/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the text of the helpers needs of a kernel: its types, and cpu_feature_enabled().  The
 * feature is a compile-time constant (PGTABLE_SHSTK, 0 or 1).  It has the effect of patching at
 * boot, and it lets a loop over a helper become vector code.  With PGTABLE_PATCHED the test is the
 * one that a booted kernel runs: see cost/patched.h.
 */
#ifndef PGTABLE_SHIM_H
#define PGTABLE_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t pteval_t;
typedef uint64_t pmdval_t;
typedef uint64_t pudval_t;
typedef uint64_t pgprotval_t;

typedef struct { pteval_t pte; } pte_t;
typedef struct { pmdval_t pmd; } pmd_t;
typedef struct { pudval_t pud; } pud_t;
typedef struct { pgprotval_t pgprot; } pgprot_t;

struct vm_area_struct {
	uint64_t vm_flags;
};

#ifndef PGTABLE_SHSTK
#error "PGTABLE_SHSTK must be 0 or 1: does the processor have shadow stacks?"
#endif

#define X86_FEATURE_SHSTK	(16 * 32 + 7)
#ifdef PGTABLE_PATCHED
#include "cost/patched.h"
#define cpu_feature_enabled(bit) pgtable_patched((bit) == X86_FEATURE_SHSTK && PGTABLE_SHSTK)
#else
#define cpu_feature_enabled(bit) ((bit) == X86_FEATURE_SHSTK && PGTABLE_SHSTK)
#endif

#endif
