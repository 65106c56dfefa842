/* SPDX-License-Identifier: GPL-2.0-only */
/* Stubs: functions that must exist for linking and that no helper gets to. */

/* What a BUILD_BUG() in code that cannot be reached turns into. */
void BUG_func(void)
{
	__builtin_trap();
}
