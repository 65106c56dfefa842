/* SPDX-License-Identifier: GPL-2.0-only */
/* Stands in for the compiler's header where kernel headers are read. */
#include <linux/types.h>
#include <linux/stddef.h>
