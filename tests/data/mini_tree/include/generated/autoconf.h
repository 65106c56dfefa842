/* SPDX-License-Identifier: GPL-2.0-only */
#define CONFIG_X86_64 1
#define CONFIG_X86_USER_SHADOW_STACK 1
#define CONFIG_BUG 1
