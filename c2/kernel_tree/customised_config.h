/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: the tree's configuration, as far as it cannot hold in a library.
 * Read before every header but kconfig.h; the user's own overrides follow.
 */

/*
 * The kernel is not position independent: its asm names symbols as constants,
 * which the compiler refuses under -fPIC unless they cannot be preempted.
 */
#pragma GCC visibility push(hidden)

/* A warning inside a helper would be an illegal instruction: all three or none. */
#undef CONFIG_BUG
#undef CONFIG_GENERIC_BUG
#undef CONFIG_DEBUG_BUGVERBOSE

/* Helpers as on bare metal, where booting patches the hypervisor's calls away. */
#undef CONFIG_PARAVIRT
#undef CONFIG_PARAVIRT_XXL
#undef CONFIG_PARAVIRT_SPINLOCKS
#undef CONFIG_XEN
#undef CONFIG_XEN_PV
