/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: how cpu_feature_enabled() decides.  With TREE_SHSTK (0 or 1) the shadow-stack feature
 * is a compile-time constant.  It has the effect of patching at boot, and it lets a loop become
 * vector code.  With TREE_CONSTANTS all other features are constants, too.  With TREE_PATCHED,
 * features are tested by the instruction that booting leaves of the kernel's asm goto.  Without
 * TREE_SHSTK the kernel's own asm goto stays.  It is not patched, so it reads boot_cpu_data.
 */
#ifdef TREE_SHSTK
#if __has_include(<asm/cpufeature.h>)
#include <asm/cpufeature.h>
#endif
/* Macros are expanded when the helpers' text is read, so this has to come before it. */
#ifdef _ASM_X86_PGTABLE_H
#error "asm/cpufeature.h of this tree reads asm/pgtable.h: the feature cannot be a constant"
#endif
#ifdef X86_FEATURE_SHSTK
#define TREE_IS_SHSTK(bit) ((bit) == X86_FEATURE_SHSTK)
#else
#define TREE_IS_SHSTK(bit) 0
#endif
#ifdef TREE_PATCHED
#include "cost/patched.h"
#define TREE_CPU_HAS(bit) pgtable_patched(TREE_IS_SHSTK(bit) && TREE_SHSTK)
#else
/* All other features are off, as in boot_cpu_data, unless the tree requires them. */
#define TREE_CPU_HAS(bit)							\
	(TREE_IS_SHSTK(bit) ? TREE_SHSTK :					\
	 __builtin_constant_p(cpu_has(&boot_cpu_data, bit)) ?			\
	 cpu_has(&boot_cpu_data, bit) : 0)
#ifndef cpu_has
#define cpu_has(processor, bit) boot_cpu_has(bit)
#elif defined(TREE_CONSTANTS)
#undef boot_cpu_has
#define boot_cpu_has(bit) TREE_CPU_HAS(bit)
#endif
#endif
/* What cpu_feature_enabled() asks is a macro of either name. */
#undef static_cpu_has
#define static_cpu_has(bit) TREE_CPU_HAS(bit)
#ifdef _static_cpu_has
#undef _static_cpu_has
#define _static_cpu_has(bit) TREE_CPU_HAS(bit)
#endif
#endif
