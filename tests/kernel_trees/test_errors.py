# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be built gives one line that says why and what mends it; nothing is left behind."""

import os
import re
import shutil

import pytest

import pgtable
from pgtable.kernel_trees import KernelTreeError, cache_directory

QUICK = {"flags": "-O1", "forms": False}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Return a cache and a directory for temporary files, of the test's own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(scratch))
    yield
    assert list(scratch.iterdir()) == []
    cache = cache_directory()
    if cache.is_dir():
        assert [path.name for path in cache.iterdir()] == ["lock"]


def fails(tree, said, **options):
    with pytest.raises(KernelTreeError, match=said) as caught:
        pgtable.kernel_tree(tree, **QUICK | options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("where", ["", "dir with space/"])
def test_header_that_does_not_compile(make_mini_tree, where):
    tree = make_mini_tree(f"{where}tree", {"/* pte */": "int x = ;"})
    header = tree / "arch/x86/include/asm/pgtable.h"
    line = header.read_text().split("\n").index("int x = ;") + 1
    fails(tree, rf"^headers do not compile: {re.escape(str(header))}:{line}: expected expression")


def test_header_with_an_error_of_its_own(make_mini_tree):
    tree = make_mini_tree(edits={"/* pte */": "#error out of order"})
    fails(tree, r"asm/pgtable\.h:\d+: #error out of order .*are the headers complete")


def test_missing_header(make_mini_tree):
    tree = make_mini_tree()
    (tree / "include/linux/types.h").unlink()
    fails(tree, r":\d+: linux/types\.h: No such file or directory")


def test_no_compiler(make_mini_tree, monkeypatch):
    tree = make_mini_tree()
    fails(tree, "compiler 'nocc-99' was not found; install it .*apt install", compiler="nocc-99")
    monkeypatch.setenv("PATH", "")
    fails(tree, "compiler 'gcc' was not found")


def test_compiler_that_is_none(make_mini_tree, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'broken: error: no licence' >&2\nexit 3\n")
    broken.chmod(0o755)
    fails(make_mini_tree(), "broken: error: no licence", compiler=str(broken))


def test_compiler_that_cannot_link(make_mini_tree, tmp_path):
    broken = tmp_path / "nolink"
    broken.write_text(
        '#!/bin/sh\ncase " $* " in *" -shared "*) echo "ld: error: full" >&2; exit 1;; esac\n'
        'exec gcc "$@"\n'
    )
    broken.chmod(0o755)
    fails(make_mini_tree(), "cannot build the helpers: ld: error: full", compiler=str(broken))


def test_wrong_flags(make_mini_tree):
    fails(make_mini_tree(), "--no-such-flag", flags="-O1 --no-such-flag")


def test_cache_that_cannot_be_written(make_mini_tree, monkeypatch):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", "/proc/nowhere")
    fails(
        make_mini_tree(),
        "the cache /proc/nowhere/kernel_tree cannot be written .*PGTABLE_CACHE_DIR",
    )


def test_unreadable_header(make_mini_tree):
    if os.geteuid() == 0:
        pytest.skip("root can read everything")
    tree = make_mini_tree()
    (tree / "include/linux/types.h").chmod(0)
    fails(tree, "types.h: Permission denied")


def test_read_only_tree_is_no_problem(make_mini_tree):
    tree = make_mini_tree()
    for path in [tree, *tree.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    assert pgtable.kernel_tree(tree, **QUICK).pte_mkyoung(0) == 0x20
    shutil.rmtree(cache_directory() / "builds")
    shutil.rmtree(cache_directory() / "known")
