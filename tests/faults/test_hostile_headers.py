# SPDX-License-Identifier: GPL-2.0-only
"""Headers that ask the compiler for what is not theirs, or for more than there is."""

import os
import subprocess
import sys
import time

import pytest

import pgtable
from pgtable.kernel_trees import KernelTreeError
from pgtable.kernel_trees.isolation import confined

QUICK = {"flags": "-O1", "forms": False}
SECRET = "zebra 4711 okapi"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Return a cache of the test's own; a test here cannot last for minutes."""
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(confined, "LIMITS", {"CPU": 3, "AS": 1 << 30, "FSIZE": 64 << 20})
    return tmp_path / "cache"


@pytest.fixture
def secret(tmp_path):
    """Return a file that is not in the tree, and that this process can read."""
    file = tmp_path / "elsewhere" / "secret"
    file.parent.mkdir()
    file.write_text(SECRET)
    return file


@pytest.fixture
def headers(make_mini_tree):
    """Make a tree one of whose headers has this text as well."""
    return lambda text: make_mini_tree(edits={"/* pte */": f"{text}\n/* pte */"})


def refused(tree, said):
    """The tree is refused in Python and by commands, in one line, without the secret."""
    began = time.monotonic()
    with pytest.raises(KernelTreeError) as caught:
        pgtable.kernel_tree(tree, **QUICK)
    done = (
        subprocess.run(
            [sys.executable, "-m", "pgtable", "kernel", "list", tree, "--flags=-O1"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if said
        else None
    )
    assert time.monotonic() - began < 120
    texts = [str(caught.value)]
    if done:
        assert (done.returncode, done.stdout) == (2, "")
        texts.append(done.stderr.removesuffix("\n"))
    for text in texts:
        assert "\n" not in text
        assert said in text
        assert not any(word in text for word in (*SECRET.split(), "root:"))


def test_the_system_has_landlock(headers):
    engine = pgtable.kernel_tree(headers(""), **QUICK, isolated=True)
    assert any(one.startswith("Landlock") for one in engine.active), "others test nothing without"


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/dev/zero", "/proc/self/environ"])
@pytest.mark.parametrize("how", ['#include "{}"', "#include <{}>", '#include "/usr/../{}"'])
def test_files_of_the_system(headers, path, how):
    refused(headers(how.format(path)), f"{path}: Permission denied (the compiler may read the tree")


INCLUDES = ['#include "{}"', '#define F "{}"\n#include F', '#include_next "{}"']


@pytest.mark.parametrize("how", INCLUDES)
def test_file_outside_the_tree(headers, secret, how):
    refused(headers(how.format(secret)), f"{secret}: Permission denied")


@pytest.mark.parametrize("to", ["secret", "../../elsewhere/secret"])
def test_link_to_outside(headers, secret, to, tmp_path):
    tree = headers("#include <linux/leak.h>")
    (tree / "include/linux/leak.h").symlink_to(secret)
    refused(tree, "linux/leak.h: Permission denied")


def test_what_lies_beside_the_tree(headers, secret):
    refused(headers(f'#include "../../../../../{secret.parent.name}/secret"'), "Permission denied")


@pytest.mark.parametrize("section", [".data", ".text"])
def test_assembler_that_includes_a_file(headers, secret, cache, section):
    """No part of it comes into the cache."""
    assembler = f'.pushsection {section}; .incbin \\"{secret}\\"; .popsection'
    tree = headers(f'asm("{assembler}");')
    refused(tree, str(secret))
    for path in cache.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_asking_whether_a_file_is_there(headers, secret):
    refused(headers(f'#if __has_include("{secret}")\n#endif'), f"{secret}: Permission denied")


def macro_bomb(levels=40):
    lines = ["#define A0 x x x x x x x x"]
    lines += [f"#define A{n} A{n - 1} A{n - 1} A{n - 1} A{n - 1}" for n in range(1, levels)]
    return "\n".join([*lines, f"A{levels - 1}"])


BOMBS = {
    "macros": macro_bomb(),
    "includes": '#if __INCLUDE_LEVEL__ < 190\n#include "bomb.h"\n#include "bomb.h"\n#endif',
    "array": "static char big[1ul << 40] = { [0 ... (1ul << 40) - 1] = 1 };",
    "assembler": 'asm(".pushsection .data; .fill 0x7fffffff, 8, 1; .popsection");',
    "repeated": 'asm(".rept 1000000000\\n nop\\n .endr");',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_come_to_a_limit(headers, kind):
    tree = headers("#include <linux/bomb.h>")
    (tree / "include/linux/bomb.h").write_text(BOMBS[kind])
    refused(tree, "")


def test_a_fifo_in_the_tree_is_named(headers, monkeypatch):
    monkeypatch.setattr(confined, "SECONDS", 2)
    tree = headers("#include <linux/waits.h>")
    os.mkfifo(tree / "include/linux/waits.h")
    with pytest.raises(KernelTreeError, match=r"did not end within 2 s: .*linux/waits\.h is no f"):
        pgtable.kernel_tree(tree, **QUICK)


ODD = ["Makefile", "include/generated/utsrelease.h", "include/generated/uapi/linux/version.h"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["fifo", "endless", "huge", "directory"])
def test_files_that_are_read_before_anything_is_compiled(headers, name, kind):
    tree = headers("")
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    began = time.monotonic()
    with pytest.raises((KernelTreeError, OSError), match=path.name) as caught:
        pgtable.kernel_tree(tree, **QUICK)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 20


def test_nothing_that_the_compiler_started_is_left(headers, monkeypatch, tmp_path):
    """What a compiler that is too late has started is ended with it."""
    script = tmp_path / "late"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsh -c 'sleep 300; :' & wait\n")
    script.chmod(0o755)
    monkeypatch.setenv(confined.PATHS, str(tmp_path))
    monkeypatch.setattr(confined, "SECONDS", 2)
    with pytest.raises(KernelTreeError, match="late did not end within 2 s"):
        pgtable.kernel_tree(headers(""), compiler=str(script), **QUICK)
    group = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("processes of the compiler are left")


def test_paths_of_the_compiler_are_an_option(headers, secret, monkeypatch):
    monkeypatch.setenv(confined.PATHS, str(secret.parent))
    secret.write_text("static const int zebra = 1;")
    assert pgtable.kernel_tree(headers(f'#include "{secret}"'), **QUICK).pte_mkyoung(0) == 0x20
