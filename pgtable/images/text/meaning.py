# SPDX-License-Identifier: GPL-2.0-only
"""The meaning of a record's entry, for the kernel and the place that the text names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ... import bits
from ...kernels import SWAP_LAYOUTS, Kernel, find, of_layout
from .judge import KERNEL_HALF, level_name
from .records import Record, Text

#: Frame bits that no machine's memory needs.  They are all 1 if a frame is stored inverted.
_TOP = 0x000F_C000_0000_0000
_CET = 1 << 23  #: of CR4
#: How the kernel's own swp_entry_t is laid out (include/linux/swapops.h).
_SWP_TYPE_SHIFT = 58

UNMAPPED = "not present: a page that the kernel unmapped (its half has no swap)"
_UNKNOWN_LAYOUT = "not present: a swap entry of a kernel before 4.19, whose layout is not known"


@dataclass
class Meaning:
    """An entry decoded, and how sure that is.

    kernel: the one that the user or the text names.
    """

    decoded: bits.Decoded
    kernel: Kernel | None = None
    evidence: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def kernel_named(
    record: Record, text: Text, rules: str | None = None, swap_layout: str | None = None
) -> Kernel | None:
    """Return the kernel that the record's report names, else the only one the text names.

    rules, swap_layout: as the user says, whatever the version says.

    None where none is named, or its version is not known to :mod:`pgtable.kernels`.
    """
    name = (record.report and record.report.kernel) or text.kernel
    return kernel_of_text(name, rules, swap_layout)


def kernel_of_text(
    release: str | None, rules: str | None = None, swap_layout: str | None = None
) -> Kernel | None:
    """Return the kernel that a text names; None as for :func:`kernel_named`."""
    if release is None:
        return None
    try:
        return find(release, rules=rules, swap_layout=swap_layout, origin="the text")
    except ValueError:
        return None


def mean(
    record: Record,
    level: str,
    rules: str | None = None,
    shstk: bool | None = None,
    kernel: Kernel | None = None,
) -> Meaning:
    """Decode a record.

    level: of a record whose text does not say it.
    rules, shstk: as the user says; None: as the kernel has them, else the defaults.
    """
    name = level_name(record.level) if record.level else level
    rules = rules or (kernel.rules if kernel else "cow")
    whole = record.known == bits.ALL
    encoded = _encoding(record, kernel) if whole and not record.entry & bits.PRESENT else kernel
    decoded = bits.decode(record.entry, name, rules, shstk, kernel=encoded, va=record.va)
    # what a kernel's version assumes is said once for the whole text
    own = tuple(note for note in decoded.notes if not encoded or note not in encoded.assumed)
    meaning = Meaning(replace(decoded, notes=own), kernel)
    if not whole:
        return meaning
    if shstk is None:
        _no_shadow_stack(meaning, record, name)
    if not record.entry & bits.PRESENT and decoded.kind != bits.NONE:
        _absent(meaning, record, encoded)
    return meaning


def _no_shadow_stack(meaning: Meaning, record: Record, level: str) -> None:
    """If there can be no shadow stack, say so, and what the entry is instead."""
    decoded, report = meaning.decoded, record.report
    if not {"c", "d"} & set(decoded.state_class.letters) and decoded.state_class.letters != "e":
        return
    why = ""
    if not record.entry & bits.USER:
        why = "USER=0, and shadow stacks are user pages"
    elif record.va is not None and record.va >= KERNEL_HALF:
        why = "it lies in the kernel's half, and shadow stacks are user pages"
    elif meaning.kernel is not None and not meaning.kernel.has("saved_dirty"):
        why = f"Linux {meaning.kernel.release} has no shadow stacks; they came with 6.6"
    elif report is not None and report.cr4 is not None and not report.cr4 & _CET:
        why = f"CR4 is {report.cr4:#x}: shadow stacks are off"
    if not why:
        return
    state = bits.classify(record.entry, level, decoded.rules, shstk=False)
    same = "(a) and (b) have the same bits: the entry alone cannot tell which it is"
    state = replace(
        state,
        text=f"{state.text}; no shadow stack: {why}",
        unknown=same if state.letters == "ab" else "",
    )
    meaning.decoded = replace(decoded, state_class=state)


# ---- entries that are not present


def _absent(meaning: Meaning, record: Record, encoded: Kernel | None) -> None:
    kind = meaning.decoded.kind
    kernel_half = record.va is not None and record.va >= KERNEL_HALF
    if kernel_half and kind in (bits.OTHER, bits.NUMA, bits.INVALID):
        _unmapped(meaning, record)
    elif kind in (bits.NUMA, bits.INVALID):
        _frame(meaning, record)
    elif encoded is None and kind != bits.FILE and not record.entry & _TOP:
        _no_layout(meaning, record)
    elif kind in bits.SOFTWARE:
        _swap(meaning, record, encoded)


def _frame(meaning: Meaning, record: Record) -> None:
    """Show the frame by what it looks like, where the kernel that is named has it otherwise."""
    kernel, high = meaning.kernel, record.entry & _TOP
    if high not in (0, _TOP):
        return
    shown = high == _TOP
    mask = bits.frame_mask(record.entry, meaning.decoded.level)
    frame = ((~record.entry if shown else record.entry) & mask) >> 12
    if kernel is not None and shown != kernel.inverted:
        meaning.warnings.append(
            f"Linux {kernel.release} keeps such frames"
            f" {'inverted' if kernel.inverted else 'as they are'}, but this one is"
            f" {'inverted' if shown else 'not'}: it is shown as it looks"
        )
    meaning.decoded = replace(meaning.decoded, frame=frame)


def _unmapped(meaning: Meaning, record: Record) -> None:
    """In the kernel's half nothing is swapped: what is not present was unmapped."""
    decoded, entry = meaning.decoded, record.entry
    flags = entry & ~bits.frame_mask(entry, decoded.level) & ~bits.PROTNONE
    named = bits.named_bits(flags | bits.PRESENT, decoded.level, decoded.rules)
    state = replace(decoded.state_class, letters="", text=UNMAPPED, unknown="")
    meaning.decoded = replace(
        decoded,
        kind_text=UNMAPPED,
        bits=tuple(bit for bit in named if bit.number),
        state=None,
        state_class=state,
        frame=bits.frame(entry, decoded.level),
        pkey=None,
    )
    _frame(meaning, record)


