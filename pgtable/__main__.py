# SPDX-License-Identifier: GPL-2.0-only
"""``python -m pgtable``."""

import sys

from .cli import main

sys.exit(main())
