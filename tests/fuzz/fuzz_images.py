# SPDX-License-Identifier: GPL-2.0-only
"""Damaged images of every format, and tables of anything: a message or a finding, no crash.

``python tests/fuzz/fuzz_images.py --seconds 600`` mutates on its own, best under a
build with sanitizers (``PGTABLE_SANITIZE=1 python setup.py build_ext --inplace``, run
with libasan preloaded); ``--atheris`` lets atheris choose the inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import random
import struct
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

if sys.argv[1:2] == ["--atheris"]:
    import atheris

    with atheris.instrument_imports(include=["pgtable.images"]):
        import pgtable
else:
    import pgtable

from pgtable.images import start
from pgtable.images.synthetic import FULL_MIX, synthesize, write

PAGE = 4096
CASES = Path(__file__).parents[1] / "data" / "cases"
FORMS = ("raw", "elf", "records")
#: What bad input may raise; anything else is a bug.
EXPECTED = (ValueError, MemoryError, OSError)


def check_walk(walk: pgtable.images.Walk) -> None:
    """Raise AssertionError where a result is not what it promises to be."""
    assert np.all(walk.entry != 0)
    assert np.all(walk.va[1:] >= walk.va[:-1])
    assert np.all((walk.level >= 1) & (walk.level <= walk.root.levels))
    present = walk.entry & np.uint64(1) != 0
    assert np.array_equal(present, walk.kind <= 1)
    assert not np.any(walk.leaf & ~present)
    assert np.all(walk.pa < 1 << 52)


def fuzz_file(path: Path, rng: random.Random) -> str:
    """Open, walk and count one file; return what became of it."""
    # half of the time anything is walked, also what is plainly no top table
    unchecked = mock.patch.object(start, "complaint", return_value=None)
    try:
        with unchecked if rng.random() < 0.5 else contextlib.nullcontext():
            return _walk_file(path, rng)
    except EXPECTED:
        return "refused"


def _walk_file(path: Path, rng: random.Random) -> str:
    outcome = "opened"
    with pgtable.open_image(path) as image:
        for root in (None, 0, PAGE, rng.randrange(1 << 24) & -PAGE, *_frames(image)):
            try:
                levels = rng.choice((None, 4, 5))
                walk = image.walk(root, levels, limit=1 << 20)
                check_walk(walk)
                assert all(map(str, walk.reports))
                counted = sum(each.total for each in image.census(root, levels).values())
                # a table that is reached twice may be counted once by one of them
                if walk.report_counts.keys().isdisjoint(("limit", "once", "shared")):
                    assert counted == len(walk)
                outcome = "walked"
            except EXPECTED:
                continue
    return outcome


def _frames(image: pgtable.images.Image) -> list[int]:
    ranges = image.ranges
    return [int(ranges[0, 0])] if len(ranges) else []


def random_tables(rng: random.Random) -> bytes:
    """Return raw memory whose pages refer to each other in every possible way."""
    pages = rng.randrange(1, 9)
    generator = np.random.default_rng(rng.randrange(1 << 32))
    words = generator.integers(0, 1 << 64, (pages, 512), np.uint64)
    refer = generator.random((pages, 512)) < rng.choice((0.01, 0.2, 1))
    frames = generator.integers(0, pages + 2, (pages, 512), np.uint64) << np.uint64(12)
    words[refer] = (frames | np.uint64(0x67))[refer]
    words[generator.random((pages, 512)) < rng.choice((0, 0.5, 0.99))] = 0
    return words.tobytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return the data with some of it changed, lost, repeated or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        if not changed:
            break
        # headers and notes are where the readers look
        end = rng.choice((64, 256, 8192, len(changed)))
        at = rng.randrange(min(end, len(changed)))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 8] = rng.choice(
                (0, 1, 1 << 31, 1 << 52, 1 << 63, (1 << 64) - 1)
            ).to_bytes(8, "little")
        elif kind == 2:
            changed[at : at + 8] = rng.randbytes(8)
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            del changed[at : at + rng.randrange(1, 5000)]
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 5000)]
    return bytes(changed)


def seeds(directory: Path) -> list[bytes]:
    """Return a small file of every format and kind."""
    found = []
    for seed, form in enumerate(FORMS):
        machine = synthesize(
            1024, seed=seed, mix=FULL_MIX, sparse=True, large=3, shared=2, loops=3, outside=3,
            base=PAGE,
        )  # fmt: skip
        path = directory / form
        write(machine, path, form)
        found.append(path.read_bytes())
    buffer = io.BytesIO()
    import lzma  # noqa: PLC0415 - only here

    with lzma.open(buffer, "wb", preset=0) as file:
        file.write(found[1])
    raw = found[0]
    lime = struct.pack("<4sIQQQ", b"EMiL", 1, 0, len(raw) - 1, 0) + raw
    flat = b"makedumpfile\0".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    flat = flat.ljust(PAGE, b"\0") + struct.pack(">qq", 0, len(found[1])) + found[1]
    flat += struct.pack(">qq", -1, -1)
    others = [lzma.decompress(path.read_bytes()) for path in sorted(CASES.glob("*.xz"))
              if path.stat().st_size < 20000]  # fmt: skip
    return [*found, buffer.getvalue(), lime, flat, gzip.compress(lime, 1), *others]


def run(rounds: int | None, seconds: float, seed: int) -> dict[str, int]:
    """Fuzz for so many rounds, or seconds; return how often there was each outcome."""
    rng = random.Random(seed)
    outcomes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        start = seeds(Path(name))
        path = Path(name) / "input"
        began = time.monotonic()
        done = 0
        while done < rounds if rounds is not None else time.monotonic() - began < seconds:
            data = random_tables(rng) if rng.random() < 0.4 else mutate(rng.choice(start), rng)
            path.write_bytes(data)
            try:
                outcome = fuzz_file(path, rng)
            except BaseException:
                Path("fuzz-failure.bin").write_bytes(data)
                raise
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            done += 1
    return outcomes


def run_atheris() -> None:
    """Let atheris choose the inputs; does not return."""
    directory = tempfile.mkdtemp()
    corpus = Path(directory) / "corpus"
    corpus.mkdir()
    for i, data in enumerate(seeds(Path(directory))):
        (corpus / str(i)).write_bytes(data)
    path = Path(directory) / "input"

    def one_input(data: bytes) -> None:
        path.write_bytes(data)
        fuzz_file(path, random.Random(len(data)))

    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--atheris"]:
        run_atheris()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print("seed", arguments.seed, flush=True)
    print(run(None, arguments.seconds, arguments.seed))
