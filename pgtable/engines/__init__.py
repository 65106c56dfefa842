# SPDX-License-Identifier: GPL-2.0-only
"""Who can compute a helper."""
