/* SPDX-License-Identifier: GPL-2.0-only */
/* Which instruction sets the processor has, and whose registers the operating system saves. */
#include "bulk/bulk.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0: which register states survive a context switch. */
#define XCR0_AVX	0x06u	/* xmm, ymm */
#define XCR0_AVX512	0xe6u	/* and opmask, zmm */

static uint32_t enabled_states(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static uint32_t leaf7_ebx(void)
{
	uint32_t eax, ebx, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ? ebx : 0;
}

static int has(uint32_t word, uint32_t bits)
{
	return (word & bits) == bits;
}

static int usable_avx2(void)
{
	return has(enabled_states(), XCR0_AVX) && has(leaf7_ebx(), bit_AVX2);
}

static int usable_avx512(void)
{
	return has(enabled_states(), XCR0_AVX512) &&
	       has(leaf7_ebx(), bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
}
#else
static int usable_avx2(void) { return 0; }
static int usable_avx512(void) { return 0; }
#endif

int pgtable_isa_usable(const char *isa)
{
	if (!strcmp(isa, "avx2"))
		return usable_avx2();
	if (!strcmp(isa, "avx512"))
		return usable_avx512();
	return !strcmp(isa, "scalar") || !strcmp(isa, "baseline");
}
