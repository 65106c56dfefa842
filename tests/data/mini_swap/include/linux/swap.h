/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SWAP_H
#define _LINUX_SWAP_H
#include <linux/types.h>
#include <linux/pgtable.h>

typedef struct {
	unsigned long val;
} swp_entry_t;

#endif
