# SPDX-License-Identifier: GPL-2.0-only
"""Compares entries with what their report says of them, and with what is possible.

Sources: Intel SDM volume 3, 4.5 (reserved bits) and 4.7 (error codes);
arch/x86/mm/fault.c for what the kernel prints.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import bits
from .log_report import (
    FAULT_INSTR,
    FAULT_PK,
    FAULT_PROT,
    FAULT_RSVD,
    FAULT_SHSTK,
    FAULT_USER,
    FAULT_WRITE,
    SAYINGS,
    LogReport,
)
from .records import Record, Text

#: Physical address bits that common processors have at most, where the text says nothing.
COMMON_PHYSICAL_BITS = 46
KERNEL_HALF = 1 << 63
SMEP, SMAP = 1 << 20, 1 << 21  #: of CR4
_RESERVED_TEXTS = ("reserved bit violation", "Bad pagetable", "Corrupted page table")
_TOP_FRAME = 0x000F_C000_0000_0000  #: frame bits above COMMON_PHYSICAL_BITS
_NAMES = ("", "PTE", "PMD", "PUD", "P4D", "PGD")


def judge(text: Text, physical_bits: int | None = None) -> list[str]:
    """Fill in evidence and warnings of every record and report; return remarks on the text.

    physical_bits: width of physical addresses, 32 to 52; None: not known.

    Raises ValueError where ``physical_bits`` is out of range.
    """
    if physical_bits is not None and not 32 <= physical_bits <= 52:
        raise ValueError(f"physical_bits is {physical_bits}; processors have 32 to 52")
    whole = [record for record in text.records if record.known == bits.ALL]
    encryption = _encryption_bit(whole)
    for record in whole:
        record.warnings += _impossible(record, physical_bits, encryption)
        record.warnings += _printed(record)
    walks: dict[int, list[Record]] = {}
    for record in whole:
        if record.report is not None:
            walks.setdefault(id(record.report), []).append(record)
    for report in text.reports:
        _report(report)
        walk = sorted(walks.get(id(report), []), key=lambda record: -record.level)
        if walk and report.kind == "page fault" and not report.ambiguous:
            _fault(report, walk, physical_bits)
    remarks = [
        f"line {report.line}: {warning}" for report in text.reports for warning in report.warnings
    ]
    if encryption:
        remarks.append(
            f"bit {encryption.bit_length() - 1} is set in every present entry: an encryption bit"
            " (SME, SEV, TDX)? frames are shown with it"
        )
    return remarks


def _encryption_bit(records: Sequence[Record]) -> int:
    """Return the mask of a lone high bit that all present entries carry; 0 for none."""
    present = [record.entry for record in records if record.entry & bits.PRESENT]
    high = {entry & _TOP_FRAME for entry in present}
    if len(present) < 3 or len(high) != 1:
        return 0
    (mask,) = high
    return mask if mask.bit_count() == 1 else 0


def level_name(level: int) -> str:
    """Return the level as bits.py names it; an unknown one counts as a pte."""
    return bits.LEVELS[max(level, 1) - 1]


# ---- an entry alone


def reserved_bits(record: Record, physical_bits: int | None = None) -> int:
    """Return the bits of a present entry that must be 0 for the processor."""
    entry, level = record.entry, level_name(record.level)
    if not entry & bits.PRESENT:
        return 0
    reserved = 0
    if physical_bits is not None:
        reserved |= entry & bits.SMALL_FRAME & ~((1 << physical_bits) - 1)
    if entry & bits.PSE and level in ("p4d", "pgd"):
        reserved |= bits.PSE
    if entry & bits.PSE and level in ("pmd", "pud"):
        below = bits.SMALL_FRAME & ~bits.LEAF_FRAME[level] & ~bits.PAT_LARGE
        reserved |= entry & below
    return reserved


def _impossible(record: Record, physical_bits: int | None, encryption: int) -> list[str]:
    found = []
    entry = record.entry
    reserved = reserved_bits(record, physical_bits)
    if reserved:
        found.append(f"reserved bits are set: {_numbers(reserved)}; no processor accepts them")
    frame = entry & bits.SMALL_FRAME & ~encryption
    if entry & bits.PRESENT:
        if frame & _TOP_FRAME == _TOP_FRAME:
            right = ~entry & bits.SMALL_FRAME
            found.append(
                "the frame looks inverted, as those of entries that are not present are, but"
                f" PRESENT is set; not inverted it were {right:#x}"
            )
        if physical_bits is None and frame >> COMMON_PHYSICAL_BITS:
            found.append(
                f"the frame needs {frame.bit_length()} physical address bits, more than nearly"
                " every processor has: the entry is probably corrupt (--physical-bits N says"
                " how many there are)"
            )
    ascii_ = ascii_text(entry)
    if ascii_:
        found.append(f"its bytes are ASCII text, {ascii_!r}: something wrote text over the table")
    return found


def ascii_text(entry: int) -> str:
    """Return the text in an entry's bytes; "" if they are no text."""
    data = entry.to_bytes(8, "little")
    printable = [32 <= byte < 127 for byte in data]
    run = best = 0
    for good in printable:
        run = run + 1 if good else 0
        best = max(best, run)
    padded = sum(printable) >= 6 and all(
        good or byte in (0, 9, 10, 13) for good, byte in zip(printable, data, strict=True)
    )
    if best < 6 and not padded:
        return ""
    return "".join(chr(b) if good else "." for b, good in zip(data, printable, strict=True))


