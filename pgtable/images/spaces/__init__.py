# SPDX-License-Identifier: GPL-2.0-only
"""Every address space of a machine, found from the content of its memory, without symbols."""

from .find import find_spaces
from .model import Space, Spaces

__all__ = ["Space", "Spaces", "find_spaces"]
