# SPDX-License-Identifier: GPL-2.0-only
"""What more than one test file needs: guarded memory, sample entries, profiles, kernel trees."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings

import pgtable
from pgtable.kernel_trees import KernelTreeEngine

# Derandomized: a run that fails is a run that fails again.
settings.register_profile("pgtable", deadline=None, derandomize=True, database=None)
settings.load_profile("pgtable")

#: Why a test may be skipped although PGTABLE_REQUIRE_ALL=1: what nobody can install here.
MAY_BE_SKIPPED = (
    "this processor has no ",
    "root can read everything",
    "not a build with sanitizers",  # `make sanitize` is another run
    "patched in instructions of x86-64",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Make a failure of a test that is skipped, where all must be there."""
    return _failed_if_required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Make a failure of a file that is skipped, where all must be there."""
    return _failed_if_required((yield))


def _failed_if_required(report: Any) -> Any:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if os.environ.get("PGTABLE_REQUIRE_ALL") == "1" and not reason.startswith(MAY_BE_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"may not be skipped with PGTABLE_REQUIRE_ALL=1: {reason}"
    return report


PROT_NONE = 0


class GuardedMemory:
    """Writable pages between two that nothing may touch."""

    def __init__(self, nbytes: int):
        page = mmap.PAGESIZE
        self.size = -(-nbytes // page) * page
        self._map = mmap.mmap(-1, self.size + 2 * page)
        whole = np.frombuffer(self._map, np.uint8)
        self.bytes = whole[page : page + self.size]
        base = whole.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for guard in (base, base + page + self.size):
            if protect(guard, page, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, dtype: type, n: int, at: str, shift: int = 0) -> np.ndarray:
        """Return n elements flush against the guard at "start" or "end", or shift bytes off it."""
        nbytes = n * np.dtype(dtype).itemsize
        first = shift if at == "start" else self.size - nbytes - shift
        return self.bytes[first : first + nbytes].view(dtype)


@pytest.fixture(scope="session")
def guarded() -> Callable[[int], GuardedMemory]:
    """Make guarded memory of at least so many bytes."""
    return GuardedMemory


LOW_BITS = 1 << 12
HIGH_BITS = (12, 57, 58, 63)


@pytest.fixture(scope="session")
def low_bit_entries() -> np.ndarray:
    """Every combination of bits 0 to 12, 57, 58 and 63, on three kinds of background."""
    low = np.arange(LOW_BITS, dtype=np.uint64)
    high = np.zeros(1, np.uint64)
    for bit in HIGH_BITS:
        high = np.concatenate([high, high | np.uint64(1 << bit)])
    read = np.uint64(LOW_BITS - 1 | sum(1 << bit for bit in HIGH_BITS))
    combinations = (high[:, None] | low).ravel()
    rng = np.random.default_rng(58)
    noise = rng.integers(0, 2**64, combinations.size, np.uint64) & ~read
    return np.concatenate([combinations, combinations | ~read, combinations | noise])


@pytest.fixture(scope="session")
def random_entries() -> np.ndarray:
    """A million random entries, one in seven of them zero."""
    rng = np.random.default_rng(2022)
    entries = rng.integers(0, 2**64, 1 << 20, np.uint64)
    entries[::7] = 0
    entries.flags.writeable = False
    return entries


@pytest.fixture(params=pgtable.isas())
def usable_isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set that was compiled in and runs here."""
    if not pgtable.isas()[request.param]:
        pytest.skip(f"this processor has no {request.param}")
    return request.param


@pytest.fixture(autouse=True)
def _same_isa_afterwards() -> Iterator[None]:
    before = pgtable.isa().name
    yield
    pgtable.isa(before)


