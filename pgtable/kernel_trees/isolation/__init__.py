# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree is foreign code: its helpers run in a process that can do nothing else.

confined.py  gives a compiler limits
compiling.py becomes a compiler that has them
sandbox.py   takes away from the process what it does not need
child.py     runs helpers, in a process of its own
worker.py    starts that process, sends requests, and says how it ended
culprit.py   finds the entry for which a helper ended its process
isolated_engine.py   the engine whose helpers run there
"""
