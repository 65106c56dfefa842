/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_CPUFEATURES_H
#define _ASM_X86_CPUFEATURES_H

#define X86_FEATURE_FPU		(0 * 32 + 0)
#define X86_FEATURE_SHSTK	(16 * 32 + 7)

#endif
