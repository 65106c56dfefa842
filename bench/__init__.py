# SPDX-License-Identifier: GPL-2.0-only
"""Throughput benchmarks: pgtable, other libraries, and the limit of the machine."""
