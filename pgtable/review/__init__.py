# SPDX-License-Identifier: GPL-2.0-only
"""Reviews patches to the helpers: what changes, for which entries, and which laws break."""