@pytest.fixture(scope="session", autouse=True)
def _children_take_signals() -> Iterator[None]:
    """Let programs that tests start take signals which this process was started without.

    nohup and jobs in the background ignore some, and programs inherit that.  What is caught
    here is at its default there, and this process goes on without these signals.
    """
    ignored = [
        number
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
        if signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment for a Python started by a test: it imports what the test does."""
    root = Path(pgtable.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}


DATA = Path(__file__).parent / "data"

#: Compiling a test's tree at full optimisation would take the most of the test.
QUICK = "-O1"

#: Series of header packages that the tests of real trees want.
SERIES = ("6.1", "6.12")


def sample(cases: Iterable[Any], kept: Sequence[Any]) -> list[Any]:
    """Return parameters of a test, of which `make test` runs those that are kept.

    `make test-long` runs the others.
    """
    cases = list(cases)
    assert all(case in cases for case in kept), "a sample of cases that there are not"
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in kept else pytest.mark.long,
        )
        for case in cases
    ]


class Fault(NamedTuple):
    """One thing that is wrong in a copy of the tree in miniature."""

    edits: dict[str, str]  #: text of asm/pgtable.h -> what stands there instead
    helpers: tuple[str, ...]  #: which helpers go wrong by it


#: A fault of every kind.  Each is one mistake that compiles.
FAULTS = {
    "lost_dirty": Fault(
        {
            "const pmdval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT;": (
                "const pmdval_t kept = (PTE_PFN_MASK | _PAGE_CHG_KEPT) & ~_PAGE_SAVED_DIRTY;"
            )
        },
        ("pmd_modify",),
    ),
    "accidental_shadow_stack": Fault(
        {
            "pte = pte_clear_flags(pte, _PAGE_RW);\n\treturn pte_mksaveddirty(pte);": (
                "return pte_clear_flags(pte, _PAGE_RW);"
            )
        },
        ("pte_wrprotect", "ptep_set_wrprotect"),
    ),
    "swapped_mask": Fault(
        {
            "return pud_clear_flags(pud, _PAGE_ACCESSED);": (
                "return pud_clear_flags(pud, _PAGE_DIRTY);"
            )
        },
        ("pud_mkold",),
    ),
    "forgotten_level": Fault(
        {
            "pud = pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);\n"
            "\treturn pud_mksaveddirty(pud);": (
                "return pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);"
            )
        },
        ("pud_mkdirty",),
    ),
    "dirty_made_up": Fault(
        {
            "return pmd_set_flags(pmd, _PAGE_ACCESSED);": (
                "return pmd_set_flags(pmd, _PAGE_ACCESSED | _PAGE_SAVED_DIRTY);"
            )
        },
        ("pmd_mkyoung",),
    ),
    "frame_touched": Fault(
        {
            "return pte_set_flags(pte, _PAGE_ACCESSED);": (
                "return pte_set_flags(pte, _PAGE_ACCESSED | 1UL << 40);"
            )
        },
        ("pte_mkyoung",),
    ),
    "half_clean": Fault(
        {
            "return pud_clear_flags(pud, _PAGE_DIRTY_BITS);": (
                "return pud_clear_flags(pud, _PAGE_DIRTY);"
            )
        },
        ("pud_mkclean",),
    ),
}

MakeMiniTree = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test touch the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGTABLE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_mini_tree(tmp_path: Path) -> MakeMiniTree:
    """Make a copy of the tree in miniature: ``make(name, edits)``.

    name: of the directory, below the test's own.
    edits: text of arch/x86/include/asm/pgtable.h -> what stands there instead.
    """

    def make(name: str = "tree", edits: dict[str, str] | None = None) -> Path:
        tree = tmp_path / name
        shutil.copytree(DATA / "mini_tree", tree)
        header = tree / "arch/x86/include/asm/pgtable.h"
        for old, new in (edits or {}).items():
            replace(header, old, new)
        return tree

    return make


def replace(file: Path, old: str, new: str) -> None:
    """Replace the one place of a text in a file; anything else than one is an error."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def mini_engine() -> KernelTreeEngine:
    """Return the engine of the tree in miniature, which has no fault."""
    return pgtable.kernel_tree(DATA / "mini_tree", flags=QUICK)


@pytest.fixture(params=list(FAULTS))
def faulty(request: pytest.FixtureRequest, make_mini_tree: MakeMiniTree) -> tuple[Fault, Path]:
    """Return each fault, and a tree that has it (and no other)."""
    fault = FAULTS[request.param]
    return fault, make_mini_tree(request.param, fault.edits)


@pytest.fixture(scope="session")
def trees_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where header packages are looked for: PGTABLE_TEST_TREES, or one for this run."""
    place = os.environ.get("PGTABLE_TEST_TREES")
    return Path(place) if place else tmp_path_factory.mktemp("trees")


@pytest.fixture(scope="session", params=SERIES)
def header_tree(request: pytest.FixtureRequest, trees_directory: Path) -> Path:
    """Return the generated half of real header packages of each series.

    They are fetched if they are not there.  Skips where they cannot be had.
    """
    # here: the sanitized run has no bench/ to import from, and no test of real trees
    from pgtable.cost.report.header_packages import find_or_fetch  # noqa: PLC0415

    found, why = find_or_fetch(request.param, trees_directory)
    if found is None:
        pytest.skip(f"no headers of Linux {request.param}: {why}")
    assert found is not None
    return found