#: Names as crash prints them in its column FLAGS.
_CRASH_FLAGS = {
    "PRESENT": bits.PRESENT,
    "RW": bits.RW,
    "USER": bits.USER,
    "PWT": bits.PWT,
    "PCD": bits.PCD,
    "ACCESSED": bits.ACCESSED,
    "DIRTY": bits.DIRTY,
    "PSE": bits.PSE,
    "GLOBAL": bits.GLOBAL,
    "NX": bits.NX,
}


def _printed(record: Record) -> list[str]:
    """Compare what the tool itself says of an entry with its bits."""
    flags = record.printed.get("flags")
    if flags is None or not record.entry & bits.PRESENT:
        return []
    told = {name for name in flags if name in _CRASH_FLAGS}
    have = {name for name, bit in _CRASH_FLAGS.items() if record.entry & bit}
    found = []
    if more := sorted(told - have):
        found.append(f"crash's FLAGS name {', '.join(more)}, which the entry has not set")
    if less := sorted(have - told):
        found.append(f"the entry has {', '.join(less)} set, which crash's FLAGS do not name")
    physical = record.printed["physical"]
    level = level_name(record.level)
    frames = {record.entry & bits.SMALL_FRAME, record.entry & bits.frame_mask(record.entry, level)}
    frames |= (
        {record.entry & mask for mask in bits.LEAF_FRAME.values()} if not record.level else set()
    )
    if physical not in frames:
        found.append(f"crash's PHYSICAL is {physical:#x}, the entry's frame {min(frames):#x}")
    if not found:
        record.evidence.append("crash's FLAGS and PHYSICAL agree with the bits")
    return found


def _numbers(mask: int) -> str:
    return ", ".join(str(n) for n in range(64) if mask >> n & 1)


# ---- a report


def _report(report: LogReport) -> None:
    """Compare what a report says in several places."""
    codes = set(report.error_codes)
    if len(codes) > 1:
        texts = ", ".join(f"{code:#06x}" for code in report.error_codes)
        report.warnings.append(f"its error codes differ: {texts}")
        return
    code = report.error_code
    if code is None:
        return
    for name in report.says:
        _, set_, clear = SAYINGS.get(name, ("", FAULT_RSVD, 0))
        if code & set_ != set_ or code & clear:
            report.warnings.append(
                f"it says {name!r}, but its error code {code:#06x} says otherwise"
            )


