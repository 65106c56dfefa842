# SPDX-License-Identifier: GPL-2.0-only
"""Damaged files of entries, .npy and text: a result or one line that says what is wrong.

``python tests/fuzz/fuzz_files.py --seconds 600`` runs commands over mutated files, within
this process.  Whatever the file, the code is 0, 1 or 2, an error is one line that names
the file, and what ``apply`` wrote is the input with the helper applied.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import lzma
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pgtable.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_images import mutate

DATA = Path(__file__).parents[1] / "data"
#: One byte of a text that matters to some format.
SPECIAL = b"0123456789abcdefx \t\n:[]()|-=\x00\xff\xfe\x1b\r"


def npy_seeds() -> list[bytes]:
    """Return .npy files of each version, raw entries, and both compressed."""
    found = []
    entries = np.arange(0x25, 0x25 + 600, dtype="<u8").reshape(20, 30)
    for version in ((1, 0), (2, 0), (3, 0)):
        for array in (entries, np.asfortranarray(entries), entries.view("<i8"), entries[:0]):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version)
            found.append(file.getvalue())
    found.append(entries.tobytes())
    return [*found, *(lzma.compress(data, preset=0) for data in found[::4]),
            *(gzip.compress(data, 1) for data in found[::5])]  # fmt: skip


def text_seeds() -> list[bytes]:
    """Return texts of tools and kernels, cut to a few kilobytes."""
    paths = sorted((DATA / "cases" / "logs").glob("*"))
    texts = [path.read_bytes() for path in paths if path.is_file()]
    texts += [lzma.decompress(path.read_bytes()) for path in sorted(DATA.glob("*.txt.xz"))]
    return [b"\n".join(text[:6000].splitlines()[:-1]) for text in texts] + [
        b"pte 0x8000000000000867\n",
        "0x67 0x25\n".encode("utf-16"),
    ]


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Return a text with lines lost, doubled, swapped or joined, and single bytes changed."""
    lines = data.splitlines(keepends=True)
    for _ in range(rng.randrange(0, 6)):
        if not lines:
            break
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(4)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(other, lines[at])
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = lines[at].rstrip() + lines[other]
    changed = bytearray(b"".join(lines))
    for _ in range(rng.randrange(0, 8)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.choice(SPECIAL)
    return bytes(changed)


def command(*arguments: str) -> tuple[int, str]:
    """Run a command; return its code and what it printed as errors."""
    out, errors = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([*arguments])
    return code, errors.getvalue()


def fuzz_entries(path: Path, out: Path, rng: random.Random) -> str:
    """Count one file, transform it; return what became of it."""
    for arguments in (["census", str(path), "--json"], ["apply", "pte_mkold", str(path), "-o"]):
        out.unlink(missing_ok=True)
        if arguments[0] == "apply":
            arguments.append(str(out))
        if rng.random() < 0.2:
            arguments.append("--raw")
        code, errors = command(*arguments)
        check(code, errors, path, arguments)
        if code != 0:
            assert not out.exists(), "an error, and OUT is there"
            return "refused"
    return "read"


def fuzz_text(path: Path, _: Path, rng: random.Random) -> str:
    """Decode and count one text; return what became of it."""
    outcome = "refused"
    for arguments in (["decode", "--from", str(path), "--json"], ["census", str(path)]):
        code, errors = command(*arguments)
        check(code, errors, path, arguments)
        outcome = "read" if code != 2 else outcome
    return outcome


def check(code: int, errors: str, path: Path, arguments: list[str]) -> None:
    """Raise AssertionError where a command ended as none should."""
    assert code in (0, 1, 2), (code, arguments)
    lines = [line for line in errors.splitlines() if line.startswith("pgtable: error:")]
    assert len(lines) == (code == 2), (errors, arguments)
    assert "Traceback" not in errors
    assert code != 2 or str(path) in lines[0], (errors, arguments)


def run(rounds: int | None, seconds: float, seed: int) -> dict[str, int]:
    """Fuzz for so many rounds, or seconds; return how often there was each outcome."""
    rng = random.Random(seed)
    outcomes: dict[str, int] = {}
    binary, text = npy_seeds(), text_seeds()
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "input", Path(name) / "output"
        began = time.monotonic()
        done = 0
        while done < rounds if rounds is not None else time.monotonic() - began < seconds:
            if rng.random() < 0.5:
                kind, fuzz, data = "entries", fuzz_entries, mutate(rng.choice(binary), rng)
            else:
                kind, fuzz, data = "text", fuzz_text, mutate_text(rng.choice(text), rng)
            path.write_bytes(data)
            try:
                outcome = f"{kind} {fuzz(path, out, rng)}"
            except BaseException:
                Path("fuzz-failure.bin").write_bytes(data)
                raise
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            done += 1
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print("seed", given.seed, flush=True)
    print(run(None, given.seconds, given.seed))
