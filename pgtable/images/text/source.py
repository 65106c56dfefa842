# SPDX-License-Identifier: GPL-2.0-only
"""Makes plain lines of bytes: encodings, colours, quoted-printable, quoting, broken words."""

from __future__ import annotations

import html
import quopri
import re

_COLOUR = re.compile(
    r"(?:\x1b|\^\[|#033|ESC(?=\[[0-9;]*m))"  # as it is, as cat -v, syslog and less show it
    r"(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\][^\x07\x1b\n]*(?:\x07|\x1b\\|$))|\x1b"
)
#: Quote marks: those of mail, and what trackers and scripts put before a line.
_QUOTE = re.compile(r"^(?:[ \t]*(?:>|[|:#*](?=[ \t]|$)))+[ \t]?", re.M)
_ENTITY = re.compile(r"&(?:[gl]t|amp|nbsp|quot|#\d{2,4}|#x[0-9a-f]{2,3});")
_TAG = re.compile(r"</?(?:br|p|pre|tt|code|div|span|blockquote)\b[^<>\n]{0,80}>")
#: Spaces of other widths, and characters without width, as copied from pages and documents.
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " ") | dict.fromkeys(
    map(ord, "\u200b\u200e\u2060\ufeff\u00ad"), ""
)
_SOFT_BREAK = re.compile(r"=[ \t]*\n")
_QUOTED_BREAK = re.compile(r"=[ \t]*\n[ \t]*>")
#: An encoded =, space at the end of a line, or escape of a colour; a line that goes on.
_QP = re.compile(r"=(?:3D|1B\[|[ \t]*\n)|=(?:20|09)[ \t]*$", re.M)
_NO_QP = re.compile(r"=(?![0-9A-F]{2}|[ \t]*\n|.?\Z)")

#: Lines that are narrower than this are not broken inside words.
_NARROWEST = 40
#: No terminal is narrower, but mail is.
_TERMINAL = 79
#: A line that ends so was broken at a space, which mail takes away and terminals do not.
_AT_SPACE = re.compile(r"(?:\s(?:PGD|P4D|PUD|PMD|PTE|pmd|pte|address|process)|:)$")


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
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_SPACES)
    return _whole_words(_unquoted(_without_tags(_COLOUR.sub("", text))))


def _without_tags(text: str) -> str:
    """Return the text of a page's source; any other as it is."""
    if not _ENTITY.search(text) and "<br" not in text and "<pre" not in text:
        return text
    return html.unescape(_TAG.sub("", text)).translate(_SPACES)


def _unquoted(text: str) -> list[tuple[int, str]]:
    if _is_quoted_printable(text):
        if _QUOTED_BREAK.search(text):  # the mail was quoted as it stood
            text = _QUOTE.sub("", text)
        joined = _join_soft_breaks(text)
    else:
        joined = list(enumerate(text.split("\n"), 1))
    return [(number, _QUOTE.sub("", _COLOUR.sub("", line))) for number, line in joined]


def _is_quoted_printable(text: str) -> bool:
    return _QP.search(text) is not None and _NO_QP.search(text) is None


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
        from .writers import starts_record  # noqa: PLC0415 - streams is made of these lines

        self._continues: set[int] = set()
        if width < _TERMINAL:
            return
        full = starts = False
        before = ""
        for number, line in lines:
            start = starts_record(line)
            if not start and line.strip():
                if not full or not starts or _AT_SPACE.search(before):
                    self._continues.clear()
                    return
                self._continues.add(number)
            starts = starts or start
            full, before = len(line) == width, line
        if len(self._continues) < 3:
            self._continues.clear()

    def __call__(self, number: int) -> bool:
        return number in self._continues
