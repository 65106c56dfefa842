# SPDX-License-Identifier: GPL-2.0-only
"""The reference is an oracle because it shares nothing with the C module."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import types

class NoNative:
    def find_spec(self, name, path=None, target=None):
        if name.endswith("._native"):
            raise ImportError("not here")

sys.meta_path.insert(0, NoNative())
package = types.ModuleType("pgtable")  # pgtable/__init__.py offers native, so it is left out
package.__path__ = [sys.argv[1]]
sys.modules["pgtable"] = package
from pgtable.engines.reference import reference
print(hex(reference().pte_wrprotect(0x867)))
print([name for name in sys.modules if "_native" in name or "compiled" in name or "cffi" in name])
"""


def test_the_reference_needs_no_c(environment) -> None:
    package = environment["PYTHONPATH"] + "/pgtable"
    run = subprocess.run(
        [sys.executable, "-c", CODE, package],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split("\n")[:2] == ["0x400000000000825", "[]"], run.stderr
