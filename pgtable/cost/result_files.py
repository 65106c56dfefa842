# SPDX-License-Identifier: GPL-2.0-only
"""Measured costs as a file, in the shape of pytest-benchmark's, whose tools read it.

``stats`` has pytest-benchmark's names and its unit, seconds (here of one entry).  The rest is in
``extra_info``: the interval, in nanoseconds and cycles, and the counts.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..files import replacing
from .statistics import Summary

#: Changes when older documents can no longer be read.
FORMAT = 1

#: Two rows with the same values of these are the same measurement.  They are printed in this order.
PARAMS = ("helper", "engine", "shstk", "config", "way", "compiler", "mix", "shape")

#: What else a row may have; null if it is unknown.  All but the last two are per entry.
EXTRA = (
    "cycles",
    "cycles_low",
    "cycles_high",
    "overhead_ns",
    "instructions",
    "branches",
    "mispredictions",
    "counted_by",
    "code_bytes",
)

#: Key in stats -> field of Summary, for all values in seconds.
_TIMES = {
    "min": "min",
    "max": "max",
    "mean": "mean",
    "stddev": "stddev",
    "median": "median",
    "q1": "q1",
    "q3": "q3",
    "ld15iqr": "lowest_within",
    "hd15iqr": "highest_within",
}
_COUNTS = {
    "rounds": "samples",
    "iqr_outliers": "outliers",
    "stddev_outliers": "stddev_outliers",
}
_NS = 1e9
#: More digits than any clock has.
_DIGITS = 5


@dataclass(frozen=True)
class Row:
    """One measurement: of what (``PARAMS``), how long, and what else is known (``EXTRA``)."""

    params: dict[str, Any]
    summary: Summary
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """Return the key that the same measurement has in another document."""
        return tuple(self.params[name] for name in PARAMS)


@dataclass(frozen=True)
class CostResults:
    """A document that was read."""

    path: str
    machine: dict[str, Any]
    datetime: str
    version: str  #: the version of pgtable that measured
    rows: list[Row]


def engine_text(params: Mapping[str, Any]) -> str:
    """Return the engine and its switches, such as ``cow shstk=y config=n``."""
    words = [params["engine"]]
    for switch in ("shstk", "config"):
        if params[switch] is not None:
            words.append(f"{switch}={'y' if params[switch] else 'n'}")
    return " ".join(words)


def row_text(params: Mapping[str, Any]) -> str:
    """Return a row's name in one line: helper, engine, mix, shape, way and compiler."""
    return (
        f"{params['helper']}, {engine_text(params)}, {params['mix']}, {params['shape']},"
        f" {params['way']}, {params['compiler']}"
    )


def document(machine: Mapping[str, Any], rows: Iterable[Row]) -> dict[str, Any]:
    """Return the JSON document of these rows.

    machine: what becomes ``machine_info``.
    Raises ValueError for parameters that are not ``PARAMS``, or are there twice.
    """
    from .. import __version__  # noqa: PLC0415 - at import it is not there yet

    benchmarks = []
    seen = set()
    for row in rows:
        if set(row.params) != set(PARAMS):
            raise ValueError(f"parameters are {', '.join(row.params)}; wanted {', '.join(PARAMS)}")
        if row.key in seen:
            raise ValueError(f"measured twice: {row_text(row.params)}")
        seen.add(row.key)
        benchmarks.append(_benchmark(row))
    return {
        "machine_info": dict(machine),
        "commit_info": {},
        "datetime": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": f"pgtable {__version__}",
        "pgtable_format": FORMAT,
        "benchmarks": benchmarks,
    }


def _benchmark(row: Row) -> dict[str, Any]:
    params = {name: row.params[name] for name in PARAMS}
    name = f"{engine_text(params)}, {params['way']}, {params['compiler']}"
    return {
        "group": f"{params['helper']}, {params['mix']}, {params['shape']}",
        "name": name,
        "fullname": row_text(params),
        "params": params,
        "param": None,
        "extra_info": _extra_info(row),
        "options": {},
        "stats": _stats(row.summary),
    }


def _extra_info(row: Row) -> dict[str, Any]:
    summary = row.summary
    known = {
        "median_ns": summary.median,
        "low_ns": summary.low,
        "high_ns": summary.high,
        **dict.fromkeys(EXTRA),
        **row.extra,
        "noisy": summary.noisy,
        "processes": summary.processes,
        "outliers": summary.outliers,
    }
    return {name: _plain(value) for name, value in known.items()}


