# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of an engine, and where two engines differ."""
