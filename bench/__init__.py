# SPDX-License-Identifier: GPL-2.0-only
"""What is timed, against whom, and the limit of the machine."""
