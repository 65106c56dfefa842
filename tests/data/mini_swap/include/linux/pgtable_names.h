/* SPDX-License-Identifier: GPL-2.0-only */
/* Constants, the upper levels, markers, and second names of what there is already. */
#ifndef _LINUX_PGTABLE_NAMES_H
#define _LINUX_PGTABLE_NAMES_H

#define READ_EXEC	(1UL << 0 | 1UL << 2 | 1UL << 5)
#define NO_EXEC		(1UL << 63)

#define PAGE_NONE		__pgprot(1UL << 8 | 1UL << 5)
#define PAGE_SHARED		__pgprot(READ_EXEC | 1UL << 1 | NO_EXEC)
#define PAGE_COPY		__pgprot(READ_EXEC | NO_EXEC)
#define PAGE_COPY_EXEC		__pgprot(READ_EXEC)
#define PAGE_KERNEL_RO		__pgprot(1UL << 0 | 1UL << 5 | NO_EXEC)
#define _KERNPG_TABLE		(1UL << 0 | 1UL << 1 | 1UL << 5 | 1UL << 6)

static inline unsigned long p4d_flags(p4d_t p4d)
{
	return p4d_val(p4d) & ~PTE_PFN_MASK;
}

static inline unsigned long p4d_pfn(p4d_t p4d)
{
	return (p4d_val(p4d) & PTE_PFN_MASK) >> 12;
}

static inline int p4d_none(p4d_t p4d)
{
	return (p4d_val(p4d) & ~(1UL << 5 | 1UL << 6)) == 0;
}

static inline int p4d_bad(p4d_t p4d)
{
	return (p4d_flags(p4d) & ~(_KERNPG_TABLE | 1UL << 2)) != 0;
}

static inline int pgd_none(pgd_t pgd)
{
	return 0;
}

static inline int pgd_bad(pgd_t pgd)
{
	return 0;
}

static inline pgprot_t pgprot_nx(pgprot_t prot)
{
	return __pgprot(pgprot_val(prot) | NO_EXEC);
}

static inline unsigned long huge_pte_write(pte_t pte)
{
	return pte_write(pte);
}

static inline pte_t huge_pte_mkdirty(pte_t pte)
{
	return pte_mkdirty(pte);
}

static inline int is_swap_pte(pte_t pte)
{
	return !pte_none(pte) && !pte_present(pte);
}

static inline swp_entry_t make_pte_marker_entry(unsigned long marker)
{
	return swp_entry(29, marker);
}

static inline int is_pte_marker_entry(swp_entry_t entry)
{
	return swp_type(entry) == 29;
}

static inline unsigned long pte_marker_get(swp_entry_t entry)
{
	return swp_offset(entry) & 3;
}

static inline int is_pte_marker(pte_t pte)
{
	return is_swap_pte(pte) && is_pte_marker_entry(pte_to_swp_entry(pte));
}

static inline int is_poisoned_swp_entry(swp_entry_t entry)
{
	return is_pte_marker_entry(entry) && (pte_marker_get(entry) & 2);
}

static inline int pte_none_mostly(pte_t pte)
{
	return pte_none(pte) || is_pte_marker(pte);
}

static inline int non_swap_entry(swp_entry_t entry)
{
	return swp_type(entry) >= 29;
}

static inline bool pte_needs_flush(pte_t old, pte_t pte)
{
	const unsigned long taken = 1UL << 0 | 1UL << 1 | 1UL << 2 | 1UL << 6;
	const unsigned long changed = 3UL << 3 | 1UL << 8 | 31UL << 59 | PTE_PFN_MASK;

	if (!(pte_val(old) & 1))
		return false;
	return (pte_val(old) & ~pte_val(pte) & taken) || ((pte_val(old) ^ pte_val(pte)) & changed);
}

#endif
