# SPDX-License-Identifier: GPL-2.0-only
"""Checks of engines: the laws of sound helpers, and the differences of two engines."""
