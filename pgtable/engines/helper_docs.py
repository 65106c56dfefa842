# SPDX-License-Identifier: GPL-2.0-only
"""What each helper does, in a sentence, and where it is known to break a law."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interface import HelperInfo

_STEM = re.compile(r"^(?:pte|pmd|pud)_")

_WHAT = {
    "protval_4k_2_large": "Move the PAT bit of a protection value from 7 (4 KiB entry) to 12.",
    "protval_large_2_4k": "Move the PAT bit of a protection value from 12 (large entry) to 7.",
    "flags": "The entry without its frame.",
    "dirty": "Modified: Dirty, or the software bit that stands for it (Cow, SavedDirty).",
    "shstk": "A shadow-stack entry: Write=0,Dirty=1 on a processor that has shadow stacks.",
    "young": "Accessed since the bit was last cleared.",
    "write": "Writable: Write=1, or (pte, pmd) a shadow-stack entry.",
    "huge": "The PSE bit.",
    "global": "The GLOBAL bit: survives a change of address space in the TLB.",
    "exec": "Executable: NX=0.",
    "special": "No struct page behind it (SOFTW1).",
    "pfn": "The frame number; un-inverted where the entry keeps it inverted.",
    "leaf": "Maps a large page instead of pointing to a table.",
    "trans_huge": "A transparent huge page: PSE=1 and not DEVMAP.",
    "devmap": "Device memory with struct pages (DEVMAP).",
    "set_flags": "Set every bit of mask.",
    "clear_flags": "Clear every bit of mask.",
    "mkcow": "Dirty=0,Cow=1, whatever they were: a clean entry comes out dirty.",
    "clear_cow": "Dirty=1,Cow=0, whatever they were: a clean entry comes out dirty.",
    "mksaveddirty": "If Write=0, move Dirty to SavedDirty.",
    "clear_saveddirty": "If Write=1, move SavedDirty to Dirty.",
    "wrprotect": "Clear Write; dirtiness moves to Cow (SavedDirty) where the rules say so.",
    "uffd_wp": "Write-protected by userfaultfd.",
    "mkuffd_wp": "Mark as write-protected by userfaultfd.",
    "clear_uffd_wp": "Clear the userfaultfd mark.",
    "mkclean": "Clear Dirty and the software bit that stands for it.",
    "mkold": "Clear Accessed.",
    "mkexec": "Clear NX.",
    "mkdirty": "Make dirty, in Dirty or in Cow (SavedDirty) as Write demands, and soft-dirty.",
    "mkwrite_shstk": "Make a shadow-stack entry: Write=0,Dirty=1 on purpose.",
    "mkyoung": "Set Accessed.",
    "mkwrite_novma": "Set Write and nothing else.",
    "mkwrite": "Set Write; dirtiness returns from Cow (SavedDirty) to Dirty.",
    "mkhuge": "Set PSE.",
    "clrhuge": "Clear PSE.",
    "mkglobal": "Set GLOBAL.",
    "clrglobal": "Clear GLOBAL.",
    "mkspecial": "Set SPECIAL.",
    "mkdevmap": "Set DEVMAP (a pte's SPECIAL as well).",
    "soft_dirty": "Written since soft-dirty tracking was last cleared.",
    "mksoft_dirty": "Set SOFT_DIRTY.",
    "clear_soft_dirty": "Clear SOFT_DIRTY.",
    "pfn_pte": "Build a pte from a frame number and a protection value.",
    "pfn_pmd": "Build a large pmd from a frame number and a protection value.",
    "pfn_pud": "Build a large pud from a frame number and a protection value.",
    "mkinvalid": "Clear PRESENT and GLOBAL; the frame is kept, inverted.",
    "modify": "Change the protection to newprot, keep frame, dirtiness and accessed state.",
    "advance_pfn": "The entry nr frames further on.",
    "none": "Empty: nothing set but, perhaps, Dirty and Accessed.",
    "same": "Equal to other.",
    "present": "Maps something, with or without access allowed.",
    "protnone": "Mapped, but no access allowed (PRESENT=0, PROTNONE=1).",
    "bad": "No well-formed pointer to a table.",
    "swp_mksoft_dirty": "Set the swap entry's soft-dirty bit (1).",
    "swp_soft_dirty": "The swap entry's soft-dirty bit (1).",
    "swp_clear_soft_dirty": "Clear the swap entry's soft-dirty bit (1).",
    "swp_mkuffd_wp": "Set the swap entry's userfaultfd bit (2).",
    "swp_uffd_wp": "The swap entry's userfaultfd bit (2).",
    "swp_clear_uffd_wp": "Clear the swap entry's userfaultfd bit (2).",
    "swp_mkexclusive": "Set the swap entry's exclusive bit (3).",
    "swp_exclusive": "The swap entry's exclusive bit (3).",
    "swp_clear_exclusive": "Clear the swap entry's exclusive bit (3).",
    "access_permitted": "A user may read it (and, if write, write: Write itself must be 1).",
}

_BREAKS = {
    "wrprotect": "Without the move (rules base, shstk off) a dirty entry becomes Write=0,Dirty=1,"
    " which a processor with shadow stacks reads as one.",
    "mkdirty": "Under base, and under cow with shstk off, a read-only entry becomes"
    " Write=0,Dirty=1.",
    "modify": "Under cow it creates Write=0,Dirty=1 from a writable dirty entry and drops Cow,"
    " so that a dirty page is taken for clean.",
    "mkcow": "Makes clean entries dirty on purpose; callers guard.  With config off and shstk on"
    " it drops Dirty and sets nothing: dirtiness is lost.",
    "clear_cow": "Creates Write=0,Dirty=1 on purpose and makes clean entries dirty; callers guard.",
    "mkwrite_shstk": "Creates Write=0,Dirty=1: the one helper that is meant to.",
}

_LEVEL_BREAKS = {
    "pud_mkdirty": "Under cow Write=0,Dirty=1 gets Cow on top: pud_write() knows no shadow stack.",
    "pud_write": "Does not know shadow stacks, unlike pte and pmd.",
}


def describe(info: HelperInfo) -> str:
    """Return the docstring of a helper; for a helper that is not described here, its signature."""
    stem = _STEM.sub("", info.name)
    what = _WHAT.get(stem) or _WHAT.get(info.name)
    second = f", {info.argument}" if info.argument else ""
    gives = {"test": "bool", "val": "number"}.get(info.gives, "entry")
    takes = "number" if info.takes == "val" else info.takes
    lines = [f"{info.name}({takes}{second}) -> {gives}", ""]
    if what:
        lines += [what, ""]
    breaks = [_BREAKS.get(stem), _LEVEL_BREAKS.get(info.name)]
    for known in filter(None, breaks):
        lines += [f"Known to break a law: {known}", ""]
    lines.append("Takes an int or an array; see Operation.__call__ for out, where and threads.")
    return "\n".join(lines)
