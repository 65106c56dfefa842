# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks of the library share; the rest is in pgtable.cost."""
