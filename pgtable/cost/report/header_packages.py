# SPDX-License-Identifier: GPL-2.0-only
"""Debian's packages of kernel headers: finds them below a directory, or fetches them into it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


def find_or_fetch(series: str, root: Path) -> tuple[Path | None, str]:
    """Return the generated half of a series' newest headers; or None, and why there is none."""
    found = newest_half(root, series)
    if found:
        return found, ""
    why = fetch(series, root)
    return newest_half(root, series), why


def newest_half(root: Path, series: str) -> Path | None:
    """Return the generated half of the newest headers of a series that lie below root."""
    found = [
        half
        for half in root.rglob(f"linux-headers-{series}.*-amd64")
        if (half / "include/generated/autoconf.h").is_file() and _is_plain(half.name)
    ]
    return max(found, key=lambda half: _version(half.name), default=None)


def _is_plain(name: str) -> bool:
    return re.search(r"-(cloud|rt)-", name) is None


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def fetch(series: str, root: Path) -> str:
    """Unpack the newest header packages of a series; return why that failed."""
    for program in ("apt-cache", "apt-get", "dpkg"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    search = ["apt-cache", "search", "--names-only", rf"^linux-headers-{series}\."]
    names = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split("\n")
    halves = [line.split(" ")[0] for line in names if line.split(" ")[0].endswith("-amd64")]
    halves = [name for name in halves if _is_plain(name)]
    if not halves:
        return "apt-cache knows no such package (apt-get update?)"
    newest = max(halves, key=_version)
    packages = [newest, newest.removesuffix("amd64") + "common"]
    directory = root.resolve() / series
    directory.mkdir(parents=True, exist_ok=True)
    for command in (
        ["apt-get", "download", *packages],
        *(["dpkg", "-x", f"{name}_*.deb", "."] for name in packages),
    ):
        words = [str(next(directory.glob(word), word)) if "*" in word else word for word in command]
        done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(words)}: {' '.join(done.stderr.split())}"
    return "the packages are not what they seemed"
