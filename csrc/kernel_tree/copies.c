/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies of variables that helpers read, with their values on a plain machine: no memory
 * encryption, tables of four levels, all bits of physical addresses.  Linking drops the variables
 * that no helper reads.  If a source file of the tree defines a variable, that one is used.
 */
#define COPY __attribute__((weak))

COPY unsigned long long physical_mask = (1ULL << 52) - 1;
COPY unsigned long __supported_pte_mask = ~0UL;
COPY unsigned long __default_kernel_pte_mask = ~0UL;
COPY unsigned long long sme_me_mask;
COPY unsigned long long cc_mask;
COPY int cc_vendor;

COPY unsigned int __pgtable_l5_enabled;
COPY unsigned int pgdir_shift = 39;
COPY unsigned int ptrs_per_p4d = 1;

COPY unsigned long page_offset_base = 0xffff888000000000UL;
COPY unsigned long vmemmap_base = 0xffffea0000000000UL;
COPY unsigned long vmalloc_base = 0xffffc90000000000UL;
COPY unsigned long phys_base;

/* struct cpuinfo_x86 without any feature.  wrappers.h checks that its size is enough. */
COPY _Alignas(64) unsigned char boot_cpu_data[TREE_CPU_DATA_SIZE];
