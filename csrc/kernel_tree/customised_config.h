/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Customised: options of the tree's configuration that a library cannot have.  Read before all
 * headers but kconfig.h.  The user's own overrides follow.
 */

/*
 * The kernel is not position independent: its asm names symbols as constants,
 * which the compiler refuses under -fPIC unless they cannot be preempted.
 */
#pragma GCC visibility push(hidden)

/* Else a warning inside a helper is an illegal instruction.  The three depend on each other. */
#undef CONFIG_BUG
#undef CONFIG_GENERIC_BUG
#undef CONFIG_DEBUG_BUGVERBOSE

/* Helpers as on bare metal, where booting removes the calls to a hypervisor. */
#undef CONFIG_PARAVIRT
#undef CONFIG_PARAVIRT_XXL
#undef CONFIG_PARAVIRT_SPINLOCKS
#undef CONFIG_XEN
#undef CONFIG_XEN_PV
