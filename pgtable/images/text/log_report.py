# SPDX-License-Identifier: GPL-2.0-only
"""A report in a kernel's log: what it says beside the entries (error code, registers, version)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

LA57 = 1 << 12  #: of CR4: five levels

#: Bits of the error code of a page fault (arch/x86/include/asm/trap_pf.h).
FAULT_PROT = 1 << 0
FAULT_WRITE = 1 << 1
FAULT_USER = 1 << 2
FAULT_RSVD = 1 << 3
FAULT_INSTR = 1 << 4
FAULT_PK = 1 << 5
FAULT_SHSTK = 1 << 6

#: What the text of a report may say: name, pattern, the bits of the error code that it means
#: (set, clear).
SAYINGS: dict[str, tuple[str, int, int]] = {
    "not-present page": (r"not-\s*present\s+page", 0, FAULT_PROT),
    "reserved bit violation": (r"reserved\s+bit\s+violation", FAULT_RSVD, 0),
    "permissions violation": (r"permissions\s+violation", FAULT_PROT, FAULT_RSVD),
    "protection keys violation": (r"protection\s+keys\s+violation", FAULT_PK, 0),
    "write access": (r"\bwrite\s+access\s+in\s+(?:kernel|user)\s+mode", FAULT_WRITE, 0),
    "read access": (
        r"\bread\s+access\s+in\s+(?:kernel|user)\s+mode",
        0,
        FAULT_WRITE | FAULT_INSTR,
    ),
    "instruction fetch": (r"instruction\s+fetch\s+in\s+(?:kernel|user)", FAULT_INSTR, 0),
    "user access": (r"#PF:\s+user\b", FAULT_USER, 0),
    "supervisor access": (r"#PF:\s+supervisor\b", 0, FAULT_USER),
    "NX-protected page": (r"execute\s+NX-\s*protected\s+page", FAULT_INSTR, 0),
    "Corrupted page table": (r"Corrupted\s+page\s+table\s+at", FAULT_RSVD, 0),
    "BAD": (r"(?<=[0-9a-f])\s+BAD\b(?!\s+\w+:)", 0, 0),
}

#: What else is taken from a report.
FACTS = {
    "error": re.compile(r"#PF:\s+error_code\(\s*(?:0x)?([0-9a-f]{1,8})\s*\)"),
    "oops": re.compile(
        r"\b(?:Oops|Bad\s+pagetable):\s+(?:Oops:\s+)?([0-9a-f]{4})\s*\[#\d+\](?P<flags>"
        r"(?:\s+(?:PREEMPT(?:_RT|_DYNAMIC|\([a-z]+\))?|SMP|DEBUG_PAGEALLOC|KASAN|PTI|NOPTI"
        r"|KCSAN|RCU)(?=\s|$))*)"
    ),
    "cr2": re.compile(r"\bCR2:\s+([0-9a-f]{16})\b"),
    "cr3": re.compile(r"\bCR3:\s+([0-9a-f]{16})\b"),
    "cr4": re.compile(r"\bCR4:\s+([0-9a-f]{16})\b"),
    "masked": re.compile(r"\bcr4\s+masked\s+([0-9a-f]+)\b"),
    "kernel": re.compile(
        r"(?:\bLinux\s+version\s+|\bRELEASE:\s+|(?:\bNot\s+tainted|\bTainted:[^#]{0,300}?)\s+)"
        r"(\d+\.\d+[\w.+~-]*(?:(?<=-)\n[\w.+~-]+)?)(?=\s|$)"
    ),
    "comm": re.compile(r"\bComm:\s+(\S.{0,15}?)\s+(?=Not\s+tainted|Tainted|Kdump)"),
    "swapfile": re.compile(r"\bBad\s+swap\s+(?:file|offset)\s+entry\s+([0-9a-f]+)\b"),
    "end": re.compile(r"---\[\s+end\s+trace\b"),
    "says": re.compile(
        "|".join(f"(?P<s{n}>{pattern})" for n, (pattern, _, _) in enumerate(SAYINGS.values()))
    ),
}


@dataclass(eq=False)
class LogReport:
    """One oops, one ``Bad page map``, with everything that its lines say.

    Numbers are as printed; None: it is not printed.
    """

    kind: str
    line: int
    word: int = 0
    address: int | None = None
    error_codes: list[int] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    kernel: str | None = None
    comm: str | None = None
    cr2: int | None = None
    cr3: int | None = None
    cr4: int | None = None
    flags: list[str] = field(default_factory=list)
    swapfile: int | None = None  #: of "Bad swap file entry": type and offset as the kernel read it
    ambiguous: bool = False  #: its lines may be another report's
    warnings: list[str] = field(default_factory=list)

    def take(self, what: str, match: re.Match[str]) -> None:
        """Take a fact."""
        if what == "says":
            self._add(list(SAYINGS)[int(str(match.lastgroup)[1:])])
        elif what in ("error", "oops"):
            self.error_codes.append(int(match[1], 16))
            if what == "oops":
                self.flags += match["flags"].split()
                if "Bad" in match[0]:
                    self._add("Bad pagetable")
        elif what == "kernel":
            self.kernel = re.sub(r"\s", "", match[1])
        elif what == "comm":
            self.comm = match[1]
        elif what in ("cr2", "cr3", "cr4", "swapfile") and getattr(self, what) is None:
            setattr(self, what, int(match[1], 16))

    def _add(self, name: str) -> None:
        if name not in self.says:
            self.says.append(name)

    @property
    def error_code(self) -> int | None:
        """The error code, if all lines agree."""
        return self.error_codes[0] if len(set(self.error_codes)) == 1 else None

    @property
    def five_levels(self) -> bool | None:
        """Whether CR4 says that there are five levels; None where it is not printed."""
        return None if self.cr4 is None else bool(self.cr4 & LA57)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        words = {
            name: None if value is None else f"{value:#x}"
            for name in ("address", "cr2", "cr3", "cr4", "swapfile")
            for value in [getattr(self, name)]
        }
        return {
            "line": self.line,
            "kind": self.kind,
            "error_codes": [f"{code:#06x}" for code in self.error_codes],
            "says": self.says,
            "kernel": self.kernel,
            "comm": self.comm,
            "flags": self.flags,
            "warnings": self.warnings,
            **words,
        }
