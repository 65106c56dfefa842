/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/mm.h>

/* Elsewhere the shim's copy stands in for it. */
unsigned long long physical_mask = (1ULL << 52) - 1;
int pages_of(struct mm_struct *mm);

/* Not about entries, and not to be linked. */
void pgd_free(struct mm_struct *mm, pgd_t *pgd)
{
	pgd->pgd = pages_of(mm);
}

pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_SHADOW_STACK)
		return pte_mkwrite_shstk(pte);
	return pte_clear_saveddirty(pte_mkwrite_novma(pte));
}

pmd_t pmd_mkwrite(pmd_t pmd, struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_SHADOW_STACK)
		return pmd_mkwrite_shstk(pmd);
	return pmd_clear_saveddirty(pmd_mkwrite_novma(pmd));
}
