# SPDX-License-Identifier: GPL-2.0-only
"""Parts of Markdown pages that programs write: between two comments that name them."""

from __future__ import annotations

import re
from pathlib import Path


def replace_between(path: Path, name: str, text: str) -> bool:
    """Put the text between the markers of that name; False where the file has none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text()
    if begin not in old or end not in old:
        return False
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    path.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", old))
    return True
