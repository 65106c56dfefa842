# SPDX-License-Identifier: GPL-2.0-only
"""Finds both halves of a kernel tree: its headers, and the files that configuring it generated."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from .errors import KernelTreeError
from .reading import read_text

PGTABLE_H = "arch/x86/include/asm/pgtable.h"
AUTOCONF_H = "include/generated/autoconf.h"
VERSION_H = "include/generated/uapi/linux/version.h"

#: The source file with bodies of helpers.  Header packages do not have it.
PGTABLE_C = "arch/x86/mm/pgtable.c"


class Tree(NamedTuple):
    """The two halves of a tree; one directory may be both.

    overlay: a directory with some of the sources' files, which stand for those of the tree.
    """

    sources: Path
    generated: Path
    release: str  #: what ``uname -r`` says of a kernel built from it
    overlay: Path | None = None

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where sources are looked for, one after the other."""
        return (self.sources,) if self.overlay is None else (self.overlay, self.sources)

    def source(self, name: str) -> Path | None:
        """Return where a file of the sources is; None: nowhere."""
        return next((root / name for root in self.roots if (root / name).is_file()), None)


def locate(path: str | os.PathLike[str], generated: str | os.PathLike[str] | None = None) -> Tree:
    """Return both halves of the tree that ``path`` is, or is one half of.

    path: a configured kernel tree, or its build directory; either half of a
        distribution's header packages; with ``generated``, a bare header tree.
    generated: the directory that holds ``include/generated``.

    Raises OSError if a directory cannot be read, and KernelTreeError, which names
    the missing package or command, for anything but an x86-64 tree with both halves.
    """
    given = _directory(path)
    if generated is not None:
        tree = _halves(_with_sources(given), _with_generated(_directory(generated)))
    elif _is_generated(given):
        tree = _halves(given if _is_sources(given) else _sources_of(given), given)
    else:
        sources = _with_sources(given)
        tree = _halves(sources, _generated_of(sources))
    _require_x86_64(tree)
    _require_same_version(tree)
    return tree


def _directory(path: str | os.PathLike[str]) -> Path:
    os.scandir(path).close()  # raises an error that says what is wrong
    return Path(path).resolve()


def _is_sources(directory: Path) -> bool:
    return (directory / PGTABLE_H).is_file()


def _is_generated(directory: Path) -> bool:
    return (directory / AUTOCONF_H).is_file()


def _is_configured(directory: Path) -> bool:
    return (directory / ".config").is_file()


def _halves(sources: Path, generated: Path) -> Tree:
    return Tree(sources, generated, _release(generated))


def _with_sources(directory: Path) -> Path:
    if _is_sources(directory):
        return directory
    others = sorted(found.parts[-4] for found in directory.glob("arch/*/include/asm/pgtable.h"))
    if others:
        raise KernelTreeError(
            f"{directory} has headers of {', '.join(others)} only; give a tree with arch/x86"
        )
    if _is_configured(directory):
        raise KernelTreeError(
            f"{directory} is configured but not prepared; run 'make O={directory} prepare' in the"
            " kernel source tree"
        )
    raise KernelTreeError(
        f"{directory} is no kernel tree (there is no {PGTABLE_H}); give a configured kernel"
        " source tree or an unpacked linux-headers package"
    )


def _with_generated(directory: Path) -> Path:
    if _is_generated(directory):
        return directory
    if _is_configured(directory):
        raise KernelTreeError(
            f"{directory} is configured but not prepared; run 'make O={directory} prepare' in the"
            " kernel source tree"
        )
    raise KernelTreeError(
        f"{directory} has no {AUTOCONF_H}; give the directory that 'make O=DIR prepare' filled"
    )


def _included(generated: Path) -> Path | None:
    """Return the tree that the Makefile of a generated half includes."""
    try:
        text = read_text(generated / "Makefile")
    except FileNotFoundError:
        return None
    found = re.search(r"^include\s+(\S.*?)/Makefile\s*$", text, re.MULTILINE)
    # in a build directory below the sources, the name is "../Makefile"
    return Path(os.path.normpath(generated / found[1])) if found else None


