# SPDX-License-Identifier: GPL-2.0-only
"""A check of a kernel tree: the laws, the nearest rules' reference, and what nothing covers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from .. import bits
from ..engines.interface import Engine
from ..engines.reference import reference
from ..engines.switches import Switches, resolve
from .compare import ClassifiedDifference, Comparison, compare
from .empty_helpers import ReducedEngine, compiled_out
from .followed_rules import Recognition, matching, recognise
from .improvements import improvements
from .law_check import LawFinding, LawReport, check_laws
from .report import Report, bit_names, counted, differing, wrap
from .subject import LEVELS
from .tree_text import heading, placed

#: The tree's name for the bit that saves dirtiness -> the helper that saves it.
_SAVING = {"SAVED_DIRTY": "mksaveddirty", "COW": "mkcow"}

#: Called as progress(what, done, total).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TreeCheck(Report):
    """What was found for a tree in one setting of its switches."""

    engine: Engine
    label: str  #: the setting in words; "" for the tree's own
    recognised: Recognition | None
    switches: Switches
    laws: LawReport
    against: Comparison
    improved: dict[str, str]  #: helper -> the law that it no longer breaks
    stubs: tuple[str, ...]
    held_to_nothing: tuple[str, ...]

    @property
    def differences(self) -> tuple[ClassifiedDifference, ...]:
        """Return the differences from the reference that are no improvements."""
        return tuple(each for each in self.against if each.helper not in self.improved)

    @property
    def clean(self) -> bool:
        """Whether there is no finding, and every difference is known or an improvement."""
        return self.laws.clean and not self.differences and not self.against.incomparable

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "setting": self.label or "as given",
            "clean": self.clean,
            "laws": self.laws.as_dict(),
            "reference": self.against.as_dict(),
            "improvements": self.improved,
            "compiled_out": list(self.stubs),
            "held_to_nothing": list(self.held_to_nothing),
            "unavailable": dict(getattr(self.engine, "unavailable", {})),
        }

    def __str__(self) -> str:
        return "\n".join([*self.lines(), *self.laws.known_lines()])

    def lines(self) -> Iterator[str]:
        """Yield the report without the known exceptions of laws, which come last."""
        yield from heading(self.engine)
        yield from self.laws.head_lines()
        if self.recognised is not None and not self.recognised.matches:
            yield wrap(" ".join(str(self.recognised).split()), hang="  ")
        yield from _causes(self.laws, self.engine)
        yield from self.laws.finding_lines(self._where)
        yield self.laws.summary_line()
        yield from self._reference_lines(self.differences)
        yield from self._unheld_lines()

    def new_lines(self, before: TreeCheck) -> Iterator[str]:
        """Yield what this setting shows and the one before it does not."""
        seen = {_key(finding) for finding in before.laws}
        new = [finding for finding in self.laws if _key(finding) not in seen]
        shown = {each.helper for each in before.against}
        differences = tuple(each for each in self.differences if each.helper not in shown)
        yield f"\nwith {self.label}:"
        yield from self.laws.finding_lines(self._where, new)
        count = len(new) + len(differences)
        for each in differences:
            yield f"\n{each}"
            yield from self._where(each.helper, each.difference.example.rows())
        said = counted(count, "more finding") if count else "no more findings"
        there = "" if self.clean or count else "; those above are there as well"
        yield wrap(f"rules {self.switches}: {said}{there}", "  ", "    ")

    def _where(self, helper: str, rows: Any) -> list[str]:
        return placed(self.engine, helper, rows)

    def _reference_lines(self, differences: tuple[ClassifiedDifference, ...]) -> Iterator[str]:
        against = self.against
        yield f"\nagainst the reference of {self.switches.rules}:"
        if differences:
            yield "  A is the tree, B the reference"
        if against.incomparable:
            yield wrap(f"other parameters or results: {', '.join(against.incomparable)}", hang="  ")
        for each, others in _told_once(differences):
            yield f"\n{each}"
            yield from self._where(each.helper, each.difference.example.rows())
            if others:
                yield wrap(f"the same bits in {', '.join(others)}", "    ", "      ")
        if self.improved:
            yield "\nimprovements on the reference, no findings:"
            for helper, law in self.improved.items():
                yield wrap(f"{helper}: {law} holds, which the reference breaks", "  ", "    ")
        if against.known:
            yield "\n".join(["", *against.known_lines(), ""])
        shared = len(against.same) + len(against) + len(against.known)
        if differences or against.incomparable:
            count = len(differences) + len(against.incomparable)
            of_them = counted(shared + len(against.incomparable), "shared helper")
            yield f"\n{differing(count, of_them)}"
        elif self.improved:
            yield wrap(
                f"{counted(shared, 'helper')} like {self.switches}, but for"
                f" {counted(len(self.improved), 'improvement')}", "  ", "    ",
            )  # fmt: skip
        else:
            yield wrap(matching(self.switches, shared, len(against.known)), "  ", "    ")

    def _unheld_lines(self) -> Iterator[str]:
        if self.stubs:
            yield wrap(
                "not checked, as this tree's configuration leaves them empty:"
                f" {', '.join(self.stubs)}",
                hang="  ",
            )
        names = ", ".join(self.held_to_nothing) or "none"
        yield wrap(f"held to nothing, as no law and no reference is about them: {names}", hang="  ")
        unavailable = getattr(self.engine, "unavailable", {})
        if unavailable:
            yield wrap(
                "not checked, as they cannot be had ('pgtable kernel list' says why):"
                f" {', '.join(unavailable)}",
                hang="  ",
            )


def check_tree(
    engine: Engine, rules: str | None = None, label: str = "", progress: Progress | None = None
) -> TreeCheck:
    """Check a tree's engine: every law, and the reference of the rules that it follows.

    rules: those of the reference; None: the nearest rules.
    label: the setting of the switches in words.
    """
    show = progress or (lambda what, done, total: None)
    stubs = compiled_out(engine)
    checked = ReducedEngine(engine, stubs)
    recognised = None
    if rules is None:
        recognised = recognise(checked)
        switches = recognised.switches
    else:
        shstk = None if rules == "base" else getattr(engine, "shstk", None)
        switches = resolve(rules, shstk, None)
    laws = check_laws(checked, rules=switches, progress=lambda d, t: show("laws", d, t))
    ours = reference(*switches)
    against = compare(checked, ours, progress=lambda d, t: show("reference", d, t))
    compared = {*against.same, *(each.helper for each in (*against, *against.known))}
    unheld = [name for name in checked.helpers if name not in laws.held and name not in compared]
    return TreeCheck(
        engine, label, recognised, switches, laws, against,
        improvements(checked, ours, against, laws), tuple(stubs), tuple(unheld),
    )  # fmt: skip


def _key(finding: LawFinding) -> tuple[str, str, str | None]:
    return finding.law, finding.helper, finding.with_


def _causes(laws: LawReport, engine: Engine) -> Iterator[str]:
    """Yield first which flags share a bit: other findings may follow from that."""
    said = list(_moved_dirty(laws.rules, engine))
    for finding in laws:
        if finding.law == "flags_apart" and not said:
            bit = int(dict(finding.rows)["entry"].value).bit_length() - 1
            said.append(f"{finding.helper} and {finding.with_} share bit {bit}")
    if said:
        yield "\n" + wrap(f"one cause of what follows: {'; '.join(said)}", hang="  ")


def _moved_dirty(rules: Switches, engine: Engine) -> Iterator[str]:
    """Yield which bit saves dirtiness in a tree, if it is another one than in the rules."""
    for level, (name, stem) in product(LEVELS, _SAVING.items()):
        helper = engine.helpers.get(f"{level}_{stem}")
        saved = 0 if helper is None else int(helper(bits.DIRTY)) & ~bits.DIRTY
        if helper is None or saved.bit_count() != 1 or saved == bits.BIT58:
            continue
        bit = saved.bit_length() - 1
        other = bit_names(saved, level, rules.rules)
        shares = "" if other.startswith("bit") else f": {name} and {other} share bit {bit}"
        yield f"{name} is bit {bit}, in the rules bit 58{shares}"
        return


def _told_once(
    differences: tuple[ClassifiedDifference, ...],
) -> Iterator[tuple[ClassifiedDifference, list[str]]]:
    """Yield each kind of difference once, with the other helpers that differ in the same bits."""
    groups: dict[Any, list[ClassifiedDifference]] = {}
    for each in differences:
        one, other = each.difference.example.results
        same = int(one.value) ^ int(other.value) if one.kind not in ("test", "val", "swp") else None
        key = each.helper if same is None or same & same - 1 else same
        groups.setdefault(key, []).append(each)
    for group in groups.values():
        # of more than two of a kind, one is shown
        if len(group) < 3:
            yield from ((each, []) for each in group)
        else:
            yield group[0], [each.helper for each in group[1:]]