def _stats(summary: Summary) -> dict[str, Any]:
    total = summary.mean * summary.samples
    return {
        **{key: _plain(getattr(summary, name) / _NS) for key, name in _TIMES.items()},
        "iqr": _plain(summary.iqr / _NS),
        **{key: getattr(summary, name) for key, name in _COUNTS.items()},
        "outliers": f"{summary.stddev_outliers};{summary.outliers}",
        # the cost of a helper that does nothing may be zero or negative
        "ops": _plain(_NS / summary.mean) if summary.mean > 0 else 0,
        "total": _plain(total / _NS),
        "iterations": 1,
    }


def _plain(value: Any) -> Any:
    """Return the value for JSON: rounded; null if it is not finite."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def save(path: str | os.PathLike[str], saved: Mapping[str, Any]) -> None:
    """Write the document.  An existing file is replaced only by a complete one.

    Raises OSError where it cannot be written.
    """
    text = "".join(_lines(saved))
    with replacing(path) as file:
        file.write(text.encode())


def _lines(saved: Mapping[str, Any]) -> Iterator[str]:
    """Return the document with a line for each key and each row: small, and easy to compare."""
    dumps = partial(json.dumps, allow_nan=False)
    separator = "{\n"
    for key, value in saved.items():
        yield f"{separator} {dumps(key)}: "
        separator = ",\n"
        if key == "benchmarks" and value:
            rows = ",\n  ".join(map(dumps, value))
            yield f"[\n  {rows}\n ]"
        else:
            yield dumps(value)
    yield "\n}\n"


def load(path: str | os.PathLike[str]) -> CostResults:
    """Read a document.

    Raises OSError if it cannot be read; ValueError, in one line, if it is not JSON, not such a
    document, of another format, or incomplete.
    """
    try:
        saved = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: is no JSON ({error}); {_MEND}") from None
    if not isinstance(saved, dict) or "benchmarks" not in saved:
        raise ValueError(f"{path}: has no benchmarks; {_MEND}")
    if "pgtable_format" not in saved:
        raise ValueError(f"{path}: is of another program, it has no pgtable_format; {_MEND}")
    if saved["pgtable_format"] != FORMAT:
        raise ValueError(
            f"{path}: is of format {saved['pgtable_format']}, written by"
            f" {saved.get('version', 'an unknown pgtable')}; this one reads {FORMAT}: measure again"
        )
    try:
        return _results(str(path), saved)
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}; it is damaged, measure again") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged ({error}), measure again") from None


_MEND = "write one with 'pgtable bench --save'"


def _results(path: str, saved: dict[str, Any]) -> CostResults:
    rows = [_row(benchmark) for benchmark in saved["benchmarks"]]
    found = {row.key for row in rows}
    if len(found) < len(rows):
        raise TypeError("a measurement is there twice")
    return CostResults(path, {**saved["machine_info"]}, saved["datetime"], saved["version"], rows)


def _row(benchmark: Mapping[str, Any]) -> Row:
    stats, extra = benchmark["stats"], dict(benchmark["extra_info"])
    known: dict[str, Any] = {
        **{name: _number(stats, key) * _NS for key, name in _TIMES.items()},
        **{name: int(_number(stats, key)) for key, name in _COUNTS.items()},
        "low": -math.inf if extra["low_ns"] is None else _number(extra, "low_ns"),
        "high": math.inf if extra["high_ns"] is None else _number(extra, "high_ns"),
        "processes": int(_number(extra, "processes")),
        "noisy": bool(extra["noisy"]),
    }
    for name in ("median_ns", "low_ns", "high_ns", "processes", "noisy", "outliers"):
        extra.pop(name)
    params = {name: benchmark["params"][name] for name in PARAMS}
    for name in set(PARAMS) - {"shstk", "config"}:
        if not isinstance(params[name], str):
            raise TypeError(f"{name} is {params[name]!r}, no text")
    return Row(params, Summary(**known), {**dict.fromkeys(EXTRA), **extra})


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {value!r}, no number")
    return value


def find(rows: Sequence[Row], **params: Any) -> list[Row]:
    """Return the rows whose parameters have these values."""
    return [row for row in rows if all(row.params[name] == v for name, v in params.items())]
