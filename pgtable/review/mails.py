# SPDX-License-Identifier: GPL-2.0-only
"""Reads patches out of mails, mailboxes, pages of archives and plain diffs."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from email.message import EmailMessage
from html.parser import HTMLParser

from .diffs import FileDiff, read_diffs
from .errors import PatchError

#: A line that begins a message in a mailbox.
_FROM = re.compile(rb"^From \S+.*\d{4}$", re.MULTILINE)
_HEADERS = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*)+\n")
_SUBJECT = re.compile(r"^Subject:[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_NUMBER = re.compile(r"\[[^\]]*\b(\d+)/(\d+)\]")
_PATCH_TITLE = re.compile(r"^\[[^\]]*(?:PATCH|RFC)[^\]]*\].*$", re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """One patch: its title ("" if it has none), its place in a series, and its diffs."""

    title: str
    files: tuple[FileDiff, ...]
    number: int | None = None


def read_patches(content: bytes) -> list[Patch]:
    """Return the patches of a mail, a mailbox, a page of an archive or a diff, in order.

    Messages without a diff are left out: cover letters and replies.  Raises PatchError
    where there is no diff at all, or one is cut off.
    """
    found = [patch for text in _texts(content) if (patch := _patch(*text)) is not None]
    if not found:
        raise PatchError("there is no diff in it; a quoted diff (>) does not count")
    if all(patch.number is not None for patch in found):
        found.sort(key=lambda patch: patch.number or 0)
    return found


def _patch(title: str, text: str) -> Patch | None:
    files = tuple(read_diffs(text))
    if not files:
        return None
    number = _NUMBER.search(title)
    return Patch(title, files, int(number[1]) if number else None)


def _texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the title and the text of each message."""
    starts = [match.start() for match in _FROM.finditer(content)]
    if starts and not content[: starts[0]].strip():
        for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
            yield _message(content[start:end].partition(b"\n")[2])
        return
    yield _message(content)


def _message(content: bytes) -> tuple[str, str]:
    text = _decoded(content)
    if text.lstrip()[:200].lower().startswith(("<!doctype html", "<html")):
        text = _of_page(text)
    elif (headers := _HEADERS.match(text)) and "subject:" in headers[0].lower():
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        return " ".join(str(mail["subject"] or "").split()), "\n".join(_parts(mail))
    return _title(text), text


def _title(text: str) -> str:
    """Return the title that a diff's text or an archive's page begins with."""
    head = text.partition("\n--- ")[0].partition("\ndiff --git ")[0]
    found = _SUBJECT.search(head) or _PATCH_TITLE.search(head)
    return " ".join((found[1] if found.re is _SUBJECT else found[0]).split()) if found else ""


def _parts(mail: EmailMessage) -> Iterator[str]:
    """Yield the text parts of a mail, decoded: the body and attached patches."""
    for part in mail.walk():
        if part.is_multipart() or part.get_content_maintype() not in ("text", "application"):
            continue
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes) and b"\0" not in payload:
            text = _decoded(payload, part.get_content_charset())
            yield _of_page(text) if part.get_content_subtype() == "html" else text


def _decoded(content: bytes, charset: str | None = None) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    for name in (charset, "utf-8"):
        try:
            return content.decode(name or "ascii").removeprefix("\ufeff")
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("latin-1")


class _Page(HTMLParser):
    """Collects the text of a page, without tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in ("script", "style")
        if tag in ("br", "p", "div", "tr"):
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)


def _of_page(text: str) -> str:
    page = _Page()
    page.feed(text)
    return "".join(page.text)


def joined(patches: Iterable[Patch]) -> Patch:
    """Return all patches of a series as one."""
    whole = Patch("the whole series", ())
    for patch in patches:
        whole = replace(whole, files=(*whole.files, *patch.files))
    return whole
