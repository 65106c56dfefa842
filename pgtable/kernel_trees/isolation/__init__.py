# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree is a program: its helpers run in a process that may do nothing else.

sandbox.py   gives up what the process need not be able to do
child.py     runs helpers, in a process of its own
worker.py    starts it, asks it, and says how it ended
culprit.py   finds the entry that a helper ended its process on
engine.py    the engine whose helpers run there
"""
