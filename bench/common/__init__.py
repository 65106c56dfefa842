# SPDX-License-Identifier: GPL-2.0-only
"""What every benchmark shares: entries, correctness, units, timing, the machine's name."""
