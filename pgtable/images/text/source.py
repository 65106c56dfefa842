# SPDX-License-Identifier: GPL-2.0-only
"""Bytes to plain lines: encodings, colours, quoted-printable, quoting, broken words."""

from __future__ import annotations

import quopri
import re

_COLOUR = re.compile(
    r"(?:\x1b|\^\[|#033|ESC(?=\[[0-9;]*m))"  # as it is, as cat -v, syslog and less show it
    r"(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\][^\x07\x1b\n]*(?:\x07|\x1b\\|$))|\x1b"
)
_QUOTE = re.compile(r"^(?:[ \t]*>)+[ \t]?", re.M)
_SOFT_BREAK = re.compile(r"=[ \t]*\n")
_QUOTED_BREAK = re.compile(r"=[ \t]*\n[ \t]*>")
_NO_QP = re.compile(r"=(?![0-9A-F]{2}|[ \t]*\n|.?\Z)")

#: Lines are not broken inside words where they are narrower than this.
_NARROWEST = 20


def as_text(data: bytes) -> str:
    """Return the text of a file: UTF-8 or UTF-16 (with or without a mark), LF line ends."""
    text = data.decode(_encoding(data), errors="replace").lstrip("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _encoding(data: bytes) -> str:
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    # without a mark: text of these tools is ASCII, so every second byte is 0
    head = data[: 1 << 16]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.7 * half > even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 * half > odd else "utf-8"


def plain_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines without colours, quote marks and encoding of mail, numbered from 1.

    A word that was broken at the end of a line is made whole, on its first line.
    """
    lines = _unquoted(_COLOUR.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _whole_words(lines)


def _unquoted(text: str) -> list[tuple[int, str]]:
    if _is_quoted_printable(text):
        if _QUOTED_BREAK.search(text):  # the mail was quoted as it stood
            text = _QUOTE.sub("", text)
        joined = _join_soft_breaks(text)
    else:
        joined = list(enumerate(text.split("\n"), 1))
    return [(number, _QUOTE.sub("", line)) for number, line in joined]


def _is_quoted_printable(text: str) -> bool:
    if "=3D" not in text and not _SOFT_BREAK.search(text):
        return False
    return _NO_QP.search(text) is None


def _join_soft_breaks(text: str) -> list[tuple[int, str]]:
    """Decode quoted-printable; a line that was broken keeps the number of its first part."""
    joined: list[tuple[int, str]] = []
    open_ = False
    for number, line in enumerate(text.split("\n"), 1):
        body = line.rstrip(" \t")
        goes_on = body.endswith("=")
        body = body[:-1] if goes_on else line
        if open_:
            joined[-1] = (joined[-1][0], joined[-1][1] + body)
        else:
            joined.append((number, body))
        open_ = goes_on
    return [(number, _decode_escapes(line)) for number, line in joined]


def _decode_escapes(line: str) -> str:
    if "=" not in line:
        return line
    return quopri.decodestring(line.encode("utf-8", "replace")).decode("utf-8", "replace")


def _whole_words(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Join a word that is longer than the lines are wide, and was broken at their end."""
    width = max((len(line) for _, line in lines), default=0)
    if width < _NARROWEST:
        return lines
    terminal = _is_terminal_wrap(lines, width)
    whole: list[tuple[int, str]] = []
    full = False  # the line before goes to the edge
    for number, line in lines:
        if full and line and (terminal(number) or _breaks_word(whole[-1][1], line, width)):
            whole[-1] = (whole[-1][0], whole[-1][1] + line)
        else:
            whole.append((number, line))
        full = len(line) == width
    return whole


def _breaks_word(before: str, line: str, width: int) -> bool:
    last = re.search(r"\S+$", before)
    first = re.match(r"\S+", line)
    return bool(last and first) and len(last[0]) + len(first[0]) > width  # type: ignore[index]


class _is_terminal_wrap:  # noqa: N801 - a predicate with what it has found out
    """Whether a line continues the one before letter by letter, as terminals wrap."""

    def __init__(self, lines: list[tuple[int, str]], width: int) -> None:
        # a log whose records all start with a prefix, and whose other lines all follow a
        # line that is exactly as wide as the widest
        from .streams import starts_record  # noqa: PLC0415 - streams is made of these lines

        self._continues: set[int] = set()
        full = starts = False
        for number, line in lines:
            start = starts_record(line)
            if not start and line.strip():
                if not full or not starts:
                    self._continues.clear()
                    return
                self._continues.add(number)
            starts = starts or start
            full = len(line) == width
        if len(self._continues) < 3:
            self._continues.clear()

    def __call__(self, number: int) -> bool:
        return number in self._continues
