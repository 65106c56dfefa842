# SPDX-License-Identifier: GPL-2.0-only
"""Tells from the paths of a patch alone that no helper can change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .mails import Patch
from .review_results import PatchReview, Review

#: Where helpers come from: headers, and the one file with bodies of helpers.
_HEADERS = re.compile(r"(?:include|arch/x86/include)/.+\.h$")
BODIES = "arch/x86/mm/pgtable.c"


def concerns_helpers(path: str) -> bool:
    """Tell whether helpers could come from a file."""
    return path == BODIES or _HEADERS.match(path) is not None


def concerns(patch: Patch) -> bool:
    """Tell whether a patch touches a file that helpers could come from."""
    return any(
        concerns_helpers(path)
        for diff in patch.files
        for path in (diff.path, diff.renamed_from or "")
    )


def all_not_concerned(patches: Sequence[Patch]) -> Review | None:
    """Return the review of patches that touch no such file; None: one does."""
    if any(map(concerns, patches)):
        return None
    return Review("", "", [PatchReview(patch.title, False) for patch in patches])
