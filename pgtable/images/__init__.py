# SPDX-License-Identifier: GPL-2.0-only
"""Memory images of machines, and the page-table entries in them."""

from .image import Image
from .opening import FORMATS, open_image
from .walk import KIND_NAMES, Kind, Tables, Walk, WalkReport

__all__ = ["FORMATS", "KIND_NAMES", "Image", "Kind", "Tables", "Walk", "WalkReport", "open_image"]
