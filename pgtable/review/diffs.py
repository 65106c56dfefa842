# SPDX-License-Identifier: GPL-2.0-only
"""Reads unified diffs out of any text: a mail, a page of an archive, what git prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import PatchError

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_GIT = re.compile(r"diff --git (\S+) (\S+)$")
_OLD = re.compile(r"--- (\S+)")
_NEW = re.compile(r"\+\+\+ (\S+)")
_NOTHING = "/dev/null"
#: What stands between the header of a file and its hunks.
_BETWEEN = re.compile(
    r"index |(?:old|new|deleted file|new file) mode |similarity index |dissimilarity index "
    r"|(?:rename|copy) (?:from|to) |diff --git |--- |\+\+\+ |@@ -|Index: |={20,}$"
)


@dataclass(frozen=True)
class Hunk:
    """A piece of a diff.

    number: from 1 in its file; line: of the old file, from 1 (0: the file is empty).
    old, new: the lines that it finds, and those that it leaves, without line ends.
    leading, trailing: how many lines at its begin and end are context.
    """

    number: int
    line: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    leading: int
    trailing: int


@dataclass(frozen=True)
class FileDiff:
    """What a patch does to one file.

    path: relative to the tree; renamed_from: its former path, where that is another.
    kind: "changed", "new" or "deleted"; binary: the diff has no text.
    """

    path: str
    hunks: tuple[Hunk, ...]
    kind: str = "changed"
    renamed_from: str | None = None
    binary: bool = False

    @property
    def changed_lines(self) -> tuple[list[str], list[str]]:
        """Return the lines that go, and those that come."""
        gone: list[str] = []
        come: list[str] = []
        for hunk in self.hunks:
            end = len(hunk.old) - hunk.trailing
            gone += hunk.old[hunk.leading : end]
            come += hunk.new[hunk.leading : len(hunk.new) - hunk.trailing]
        return gone, come


def read_diffs(text: str) -> list[FileDiff]:
    """Return the diffs of a text; other lines, and lines quoted with ">", are left out.

    Raises PatchError for a hunk that ends before the lines that it announces, and for a
    path that leads out of the tree.
    """
    return _Reader(text.replace("\r\n", "\n").removesuffix("\n").split("\n")).files()


class _Reader:
    def __init__(self, lines: Sequence[str]):
        self.lines = lines
        self.at = 0

    def files(self) -> list[FileDiff]:
        found: list[FileDiff] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if git := _GIT.match(line):
                self.at += 1
                found.append(self._file(git[1], git[2]))
            elif self._begins_plain():
                found.append(self._file(None, None))
            else:
                self.at += 1
        return found

    def _begins_plain(self) -> bool:
        following = self.lines[self.at : self.at + 3]
        return (
            len(following) == 3
            and _OLD.match(following[0]) is not None
            and _NEW.match(following[1]) is not None
            and _HUNK.match(following[2]) is not None
        )

    def _file(self, old: str | None, new: str | None) -> FileDiff:
        """Read one file: its header, then hunks as long as there are any."""
        kind, renamed, binary = "changed", None, False
        while self.at < len(self.lines) and not _HUNK.match(self.lines[self.at]):
            line = self.lines[self.at]
            if line.startswith("new file mode"):
                kind = "new"
            elif line.startswith("deleted file mode"):
                kind = "deleted"
            elif line.startswith("rename from "):
                renamed = line[12:]
            elif line.startswith(("Binary files ", "GIT binary patch")):
                binary = True
            elif named := _OLD.match(line):
                old = named[1]
            elif named := _NEW.match(line):
                new = named[1]
            elif not _BETWEEN.match(line) or _GIT.match(line):
                break
            self.at += 1
        if old == _NOTHING:
            kind = "new"
        if new == _NOTHING:
            kind = "deleted"
        path = _path(old if kind == "deleted" else new)
        hunks: list[Hunk] = []
        while self.at < len(self.lines) and _HUNK.match(self.lines[self.at]):
            hunks.append(self._hunk(path, len(hunks) + 1))
        return FileDiff(path, tuple(hunks), kind, renamed, binary)

    def _hunk(self, path: str, number: int) -> Hunk:
        head = _HUNK.match(self.lines[self.at])
        assert head is not None
        first, olds, _, news = (1 if one is None else int(one) for one in head.groups())
        self.at += 1
        body: list[tuple[str, str]] = []
        while olds or news:
            mark, text = self._body_line(path, number, olds, news)
            body.append((mark, text))
            olds -= mark in " -"
            news -= mark in " +"
        if self.at < len(self.lines) and self.lines[self.at].startswith("\\ No newline"):
            self.at += 1
        marks = "".join(mark for mark, _ in body)
        return Hunk(
            number,
            first,
            tuple(text for mark, text in body if mark in " -"),
            tuple(text for mark, text in body if mark in " +"),
            leading=len(marks) - len(marks.lstrip()),
            trailing=len(marks) - len(marks.rstrip()) if marks.strip() else 0,
        )

    def _body_line(self, path: str, number: int, olds: int, news: int) -> tuple[str, str]:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if line.startswith("\\ No newline"):
                continue
            if line == "":  # a mail program took the blank of an empty line of context
                line = " "
            mark, text = line[0], line[1:]
            if (mark in " -" and olds) or (mark in " +" and news):
                return mark, text
            break
        raise PatchError(
            f"{path}: hunk {number} ends early, at line {self.at} of the text: is the patch cut"
            " off, or are its lines wrapped?"
        )


#: The directories at the top of the kernel's sources: a path that begins so has no prefix.
_TOP = frozenset(
    (
        *("Documentation", "LICENSES", "arch", "block", "certs", "crypto", "drivers", "fs"),
        *("include", "init", "io_uring", "ipc", "kernel", "lib", "mm", "net", "rust"),
        *("samples", "scripts", "security", "sound", "tools", "usr", "virt"),
    )
)


def _path(name: str | None) -> str:
    """Return a path relative to the tree, without what git or diff put before it."""
    if name is None:
        raise PatchError("a diff names no file")
    parts = name.split("/")
    if len(parts) > 1 and parts[0] not in _TOP:
        del parts[0]
    if name.startswith("/") or ".." in parts or not all(parts):
        raise PatchError(f"{name}: a patch may only name files of the tree")
    return "/".join(parts)
