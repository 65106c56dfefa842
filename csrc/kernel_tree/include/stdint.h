/* SPDX-License-Identifier: GPL-2.0-only */
/* Stands in for the C library's header where kernel headers are read. */
#include <linux/types.h>
