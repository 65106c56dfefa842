# SPDX-License-Identifier: GPL-2.0-only
"""Entries out of the text that kernels and tools print.

:func:`parse` finds them among any other lines, behind any prefix (time stamps,
log levels, host names, quoting): crash's ``vtop`` and ``pte``, QEMU's ``info
tlb``, the kernel's page_tables files, the ``PGD ... PTE ...`` line of an oops and
``Bad page map`` reports, and bare numbers.  What a format does not print is said
in :attr:`Text.lost` and, bit by bit, in :attr:`Record.known`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .crash import Crash
from .oops import BadPageMap, Oops
from .plain import Plain
from .ptdump import PageTablesFile
from .qemu import InfoTlb
from .records import Format, Record, Text

__all__ = ["FORMATS", "Record", "Text", "parse"]

#: What is understood, in the order in which a line is offered.
FORMATS: tuple[type[Format], ...] = (InfoTlb, PageTablesFile, Crash, BadPageMap, Oops, Plain)


def parse(lines: Iterable[str]) -> Text:
    """Return every entry that these lines print, in their order.

    Lines of several formats may be mixed; what is no entry is passed over and
    counted in ``ignored``.
    """
    formats = [make() for make in FORMATS]
    ignored = 0
    for number, line in enumerate(lines, 1):
        if not any(format_.feed(number, line) for format_ in formats):
            ignored += bool(line.strip())
    for format_ in formats:
        format_.finish()
    records = [record for format_ in formats for record in format_.records]
    records.sort(key=lambda record: record.line)
    used = [format_ for format_ in formats if format_.records]
    return Text(
        records=records,
        lost={format_.name: format_.lost for format_ in used},
        notes=[note for format_ in formats for note in format_.notes()],
        ignored=ignored,
    )
