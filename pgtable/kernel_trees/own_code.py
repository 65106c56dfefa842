# SPDX-License-Identifier: GPL-2.0-only
"""C of our own that is compiled on demand, and what is asked of a compiler beside that."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from . import cache, compiler
from .errors import KernelTreeError
from .objects import read_objdump

#: The parts of csrc that such C may include.
_INCLUDED = ("helpers", "bulk", "form", "cost")


def compile_own(
    cc: Path,
    csrc: Path,
    sources: Sequence[Path],
    flags: Sequence[str],
    name: str,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Return the file that C of ours compiles to: compiled now, or taken out of the cache.

    csrc: the directory that the sources include from.
    name: of the file.
    texts: more files that the sources include: names and contents.

    Raises KernelTreeError, in one line, where the compiler fails.
    """
    texts = dict(texts or {})
    digest = sha256(repr((cc, cc.stat().st_mtime_ns, flags, name, texts)).encode())
    for file in sorted(file for part in _INCLUDED for file in (csrc / part).iterdir()):
        digest.update(file.read_bytes())
    key = digest.hexdigest()
    found = cache.find_content(key, [name])
    if found is None:
        # several at a time: only storing the result needs the cache's lock
        with tempfile.TemporaryDirectory(prefix="pgtable-") as scratch:
            _compile(cc, csrc, sources, flags, name, texts, Path(scratch))
            with cache.unfinished() as directory:
                shutil.move(Path(scratch, name), directory / name)
                found = cache.find_content(key, [name]) or cache.keep(key, directory, [name])
    return found / name


def _compile(
    cc: Path,
    csrc: Path,
    sources: Sequence[Path],
    flags: Sequence[str],
    name: str,
    texts: Mapping[str, str],
    directory: Path,
) -> None:
    for file, text in texts.items():
        (directory / file).write_text(text)
    include = [f"-I{directory}", f"-I{csrc}"]
    command: compiler.Command = [cc, *flags, *include, *sources, "-o", name, "-ldl", "-lm"]
    result = compiler.run([command], directory)[0]
    if result.code:
        raise KernelTreeError(
            f"{cc} cannot compile {sources[0].name}: {compiler.first_error(result.errors)}"
        )


def compiler_version(cc: Path) -> str | None:
    """Return the version that a compiler prints, such as "12.2.0"; None if it prints none."""
    found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", _output([cc, "--version"]).partition("\n")[0])
    return found and found[0]


def code_sizes(library: Path, cc: Path) -> dict[str, int]:
    """Return how many bytes of code each symbol of a library has."""
    objdump = _output([cc, "-print-prog-name=objdump"]).strip() or "objdump"
    return read_objdump(_output([objdump, "-t", library])).sizes


def _output(command: compiler.Command) -> str:
    return compiler.run([command], Path(tempfile.gettempdir()))[0].output
