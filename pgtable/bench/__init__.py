# SPDX-License-Identifier: GPL-2.0-only
"""What a helper costs per entry: measured, saved, compared."""
