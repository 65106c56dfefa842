# SPDX-License-Identifier: GPL-2.0-only
"""Diffs are applied where GNU patch applies them, and with the same result."""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtable.review.applying import apply, is_applied
from pgtable.review.diffs import read_diffs
from pgtable.review.errors import PatchError

FILE = "include/linux/a.h"


def diff_of(old: str, new: str, context: int = 3) -> str:
    lines = difflib.unified_diff(
        old.splitlines(True), new.splitlines(True), f"a/{FILE}", f"b/{FILE}", n=context
    )
    return "".join(lines)


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def text_of(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_an_offset_is_said() -> None:
    old = numbered(30)
    new = [*old[:20], "come", *old[21:]]
    (diff,) = read_diffs(diff_of(text_of(old), text_of(new)))
    before = ["more", "and more", *old]
    applied = apply(diff, text_of(before))
    assert applied.text == text_of(["more", "and more", *new])
    assert applied.notes == (f"{FILE}: hunk 1 applied (2 lines later)",)


def test_fuzz_is_said() -> None:
    old = numbered(30)
    (diff,) = read_diffs(diff_of(text_of(old), text_of([*old[:10], "come", *old[11:]])))
    other = [*old[:7], "another", *old[8:]]
    applied = apply(diff, text_of(other))
    assert applied.text == text_of([*other[:10], "come", *other[11:]])
    assert applied.notes == (f"{FILE}: hunk 1 applied (fuzz 1)",)


def test_a_hunk_that_fits_nowhere_shows_what_stands_there() -> None:
    old = numbered(30)
    (diff,) = read_diffs(diff_of(text_of(old), text_of([*old[:10], "come", *old[11:]])))
    other = [*old[:10], "another", *old[11:]]
    with pytest.raises(PatchError) as caught:
        apply(diff, text_of(other))
    said = str(caught.value)
    assert said.startswith(f"{FILE}: hunk 1, for line 8, does not apply: line 11 is 'another'")
    assert "the patch expects 'line 10'" in said
    assert not is_applied(diff, text_of(other))


def test_a_patch_that_is_applied_already() -> None:
    old = numbered(30)
    new = [*old[:10], "come", *old[11:]]
    (diff,) = read_diffs(diff_of(text_of(old), text_of(new)))
    assert is_applied(diff, text_of(new))
    assert not is_applied(diff, text_of(old))


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "\tx", "}"]), min_size=1, max_size=25)


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """Return a text, another that is made of it, and a third that the diff is for."""
    old = draw(LINES)
    texts = []
    for most in (3, 2):
        lines = list(old)
        for _ in range(draw(st.integers(0, most))):
            at = draw(st.integers(0, len(lines)))
            some = draw(st.lists(st.sampled_from(["new", "a", ""]), max_size=2))
            lines[at : at + draw(st.integers(0, 2))] = some
        texts.append(lines)
    return old, texts[0], texts[1]


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=edits(), context=st.integers(1, 3))
def test_as_gnu_patch_does_it(
    texts: tuple[list[str], list[str], list[str]], context: int, tmp_path: Path
) -> None:
    old, new, other = map(text_of, texts)
    text = diff_of(old, new, context)
    if not text or not other:
        return
    (diff,) = read_diffs(text)
    file = tmp_path / "file"
    file.write_text(other)
    command = ["patch", "--silent", "--force", "--no-backup-if-mismatch", "-r", "-", str(file)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        return  # it may refuse what lies nowhere near; ours says what it did
    theirs = file.read_text() if file.exists() else ""
    assert apply(diff, other).text == theirs


@settings(max_examples=200, deadline=None)
@given(edits(), st.integers(0, 3))
def test_on_the_text_itself_nothing_is_said(
    texts: tuple[list[str], list[str], list[str]], context: int
) -> None:
    old, new, _ = map(text_of, texts)
    for diff in read_diffs(diff_of(old, new, context)):
        applied = apply(diff, old)
        assert applied.text == new
        assert applied.notes == ()
