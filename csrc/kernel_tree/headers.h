/* SPDX-License-Identifier: GPL-2.0-only */
/* The tree's headers that have helpers, with the customised parts in their places. */
#ifndef PGTABLE_TREE_HEADERS_H
#define PGTABLE_TREE_HEADERS_H

#include "customised_bug.h"
#include "customised_feature.h"
#include "customised_masks.h"

#include <linux/pgtable.h>
#if __has_include(<linux/mm.h>)
#include <linux/mm.h>
#endif
#if __has_include(<linux/swapops.h>)
#include <linux/swap.h>
#include <linux/swapops.h>
#endif
#if __has_include(<linux/hugetlb.h>)
#include <linux/hugetlb.h>
#endif

#endif
