# SPDX-License-Identifier: GPL-2.0-only
"""A cache that somebody else can write to is refused; one that is damaged heals."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import pgtable
from pgtable.cli import main
from pgtable.kernel_trees import KernelTreeError, cache_directory, clear_cache

from ..conftest import sample

QUICK = {"flags": "-O1", "forms": False}
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a tree, and a directory with a cache that has it."""
    place = tmp_path_factory.mktemp("filled")
    tree = place / "tree"
    shutil.copytree(DATA / "mini_tree", tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGTABLE_CACHE_DIR", str(place / "cache"))
        pgtable.kernel_tree(tree, **QUICK)
    return tree, place / "cache"


@pytest.fixture
def tree(filled, tmp_path, monkeypatch):
    """Return the tree; the cache in force is a copy of the filled one."""
    shutil.copytree(filled[1], tmp_path / "cache")
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))
    return filled[0]


@pytest.fixture
def cache(tree):
    return cache_directory()


def the_build(cache):
    (build,) = (cache / "builds").iterdir()
    return build


def refused(tree, said):
    """The tree is refused by the API and by every command, in one line, and nothing is run."""
    with pytest.raises(KernelTreeError, match=said) as caught:
        pgtable.kernel_tree(tree, **QUICK)
    assert "\n" not in str(caught.value)
    assert "PGTABLE_CACHE_DIR" in str(caught.value)


