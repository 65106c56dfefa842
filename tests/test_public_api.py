# SPDX-License-Identifier: GPL-2.0-only
"""What `import pgtable` gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

import pgtable
from pgtable.engines.switches import COMBINATIONS


def test_the_helpers_of_the_module_are_the_default_engines() -> None:
    engine = pgtable.native()
    assert (engine.rules, engine.shstk, engine.config) == ("cow", True, True)
    for name in engine.helpers:
        assert getattr(pgtable, name) is engine.helpers[name]
    assert pgtable.pte_wrprotect(0x867) == 0x0400000000000825


def test_everything_promised_is_there() -> None:
    for name in pgtable.__all__:
        assert getattr(pgtable, name) is not None
    names = dir(pgtable)
    assert set(pgtable.__all__) <= set(names)
    assert set(pgtable.native().helpers) <= set(names)
    _ = pgtable.pte_wrprotect
    assert len(dir(pgtable)) == len(set(dir(pgtable)))


WITHOUT_PACKAGES = """
import sys
sys.modules |= dict.fromkeys(["z3", "pyvex", "elftools", "zstandard", "pyarrow", "fsspec", "drgn"])
from pgtable import *
import pgtable
[getattr(pgtable, name) for name in dir(pgtable)]
try:
    pgtable.prove("/nonexistent")
except ImportError as error:
    print(error)
"""


def test_all_names_are_there_without_the_packages_of_extras(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install 'pgtable[prove]'" in done.stdout


def test_a_name_the_module_lacks() -> None:
    with pytest.raises(AttributeError, match=r"did you mean pte_wrprotect\?"):
        _ = pgtable.pte_wrprotet
    with pytest.raises(AttributeError, match="rules that have it: saved_dirty"):
        _ = pgtable.pte_mksaveddirty
    with pytest.raises(AttributeError, match="_secret"):
        _ = pgtable._secret
    assert not hasattr(pgtable, "pte_wrprotet")
    with pytest.raises(ImportError):
        exec("from pgtable import pte_wrprotet")


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_an_engine_is_a_mapping_and_has_attributes(make, switches) -> None:
    engine = make(*switches)
    assert isinstance(engine.helpers, Mapping)
    with pytest.raises(TypeError):
        engine.helpers["pte_mkold"] = None
    for name, helper in engine.helpers.items():
        assert getattr(engine, name) is engine.helper(name) is helper
        assert helper.engine is engine
        assert name in dir(engine)
        assert repr(helper) == f"<{helper.kind} {name} of {engine.name}>"
    assert engine.name == f"{make.__name__}({switches})"
    assert repr(engine) == f"<{engine.name}>"
    assert "chain" in dir(engine)


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_every_helper_says_what_it_does(make, switches) -> None:
    gives = {"test": "bool", "val": "number"}
    for name, helper in make(*switches).helpers.items():
        signature, empty, what, *rest = helper.__doc__.splitlines()
        takes = {"val": "number"}.get(helper.info.takes, helper.info.takes)
        second = f", {helper.argument}" if helper.argument else ""
        result = gives.get(helper.info.gives, "entry")
        assert (signature, empty) == (f"{name}({takes}{second}) -> {result}", "")
        assert what.endswith(".")
        assert "Takes an int" not in what, f"{name} is not described"
        assert rest


def test_law_breaking_is_told() -> None:
    for name in ("pte_wrprotect", "pmd_mkcow", "pud_clear_cow", "pte_modify", "pte_mkwrite_shstk"):
        assert "Known to break a law" in pgtable.native().helpers[name].__doc__
    assert "Cow on top" in pgtable.pud_mkdirty.__doc__
    assert "Cow on top" not in pgtable.pte_mkdirty.__doc__
    assert "Known to break" not in pgtable.pte_mkold.__doc__


def test_importing_costs_no_engine(environment) -> None:
    """Engines are made when asked for."""
    code = (
        "import pgtable.engines.native as n, pgtable; print(len(n._following));"
        "pgtable.reference().pte_mkold(5); print(len(n._following));"
        "pgtable.pte_mkold; print(len(n._following))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["0", "0", "1"]


def test_engines_are_not_confused_by_what_python_asks_of_objects() -> None:
    engine = pgtable.native()
    assert not hasattr(engine, "__array__")
    assert not hasattr(pgtable, "__wrapped__")
