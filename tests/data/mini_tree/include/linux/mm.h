/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_H
#define _LINUX_MM_H
#include <linux/types.h>
#include <linux/pgtable.h>

#define VM_SHADOW_STACK (1UL << 37)

struct mm_struct {
	int mm_count;
};

struct vm_area_struct {
	struct mm_struct *vm_mm;
	const unsigned long vm_flags;
};

#endif
