/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_COMPILER_TYPES_H
#define _LINUX_COMPILER_TYPES_H
#define __always_inline inline __attribute__((__always_inline__))
#endif
