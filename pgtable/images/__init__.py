# SPDX-License-Identifier: GPL-2.0-only
"""Memory images: physical pages, page-table walks, what is found in them."""