def _fault(report: LogReport, walk: Sequence[Record], physical_bits: int | None) -> None:
    """Compare the error code of a page fault with the entries on the way."""
    code, last = report.error_code, walk[-1]
    if "BAD" in report.says:
        frame = last.entry & bits.SMALL_FRAME
        last.evidence.append(f"BAD: the kernel could not read the table at {frame:#x}")
    reserved = code is not None and code & FAULT_RSVD
    if reserved or any(name in report.says for name in _RESERVED_TEXTS):
        _reserved(walk, physical_bits)
        return
    says_absent = "not-present page" in report.says
    if code is None and not says_absent:
        return
    absent = [record for record in walk if not record.entry & bits.PRESENT]
    complete = bool(absent) or bits.kind(last.entry, level_name(last.level)) == bits.LEAF
    if says_absent or (code is not None and not code & FAULT_PROT):
        _absent(report, last, absent, complete)
    elif absent:
        absent[0].warnings.append(
            f"the report's error code {code:#06x} says that the page was present, but PRESENT is"
            " 0: the entry changed between the fault and the report"
        )
    elif complete:
        _permission(report, walk, code or 0)


def _absent(report: LogReport, last: Record, absent: Sequence[Record], complete: bool) -> None:
    if absent:
        absent[0].evidence.append("the report says not-present page, and PRESENT is 0")
        where = absent[0].va
        if "DEBUG_PAGEALLOC" in report.flags and where is not None and where >= KERNEL_HALF:
            absent[0].evidence.append(
                "DEBUG_PAGEALLOC: the kernel unmaps its free pages, so this may be one"
            )
    elif complete:
        last.warnings.append(
            "the report says not-present page, but every entry is present: it changed between"
            " the fault and the report"
        )


def _reserved(walk: Sequence[Record], physical_bits: int | None) -> None:
    """Find the entry whose reserved bit was violated."""
    for record in walk:
        mask = reserved_bits(record, physical_bits)
        if mask:
            record.evidence.append(
                f"reserved bit violation, the report says; reserved here: {_numbers(mask)}"
            )
            return
    present = [record for record in walk if record.entry & bits.PRESENT]
    if not present:
        walk[-1].warnings.append(
            "the report says reserved bit violation, but no entry is present:"
            " it changed between the fault and the report"
        )
        return
    worst = max(present, key=lambda record: record.entry & bits.SMALL_FRAME)
    width = (worst.entry & bits.SMALL_FRAME).bit_length()
    if physical_bits is None and width > 32:
        worst.warnings.append(
            "the report says that a reserved bit is set on the way; this entry has the highest"
            f" frame: if the bit is here, the processor has fewer than {width} physical address"
            " bits, and the frame is no address that it could use"
        )
    else:
        worst.warnings.append(
            "the report says that a reserved bit is set on the way, but none is in the entries"
            " printed: the entry changed, or lies below them"
        )


def _permission(report: LogReport, walk: Sequence[Record], code: int) -> None:
    """Say which bit forbade the access, or that none does."""
    reasons = []
    user = code & FAULT_USER
    all_user = all(record.entry & bits.USER for record in walk)
    if code & FAULT_WRITE:
        reasons += [f"Write=0 in the {_NAMES[r.level]}" for r in walk if not r.entry & bits.RW]
    if user:
        reasons += [f"USER=0 in the {_NAMES[r.level]}" for r in walk if not r.entry & bits.USER]
    if code & FAULT_INSTR:
        reasons += [f"NX=1 in the {_NAMES[r.level]}" for r in walk if r.entry & bits.NX]
    if not user and all_user:
        guard, bit = ("SMEP", SMEP) if code & FAULT_INSTR else ("SMAP", SMAP)
        if report.cr4 is None or report.cr4 & bit:
            reasons.append(f"a user page, which the kernel may not touch ({guard})")
    if code & FAULT_PK:
        reasons.append("the protection key")
    if code & FAULT_SHSTK:
        reasons.append("a shadow-stack access")
    last = walk[-1]
    if reasons:
        last.evidence.append(f"the report's error code {code:#06x} fits: " + "; ".join(reasons))
    else:
        last.warnings.append(
            f"the report's error code {code:#06x} says that the access was forbidden, but these"
            " entries allow it: they changed between the fault and the report, or a TLB was stale"
        )
