# SPDX-License-Identifier: GPL-2.0-only
"""What was compiled is found again, and nothing half-compiled ever is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pgtable
from pgtable.kernel_trees import KernelTreeError, cache_directory, clear_cache

QUICK = {"flags": "-O1", "forms": False}
HEADER = "arch/x86/include/asm/pgtable.h"
SOUND = "return pte_set_flags(pte, _PAGE_ACCESSED);"
SCRIPT = """
import sys, pgtable
engine = pgtable.kernel_tree(sys.argv[1], compiler=sys.argv[2], flags="-O1", forms=False)
print(engine.pte_mkyoung(0))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Return a cache of the test's own."""
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))
    return cache_directory()


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Return a compiler that writes a line into a file each time that it links a library."""
    monkeypatch.setenv("PGTABLE_COMPILER_PATHS", str(tmp_path))

    def make(when_linking="true", name="cc"):
        script = tmp_path / name
        script.write_text(
            '#!/bin/sh\ncase " $* " in *" -shared "*)\n'
            f"echo linked >> {tmp_path}/links\n{when_linking};; esac\n"
            'exec gcc "$@"\n'
        )
        script.chmod(0o755)
        return str(script)

    return make


@pytest.fixture
def links(tmp_path):
    """Return a function that counts the links so far."""

    def count():
        log = tmp_path / "links"
        return len(log.read_text().split()) if log.exists() else 0

    return count


def snapshot(directory):
    return {path: path.lstat().st_mtime_ns for path in sorted(directory.rglob("*"))}


def in_a_process(tree, compiler):
    command = [sys.executable, "-c", SCRIPT, str(tree), compiler]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def builds(cache):
    return sorted(path.name for path in (cache / "builds").glob("*"))


def unfinished(cache):
    return sorted(path.name for path in cache.glob("unfinished-*"))


def test_second_use_compiles_nothing_and_writes_nothing(
    make_mini_tree, compiler, links, cache, tmp_path, monkeypatch
):
    tree, cc = make_mini_tree(), compiler()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = snapshot(tree)
    pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    assert links() == 1
    kept = snapshot(cache)
    # not even the lock is needed
    (cache / "lock").unlink()
    (cache / "lock").mkdir()
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkyoung(0) == 0x20
    (cache / "lock").rmdir()
    assert links() == 1
    kept.pop(cache / "lock")
    assert snapshot(cache) == kept
    assert snapshot(tree) == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_changed_header_is_compiled_again_touched_one_is_not(
    make_mini_tree, compiler, links, cache
):
    tree, cc = make_mini_tree(), compiler()
    pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    os.utime(tree / HEADER)
    pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    assert links() == 1
    text = (tree / HEADER).read_text()
    (tree / HEADER).write_text(text.replace(SOUND, "return __pte(7);"))
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkyoung(0) == 7
    assert links() == 2
    # back to what was: the content is known
    (tree / HEADER).write_text(text)
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkyoung(0) == 0x20
    assert links() == 2
    assert len(builds(cache)) == 2


def test_header_that_changes_meanwhile(make_mini_tree, compiler, cache):
    """What is compiled then may be of another text than what it would be kept for."""
    tree = make_mini_tree()
    text = (tree / HEADER).read_text()
    cc = compiler(f"echo >> {tree / HEADER}")
    with pytest.raises(KernelTreeError, match="headers changed while they were compiled"):
        pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    assert builds(cache) == unfinished(cache) == []
    (tree / HEADER).write_text(text)
    assert pgtable.kernel_tree(tree, compiler=compiler(), **QUICK).pte_mkyoung(0) == 0x20


def test_changed_source_file_is_compiled_again(make_mini_tree, compiler, links):
    tree, cc = make_mini_tree(), compiler()
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkwrite(0, 0) == 2
    source = tree / "arch/x86/mm/pgtable.c"
    source.write_text(
        source.read_text().replace("pte_clear_saveddirty(pte_mkwrite_novma(pte))", "__pte(6)")
    )
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkwrite(0, 0) == 6
    assert links() == 2


def test_same_content_elsewhere_is_the_same_build(make_mini_tree, compiler, links):
    cc = compiler()
    for name in ("one", "two with a space"):
        pgtable.kernel_tree(make_mini_tree(name), compiler=cc, **QUICK)
    assert links() == 1


def test_other_switches_are_other_builds(make_mini_tree, compiler, links, cache):
    tree, cc = make_mini_tree(), compiler()
    for options in ({}, {"flags": "-O0"}, {"shstk": False}):
        pgtable.kernel_tree(tree, compiler=cc, **QUICK | options)
    assert links() == 3
    # the default of shstk is what it was
    pgtable.kernel_tree(tree, compiler=cc, **QUICK, shstk=True)
    assert links() == 3


@pytest.mark.parametrize("name", ["a b/tree", 'it\'s a "tree"', "b\u00e4ume", "back\\slash"])
def test_awkward_paths(make_mini_tree, compiler, links, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache of" / name))
    tree, cc = make_mini_tree(name), compiler()
    for _ in range(2):
        engine = pgtable.kernel_tree(tree, compiler=cc, **QUICK)
        assert engine.pte_mkwrite(0, 0) == 2
    assert links() == 1
    text = (tree / HEADER).read_text()
    (tree / HEADER).write_text(text.replace(SOUND, "return __pte(7);"))
    assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkyoung(0) == 7


def test_processes_at_once_build_once(make_mini_tree, compiler, links, cache):
    tree, cc = make_mini_tree(), compiler()
    running = [in_a_process(tree, cc) for _ in range(3)]
    results = [process.communicate() for process in running]
    assert results == [("32\n", "")] * 3
    assert links() == 1
    assert len(builds(cache)) == 1
    assert unfinished(cache) == []


def test_killed_while_building(make_mini_tree, compiler, cache):
    tree = make_mini_tree()
    process = in_a_process(tree, compiler("kill -KILL $PPID; exit 1", "killer"))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert builds(cache) == []
    assert len(unfinished(cache)) == 1
    # the next one is not disturbed, and cleans up
    assert in_a_process(tree, compiler()).communicate() == ("32\n", "")
    assert unfinished(cache) == []


def test_interrupted_while_building(make_mini_tree, compiler, cache):
    slow = compiler("kill -INT $PPID; exec sleep 60", "slow")
    began = time.monotonic()
    process = in_a_process(make_mini_tree(), slow)
    _, errors = process.communicate()
    assert "KeyboardInterrupt" in errors
    assert time.monotonic() - began < 50  # the compiler was stopped as well
    assert builds(cache) == []
    assert unfinished(cache) == []


def test_broken_notes_are_as_good_as_none(make_mini_tree, compiler, links, cache):
    tree, cc = make_mini_tree(), compiler()
    pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    (note,) = (cache / "known").glob("*.json")
    good = note.read_text()
    for bad in ("", "[]", "{", '{"build": 5}', good[:-9]):
        note.write_text(bad)
        assert pgtable.kernel_tree(tree, compiler=cc, **QUICK).pte_mkyoung(0) == 0x20
    assert links() == 1
    assert note.read_text() == good


def test_clearing(make_mini_tree, compiler, links, cache):
    tree, cc = make_mini_tree(), compiler()
    assert clear_cache() == 0
    engine = pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    assert clear_cache() > 10_000
    assert [path.name for path in cache.iterdir()] == ["lock"]
    assert engine.pte_mkyoung(0) == 0x20
    pgtable.kernel_tree(tree, compiler=cc, **QUICK)
    assert links() == 2


def test_default_place_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.delenv("PGTABLE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == Path(tmp_path / "xdg/pgtable/kernel_tree")
