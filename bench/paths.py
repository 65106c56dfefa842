# SPDX-License-Identifier: GPL-2.0-only
"""Where benchmarks read and write."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
CSRC = ROOT / "csrc"
DUMP = ROOT / "tests" / "data" / "k612-128.ptes.bin.xz"
#: Files that are not kept.
BUILD = ROOT / "build" / "bench"
