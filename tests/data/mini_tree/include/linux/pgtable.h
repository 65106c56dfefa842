/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PGTABLE_H
#define _LINUX_PGTABLE_H
#include <linux/bug.h>
#include <asm/pgtable.h>

struct mm_struct;

static inline void ptep_set_wrprotect(struct mm_struct *mm, unsigned long address, pte_t *ptep)
{
	*ptep = pte_wrprotect(*ptep);
}

#define pte_pgprot(x)		__pgprot(pte_flags(x))
#define pmd_leaf_size(x)	(1UL << 21)

/* What cannot be had: a pointer, a symbol of the kernel, the address of a value. */
static inline pmd_t *pud_pgtable(pud_t pud)
{
	return (pmd_t *)(pud_val(pud) & PUD_PFN_MASK);
}

u64 cc_mkenc(u64 val);
#define pgprot_encrypted(prot)	__pgprot(cc_mkenc(pgprot_val(prot)))
pgprot_t pgprot_writecombine(pgprot_t prot);

static inline bool pgd_write(pgd_t pgd)
{
	BUG();
	return false;
}
#define pte_clear(ptep)		(*(ptep) = __pte(0))

#endif
