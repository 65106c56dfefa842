# SPDX-License-Identifier: GPL-2.0-only
"""Patches on the tree in miniature: what changes, for which entries, and which laws break."""

from __future__ import annotations

import difflib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pgtable
from pgtable.cli import main

from ..conftest import DATA, FAULTS, sample

pytest.importorskip("z3", reason="the extra prove is not installed")
pytest.importorskip("pyvex", reason="the extra prove is not installed")

from pgtable.review.mails import read_patches
from pgtable.review.review_report import as_b4, as_dict, as_text, verdict
from pgtable.review.review_results import PatchReview, Review
from pgtable.review.reviewing import Options, review_patches

MINI = DATA / "mini_tree"
MAIN = "arch/x86/include/asm/pgtable.h"
TYPES = "arch/x86/include/asm/pgtable_types.h"
BODIES = "arch/x86/mm/pgtable.c"


def diff(path: str, edits: dict[str, str], tree: Path = MINI) -> str:
    """Return a diff of one file of the tree in miniature."""
    before = after = (tree / path).read_text()
    for old, new in edits.items():
        assert after.count(old) == 1, f"{path} has {after.count(old)} times {old!r}"
        after = after.replace(old, new)
    lines = (before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(difflib.unified_diff(*lines))


def mail(title: str, *diffs: str) -> bytes:
    return f"From: A <a@example.org>\nSubject: {title}\n\nWhy.\n---\n{''.join(diffs)}".encode()


def review(*diffs: str, **options: object) -> PatchReview:
    patches = read_patches(mail("[PATCH] x", *diffs))
    return review_patches(patches, MINI, Options(**options)).patches[0]  # type: ignore[arg-type]


def changed(found: PatchReview) -> list[str]:
    return [each.helper for each in found.main.helpers.changed]


@pytest.mark.parametrize("name", sample(FAULTS, ["lost_dirty", "half_clean"]))
def test_a_fault_is_a_change_of_its_helpers_and_breaks_a_law(name: str) -> None:
    fault = FAULTS[name]
    found = review(diff(MAIN, fault.edits))
    assert set(fault.helpers) <= set(changed(found))
    assert {each.helper for each in found.main.laws.broken} & set(fault.helpers)
    assert found.breaks
    before = pgtable.kernel_tree(MINI, flags="-O1")
    for each in found.main.helpers.changed:
        (_, entry), *argument = each.inputs
        given = [value.value for _, value in argument]
        helper = before.helpers[each.helper]
        # the smallest entry is one for which the tree gives what is called "before"
        assert helper(entry.value, *given) == each.results[0][1].value


@pytest.mark.parametrize("name", sample(FAULTS, ["accidental_shadow_stack"]))
def test_the_mended_fault_is_mended(name: str) -> None:
    fault = FAULTS[name]
    wrong = read_patches(mail("[PATCH] wrong", diff(MAIN, fault.edits)))
    back = {new: old for old, new in fault.edits.items()}
    text = (MINI / MAIN).read_text()
    for old, new in fault.edits.items():
        text = text.replace(old, new)
    mended = text
    for old, new in back.items():
        mended = mended.replace(old, new)
    lines = (text.splitlines(True), mended.splitlines(True), f"a/{MAIN}", f"b/{MAIN}")
    patches = read_patches(mail("[PATCH] right", "".join(difflib.unified_diff(*lines))))
    found = review_patches(patches, MINI, Options(before=wrong)).patches[0]
    assert not found.breaks
    assert {each.helper for each in found.main.laws.mended} & set(fault.helpers)


def test_other_words_for_the_same_change_nothing() -> None:
    edit = {
        "return (pte_val(pte) & _PAGE_DIRTY_BITS) != 0;": (
            "return !!(pte_val(pte) & (_PAGE_SAVED_DIRTY | _PAGE_DIRTY));"
        )
    }
    found = review(diff(MAIN, edit))
    assert not found.changes
    assert not found.breaks
    assert "no helper changes" in verdict(found)
    assert len(found.main.helpers.equal) == found.main.helpers.total > 50


def test_the_condition_is_exact() -> None:
    fault = FAULTS["swapped_mask"]
    (change,) = review(diff(MAIN, fault.edits)).main.helpers.changed
    cases = change.condition.removeprefix("differs exactly where ").split("; or where ")
    assert sorted(cases) == ["ACCESSED=1", "Dirty=1"]
    assert change.bits == "ACCESSED|DIRTY"


def test_levels_that_were_forgotten() -> None:
    edits = {
        "return pte_set_flags(pte, _PAGE_ACCESSED);": (
            "return pte_set_flags(pte, _PAGE_ACCESSED | _PAGE_SOFT_DIRTY);"
        ),
        "return pmd_set_flags(pmd, _PAGE_ACCESSED);": (
            "return pmd_set_flags(pmd, _PAGE_ACCESSED | _PAGE_SOFT_DIRTY);"
        ),
    }
    found = review(diff(MAIN, edits))
    assert found.main.levels == ["mkyoung: changed for pte and pmd, unchanged for pud"]
    assert "the same in pmd_mkyoung" in as_text(Review("t", "r", [found]))


def test_a_flag_that_moved_is_one_cause() -> None:
    found = review(
        diff(TYPES, {"_PAGE_SOFT_DIRTY	(1UL << 11)": "_PAGE_SOFT_DIRTY	(1UL << 56)"}),
        diff(
            MAIN,
            {
                "/* pte */": "/* pte */\nstatic inline pte_t pte_mksoft_dirty(pte_t pte);\n"
                "static inline pte_t pte_mksoft_dirty(pte_t pte)\n"
                "{\n\treturn __pte(pte_val(pte) | _PAGE_SOFT_DIRTY);\n}\n"
            },
        ),
    )
    assert found.main.helpers.new == ["pte_mksoft_dirty"]
    given = read_patches(
        mail(
            "x",
            diff(
                MAIN,
                {
                    "/* pte */": "/* pte */\nstatic inline pte_t pte_mksoft_dirty(pte_t pte)\n"
                    "{\n\treturn __pte(pte_val(pte) | _PAGE_SOFT_DIRTY);\n}\n"
                },
            ),
        )
    )
    found = review(
        diff(TYPES, {"_PAGE_SOFT_DIRTY	(1UL << 11)": "_PAGE_SOFT_DIRTY	(1UL << 56)"}),
        before=given,
    )
    (moved,) = found.main.helpers.moved
    assert str(moved) == "SOFT_DIRTY moves from bit 11 to bit 56"
    explained = found.main.helpers.moved[moved]
    assert {"pte_mksoft_dirty", "pte_mkdirty", "pmd_mkdirty", "pud_mkdirty"} <= set(explained)
    assert set(changed(found)) == set(explained)


def test_helpers_that_come_and_go() -> None:
    edits = {
        "static inline pte_t pte_mkold(pte_t pte)\n{\n\treturn pte_clear_flags(pte,"
        " _PAGE_ACCESSED);\n}\n": "",
        "/* pmd */": "static inline bool pmd_special(pmd_t pmd)\n"
        "{\n\treturn pmd_val(pmd) & _PAGE_SPECIAL;\n}\n",
    }
    found = review(diff(MAIN, edits))
    assert found.main.helpers.new == ["pmd_special"]
    assert found.main.helpers.gone == ["pte_mkold"]
    assert verdict(found) == "1 new; 1 gone; laws as before"
    assert found.changes


OPTION = {
    "return pte_clear_flags(pte, _PAGE_DIRTY_BITS);": (
        "#ifdef CONFIG_NEW_CLEAN\n\tpte = pte_clear_flags(pte, _PAGE_SOFT_DIRTY);\n#endif\n"
        "\treturn pte_clear_flags(pte, _PAGE_DIRTY_BITS);"
    )
}


def test_both_settings_of_an_option_are_tried() -> None:
    found = review(diff(MAIN, OPTION))
    assert [each.label for each in found.settings] == ["", "CONFIG_NEW_CLEAN=y"]
    assert not found.main.helpers.changed
    assert [each.helper for each in found.settings[1].helpers.changed] == ["pte_mkclean"]
    found = review(diff(MAIN, OPTION), config={"CONFIG_NEW_CLEAN": True})
    assert [each.label for each in found.settings] == ["", "CONFIG_NEW_CLEAN=n"]
    assert changed(found) == ["pte_mkclean"]
    text = as_text(Review("t", "r", [found]))
    assert "CONFIG_NEW_CLEAN=n: all" in text
    assert "proved equal before and after" in text


def test_a_feature_of_another_patch_gets_a_free_bit() -> None:
    edit = {
        "return pud_val(pud) & _PAGE_RW;": (
            "return pud_val(pud) & _PAGE_RW && !cpu_feature_enabled(X86_FEATURE_NEW);"
        )
    }
    found = review(diff(MAIN, edit))
    assert any("X86_FEATURE_NEW is in no header here" in note for note in found.notes)
    found = review(diff(MAIN, edit), defined=["#define X86_FEATURE_NEW (3*32+1)"])
    assert not any("X86_FEATURE_NEW" in note for note in found.notes)


def test_bodies_that_are_in_a_source_file() -> None:
    text = (MINI / BODIES).read_text()
    name = re.search(r"pte_mkwrite_\w+\(pte\)", text)
    assert name is not None
    found = review(diff(BODIES, {"return pte_mkwrite_shstk(pte);": "return pte;"}))
    assert changed(found) == ["pte_mkwrite"]


def test_a_series_is_reviewed_patch_by_patch_and_as_a_whole() -> None:
    wrong = FAULTS["half_clean"].edits
    ((right, half),) = wrong.items()
    patched = (MINI / MAIN).read_text().replace(right, half)
    lines = (patched.splitlines(True), (MINI / MAIN).read_text().splitlines(True))
    back = "".join(difflib.unified_diff(*lines, f"a/{MAIN}", f"b/{MAIN}"))
    box = b"".join(
        b"From a@example.org Thu Jan  1 00:00:00 2026\n" + mail(title, text) + b"\n"
        for title, text in [
            ("[PATCH 3/3] docs", "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n"),
            ("[PATCH 1/3] wrong", diff(MAIN, wrong)),
            ("[PATCH 2/3] right", back),
        ]
    )
    found = review_patches(read_patches(box), MINI)
    assert [each.title for each in found.patches] == [
        "[PATCH 1/3] wrong", "[PATCH 2/3] right", "[PATCH 3/3] docs",
    ]  # fmt: skip
    assert [each.breaks for each in found.patches] == [True, False, False]
    assert not found.patches[2].concerned
    assert found.whole is not None
    assert not found.whole.changes
    assert not found.whole.breaks


def test_the_report_fits_a_mail() -> None:
    patches = read_patches(mail("[PATCH] x", diff(MAIN, FAULTS["lost_dirty"].edits)))
    found = review_patches(patches, MINI)
    text = as_text(found)
    assert max(map(len, text.splitlines())) <= 80
    first, second, *_ = text.splitlines()
    assert first == "review of: [PATCH] x"
    assert second.startswith("verdict: 1 of ")
    places = [text.index(word) for word in ("\nhelpers:", "\nlaws:", "\nrules:", "\nproved for")]
    assert places == sorted(places)
    values = json.loads(json.dumps(as_dict(found)))
    (patch,) = values["patches"]
    assert patch["breaks"] is True
    assert patch["settings"][0]["helpers"]["changed"][0]["helper"] == "pmd_modify"
    (b4,) = as_b4(found)
    assert (b4["status"], b4["tool"], b4["details"]) == ("fail", "pgtable", text)


def test_nothing_of_a_mail_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = (
        "static __attribute__((constructor)) void run_me(void)\n"
        f'{{ asm volatile("nop"); *(volatile int *)0 = 1; /* {trace} */ }}\n'
    )
    found = review(diff(MAIN, {"/* pte */": f"/* pte */\n{code}"}))
    assert not found.changes
    with pytest.raises(ValueError, match="headers do not compile"):
        review(diff(MAIN, {"/* pte */": '#include "/etc/shadow"\n'}))
    assert not trace.exists()


# ---- the command line


@pytest.fixture
def patch(tmp_path: Path) -> Callable[..., str]:
    def write(content: bytes, name: str = "patch") -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


WRONG = mail("[PATCH] wrong", diff(MAIN, FAULTS["half_clean"].edits))
YOUNG = mail(
    "[PATCH] soft",
    diff(MAIN, {
        "return pte_set_flags(pte, _PAGE_ACCESSED);":
        "return pte_set_flags(pte, _PAGE_ACCESSED | _PAGE_SOFT_DIRTY);",
        "return pmd_set_flags(pmd, _PAGE_ACCESSED);":
        "return pmd_set_flags(pmd, _PAGE_ACCESSED | _PAGE_SOFT_DIRTY);",
        "return pud_set_flags(pud, _PAGE_ACCESSED);":
        "return pud_set_flags(pud, _PAGE_ACCESSED | _PAGE_SOFT_DIRTY);",
    }),
)  # fmt: skip
ELSEWHERE = mail("[PATCH] doc", "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n")


def test_exit_codes(patch: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    tree = ["--tree", str(MINI)]
    assert main(["review", patch(WRONG), *tree]) == 1
    assert main(["review", patch(YOUNG), *tree]) == 0
    assert main(["review", patch(YOUNG), *tree, "--strict"]) == 1
    capsys.readouterr()
    assert main(["review", patch(ELSEWHERE), *tree]) == 0
    assert "not concerned" in capsys.readouterr().out
    assert main(["review", patch(ELSEWHERE), "--tree", "/nonexistent", "--strict"]) == 0
    capsys.readouterr()
    stale = WRONG.replace(b" {\n", b" {{\n")
    assert main(["review", patch(stale), *tree]) == 2
    error = capsys.readouterr().err
    assert re.match(rf"pgtable: error: {MAIN}: hunk 1, for line \d+, does not apply", error)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v1..v2"], "needs --repo DIR"),
        (["/nonexistent.patch"], "/nonexistent.patch"),
        ([str(DATA / "mini_tree" / MAIN)], "there is no diff in it"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", *arguments, "--tree", str(MINI)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_range_of_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "linux"
    shutil.copytree(MINI, repository)

    def git(*words: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(repository), *identity, *words]
        subprocess.run(command, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A", "-f")
    git("commit", "-qm", "start")
    header = repository / MAIN
    for old, new in FAULTS["half_clean"].edits.items():
        header.write_text(header.read_text().replace(old, new))
    git("commit", "-qam", "x86/mm: Clean half")
    arguments = ["review", "HEAD~1..HEAD", "--repo", str(repository), "--tree", str(MINI)]
    assert main([*arguments, "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["patches"][0]["title"] == "[PATCH] x86/mm: Clean half"
    assert main(["review", "HEAD..HEAD", "--repo", str(repository), "--tree", str(MINI)]) == 2
    assert "no commit in this range" in capsys.readouterr().err


def test_b4_runs_it(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    checks = pytest.importorskip("b4.review.checks", reason="b4 is not installed")
    email = pytest.importorskip("email")
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, environment[name])
    command = f"{sys.executable} -m pgtable review - --b4 --tree {MINI}"
    mails = {
        name: email.message_from_bytes(text, policy=email.policy.default)
        for name, text in (("wrong", WRONG), ("young", YOUNG), ("doc", ELSEWHERE))
    }
    mails["cover"] = email.message_from_string("Subject: [PATCH 0/2] x\n\nNo diff.\n")
    found = checks.run_perpatch_checks(list(mails.items()), [command], "/")
    assert {name: [one["status"] for one in each] for name, each in found.items()} == {
        "wrong": ["fail"], "young": ["warn"], "doc": ["pass"], "cover": ["pass"],
    }  # fmt: skip
    assert found["wrong"][0]["summary"].startswith("1 of ")
    assert "pud_mkclean" in found["wrong"][0]["details"]
