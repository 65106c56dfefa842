/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies: data that helpers read, with the values it has on a plain machine
 * (no memory encryption, four-level tables, all of the physical address bits).
 * Whatever a tree's helpers do not read is dropped when linking.
 */
unsigned long long physical_mask = (1ULL << 52) - 1;
unsigned long __supported_pte_mask = ~0UL;
unsigned long __default_kernel_pte_mask = ~0UL;
unsigned long long sme_me_mask;
unsigned long long cc_mask;
int cc_vendor;

unsigned int __pgtable_l5_enabled;
unsigned int pgdir_shift = 39;
unsigned int ptrs_per_p4d = 1;

unsigned long page_offset_base = 0xffff888000000000UL;
unsigned long vmemmap_base = 0xffffea0000000000UL;
unsigned long vmalloc_base = 0xffffc90000000000UL;
unsigned long phys_base;

/* struct cpuinfo_x86, with no feature at all; wrappers.h checks its size. */
_Alignas(64) unsigned char boot_cpu_data[TREE_CPU_DATA_SIZE];