def heals(tree, said):
    """The tree is used all the same; what was wrong is said once, and then no more."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert pgtable.kernel_tree(tree, **QUICK).pte_mkyoung(0) == 0x20
        assert [said in str(one.message) for one in warned] == [True]
        assert pgtable.kernel_tree(tree, **QUICK).pte_mkyoung(0) == 0x20
        assert len(warned) == 1


def test_filled_cache_is_used(tree, cache):
    before = the_build(cache).stat().st_mtime_ns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pgtable.kernel_tree(tree, **QUICK).pte_mkyoung(0) == 0x20
    assert the_build(cache).stat().st_mtime_ns == before


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_made_for_us_alone(filled, tmp_path, monkeypatch, umask):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "new" / "place"))
    before = os.umask(umask)
    try:
        pgtable.kernel_tree(filled[0], **QUICK)
    finally:
        os.umask(before)
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {path.name for path in made} >= {"new", "kernel_tree", "builds", "known", "helpers.so"}
    for path in made:
        mode = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) & ~0o100 == mode & ~0o100, path


@pytest.mark.parametrize("writable", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("which", ["", "known", "builds", "builds/KEY", ".."])
def test_directory_that_others_can_write_to(tree, cache, monkeypatch, which, writable):
    place = the_build(cache) if which == "builds/KEY" else Path(os.path.normpath(cache / which))
    place.chmod(writable)
    # a group that has the user alone in it is no danger
    monkeypatch.setattr("pgtable.kernel_trees.trust._is_private", lambda gid: False)
    refused(tree, f"others can write to {place}: run 'chmod go-w {place}'")


@pytest.mark.parametrize("name", ["helpers.so", "helpers.so.sum", "report.json"])
def test_file_that_others_can_write_to(tree, cache, name):
    file = the_build(cache) / name
    file.chmod(0o666)
    refused(tree, f"others can write to {file}")


def test_note_that_others_can_write_to(tree, cache):
    (note,) = (cache / "known").iterdir()
    note.chmod(0o666)
    refused(tree, f"others can write to {note}")


def test_sticky_directory_above_is_no_danger(tree, tmp_path):
    tmp_path.chmod(0o1777)
    assert pgtable.kernel_tree(tree, **QUICK).pte_mkyoung(0) == 0x20


def test_belongs_to_another_user(tree, monkeypatch):
    other = 4_000_000_000
    monkeypatch.setattr("pgtable.kernel_trees.trust.os.geteuid", lambda: other)
    refused(tree, r"belongs to user \w+")


def test_xdg_cache_home_of_everybody(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PGTABLE_CACHE_DIR")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    refused(tree, f"others can write to {tmp_path}/shared")
    for command in (["list", str(tree)], ["cache"], ["cache", "--clear"]):
        if command[0] == "cache":
            (tmp_path / "shared/pgtable/kernel_tree").mkdir(parents=True, exist_ok=True)
        assert main(["kernel", *command]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "cannot be trusted" in said.err


@pytest.mark.parametrize("which", ["", "builds", "known", "builds/KEY", "builds/KEY/helpers.so"])
def test_symbolic_link_is_not_followed(tree, cache, tmp_path, which):
    place = cache / which.replace("KEY", the_build(cache).name)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    refused(tree, f"{place} is a symbolic link; remove it")


def test_link_as_lock_is_not_emptied(tree, cache, tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    shutil.rmtree(cache / "builds")
    (cache / "lock").unlink()
    (cache / "lock").symlink_to(target)
    refused(tree, f"{cache / 'lock'} is a symbolic link; remove it")
    with pytest.raises(KernelTreeError, match="is a symbolic link"):
        clear_cache()
    assert target.read_text() == "precious"


def test_lock_is_not_truncated(tree, cache):
    (cache / "lock").write_text("of whoever")
    (cache / "lock").chmod(0o600)
    shutil.rmtree(cache / "builds")
    pgtable.kernel_tree(tree, **QUICK)
    assert (cache / "lock").read_text() == "of whoever"


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_lock_that_is_no_file(tree, cache, kind):
    shutil.rmtree(cache / "builds")
    (cache / "lock").unlink()
    os.mkfifo(cache / "lock", 0o600) if kind == "fifo" else (cache / "lock").mkdir()
    said = "is no regular file" if kind == "fifo" else "cannot be written"
    refused(tree, said)


def test_clearing_does_not_follow_links(tree, cache, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    (cache / "link").symlink_to(elsewhere)
    clear_cache()
    assert (elsewhere / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["helpers.so", "report.json", "helpers.so.sum", "report.json.sum"])
@pytest.mark.parametrize(
    "damage", sample(["empty", "half", "gone", "one byte"], ["half", "one byte"])
)
def test_damaged_build_heals(tree, cache, name, damage):
    file = the_build(cache) / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "one byte":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        file.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    heals(tree, "built again")
    assert (the_build(cache) / "helpers.so").stat().st_size > 10_000


def test_damaged_forms_heal(tree, cache):
    options = {"flags": "-O1"}
    first = pgtable.kernel_tree(tree, **options)
    file = the_build(cache) / "forms.json"
    file.write_bytes(file.read_bytes()[:50])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert pgtable.kernel_tree(tree, **options).forms == first.forms
    assert len(warned) == 1
    assert json.loads(file.read_text())


@pytest.mark.parametrize(
    "build", ["/tmp/evil", "../../evil", "", "A" * 64, "0" * 63, 5, None, ["x"], "0" * 64 + "\n"]
)
def test_note_that_names_a_path(tree, cache, tmp_path, build):
    """What a note leads to is a name in the cache, never a path."""
    evil = tmp_path / "evil"
    shutil.copytree(the_build(cache), evil)
    (note,) = (cache / "known").iterdir()
    found = json.loads(note.read_text())
    found["build"] = str(evil) if build == "/tmp/evil" else build
    note.write_text(json.dumps(found))
    heals(tree, "is made again")
    assert json.loads(note.read_text())["build"] == the_build(cache).name


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"build": 5}', "[" * 100_000, "\0" * 100, "\udcff"]
)
def test_note_that_is_none(tree, cache, text):
    (note,) = (cache / "known").iterdir()
    note.write_bytes(text.encode(errors="surrogateescape"))
    heals(tree, "is made again")


def test_made_by_several_at_once(filled, tmp_path):
    """None of them finds half a cache."""
    script = (
        "import sys, pgtable\n"
        "print(pgtable.kernel_tree(sys.argv[1], flags='-O1', forms=False).pte_mkyoung(0))"
    )
    environment = {**os.environ, "PGTABLE_CACHE_DIR": str(tmp_path / "new/cache")}
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, filled[0]],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    assert [one.communicate() for one in running] == [("32\n", "")] * 4


def test_threads_at_once(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "new"))
    given = []

    def use():
        given.append(pgtable.kernel_tree(filled[0], **QUICK).pte_mkyoung(0))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == [0x20] * 4
