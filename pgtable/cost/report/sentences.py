# SPDX-License-Identifier: GPL-2.0-only
"""The sentences of the cost report that have numbers in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..result_files import Row
from .by_stage import BEFORE, MERGED, MIXES, PATCH, PATCH_OFF, PATCH_OUT, Costs, CostValue, Stage
from .tables import DISCUSSED, NOISY, mix_text, number

_WHERE = {
    "clean": "where all entries are clean",
    "dirty": "where all are dirty",
    "half": "where half are dirty at random",
    "sorted": "where the dirty ones come last",
}


def machine(costs: Costs) -> str:
    """Return what machine and software was measured with, and how noisy it was."""
    known = costs.results.machine
    caches = ", ".join(f"{level} {size}" for level, size in known.get("caches", {}).items())
    rows = costs.results.rows
    noisy = sum(row.summary.noisy for row in rows)
    outliers = sum(row.summary.outliers for row in rows)
    samples = sum(row.summary.samples for row in rows)
    processes = max(row.summary.processes for row in rows)
    text = [
        f"Measured on {costs.results.datetime[:10]}: {known.get('processor', 'unknown')},"
        f" {known.get('processors', '?')} processors ({caches}); {known.get('system', 'unknown')};"
        f" {', '.join(costs.compilers)}; {costs.results.version}.",
        f"{len(rows):,} measurements in {processes} processes"
        + (f", {known['seconds']:.0f} seconds in all" if "seconds" in known else "")
        + f"; {outliers / samples:.1%} of {samples:,} samples are outliers{_left_out(rows)};"
        f" {noisy:,} measurements are noisy and marked {NOISY}.",
        _clock(rows),
        _counter(rows),
    ]
    return " ".join(filter(None, text))


def _left_out(rows: Sequence[Row]) -> str:
    disturbed = sum(row.extra.get("disturbed") or 0 for row in rows)
    if not disturbed:
        return ""
    return f", {disturbed:,} more were left out, as another thread shared the core"


def _clock(rows: Sequence[Row]) -> str:
    # only of slow rows: a ratio of costs near 0 means nothing
    slow = [row for row in rows if row.summary.median > 1 and row.extra["cycles"]]
    if not slow:
        return ""
    ghz = sorted(row.extra["cycles"] / row.summary.median for row in slow)[len(slow) // 2]
    by = {row.extra.get("cycles_by") for row in slow}
    how = "by the processor's counter" if by == {"perf"} else "as a chain of additions beside it"
    return f"A nanosecond was {ghz:.2f} cycles of the core, measured {how}."


def _counter(rows: Sequence[Row]) -> str:
    names = {
        "perf": "the processor's counters (Linux perf events)",
        "callgrind": "valgrind's callgrind, as this machine has no perf events: instructions and"
        " branches are exact, mispredictions are those of its simple predictor",
    }
    found = [names[row.extra["counted_by"]] for row in rows if row.extra["counted_by"]]
    if not found:
        return "Instructions were not counted: neither perf events nor valgrind could be had."
    return f"Instructions were counted by {found[0]}."


def notes(costs: Costs) -> str:
    """Return what was not measured and why, a line each."""
    found = costs.results.machine.get("notes", [])
    return "\n".join(f"- {note}" for note in found) or "Everything that was asked for was measured."


def flags(costs: Costs) -> str:
    """Return the flags of each way of compiling."""
    found = costs.results.machine.get("flags", {})
    return "\n".join(f"- {way}: `{' '.join(words)}`" for way, words in found.items())


def headline(costs: Costs) -> str:
    """Return the first helper in a sentence, for the README."""
    helper = DISCUSSED[0]
    mixes = [_part(costs, helper, PATCH, mix) for mix in ("clean", "dirty", "half")]
    known = costs.results.machine
    return (
        f"On this machine ({known.get('processor', 'unknown')}, {costs.compilers[0]}), compiled as"
        f" the kernel compiles it, `{helper}` costs {_range(costs, helper, BEFORE)} an entry before"
        f" the patch; in the patch {', '.join(mixes)}; as merged"
        f" {_range(costs, helper, MERGED)} whatever the mix."
    )


def findings(costs: Costs) -> str:
    """Return a paragraph on the numbers of each discussed helper."""
    return "\n".join(f"- {_finding(costs, helper)}" for helper in DISCUSSED)


def _finding(costs: Costs, helper: str) -> str:
    worst = costs.worst(helper, PATCH)
    best = costs.worst(helper, PATCH, min)
    if worst is None or best is None:
        return f"`{helper}`: not measured."
    parts = [
        f"`{helper}`: before the patch {_range(costs, helper, BEFORE)}. The patch:"
        f" {_part(costs, helper, PATCH, best)}, {_part(costs, helper, PATCH, worst)}."
        f" As merged: {_range(costs, helper, MERGED)}."
    ]
    for mix in dict.fromkeys((best, worst)):
        parts.append(_against(costs, helper, mix))
    parts.append(_misprediction(costs, helper, worst))
    parts += [
        _on_file(costs, helper, mix) for mix in costs.mixes(helper=helper) if mix not in MIXES
    ]
    off = costs.worst(helper, PATCH_OFF)
    if off:
        parts.append(
            f"On a processor without the feature the patch costs up to"
            f" {_cost(costs, helper, PATCH_OFF, off)} ({mix_text(off)})."
        )
    out = _apart(costs, helper, PATCH_OUT, BEFORE)
    if out is not None:
        parts.append(
            "Compiled out, it cannot be told from before on any mix."
            if not out
            else f"Compiled out, it differs from before ({', '.join(out)})."
        )
    return " ".join(filter(None, parts))


def _against(costs: Costs, helper: str, mix: str) -> str:
    """Compare the patch with what was merged on one mix."""
    patch = costs.value(costs.row(helper, PATCH, mix))
    merged = costs.value(costs.row(helper, MERGED, mix))
    if patch is None or merged is None:
        return ""
    where = _WHERE.get(mix, f"on {mix_text(mix)}")
    if not patch.apart_from(merged):
        return f"{where[0].upper()}{where[1:]}, patch and merged cannot be told apart."
    more = patch.median - merged.median
    reach = math.hypot(patch.reach, merged.reach)
    word = "more" if more > 0 else "less"
    return (
        f"{where[0].upper()}{where[1:]}, the patch costs {number(abs(more))} ±{number(reach)}"
        f" {costs.unit} {word} than merged."
    )


def _on_file(costs: Costs, helper: str, mix: str) -> str:
    """Return what it costs for the entries of a file."""
    found = [_cost(costs, helper, stage, mix) for stage in (BEFORE, PATCH, MERGED)]
    return f"Over the entries of {mix_text(mix)}: {found[0]} before, {found[1]} in the patch," + (
        f" {found[2]} as merged."
    )


def _misprediction(costs: Costs, helper: str, worst: str) -> str:
    """Return what a misprediction costs, if the random mix is the worst."""
    random = costs.row(helper, PATCH, "half")
    steady = [costs.value(costs.row(helper, PATCH, mix)) for mix in ("clean", "dirty")]
    value = costs.value(random)
    if worst != "half" or random is None or value is None or None in steady:
        return ""
    missed = random.extra["mispredictions"]
    if not missed or missed < 0.1:
        return ""
    usual = sum(one.median for one in steady if one) / len(steady)
    return (
        f"There {number(missed)} branches an entry are mispredicted, at"
        f" {number((value.median - usual) / missed, 0)} {costs.unit} each."
    )


def _apart(costs: Costs, helper: str, stage: Stage, other: Stage) -> list[str] | None:
    """Return the mixes for which two stages differ; None if nothing was measured."""
    found = None
    for mix in MIXES:
        a, b = (costs.value(costs.row(helper, which, mix)) for which in (stage, other))
        if a and b:
            found = [] if found is None else found
            if a.apart_from(b):
                found.append(mix)
    return found


def _part(costs: Costs, helper: str, stage: Stage, mix: str) -> str:
    return f"{_cost(costs, helper, stage, mix)} {_WHERE.get(mix, f'on {mix_text(mix)}')}"


def _cost(costs: Costs, helper: str, stage: Stage, mix: str) -> str:
    value = costs.value(costs.row(helper, stage, mix))
    if value is None:
        return "(not measured)"
    return f"{_with_reach(value)} {costs.unit}"


def _with_reach(value: CostValue) -> str:
    reach = number(value.reach) if math.isfinite(value.reach) else "?"
    return f"{number(value.median)} ±{reach}"


def _range(costs: Costs, helper: str, stage: Stage) -> str:
    """Return the least and the most over the mixes; one number if they do not differ."""
    values = [
        value for mix in MIXES if (value := costs.value(costs.row(helper, stage, mix))) is not None
    ]
    if not values:
        return "(not measured)"
    low = min(values, key=lambda value: value.median)
    high = max(values, key=lambda value: value.median)
    if number(low.median) == number(high.median):
        return f"{number(low.median)} {costs.unit}"
    return f"{number(low.median)} to {number(high.median)} {costs.unit}"


def kernels(costs: Costs) -> str:
    """Return how many real helpers agree with ours, and which differ with the same code."""
    texts = []
    for kernel in costs.kernels:
        pairs = [pair for pair in costs.pairs(kernel) if pair.real.params["way"] != "vector"]
        same = [pair for pair in pairs if pair.same_code]
        if not pairs:
            continue
        apart = [pair for pair in same if _pair_apart(costs, pair)]
        text = (
            f"{kernel.title} ({kernel.engine}): {len(pairs)} measurements of helpers that both"
            f" have, not vectorised; in {len(same)} the code is the same (bytes, instructions and"
            f" branches), and of these {len(same) - len(apart)} agree within their intervals"
        )
        text += f"; not: {_listed(pair.real for pair in apart)}" if apart else ""
        other = dict.fromkeys(
            f"`{pair.real.params['helper']}`" for pair in pairs if not pair.same_code
        )
        text += f". Other code: {', '.join(other) or 'none'}."
        texts.append(f"- {text}")
    return "\n".join(texts) or "No real headers were measured; the notes say why."


def _pair_apart(costs: Costs, pair: Any) -> bool:
    real, ours = costs.value(pair.real), costs.value(pair.ours)
    return bool(real and ours and real.apart_from(ours))


def _listed(rows: Iterable[Row]) -> str:
    return ", ".join(
        f"`{row.params['helper']}` ({mix_text(row.params['mix'])}, {row.params['shape']},"
        f" {row.params['way']}, {row.params['compiler']})"
        for row in rows
    )


def repeated(repeat: dict[str, Any] | None) -> str:
    """Return how two runs agreed, one after the other."""
    if repeat is None:
        return "Not measured; `make cost-report REPEAT=1` does."
    agreement = repeat["agreement"]
    agree, of = (sum(pair[i] for pair in agreement.values()) for i in (0, 1))
    mostly = [name for name, (part, all_) in agreement.items() if part >= 0.9 * all_]
    worst = min(agreement, key=lambda name: agreement[name][0] / agreement[name][1])
    return (
        f"Two runs on {repeat['datetime'][:10]}, one after the other: {agree:,} of {of:,}"
        f" measurements ({agree / of:.1%}) agree within their stated intervals;"
        f" {len(mostly)} of {len(agreement)} helpers do in at least nine of ten of theirs (least:"
        f" `{worst}`, {agreement[worst][0]} of {agreement[worst][1]})."
        f" `pgtable bench compare` found {repeat['slower']} really slower and {repeat['quicker']}"
        f" really quicker by more than {repeat['threshold_percent']:g} %."
    )
