# SPDX-License-Identifier: GPL-2.0-only
"""What judges engines: against each other, against laws, against the kernel's own assertions."""
