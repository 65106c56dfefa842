/* SPDX-License-Identifier: GPL-2.0-only */
/* Stubs: symbols that linking needs and no header defines. */

/* What a BUILD_BUG() in code that cannot be reached turns into. */
void BUG_func(void)
{
	__builtin_trap();
}

/* Migration entries keep young and dirty, as on every processor whose swap offsets have room. */
_Bool swap_migration_ad_supported = 1;