def _sources_of(generated: Path) -> Path:
    """Return the headers that belong to a generated half: beside it, or where its Makefile says."""
    link = generated / "source"  # of a build directory
    if _is_sources(link):
        return link.resolve()
    included = _included(generated)
    if included is None:
        raise KernelTreeError(
            f"{generated} has generated headers only, and no Makefile that says where the"
            f" others are; give the kernel tree itself, with"
            f" --generated {generated} (in Python generated=)"
        )
    for candidate in (generated.parent / included.name, included):
        if _is_sources(candidate):
            return candidate.resolve()
    raise KernelTreeError(
        f"{generated} is one half; the other, {included.name}, is neither beside it nor at"
        f" {included}: install the package {included.name} or unpack it beside this one"
    )


def _generated_of(sources: Path) -> Path:
    """Return the generated half: a package beside the common one, or a build directory below it."""
    found = []
    for candidate in (*sorted(sources.parent.iterdir()), *sorted(sources.iterdir())):
        if candidate != sources and _is_generated(candidate):
            included = _included(candidate)
            if included is not None and included.name == sources.name:
                found.append(candidate)
    stem = re.sub(r"-common(?=$|-)", "", sources.name)
    # if there are several flavours, take the plain one
    plain = [candidate for candidate in found if candidate.name == f"{stem}-amd64"]
    if len(found) == 1 or plain:
        return (plain or found)[0]
    if found:
        raise KernelTreeError(
            f"{sources} goes with {', '.join(half.name for half in found)}; give one of these"
        )
    if "-common" in sources.name:
        mend = f"install the package {stem}-amd64 or unpack it beside this one"
    elif _is_configured(sources):
        mend = "it is configured but not prepared: run 'make prepare' in it"
    else:
        mend = "run 'make defconfig && make prepare' in it"
    raise KernelTreeError(
        f"{sources} has no generated headers; {mend}, or name the build directory with"
        " --generated DIR (in Python generated=)"
    )


def _release(generated: Path) -> str:
    for name in ("include/generated/utsrelease.h", "include/config/kernel.release"):
        try:
            text = read_text(generated / name).strip()
        except FileNotFoundError:
            continue
        quoted = re.search(r'UTS_RELEASE "([^"]*)"', text)
        return quoted[1] if quoted else text
    return generated.name


def _require_x86_64(tree: Tree) -> None:
    autoconf = read_text(tree.generated / AUTOCONF_H)
    if re.search(r"^#define CONFIG_X86_64 1$", autoconf, re.MULTILINE):
        return
    found = re.search(
        r"^#define CONFIG_(X86_32|ARM64|ARM|RISCV|PPC|S390|MIPS|LOONGARCH|SPARC|PARISC|ALPHA|M68K"
        r"|SUPERH|UML) 1$",
        autoconf,
        re.MULTILINE,
    )
    what = found[1].lower() if found else "another architecture"
    if what == "x86_32":
        what += " (CONFIG_X86_64=n)"
    raise KernelTreeError(f"{tree.generated} is configured for {what}; x86-64 is needed")


def _require_same_version(tree: Tree) -> None:
    ours, theirs = _makefile_version(tree.sources), _generated_version(tree.generated)
    if ours and theirs and ours != theirs:
        raise KernelTreeError(
            f"{tree.sources} is Linux {_dotted(ours)}, but {tree.generated} was generated by"
            f" {_dotted(theirs)}; both halves must be of the same version"
        )


def _makefile_version(sources: Path) -> tuple[int, ...] | None:
    try:
        text = read_text(sources / "Makefile")
    except FileNotFoundError:
        return None
    numbers = [
        re.search(rf"^{name} *= *(\d+)\s*$", text, re.MULTILINE)
        for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")
    ]
    if not all(numbers):
        return None
    version, patchlevel, sublevel = (int(number[1]) for number in numbers if number)
    return (version, patchlevel, min(sublevel, 255))  # LINUX_VERSION_CODE is computed like this


def _generated_version(generated: Path) -> tuple[int, ...] | None:
    try:
        text = read_text(generated / VERSION_H)
    except FileNotFoundError:
        return None
    code = re.search(r"^#define LINUX_VERSION_CODE (\d+)", text, re.MULTILINE)
    if not code:
        return None
    version = int(code[1])
    return (version >> 16, version >> 8 & 0xFF, version & 0xFF)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
