# SPDX-License-Identifier: GPL-2.0-only
"""A review as text for a mail, as plain values, and as b4 asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..checks.report import Value, aligned, counted, wrap
from ..proofs.machine import PLAIN_SAID
from ..proofs.results import Proof
from .reviewing import PatchReview, Review, SettingReview

#: Of so many helpers that change in one way, the first is shown and the others are named.
_LABELS = {"A gives": "before", "B gives": "after"}


def as_text(review: Review) -> str:
    """Return the whole report, in 80 columns."""
    lines: list[str] = []
    for patch in review.all:
        lines += [*(["", ""] if lines else []), *_patch_lines(patch, review)]
    return "\n".join(lines)


def verdict(patch: PatchReview) -> str:
    """Return one line: what changes, and how many laws break."""
    if not patch.concerned:
        return "not concerned: no header that helpers come from is touched"
    main = patch.main.helpers
    parts = []
    if main.changed:
        parts.append(f"{len(main.changed)} of {main.total} helpers change")
    if main.new:
        parts.append(f"{len(main.new)} new")
    if main.gone:
        parts.append(f"{len(main.gone)} gone")
    if main.refused:
        parts.append(f"{len(main.refused)} could not be compared")
    if not parts:
        parts.append(f"no helper changes: all {main.total} are proved equal")
    broken = _broken(patch)
    mended = {_case(each) for one in patch.settings for each in one.laws.mended}
    if broken:
        laws = len({law for law, _, _ in broken})
        parts.append(f"{counted(laws, 'law')} broken in {counted(len(broken), 'case')}")
    if mended:
        parts.append(f"{counted(len(mended), 'case')} of laws mended")
    if not broken and not mended:
        parts.append("laws as before")
    return "; ".join(parts)


def _broken(patch: PatchReview) -> set[tuple[str, str, str]]:
    return {_case(each) for one in patch.settings for each in one.laws.broken}


def _case(proof: Proof) -> tuple[str, str, str]:
    return proof.law, proof.helper, proof.with_


def _patch_lines(patch: PatchReview, review: Review) -> Iterator[str]:
    yield wrap(f"review of: {patch.title or 'a diff'}", hang="  ")
    yield wrap(f"verdict: {verdict(patch)}", hang="  ")
    if not patch.concerned:
        return
    yield wrap(f"tree: Linux {review.release} ({review.tree}){_config(patch.main)}", hang="  ")
    yield from _helper_lines(patch.main)
    yield from _law_lines(patch.main)
    if patch.main.levels:
        yield "\nlevels:"
        yield from (wrap(each, "  ", "    ") for each in patch.main.levels)
    if patch.settings[1:]:
        yield "\nother settings of what the patch touches:"
        for setting in patch.settings[1:]:
            yield from _setting_lines(setting, patch.main)
    equal, shared = patch.main.matches
    yield "\n" + wrap(
        f"rules: now like {patch.main.rules}: {equal} of {shared} helpers that its reference has"
        " are proved equal to it",
        hang="  ",
    )
    if patch.notes:
        yield "\nnotes:"
        yield from (wrap(each, "  ", "    ") for each in patch.notes)
    yield "\nproved for all 2^64 entries, of every machine of which this holds:"
    yield from (wrap(each, "  ", "    ") for each in patch.main.assumptions)
    yield wrap(f"and {PLAIN_SAID}, for the laws", "  ", "    ")


def _config(setting: SettingReview) -> str:
    options = ", ".join(f"{name}={'y' if on else 'n'}" for name, on in setting.config.items())
    return f", {options}" if options else ""


# ---- helpers


def _helper_lines(setting: SettingReview) -> Iterator[str]:
    helpers = setting.helpers
    other = len(helpers.equal) - helpers.same
    more = f", {other} of them by other code" if other else ""
    yield "\n" + wrap(
        f"helpers: {len(helpers.equal)} of {helpers.total} are proved equal{more}", hang="  "
    )
    for what, names in (("new", helpers.new), ("gone", helpers.gone)):
        if names:
            yield wrap(f"{what}: {', '.join(names)}", "  ", "    ")
    for name, reason in helpers.refused.items():
        yield wrap(f"not compared: {name}: {reason}", "  ", "    ")
    for moved, names in helpers.moved.items():
        yield "\n" + wrap(f"{moved}; nothing else changes in {', '.join(names)}", "  ", "    ")
    for group in changes_alike(helpers.unexplained):
        yield from _change_lines(group)


def changes_alike(proofs: Iterable[Proof]) -> list[list[Proof]]:
    """Group the changes that are the same but for the level."""
    groups: dict[Any, list[Proof]] = {}
    for each in proofs:
        values = tuple(value.value for _, value in (*each.inputs, *each.results))
        groups.setdefault((each.condition, each.bits, values), []).append(each)
    return list(groups.values())


def _change_lines(group: Sequence[Proof]) -> Iterator[str]:
    one, *others = group
    condition = re.sub(r"^differs\b", "changes", one.condition)
    yield "\n" + wrap(f"{one.helper} {condition}", "  ", "    ")
    yield "    smallest:"
    yield from aligned(_shown((*one.inputs, *one.results)), indent="      ")
    if one.bits:
        named = one.bits.replace("SAVED_DIRTY", "Cow")
        yield wrap(f"bits of the result that can differ: {named}", "    ", "      ")
    if others:
        yield wrap(f"the same in {', '.join(each.helper for each in others)}", "    ", "      ")


def _shown(rows: Iterable[tuple[str, Value]]) -> list[tuple[str, object]]:
    return [(_LABELS.get(label, label), value) for label, value in rows]


# ---- laws


def _law_lines(setting: SettingReview) -> Iterator[str]:
    laws = setting.laws
    yield f"\nlaws: {laws.kept:,} cases hold before and after"
    for what, proofs in (
        ("broken by the patch", laws.broken),
        ("mended by the patch", laws.mended),
    ):
        if proofs:
            yield f"\n  {what}:"
            yield from _by_law(proofs)
    if laws.left:
        yield "\n" + wrap(f"broken before and after: {_names(laws.left)}", "  ", "    ")
    for each in laws.on_purpose:
        yield wrap(f"an exception that is wanted: {_name(each)}: {each.excuse}", "  ", "    ")


def _by_law(proofs: Iterable[Proof], indent: str = "  ") -> Iterator[str]:
    """Yield each law with its cases.  Levels that break it alike are shown together."""
    by_law: dict[str, list[Proof]] = {}
    for each in proofs:
        by_law.setdefault(each.law, []).append(each)
    for law, found in by_law.items():
        yield wrap(f"{law}: {found[0].meaning}", indent, indent + "  ")
        groups: dict[Any, list[Proof]] = {}
        for each in found:
            values = tuple(value.value for _, value in (*each.inputs, *each.results))
            groups.setdefault((values, each.assuming, each.excuse), []).append(each)
        for one, *others in groups.values():
            yield wrap(f"{_name(one)}, {one.assuming}:", indent + "  ", indent + "    ")
            yield from aligned([*one.inputs, *one.results], indent=indent + "    ")
            if one.excuse:
                yield wrap(f"({one.excuse})", indent + "    ", indent + "     ")
            if others:
                yield wrap(f"the same in {_names(others)}", indent + "    ", indent + "      ")


def _name(proof: Proof) -> str:
    return f"{proof.helper} (with {proof.with_})" if proof.with_ else proof.helper


def _names(proofs: Iterable[Proof]) -> str:
    return ", ".join(dict.fromkeys(map(_name, proofs)))


# ---- other settings


def _setting_lines(setting: SettingReview, main: SettingReview) -> Iterator[str]:
    helpers = setting.helpers
    if not helpers.changed and not helpers.refused:
        equal = f"all {helpers.total} helpers are proved equal before and after"
        added = f"; new: {', '.join(helpers.new)}" if helpers.new else ""
        yield wrap(f"{setting.label}: {equal}{added}", "  ", "    ")
    else:
        explained = {name for names in helpers.moved.values() for name in names}
        left = [each.helper for each in helpers.changed if each.helper not in explained]
        said = f"{len(helpers.changed)} of {helpers.total} helpers change"
        if helpers.moved:
            said += f"; {'; '.join(map(str, helpers.moved))}"
        yield wrap(f"{setting.label}: {said}: {', '.join(left) or 'nothing else'}", "  ", "    ")
        if setting.label.endswith("=n") and left:
            yield wrap("the patch does not go away with this option off", "    ", "      ")
    seen = {_case(each) for each in main.laws.broken}
    new = [each for each in setting.laws.broken if _case(each) not in seen]
    if new:
        yield "    breaks as well:"
        yield from _by_law(new, "    ")


# ---- plain values


def as_dict(review: Review) -> dict[str, Any]:
    """Return a review as plain values, for JSON."""
    return {
        "tree": review.tree,
        "release": review.release,
        "patches": [_patch_dict(each) for each in review.patches],
        "series": _patch_dict(review.whole) if review.whole else None,
    }


def _patch_dict(patch: PatchReview) -> dict[str, Any]:
    return {
        "title": patch.title,
        "verdict": verdict(patch),
        "concerned": patch.concerned,
        "breaks": patch.breaks,
        "changes": patch.changes,
        "settings": [_setting_dict(each) for each in patch.settings],
        "notes": patch.notes,
    }


def _setting_dict(setting: SettingReview) -> dict[str, Any]:
    helpers, laws = setting.helpers, setting.laws
    equal, shared = setting.matches
    return {
        "setting": setting.label or "as given",
        "config": setting.config,
        "helpers": {
            "shared": helpers.total,
            "equal": helpers.equal,
            "new": helpers.new,
            "gone": helpers.gone,
            "not_compared": helpers.refused,
            "moved": [
                {"flag": one.flag, "before": one.before, "after": one.after, "helpers": names}
                for one, names in helpers.moved.items()
            ],
            "changed": [_change_dict(each) for each in helpers.changed],
        },
        "laws": {
            "kept": laws.kept,
            "broken": [_law_dict(each) for each in laws.broken],
            "mended": [_law_dict(each) for each in laws.mended],
            "broken_before_and_after": [
                {"law": each.law, "helper": each.helper, "with": each.with_ or None}
                for each in laws.left
            ],
            "wanted_exceptions": [
                {"law": each.law, "helper": each.helper, "reason": each.excuse}
                for each in laws.on_purpose
            ],
        },
        "levels": setting.levels,
        "rules": {"name": setting.rules, "equal": equal, "shared": shared},
        "assumptions": [*setting.assumptions, f"{PLAIN_SAID}, for the laws"],
    }


def _change_dict(proof: Proof) -> dict[str, Any]:
    return {
        "helper": proof.helper,
        "level": proof.level,
        "condition": proof.condition,
        "smallest": {name: value.as_dict() for name, value in proof.inputs},
        "before": proof.results[0][1].as_dict(),
        "after": proof.results[1][1].as_dict(),
        "bits": proof.bits,
    }


def _law_dict(proof: Proof) -> dict[str, Any]:
    return {
        "law": proof.law,
        "helper": proof.helper,
        "with": proof.with_ or None,
        "setting": proof.assuming,
        "meaning": proof.meaning,
        "smallest": {name: value.as_dict() for name, value in proof.inputs},
        "results": {name: value.as_dict() for name, value in proof.results},
        "known": proof.excuse or None,
    }


def as_b4(review: Review) -> list[dict[str, Any]]:
    """Return what b4's review commands ask for: tool, status, summary, url, details."""
    worst = review.whole or review.patches[0]
    broken = any(each.breaks for each in review.all)
    changed = any(each.changes for each in review.all)
    return [
        {
            "tool": "pgtable",
            "status": "fail" if broken else "warn" if changed else "pass",
            "summary": verdict(worst),
            "url": "",
            "details": as_text(review),
        }
    ]
