# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable check`` from the command line."""

import json

import pytest

from pgtable.checks.differential import check
from pgtable.cli import check as command
from pgtable.cli import main
from pgtable.engines.forms import Form
from pgtable.engines.native import NativeEngine
from pgtable.engines.switches import COMBINATIONS, Chosen


@pytest.fixture(autouse=True)
def _only_check(monkeypatch):
    monkeypatch.setattr("pgtable.cli.COMMANDS", ("check",))


def test_clean(capsys):
    assert main(["check", "--rules", "base", "--random", "1000"]) == 0
    out = capsys.readouterr().out
    assert "A: native(rules='base', shstk=False, config=False)" in out
    assert "B: reference(rules='base', shstk=False, config=False)" in out
    assert out.rstrip().endswith("no difference")


def test_all_as_json(capsys):
    assert main(["check", "--all", "--json", "--random", "0", "--seed", "3"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [value["engine"] for value in values] == [f"native({c})" for c in COMBINATIONS]
    assert all(value["clean"] for value in values)


def test_both_what_is_written_and_what_runs(monkeypatch, capsys):
    assert main(["check", "--random", "0", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["without_forms"]["engine"] == value["engine"][:-1] + ", forms=False)"
    assert value["without_forms"]["inputs"] == value["inputs"]
    monkeypatch.setenv("PGTABLE_FORMS", "0")
    assert main(["check", "--random", "0", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["engine"].endswith("forms=False)")
    assert "without_forms" not in value


def test_a_wrong_form_is_found(monkeypatch, capsys):
    wrong = Form(keep=0, set=0, to_cow=0, to_dirty=0)
    monkeypatch.setattr("pgtable.engines.native.found_form", lambda handle, argument: wrong)
    engine = NativeEngine(Chosen(COMBINATIONS[0], "", None), "baseline", forms=True)
    monkeypatch.setattr(command, "engine_of", lambda args: engine)
    assert main(["check", "--random", "0"]) == 1
    forms, text = capsys.readouterr().out.split("\n\nA: ")
    assert "pte_mkold: " in forms
    assert text.rstrip().endswith("no difference")


def test_differences_exit_1(faulty, monkeypatch, capsys):
    engine = faulty(faults={"pte_mkold": lambda sound, v: v})
    monkeypatch.setattr(command, "engine_of", lambda args: engine)
    assert main(["check", "--random", "0"]) == 1
    assert "pte_mkold: " in capsys.readouterr().out
    assert main(["check", "--random", "0", "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert [each["helper"] for each in value["differences"]] == ["pte_mkold"]


def test_options_reach_the_check(monkeypatch, capsys):
    seen = {}

    def spy(engine, **options):
        seen.update(options, engine=engine.name)
        return check(engine, random_entries=0)

    monkeypatch.setattr(command, "check", spy)
    assert main(["check", "--no-shstk", "--random", "12", "--seed", "7"]) == 0
    assert (seen["random_entries"], seen["seed"]) == (12, 7)
    assert seen["engine"] == "native(rules='cow', shstk=False, config=True, forms=False)"


@pytest.mark.parametrize("arguments", [["--random", "-1"], ["--random", "x"], ["--rules", "cows"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", *arguments])
    assert caught.value.code == 2


def test_no_such_combination(capsys):
    assert main(["check", "--rules", "base", "--shstk"]) == 2
    assert "no such combination" in capsys.readouterr().err
