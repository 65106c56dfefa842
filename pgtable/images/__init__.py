# SPDX-License-Identifier: GPL-2.0-only
"""Memory images of machines, and the page-table entries in them."""

from .image import Image
from .opening import open_image
from .walk import KIND_NAMES, Kind, Report, Tables, Walk

__all__ = ["KIND_NAMES", "Image", "Kind", "Report", "Tables", "Walk", "open_image"]
