/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_CPUFEATURE_H
#define _ASM_X86_CPUFEATURE_H
#include <linux/types.h>
#include <asm/cpufeatures.h>

struct cpuinfo_x86 {
	u8 x86;
	u32 x86_capability[20];
};

extern struct cpuinfo_x86 boot_cpu_data;

#define cpu_has(processor, bit) \
	(((processor)->x86_capability[(bit) / 32] >> ((bit) % 32) & 1) != 0)
#define boot_cpu_has(bit) cpu_has(&boot_cpu_data, bit)

/* Asks the processor's data by address, as asm that was not patched does. */
static __always_inline bool _static_cpu_has(unsigned int bit)
{
	__asm__ goto("testl %[mask], %[word]\n\tjz %l[no]"
		     : : [mask] "i" (1U << bit % 32),
			 [word] "m" (boot_cpu_data.x86_capability[bit / 32]) : "cc" : no);
	return true;
no:
	return false;
}

#define static_cpu_has(bit)	_static_cpu_has(bit)
#define cpu_feature_enabled(bit) static_cpu_has(bit)

#endif
