# SPDX-License-Identifier: GPL-2.0-only
"""Page tables of other architectures: named, and never read as x86-64's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from .records import Format, Place

_I386 = "32-bit x86"
_RANGE = r"0x[0-9a-f]{16}-\s*0x[0-9a-f]{16}"
_LEVEL = "(?:PTE|PMD|PUD|P4D|PGD)"  #: x86 prints them small

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
    "map32": (re.compile(r"\baddr:[0-9a-f]{8}(?=\s+vm_flags:)"), _I386),  # or another's
    "armlpae": (re.compile(r"\[[0-9a-f]{8}\]\s+\*pgd\s*=\s*[0-9a-f]+"), "32-bit ARM"),
    "arm64stars": (re.compile(r"\[[0-9a-f]{16}\]\s+\*pgd\s*=\s*[0-9a-f]+"), "arm64"),
    "arm": (re.compile(r"^[ \t]*pgd\s+=\s+[0-9a-f(]\S*", re.M), "ARM"),
    "arm64": (
        re.compile(r"(?:\[[0-9a-f]{16}\]\s+pgd=|\bpgd=[0-9a-f]{16},\s+p[4um]d=)\S+"),
        "arm64 or riscv",
    ),
    "arm64none": (re.compile(r"\[[0-9a-f]{16}\]\s+address\s+between"), "arm64"),
    "riscvtables": (re.compile(r"\bpgtable:\s+\d+K\s+pagesize,\s+\d+-bit\s+VAs"), "riscv"),
    "arm64dump": (
        re.compile(rf"{_RANGE}\s+\d+[BKMGTPE]\s+{_LEVEL}\b[^\n]*\b(?:SHD|UXN|AF|MEM/\w+)\b"),
        "arm64 (page_tables)",
    ),
    "s390dump": (
        re.compile(rf"{_RANGE}\s+\d+[BKMGTPE]\s+{_LEVEL}\s+(?:RO|RW)\s+N?X\s*$", re.M),
        "s390x (page_tables)",
    ),
    "riscvdump": (
        re.compile(rf"{_RANGE}\s+0x[0-9a-f]{{16}}\s+\d+[BKMGTPE]\s+{_LEVEL}\b"),
        "riscv (page_tables)",
    ),
    "dump32": (
        re.compile(r"\b0x[0-9a-f]{8}-\s*0x[0-9a-f]{8}\s+\d+[BKMGTPE]\s"),
        "a 32-bit processor (page_tables)",
    ),
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
#: Other words that kernels of other architectures print.
_SIGNS = {
    "arm64": r"Mem\s+abort\s+info:|\bpstate:\s+[0-9a-f]{8}|\bx29:\s+[0-9a-f]{16}|\bESR\s+=\s+0x",
    "32-bit ARM": r"\bpsr:\s+[0-9a-f]{8}|PC\s+is\s+at\s+\S+\s+LR\s+is\s+at",
    "s390x": r"Krnl\s+(?:PSW|GPRS|Code)\b|Failing\s+address:\s+[0-9a-f]+\s+TEID",
    "riscv": r"\bepc\s:\s+[0-9a-f]{8,16}\s+ra\s:|\bbadaddr:\s+[0-9a-f]+",
    "powerpc": r"\bNIP(?:\s+\[|:\s+[c0-9a-f])|Faulting\s+instruction\s+address:|\bGPR00:"
    r"|Kernel\s+attempted\s+to",
    "mips": r"\bepc\s==\s[0-9a-f]+,\s+ra\s==|\bBadVA\s*:\s+[0-9a-f]|\bPrId\s*:\s+[0-9a-f]",
    "loongarch": r"\bera\s==\s[0-9a-f]+|\bBADV:?\s+[0-9a-f]{8}|\bera\s+[0-9a-f]{16}\s+ra\s+",
    "sparc": r"\bTSTATE:\s+[0-9a-f]{16}",
    "parisc": r"\bIAOQ:\s+[0-9a-f]{8}",
    _I386: r"\bEIP:\s|\bEAX:\s+[0-9a-f]{8}\b",
}
#: Names of their kernels and compilers.  Such a word may be in any text.
_NAMES = {
    "arm64": r"\baarch64\b|-arm64\b",
    "32-bit ARM": r"\bARMv7\b|-armmp\b|\barmv7l\b",
    "s390x": r"-s390x\b|\bs390x-linux",
    "riscv": r"-riscv64\b|\briscv64-linux",
    "powerpc": r"-ppc64(?:le|el)?\b|\bpowerpc64le\b",
    "loongarch": r"-loong64\b|\bloongarch64-",
    _I386: r"\b686(?:-pae)?\s+#\d",
}
_X86_64 = (
    r"\bRIP:\s|\bRSP:\s|\bRAX:\s+[0-9a-f]{16}|\bCR2:\s+[0-9a-f]{16}"
    r"|\bPGD\s+[0-9a-f]+\s+P(?:4D|UD)\s"
)


class Foreign(Format):
    """Lines that show page tables of other kinds, and signs of other processors."""

    name = "other architectures"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        **{name: pattern for name, (pattern, _) in _TABLES.items()},
        **{f"sign {name}": re.compile(pattern) for name, pattern in _SIGNS.items()},
        **{f"name {name}": re.compile(pattern) for name, pattern in _NAMES.items()},
        "x86": re.compile(_X86_64),
        "x86 name": re.compile(r"\bx86_64\b|-amd64\b"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[int, str]] = []  # line, whose
        self.signs: list[tuple[int, str]] = []
        self.x86 = False
        self._printed = self._x86_name = False

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line of tables, or a sign."""
        if what == "x86":
            self.x86 = True
        elif what == "x86 name":
            self._x86_name = True
        elif what.startswith(("sign ", "name ")):
            self.signs.append((place.line(), what[5:]))
            self._printed |= what.startswith("sign ")
        else:
            self.tables.append((place.line(), _TABLES[what][1]))

    @property
    def alone(self) -> bool:
        """Whether the stream has signs of other processors and none of x86-64."""
        named = self.signs and not self._x86_name
        return bool(self.tables or self._printed or named) and not self.x86
