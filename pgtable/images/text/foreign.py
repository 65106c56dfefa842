# SPDX-License-Identifier: GPL-2.0-only
"""Page tables that are not x86-64's: named, never read as if they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from .records import Format, Place

_I386 = "32-bit x86"

#: What is printed by other page tables alone; the name says whose they are.
_TABLES = {
    "pae": (re.compile(r"(?<!\w)\*pdpt\s*=\s*[0-9a-f]+"), f"{_I386} (PAE)"),
    "pde": (re.compile(r"(?<!\w)\*pde\s*=\s*[0-9a-f]+"), _I386),
    "tlb32": (
        re.compile(r"^[ \t]*[0-9a-f]{8}:\s+[0-9a-f]{8,16}\s+[-XGPDACTUW]{9,10}(?=\s|$)", re.M),
        f"{_I386} (info tlb)",
    ),
    "addr32": (
        re.compile(r"page\s+fault\s+for\s+address:\s+(?:0x)?[0-9a-f]{8}(?=\s|$)"),
        _I386,
    ),
    "map32": (re.compile(r"\baddr:[0-9a-f]{8}(?=\s+vm_flags:)"), _I386),
    "armlpae": (
        re.compile(r"(?:\[[0-9a-f]{8,16}\]\s+)?\*pgd\s*=\s*[0-9a-f]+"),
        "32-bit ARM",
    ),
    "arm": (re.compile(r"^[ \t]*pgd\s+=\s+[0-9a-f(]\S*", re.M), "ARM"),
    "arm64": (re.compile(r"\bpgd=[0-9a-f]{16},\s+p[4um]d=\S+"), "arm64 or riscv"),
    "arm64old": (re.compile(r"\[[0-9a-f]{16}\]\s+(?:address\s+between|pgd=)\S*"), "arm64"),
    "arm64tables": (
        re.compile(r"\b(?:swapper|user)\s+pgtable:\s+\d+k\s+pages,\s+\d+-bit\s+VAs"),
        "arm64",
    ),
    "s390": (re.compile(r"^[ \t]*AS:[0-9a-f]{8,16}\s+R\d:[0-9a-f]+", re.M), "s390x"),
    "s390lines": (
        re.compile(r"^[ \t]*R[123]:[0-9a-f]{16}(?:\s+[SP]:[0-9a-f]{16})", re.M),
        "s390x",
    ),
    "arm64wx": (re.compile(r"arm64/mm:\s+Found\s+insecure\s+W\+X"), "arm64"),
}
#: What else other architectures print.
_SIGNS = {
    "arm64": r"Mem\s+abort\s+info:|\bpstate:\s+[0-9a-f]{8}|\bx29:\s+[0-9a-f]{16}|\baarch64\b"
    r"|\bESR\s+=\s+0x|-arm64\b",
    "32-bit ARM": r"\bpsr:\s+[0-9a-f]{8}|\bARMv7\b|PC\s+is\s+at\s+\S+\s+LR\s+is\s+at|-armmp\b",
    "s390x": r"Krnl\s+(?:PSW|GPRS|Code)\b|Failing\s+address:\s+[0-9a-f]+\s+TEID|-s390x\b",
    "riscv": r"\bepc\s:\s+[0-9a-f]{8,16}\s+ra\s:|\bbadaddr:\s+[0-9a-f]+|-riscv64\b",
    "powerpc": r"\bNIP(?:\s+\[|:\s+[c0-9a-f])|Faulting\s+instruction\s+address:|\bGPR00:"
    r"|Kernel\s+attempted\s+to|-ppc64(?:le|el)?\b|powerpc64le",
    "mips": r"\bBadVA\s*:\s+[0-9a-f]|\bPrId\s*:\s+[0-9a-f]",
    "loongarch": r"\bBADV:?\s+[0-9a-f]{8}|\bera\s+[0-9a-f]{16}\s+ra\s+|-loong64\b",
    "sparc": r"\bTSTATE:\s+[0-9a-f]{16}",
    "parisc": r"\bIAOQ:\s+[0-9a-f]{8}",
    _I386: r"\bEIP:\s|\bEAX:\s+[0-9a-f]{8}\b|\b686(?:-pae)?\s+#\d",
}
_X86_64 = r"\bRIP:\s|\bRSP:\s|\bRAX:\s+[0-9a-f]{16}|\bCR2:\s+[0-9a-f]{16}|\bx86_64\b|-amd64\b"


class Foreign(Format):
    """Lines that show page tables of other kinds, and signs of other processors."""

    name = "other architectures"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        **{name: pattern for name, (pattern, _) in _TABLES.items()},
        **{f"sign {name}": re.compile(pattern) for name, pattern in _SIGNS.items()},
        "x86": re.compile(_X86_64),
    }

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[int, str]] = []  # line, whose
        self.signs: list[tuple[int, str]] = []
        self.x86 = False

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line of tables, or a sign."""
        if what == "x86":
            self.x86 = True
        elif what.startswith("sign "):
            self.signs.append((place.line(), what.removeprefix("sign ")))
        else:
            self.tables.append((place.line(), _TABLES[what][1]))
