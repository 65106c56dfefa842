# SPDX-License-Identifier: GPL-2.0-only
"""What a helper costs per entry: measured, saved, compared.

``measure(plan)`` gives a row for each helper, engine, way of compiling, mix and shape.
:mod:`.result_files` writes and reads these rows.
"""

from __future__ import annotations

from .measuring import measure
from .plan import DEFAULT, FULL, QUICK, Plan, PlanPart, TreeSettings

__all__ = ["DEFAULT", "FULL", "QUICK", "Plan", "PlanPart", "TreeSettings", "measure"]
