/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PGTABLE_KEY_H
#define _LINUX_PGTABLE_KEY_H

static inline unsigned int pte_flags_pkey(unsigned long pte_flags)
{
	return pte_flags >> 59 & 15;
}

#endif
