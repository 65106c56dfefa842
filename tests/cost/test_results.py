# SPDX-License-Identifier: GPL-2.0-only
"""Saved costs: what is written is read again, by us and by pytest-benchmark."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from functools import partial

import pytest

from pgtable.cost import result_files
from pgtable.cost.result_files import Row
from pgtable.cost.statistics import summarise

#: Files have five digits.
approx = partial(pytest.approx, rel=1e-4)

PARAMS = {
    "helper": "pte_wrprotect",
    "engine": "cow",
    "shstk": True,
    "config": True,
    "way": "kernel",
    "compiler": "gcc 12.2.0",
    "mix": "half",
    "shape": "table",
}
EXTRA = {
    "cycles": 2.5,
    "cycles_low": 2.4,
    "cycles_high": 2.6,
    "overhead_ns": 0.3,
    "instructions": 9.0,
    "branches": 2.0,
    "mispredictions": None,
    "counted_by": "callgrind",
    "code_bytes": 41,
}
MACHINE = {"node": "here", "machine": "x86_64", "processor": "a processor"}
SAMPLES = [[1.0, 1.1, 1.2, 1.05, 9.0], [1.3, 1.2, 1.1, 1.15], [1.2, 1.3, 1.25, 1.1]]


def row(samples=SAMPLES, extra=EXTRA, **params):
    return Row(PARAMS | params, summarise(samples), dict(extra))


@pytest.fixture
def saved(tmp_path):
    """A file of two rows."""
    path = tmp_path / "cost.json"
    rows = [row(), row([[2.0, 2.1]], {}, shstk=None, config=None, engine="6.12.1-amd64")]
    result_files.save(path, result_files.document(MACHINE, rows))
    return path


def edited(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return path


def test_what_was_written_is_read(saved):
    read = result_files.load(saved)
    first, second = read.rows
    assert read.machine == MACHINE
    assert read.path == str(saved)
    assert read.version.startswith("pgtable ")
    assert read.datetime == json.loads(saved.read_text())["datetime"]
    assert first.params == PARAMS
    assert first.extra == EXTRA
    assert dataclasses.asdict(first.summary) == approx(
        dataclasses.asdict(summarise(SAMPLES)), rel=1e-4
    )
    assert second.params["engine"] == "6.12.1-amd64"
    assert second.params["shstk"] is None
    assert second.extra == dict.fromkeys(EXTRA)


def test_times_are_seconds_and_what_is_infinite_is_null(saved):
    first, second = json.loads(saved.read_text())["benchmarks"]
    summary = summarise(SAMPLES)
    assert first["stats"]["median"] == approx(summary.median * 1e-9)
    assert first["stats"]["hd15iqr"] == approx(1.3e-9)
    assert first["stats"]["outliers"] == f"{summary.stddev_outliers};{summary.outliers}" == "1;1"
    assert first["stats"]["total"] == approx(sum(map(sum, SAMPLES)) * 1e-9)
    assert first["stats"]["ops"] == approx(1e9 / summary.mean)
    assert first["stats"]["iqr"] == approx(summary.iqr * 1e-9)
    assert first["extra_info"]["low_ns"] == approx(summary.low)
    assert first["extra_info"]["high_ns"] == approx(summary.high)
    assert first["extra_info"]["processes"] == 3
    assert second["extra_info"]["low_ns"] is None
    assert second["extra_info"]["high_ns"] is None
    assert second["extra_info"]["noisy"] is True
    low, high = (getattr(result_files.load(saved).rows[1].summary, end) for end in ("low", "high"))
    assert (low, high) == (-math.inf, math.inf)


def test_every_row_is_a_line_and_no_rows_are_json_too(saved):
    lines = saved.read_text().splitlines()
    assert sum("pte_wrprotect" in line for line in lines) == 2
    result_files.save(saved, result_files.document(MACHINE, []))
    assert result_files.load(saved).rows == []


def test_names_say_what_it_is(saved):
    first, second = json.loads(saved.read_text())["benchmarks"]
    assert first["group"] == "pte_wrprotect, half, table"
    assert first["name"] == "cow shstk=y config=y, kernel, gcc 12.2.0"
    assert second["name"] == "6.12.1-amd64, kernel, gcc 12.2.0"
    assert result_files.engine_text(PARAMS | {"shstk": False, "config": None}) == "cow shstk=n"
    assert list(first["params"]) == list(result_files.PARAMS)


def test_a_cost_of_nothing_can_be_written(tmp_path):
    path = tmp_path / "cost.json"
    result_files.save(path, result_files.document(MACHINE, [row([[-0.1], [0.1], [0.0]])]))
    assert result_files.load(path).rows[0].summary.median == 0
    assert json.loads(path.read_text())["benchmarks"][0]["stats"]["ops"] == 0


def test_pytest_benchmark_reads_it(saved, environment):
    command = [sys.executable, "-m", "pytest_benchmark", "compare", saved.name]
    done = subprocess.run(
        [*command, "--group-by=param:helper", "--columns=min,median,iqr,outliers,ops,rounds"],
        cwd=saved.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if "cow shstk=y" in line)
    assert "'helper=pte_wrprotect': 2 tests" in done.stdout
    assert "6.12.1-amd64, kernel, gcc 12.2.0" in done.stdout
    assert "1;1" in line
    assert " 13 " in line + " "


def test_pytest_benchmark_compares_two(saved, environment):
    other = saved.parent / "other.json"
    faster = [[value / 2 for value in samples] for samples in SAMPLES]
    result_files.save(other, result_files.document(MACHINE, [row(faster)]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", saved.name, other.name],
        cwd=saved.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cow shstk=y config=y, kernel, gcc 12.2.0" in done.stdout
    assert "(othe" in done.stdout
    assert "(2.0" in done.stdout, "twice as quick"


class TestDocument:
    def test_a_measurement_twice(self):
        with pytest.raises(ValueError, match="measured twice: pte_wrprotect, cow shstk=y"):
            result_files.document(MACHINE, [row(), row()])

    @pytest.mark.parametrize("name", result_files.PARAMS)
    def test_rows_differ_by_each_parameter(self, name):
        other = "another" if isinstance(PARAMS[name], str) else None
        assert len(result_files.document(MACHINE, [row(), row(**{name: other})])["benchmarks"]) == 2

    def test_parameters_that_are_none(self):
        with pytest.raises(ValueError, match="parameters are helper; wanted helper, engine"):
            result_files.document(MACHINE, [Row({"helper": "x"}, summarise(SAMPLES))])

    def test_rows_are_found_by_parameters(self):
        rows = [row(), row(mix="clean"), row(mix="clean", shape="latency")]
        assert result_files.find(rows, mix="clean", shape="latency") == [rows[2]]
        assert result_files.find(rows, mix="clean") == rows[1:]


class TestBadFile:
    def fails(self, path, *words):
        with pytest.raises(ValueError, match=words[0]) as caught:
            result_files.load(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        assert all(word in text for word in words)

    def test_none(self, tmp_path):
        with pytest.raises(OSError, match="nowhere"):
            result_files.load(tmp_path / "nowhere.json")

    @pytest.mark.parametrize("content", [b"", b"pte", b"{", b"\xff\xfe\x00"])
    def test_no_json(self, tmp_path, content):
        path = tmp_path / "x.json"
        path.write_bytes(content)
        self.fails(path, "no JSON", "pgtable bench --save")

    @pytest.mark.parametrize("content", ["[]", "3", "{}"])
    def test_another_json(self, tmp_path, content):
        path = tmp_path / "x.json"
        path.write_text(content)
        self.fails(path, "has no benchmarks", "pgtable bench --save")

    def test_pytest_benchmarks_own(self, saved):
        edited(saved, lambda document: document.pop("pgtable_format"))
        self.fails(saved, "of another program", "pgtable_format")

    def test_another_format(self, saved):
        edited(saved, lambda document: document.update(pgtable_format=2, version="pgtable 9.0"))
        self.fails(saved, "is of format 2", "pgtable 9.0", "reads 1", "measure again")

    @pytest.mark.parametrize("key", ["machine_info", "datetime", "version"])
    def test_lacks_a_key(self, saved, key):
        edited(saved, lambda document: document.pop(key))
        self.fails(saved, f"lacks '{key}'")

    @pytest.mark.parametrize(
        ("part", "key"),
        [
            ("params", "mix"),
            ("params", "config"),
            ("stats", "median"),
            ("stats", "rounds"),
            ("extra_info", "low_ns"),
            ("extra_info", "noisy"),
        ],
    )
    def test_a_row_lacks_a_key(self, saved, part, key):
        edited(saved, lambda document: document["benchmarks"][1][part].pop(key))
        self.fails(saved, f"lacks '{key}'")

    @pytest.mark.parametrize(
        ("part", "key", "value"),
        [
            ("stats", "median", "quick"),
            ("stats", "min", None),
            ("stats", "rounds", True),
            ("extra_info", "high_ns", "x"),
            ("params", "helper", 7),
        ],
    )
    def test_a_value_is_none(self, saved, part, key, value):
        edited(saved, lambda document: document["benchmarks"][0][part].update({key: value}))
        self.fails(saved, "is damaged")

    @pytest.mark.parametrize("value", [None, 3, [1], [None]])
    def test_benchmarks_are_none(self, saved, value):
        edited(saved, lambda document: document.update(benchmarks=value))
        self.fails(saved, "is damaged")

    def test_the_same_twice(self, saved):
        edited(saved, lambda document: document["benchmarks"].append(document["benchmarks"][0]))
        self.fails(saved, "there twice")


def test_a_failed_save_leaves_the_file(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        result_files.save(saved, {"benchmarks": [object()]})
    with pytest.raises(ValueError, match="JSON"):
        result_files.save(saved, {"benchmarks": [math.nan]})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
