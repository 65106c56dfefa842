# SPDX-License-Identifier: GPL-2.0-only
"""Images whose files become shorter while they are read: an error, never SIGBUS or a wrong walk."""

from __future__ import annotations

import gc
import lzma
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pgtable.engines._native import ffi, lib

import pgtable
from pgtable.images import flattened
from pgtable.images.image import Image
from pgtable.images.mapped import MappedFile
from pgtable.images.synthetic import synthesize, write

PAGE = 4096
#: What reads an image, and so must say that it could not.
READERS: dict[str, Callable[[Image, int], object]] = {
    "walk": lambda image, root: image.walk(root),
    "walk with a limit": lambda image, root: image.walk(root, limit=1 << 30),
    "census": lambda image, root: image.census(root),
    "read": lambda image, root: image.read(int(image.ranges[-1, 1]) - PAGE, PAGE),
    "pages": lambda image, root: image.pages([int(image.ranges[-1, 1]) - PAGE]),
    "holds": lambda image, root: image.holds(int(image.ranges[-1, 1]) - PAGE),
    "entries_at": lambda image, root: image.entries_at(int(image.ranges[-1, 1]) - PAGE),
    "export": lambda image, root: image.walk(root).to_info_tlb(),
}


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, int]:
    """A file of the format that is asked for, and the root of its tables."""
    made = synthesize(200_000, seed=3)
    path = tmp_path / "memory"
    write(made, path, getattr(request, "param", "raw"))
    return path, made.root