def _swap(meaning: Meaning, record: Record, encoded: Kernel | None) -> None:
    told = _told(record)
    if told is None or meaning.decoded.swap_offset is None:
        return
    if encoded is not meaning.kernel and encoded is not None:
        meaning.evidence.append(
            f"swap layout ({encoded.swap.text}): the one in which the offset is what the text says"
        )
    said = _told_text(told)
    if meaning.decoded.swap_offset == told[1]:
        meaning.evidence.append(f"the text's own swap entry, {said}, is the same")
    else:
        meaning.warnings.append(
            f"the text says swap {said}, but the entry says type {meaning.decoded.swap_type},"
            f" offset {meaning.decoded.swap_offset:#x}"
        )


def _no_layout(meaning: Meaning, record: Record) -> None:
    """Without a version an entry of an old kernel has several meanings: return all."""
    meaning.warnings.append(
        "the offset would be beyond any swap area: the kernel is probably older than 4.19, and"
        " type and offset depend on which it is: "
        + "; ".join(
            f"{layout.text}: type {layout.type(record.entry)},"
            f" offset {layout.offset(record.entry):#x}"
            for layout in SWAP_LAYOUTS.values()
            if not layout.inverted
        )
        + "; --kernel or --swap-layout says it"
    )
    meaning.decoded = replace(
        meaning.decoded,
        kind=bits.SWAP,
        kind_text=_UNKNOWN_LAYOUT,
        special="",
        frame=None,
        swap_type=None,
        swap_offset=None,
        bits=(),
        notes=(),
    )


def _encoding(record: Record, kernel: Kernel | None) -> Kernel | None:
    """Return the kernel whose encoding fits what the text says of a swap entry."""
    told = _told(record)
    if told is None or (kernel is not None and kernel.swap.offset(record.entry) == told[1]):
        return kernel
    for name, layout in SWAP_LAYOUTS.items():
        if layout.offset(record.entry) == told[1]:
            return replace(kernel, swap_layout=name) if kernel else of_layout(name)
    return kernel


def _told(record: Record) -> tuple[int | None, int] | None:
    """Return type and offset as the text says them in another line.

    Kernels have kept the type in other places, so that only the offset is compared.
    """
    report = record.report
    if report is not None and report.swapfile is not None and record.level == 1:
        value = report.swapfile
        return value >> _SWP_TYPE_SHIFT, value & ((1 << _SWP_TYPE_SHIFT) - 1)
    offset = record.printed.get("swap_offset")
    return None if offset is None else (None, offset)


def _told_text(told: tuple[int | None, int]) -> str:
    type_, offset = told
    return f"offset {offset:#x}" if type_ is None else f"type {type_}, offset {offset:#x}"
