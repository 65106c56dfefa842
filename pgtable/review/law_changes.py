# SPDX-License-Identifier: GPL-2.0-only
"""Which laws a patch breaks or mends: proofs of the laws of the tree before and after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..proofs.law_proofs import prove_laws, settings_of, told_once
from ..proofs.lifted_tree import LiftedTree
from ..proofs.proving import rules_of
from ..proofs.results import Proof

#: What identifies a case of a law: law, helper, the other helper.
_Key = tuple[str, str, str]


@dataclass
class LawChanges:
    """What a patch does to the laws.

    broken: held before, or was about a helper that is new.  mended: was broken before.
    kept: how many cases hold before and after.  left: broken before and after.
    on_purpose: exceptions of the rules that come with the patch, and that are wanted.
    """

    kept: int = 0
    broken: list[Proof] = field(default_factory=list)
    mended: list[Proof] = field(default_factory=list)
    left: list[Proof] = field(default_factory=list)
    on_purpose: list[Proof] = field(default_factory=list)


def law_changes(before: LiftedTree, after: LiftedTree, seconds: float) -> LawChanges:
    """Prove the laws of both trees, each by the rules that it follows."""
    decided: dict[int, Any] = {}
    old, new = (_by_case(_proofs(tree, seconds, decided)) for tree in (before, after))
    found = LawChanges()
    for key, setting in new:
        proofs = new[key, setting]
        former = old.get((key, setting)) or _in_any_setting(old, key)
        _compare(found, proofs, former)
    for (key, setting), proofs in old.items():
        if any(_counts(each) for each in proofs):
            later = new.get((key, setting)) or _in_any_setting(new, key)
            if later and not any(_counts(each) for each in later):
                found.mended += [each for each in proofs if _counts(each)]
    for name in ("broken", "mended", "left", "on_purpose"):
        proofs = getattr(found, name)
        if name in ("broken", "mended"):
            proofs = [each.detailed() for each in proofs]
        setattr(found, name, list(told_once(proofs)))
    return found


def _proofs(tree: LiftedTree, seconds: float, decided: dict[int, Any]) -> Iterable[Proof]:
    rules = rules_of(tree)
    config = tree.shadow_stack_option if rules == "cow" else rules != "base"
    settings = settings_of(rules, config, tree.machine.feature is not None)
    return prove_laws(tree, settings, seconds, decided, exceptions=True)


def _by_case(proofs: Iterable[Proof]) -> dict[tuple[_Key, str], list[Proof]]:
    found: dict[tuple[_Key, str], list[Proof]] = {}
    for each in proofs:
        key = each.law, each.helper, each.with_
        found.setdefault((key, each.assuming), []).append(each)
    return found


def _in_any_setting(found: dict[tuple[_Key, str], list[Proof]], key: _Key) -> list[Proof]:
    return next((proofs for (each, _), proofs in found.items() if each == key), [])


def _counts(proof: Proof) -> bool:
    """Tell whether a proof shows a fault: broken, or an exception that nobody wants."""
    return proof.status == "refuted" or (proof.status == "excused" and proof.is_defect)


def _compare(found: LawChanges, proofs: list[Proof], former: list[Proof]) -> None:
    known = {(each.status, each.excuse) for each in former}
    found.kept += bool(former) and not any(map(_counts, (*former, *proofs)))
    for each in proofs:
        if _counts(each):
            same = (each.status, each.excuse) in known
            (found.left if same else found.broken).append(each)
        elif each.status == "excused" and ("excused", each.excuse) not in known:
            found.on_purpose.append(each)