def lengths(path: Path) -> list[int]:
    """Within a page, at the end of one, in the middle, nothing."""
    size = path.stat().st_size
    return [size - 8, size - PAGE, size // 2, size // 2 + 1, PAGE, 0]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("machine", ["raw", "elf", "records"], indirect=True)
def test_a_file_that_is_shorter_than_it_was(machine, reader, outcomes: Counter[str]):
    path, root = machine
    content = path.read_bytes()
    for length in lengths(path):
        path.write_bytes(content)
        with pgtable.open_image(path) as image:
            os.truncate(path, length)
            with pytest.raises(OSError, match="open it again") as raised:
                READERS[reader](image, root)
            assert raised.value.filename == str(path)
            # it stays so, also when the file has its length again
            os.truncate(path, len(content))
        outcomes["refused"] += 1


@pytest.mark.parametrize("machine", ["raw"], indirect=True)
def test_what_was_lost_stays_lost(machine):
    """A file that has its length again has other content now."""
    path, root = machine
    with pgtable.open_image(path) as image:
        os.truncate(path, 0)
        with pytest.raises(OSError, match="open it again"):
            image.walk(root)
        os.truncate(path, 64 << 20)
        for _ in range(2):
            with pytest.raises(OSError, match="open it again"):
                image.walk(root)


def test_at_any_moment_of_a_walk(tmp_path: Path, tries, outcomes: Counter[str]):
    made = synthesize(2_000_000, seed=4)
    path = tmp_path / "memory"
    write(made, path, "raw")
    content = path.read_bytes()
    with pgtable.open_image(path) as image:
        complete = {key: each.as_dict() for key, each in image.census(made.root).items()}
        rows = len(image.walk(made.root))
    rng = np.random.default_rng(5)
    for _ in range(tries(20, 300)):
        path.write_bytes(content)
        with pgtable.open_image(path) as image:
            length = int(rng.integers(0, len(content)))
            timer = threading.Timer(rng.random() * 0.15, os.truncate, (path, length))
            timer.start()
            try:
                counted = image.census(made.root)
                assert {key: each.as_dict() for key, each in counted.items()} == complete
                assert len(image.walk(made.root)) == rows
                outcomes["complete"] += 1
            except OSError as error:
                assert "open it again" in str(error)  # noqa: PT017 - either is right
                outcomes["refused"] += 1
            timer.join()


def test_kdump_files_too(tmp_path: Path, outcomes: Counter[str]):
    source = Path(__file__).parents[1] / "data" / "cases" / "flat.kdump.xz"
    with pgtable.open_image(source) as image:
        pa = int(image.ranges[0, 0])
    memory = flattened.rearrange(source, memoryview(lzma.decompress(source.read_bytes())))
    path = tmp_path / "kdump"
    for length in (len(memory) - 8, len(memory) // 2, 3 * PAGE, 0):
        path.write_bytes(memory)
        with pgtable.open_image(path) as image:
            os.truncate(path, length)
            for read in (
                lambda: image.read(pa, PAGE),
                lambda: image.ranges,
                lambda: image.holds(pa),
            ):
                with pytest.raises(OSError, match="open it again"):
                    read()
                outcomes["refused"] += 1


def test_the_command_line_says_it_in_one_line(machine, environment):
    path, root = machine
    program = f"""
        import os, sys
        from pgtable.cli import main
        from pgtable.images import start
        found = start.find_root
        def and_shorten(*arguments):
            os.truncate({str(path)!r}, 1 << 16)
            return found(*arguments)
        import pgtable.images.image
        pgtable.images.image.find_root = and_shorten
        sys.exit(main(["walk", {str(path)!r}, "--root", "{root:#x}"]))
    """
    ended = run(program, environment)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"pgtable: error: {path}: was ")


# ---- the handler


def handler_of_sigbus() -> str:
    """The kernel's view: which signals are caught, as a mask."""
    status = Path("/proc/self/status").read_text().splitlines()
    mask = next(line for line in status if line.startswith("SigCgt")).split()[1]
    caught = int(mask, 16)
    return "caught" if caught >> (signal.SIGBUS - 1) & 1 else "default"


def run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def test_the_handler_is_gone_with_the_last_image(machine, environment):
    path, _ = machine
    program = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        import gc, pgtable
        from pathlib import Path
        from test_images_change import handler_of_sigbus
        print(handler_of_sigbus())
        first = pgtable.open_image({str(path)!r}); second = pgtable.open_image({str(path)!r})
        print(handler_of_sigbus())
        first.close(); gc.collect(); print(handler_of_sigbus())
        second.close(); gc.collect(); print(handler_of_sigbus())
    """
    ended = run(program, environment)
    assert ended.stdout.split() == ["default", "caught", "caught", "default"], ended.stderr


@pytest.mark.parametrize("first", ["", "import faulthandler; faulthandler.enable()"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGBUS)", "mapped[1 << 16]"])
def test_what_is_not_guarded_ends_as_ever(machine, environment, tmp_path, first, how):
    """A SIGBUS of others' memory, or one that was sent, is passed on."""
    path, _ = machine
    other = tmp_path / "other"
    other.write_bytes(bytes(1 << 17))
    program = f"""
        import mmap, os, signal, pgtable
        {first}
        image = pgtable.open_image({str(path)!r})
        file = open({str(other)!r}, "r+b")
        mapped = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
        {how}
    """
    ended = run(program, environment)
    assert ended.returncode == -signal.SIGBUS
    assert ("Bus error" in ended.stderr) == bool(first)


def test_a_handler_of_the_program_is_called_and_stays(machine, environment):
    path, _ = machine
    program = f"""
        import os, signal, pgtable
        signal.signal(signal.SIGBUS, lambda *_: print("mine"))
        image = pgtable.open_image({str(path)!r})
        os.kill(os.getpid(), signal.SIGBUS)
        image.close()
        del image
        os.kill(os.getpid(), signal.SIGBUS)
    """
    ended = run(program, environment)
    assert (ended.returncode, ended.stdout) == (0, "mine\nmine\n"), ended.stderr


def test_guards_are_used_again(tmp_path: Path):
    path = tmp_path / "memory"
    path.write_bytes(bytes(4 * PAGE))
    gc.collect()
    seen = set()
    for _ in range(50):
        with path.open("rb") as file:
            mapped = MappedFile.of(path, file, 4 * PAGE)
        seen.add(int(ffi.cast("uintptr_t", mapped._guard)))
        assert not lib.pgtable_guard_lost(mapped._guard)
        del mapped
    assert len(seen) == 1
