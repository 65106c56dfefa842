# SPDX-License-Identifier: GPL-2.0-only
"""The report on costs, bench/COST.md: ``python -m pgtable.cost.report`` measures and writes it."""
