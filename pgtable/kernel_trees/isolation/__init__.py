# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree is a program: its helpers run in a process that may do nothing else.

sandbox.py   gives up what the process need not be able to do
child.py     runs helpers, in a process of its own
worker.py    starts it, asks it, and says how it ended
engine.py    the engine whose helpers run there
launch.py    runs the compiler over a tree's text, likewise
"""
