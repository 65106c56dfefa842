/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u8 uint8_t;
typedef u32 uint32_t;
typedef u64 uint64_t;
typedef unsigned long size_t;
typedef _Bool bool;

#define true 1
#define false 0

#endif
