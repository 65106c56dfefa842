# SPDX-License-Identifier: GPL-2.0-only
"""Single faults for real headers, one line each, and whether a check finds them.

``python -m tests.checks.planted TREE [WORD ...]`` plants each in a copy of TREE (only
those whose name has one of the words), checks it in both settings, and counts.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pgtable
from pgtable.checks.tree_check import TreeCheck, check_tree

TYPES = "arch/x86/include/asm/pgtable_types.h"
MAIN = "arch/x86/include/asm/pgtable.h"
LAYOUT = "arch/x86/include/asm/pgtable_64.h"
INVERT = "arch/x86/include/asm/pgtable-invert.h"
FLUSH = "arch/x86/include/asm/tlbflush.h"
LAYOUT_TYPES = "arch/x86/include/asm/pgtable_64_types.h"
SWAPOPS = "include/linux/swapops.h"
SWAP = "include/linux/swap.h"
UFFD = "include/linux/userfaultfd_k.h"
HUGE = "include/asm-generic/hugetlb.h"


class Planted(NamedTuple):
    """One line that is wrong."""

    file: str
    function: str  #: the function that the line is in; "" for a macro
    old: str
    new: str
    blamed: str  #: a pattern that fits a helper which must be named
    series: tuple[str, ...] = ("6.1", "6.12")


_NEW = ("6.12",)
_OLD = ("6.1",)

FAULTS = {
    # swap encoding
    "swap type one bit off": Planted(LAYOUT, "", "((x).val >> (64 - SWP_TYPE_BITS))", "((x).val >> (63 - SWP_TYPE_BITS))", "swp_entry"),
    "swap offset one bit off": Planted(LAYOUT, "", "<< SWP_TYPE_BITS >> SWP_OFFSET_SHIFT)\n", "<< SWP_TYPE_BITS >> (SWP_OFFSET_SHIFT + 1))\n", "swp_entry"),
    "swap offset not inverted": Planted(LAYOUT, "", "(~(x).val << SWP_TYPE_BITS", "((x).val << SWP_TYPE_BITS", "swp_entry"),
    "swap offset not put in inverted": Planted(LAYOUT, "", "(~(unsigned long)(offset)", "((unsigned long)(offset)", "swp_entry"),
    "swap offset begins in PROTNONE": Planted(LAYOUT, "", "(_PAGE_BIT_PROTNONE + 1)", "(_PAGE_BIT_PROTNONE)", "swp_entry"),
    "swap type of four bits": Planted(LAYOUT, "", "#define SWP_TYPE_BITS		5", "#define SWP_TYPE_BITS		4", "swp_entry"),
    "swap type shifted in one off": Planted(LAYOUT, "", "(unsigned long)(type) << (64-SWP_TYPE_BITS)", "(unsigned long)(type) << (63-SWP_TYPE_BITS)", "swp_entry"),
    "swap uffd_wp on soft_dirty's bit": Planted(TYPES, "", "_PAGE_SWP_UFFD_WP	_PAGE_USER", "_PAGE_SWP_UFFD_WP	_PAGE_RW", "swp_.*uffd_wp"),
    "swap exclusive in the offset": Planted(LAYOUT_TYPES, "", "_PAGE_SWP_EXCLUSIVE	_PAGE_PWT", "_PAGE_SWP_EXCLUSIVE	_PAGE_SOFTW1", "exclusive"),
    "swap soft_dirty on Dirty": Planted(TYPES, "", "_PAGE_SWP_SOFT_DIRTY	_PAGE_RW", "_PAGE_SWP_SOFT_DIRTY	_PAGE_DIRTY", "swp_.*soft_dirty"),
    "swap exclusive on PROTNONE": Planted(LAYOUT_TYPES, "", "_PAGE_SWP_EXCLUSIVE	_PAGE_PWT", "_PAGE_SWP_EXCLUSIVE	_PAGE_GLOBAL", "exclusive"),
    "pte_swp_clear_flags forgets uffd_wp": Planted(SWAPOPS, "pte_swp_clear_flags", "pte = pte_swp_clear_uffd_wp(pte);", ";", "pte_swp_clear_flags"),
    "swp_offset_pfn not masked": Planted(SWAPOPS, "swp_offset_pfn", "& SWP_PFN_MASK", "", "swp_offset_pfn"),
    "pmd_swp_uffd_wp looks at soft_dirty": Planted(MAIN, "pmd_swp_uffd_wp", "_PAGE_SWP_UFFD_WP", "_PAGE_SWP_SOFT_DIRTY", "pmd_swp_.*uffd_wp"),
    "non_swap_entry off by one": Planted(SWAPOPS, "non_swap_entry", ">=", ">", "non_swap_entry"),
    # migration, markers
    "migration dirty is young": Planted(SWAPOPS, "", "SWP_MIG_DIRTY_BIT		(SWP_PFN_BITS + 1)", "SWP_MIG_DIRTY_BIT		(SWP_PFN_BITS)", "migration"),
    "migration young in the frame": Planted(SWAPOPS, "", "SWP_MIG_YOUNG_BIT		(SWP_PFN_BITS)", "SWP_MIG_YOUNG_BIT		(SWP_PFN_BITS - 1)", "migration"),
    "migration young loses the type": Planted(SWAPOPS, "make_migration_entry_young", "swp_entry(swp_type(entry)", "swp_entry(0 * swp_type(entry)", "make_migration_entry_young"),
    "migration dirty asks young": Planted(SWAPOPS, "is_migration_entry_dirty", "SWP_MIG_DIRTY", "SWP_MIG_YOUNG", "migration_entry_dirty"),
    "writable migration is made readable": Planted(SWAPOPS, "make_writable_migration_entry", "SWP_MIGRATION_WRITE", "SWP_MIGRATION_READ", "writable_migration"),
    "exclusive is no migration": Planted(SWAPOPS, "is_migration_entry", "swp_type(entry) == SWP_MIGRATION_READ_EXCLUSIVE ||", "", "migration_entry"),
    "two migration types are one": Planted(SWAP, "", "SWP_MIGRATION_READ_EXCLUSIVE (MAX_SWAPFILES + SWP_HWPOISON_NUM + 1)", "SWP_MIGRATION_READ_EXCLUSIVE (MAX_SWAPFILES + SWP_HWPOISON_NUM)", "migration"),
    "a migration type is one for files": Planted(SWAP, "", "#define SWP_MIGRATION_READ (MAX_SWAPFILES + SWP_HWPOISON_NUM)", "#define SWP_MIGRATION_READ (MAX_SWAPFILES - 1)", "migration|non_swap"),
    "is_pfn_swap_entry without migration": Planted(SWAPOPS, "is_pfn_swap_entry", "is_migration_entry(entry) ||", "", "is_pfn_swap_entry"),
    "is_pmd_migration_entry of any": Planted(SWAPOPS, "is_pmd_migration_entry", "return is_migration_entry(entry);", "return 1;", "is_pmd_migration_entry", _NEW),
    "marker type is hwpoison's": Planted(SWAPOPS, "is_pte_marker_entry", "SWP_PTE_MARKER", "SWP_HWPOISON", "marker"),
    "pte_none_mostly misses none": Planted(SWAPOPS, "pte_none_mostly", "pte_none(pte) || is_pte_marker(pte)", "is_pte_marker(pte)", "pte_none_mostly"),
    "is_pte_marker of any swap": Planted(SWAPOPS, "is_pte_marker", "is_swap_pte(pte) && is_pte_marker_entry(pte_to_swp_entry(pte))", "is_swap_pte(pte)", "is_pte_marker"),
    "marker of uffd_wp is poisoned": Planted(UFFD, "pte_marker_entry_uffd_wp", "PTE_MARKER_UFFD_WP)", "(PTE_MARKER_UFFD_WP << 1))", "pte_marker_entry_uffd_wp"),
    # keys and protections
    "key one bit off": Planted(MAIN, "pte_flags_pkey", "_PAGE_BIT_PKEY_BIT0", "_PAGE_BIT_PKEY_BIT1", "pte_flags_pkey"),
    "pgprot_modify takes the old rights": Planted(MAIN, "pgprot_modify", "pgprot_val(newprot) &", "pgprot_val(oldprot) &", "pgprot_modify"),
    "pgprot_modify takes the new caching": Planted(MAIN, "pgprot_modify", "addbits = pgprot_val(newprot) & ~_PAGE_CHG_MASK", "addbits = pgprot_val(newprot)", "pgprot_modify"),
    "private mappings are writable": Planted(TYPES, "", "PAGE_COPY	     __pg(__PP|   0|", "PAGE_COPY	     __pg(__PP|__RW|", "PAGE_COPY"),
    "private executable mappings are writable": Planted(TYPES, "", "PAGE_COPY_EXEC	     __pg(__PP|   0|", "PAGE_COPY_EXEC	     __pg(__PP|__RW|", "PAGE_COPY_EXEC"),
    "PAGE_SHARED executes": Planted(TYPES, "", "PAGE_SHARED	     __pg(__PP|__RW|_USR|___A|__NX|", "PAGE_SHARED	     __pg(__PP|__RW|_USR|___A|   0|", "PAGE_SHARED"),
    "PAGE_NONE is present": Planted(TYPES, "", "PAGE_NONE	     __pg(   0|", "PAGE_NONE	     __pg(__PP|", "PAGE_NONE"),
    "PAGE_READONLY is the kernel's": Planted(TYPES, "", "PAGE_READONLY	     __pg(__PP|   0|_USR|", "PAGE_READONLY	     __pg(__PP|   0|   0|", "PAGE_READONLY"),
    "tables are read-only": Planted(TYPES, "", "_KERNPG_TABLE		 (__PP|__RW|", "_KERNPG_TABLE		 (__PP|   0|", "pmd_bad|p[ug4]d_bad|_KERNPG"),
    "pgprot_nx sets bit 62": Planted(TYPES, "pgprot_nx", "_PAGE_NX", "_PAGE_PKEY_BIT3", "pgprot_nx"),
    # saved dirty
    "mksaveddirty of writable entries": Planted(MAIN, "mksaveddirty_shift", "(~v >> _PAGE_BIT_RW)", "(v >> _PAGE_BIT_RW)", "saveddirty|wrprotect", _NEW),
    "clear_saveddirty keeps the bit": Planted(MAIN, "clear_saveddirty_shift", "v &= ~(cond << _PAGE_BIT_SAVED_DIRTY);", "", "clear_saveddirty", _NEW),
    "SAVED_DIRTY at 57": Planted(TYPES, "", "_PAGE_BIT_SAVED_DIRTY	_PAGE_BIT_SOFTW5", "_PAGE_BIT_SAVED_DIRTY	_PAGE_BIT_SOFTW4", "mksaveddirty|dirty", _NEW),
    "pmd_mkclean half": Planted(MAIN, "pmd_mkclean", "_PAGE_DIRTY_BITS", "_PAGE_DIRTY", "pmd_mkclean", _NEW),
    "pmd_modify's branches swapped": Planted(MAIN, "pmd_modify", "if (oldval & _PAGE_RW)", "if (!(oldval & _PAGE_RW))", "pmd_modify", _NEW),
    "pud_mkwrite leaves it saved": Planted(MAIN, "pud_mkwrite", "return pud_clear_saveddirty(pud);", "return pud;", "pud_mkwrite", _NEW),
    "pte_wrprotect without it": Planted(MAIN, "pte_wrprotect", "return pte_mksaveddirty(pte);", "return pte;", "pte_wrprotect", _NEW),
    "pud_mkdirty without it": Planted(MAIN, "pud_mkdirty", "return pud_mksaveddirty(pud);", "return pud;", "pud_mkdirty", _NEW),
    # masks of modify
    "modify drops Dirty": Planted(TYPES, "", "_PAGE_DIRTY_BITS | _PAGE_SOFT_DIRTY |", "_PAGE_SOFT_DIRTY |", "modify", _NEW),
    "modify drops UFFD_WP": Planted(TYPES, "", "_PAGE_CC | _PAGE_UFFD_WP)", "_PAGE_CC)", "modify", _NEW),
    # frames
    "pmd_pfn with pte's mask": Planted(MAIN, "pmd_pfn", "pmd_pfn_mask(pmd)", "PTE_PFN_MASK", "pmd_pfn"),
    "pud_pfn_mask is pmd's": Planted(TYPES, "pud_pfn_mask", "PHYSICAL_PUD_PAGE_MASK", "PHYSICAL_PMD_PAGE_MASK", "pud_pfn"),
    "pte_pfn not inverted": Planted(MAIN, "pte_pfn", "pfn ^= protnone_mask(pfn);", "", "pte_pfn"),
    "pfn_pmd with pte's mask": Planted(MAIN, "pfn_pmd", "PHYSICAL_PMD_PAGE_MASK", "PTE_PFN_MASK", "pfn_pmd"),
    "pmd_mkinvalid keeps PROTNONE": Planted(MAIN, "pmd_mkinvalid", "~(_PAGE_PRESENT|_PAGE_PROTNONE)", "~(_PAGE_PRESENT)", "pmd_mkinvalid"),
    "pte_modify inverts half the frame": Planted(MAIN, "pte_modify", "flip_protnone_guard(oldval, val, PTE_PFN_MASK)", "flip_protnone_guard(oldval, val, PHYSICAL_PMD_PAGE_MASK)", "pte_modify"),
    "none is inverted": Planted(INVERT, "__pte_needs_invert", "return val && !(val & _PAGE_PRESENT);", "return !(val & _PAGE_PRESENT);", "invert|protnone_mask|pfn"),
    "p4d_pfn at bit 13": Planted(MAIN, "p4d_pfn", ">> PAGE_SHIFT", ">> (PAGE_SHIFT + 1)", "p4d_pfn"),
    "pgd_pfn of all bits": Planted(MAIN, "pgd_pfn", "(pgd_val(pgd) & PTE_PFN_MASK)", "(pgd_val(pgd))", "pgd_pfn"),
    # PAT
    "PAT moves to bit 13": Planted(TYPES, "protval_4k_2_large", "<< (_PAGE_BIT_PAT_LARGE - _PAGE_BIT_PAT)", "<< (_PAGE_BIT_PAT_LARGE - _PAGE_BIT_PAT + 1)", "4k_2_large"),
    "PAT stays where it was": Planted(TYPES, "protval_large_2_4k", "(val & ~(_PAGE_PAT | _PAGE_PAT_LARGE))", "(val & ~(_PAGE_PAT))", "large_2_4k"),
    "PAT of a protection stays": Planted(TYPES, "pgprot_4k_2_large", "protval_4k_2_large(pgprot_val(pgprot))", "pgprot_val(pgprot)", "pgprot_4k_2_large"),
    # features, tests
    "pte_shstk without the feature": Planted(MAIN, "pte_shstk", "cpu_feature_enabled(X86_FEATURE_SHSTK) &&", "", "pte_shstk", _NEW),
    "pmd_shstk of tables": Planted(MAIN, "pmd_shstk", "(_PAGE_RW | _PAGE_DIRTY | _PAGE_PSE)) ==", "(_PAGE_RW | _PAGE_DIRTY)) ==", "pmd_shstk", _NEW),
    "pte_present without PROTNONE": Planted(MAIN, "pte_present", "(_PAGE_PRESENT | _PAGE_PROTNONE)", "(_PAGE_PRESENT)", "pte_present"),
    "pmd_present without PSE": Planted(MAIN, "pmd_present", "(_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE)", "(_PAGE_PRESENT | _PAGE_PROTNONE)", "pmd_present"),
    "pmd_none with Accessed": Planted(MAIN, "pmd_none", "~_PAGE_KNL_ERRATUM_MASK", "~_PAGE_DIRTY", "pmd_none"),
    "p4d_none with Accessed": Planted(MAIN, "p4d_none", "~(_PAGE_KNL_ERRATUM_MASK)", "~(_PAGE_DIRTY)", "p4d_none"),
    "p4d_bad forbids User": Planted(MAIN, "p4d_bad", "_KERNPG_TABLE | _PAGE_USER", "_KERNPG_TABLE", "p4d_bad"),
    "pte_global at bit 9": Planted(MAIN, "pte_global", "_PAGE_GLOBAL", "_PAGE_SOFTW1", "pte_global"),
    "uffd_wp on soft_dirty's bit": Planted(TYPES, "", "_PAGE_BIT_UFFD_WP	_PAGE_BIT_SOFTW2", "_PAGE_BIT_UFFD_WP	_PAGE_BIT_SOFTW3", "uffd_wp"),
    "access without User": Planted(MAIN, "__pte_access_permitted", "_PAGE_PRESENT|_PAGE_USER", "_PAGE_PRESENT", "access_permitted"),
    "pte_mkuffd_wp leaves Write": Planted(MAIN, "pte_mkuffd_wp", "pte_wrprotect(pte_set_flags(pte, _PAGE_UFFD_WP))", "pte_set_flags(pte, _PAGE_UFFD_WP)", "pte_mkuffd_wp", _NEW),
    "pmd_mkold clears Dirty": Planted(MAIN, "pmd_mkold", "_PAGE_ACCESSED", "_PAGE_DIRTY", "pmd_mkold"),
    "pud_mkyoung sets Dirty": Planted(MAIN, "pud_mkyoung", "_PAGE_ACCESSED", "_PAGE_DIRTY", "pud_mkyoung"),
    # huge pages, flushes
    "huge_pte_mkdirty makes young": Planted(HUGE, "huge_pte_mkdirty", "pte_mkdirty(pte)", "pte_mkyoung(pte)", "huge_pte_mkdirty"),
    "huge_pte_write asks dirty": Planted(HUGE, "huge_pte_write", "pte_write(pte)", "pte_dirty(pte)", "huge_pte_write"),
    "huge_pte_modify forgets": Planted(HUGE, "huge_pte_modify", "pte_modify(pte, newprot)", "pte", "huge_pte_modify"),
    "pmd_trans_huge of DEVMAP": Planted(MAIN, "pmd_trans_huge", "(_PAGE_PSE|_PAGE_DEVMAP)) ==", "(_PAGE_PSE)) ==", "pmd_trans_huge"),
    "pte_clrhuge clears Global": Planted(MAIN, "pte_clrhuge", "_PAGE_PSE", "_PAGE_GLOBAL", "pte_clrhuge"),
    "no flush when Write goes": Planted(FLUSH, "pte_flags_need_flush", "flush_on_change = _PAGE_RW | _PAGE_USER", "flush_on_change = _PAGE_USER", "needs_flush"),
    "no flush when Dirty goes": Planted(FLUSH, "pte_flags_need_flush", "flush_on_clear = _PAGE_DIRTY | _PAGE_PRESENT", "flush_on_clear = _PAGE_PRESENT", "needs_flush"),
    "no flush for another frame": Planted(FLUSH, "huge_pmd_needs_flush", "if (pmd_pfn(oldpmd) != pmd_pfn(newpmd))", "if (0)", "huge_pmd_needs_flush"),
}  # fmt: skip

#: Lines that are otherwise and compute the same: nothing must be said of them.
EQUIVALENT = {
    "flags need not be cleared, the shifts drop them": Planted(SWAPOPS, "pmd_to_swp_entry", "pmd = pmd_swp_clear_soft_dirty(pmd);", ";", ""),
    "young as a truth value": Planted(MAIN, "pte_young", "pte_flags(pte) & _PAGE_ACCESSED", "!!(pte_val(pte) & _PAGE_ACCESSED)", ""),
    "both ways to clear": Planted(MAIN, "pte_mkold", "pte_clear_flags(pte, _PAGE_ACCESSED)", "__pte(pte_val(pte) & ~_PAGE_ACCESSED)", ""),
    "present after the flags": Planted(MAIN, "pmd_protnone", "(_PAGE_PROTNONE | _PAGE_PRESENT)", "(_PAGE_PRESENT | _PAGE_PROTNONE)", ""),
    "the other order of a mask": Planted(TYPES, "protval_large_2_4k", "(_PAGE_PAT | _PAGE_PAT_LARGE)", "(_PAGE_PAT_LARGE | _PAGE_PAT)", ""),
    # bit 12 is of the frame's mask, PSE and PAT are one bit
    "modify of large pages drops PAT": Planted(TYPES, "", "_PAGE_PSE | _PAGE_PAT_LARGE)\n", "_PAGE_PSE)\n", "p[mu]d_modify", _NEW),
    "pte_modify with a huge page's mask": Planted(MAIN, "pte_modify", "check_pgprot(newprot) & ~_PAGE_CHG_MASK", "check_pgprot(newprot) & ~_HPAGE_CHG_MASK", "pte_modify"),
}  # fmt: skip


def plant(one: Planted, sources: Path) -> bool:
    """Change the one line in a tree of linked files; False where it is not there."""
    file = sources / one.file
    text = file.read_text()
    if one.function:
        defined = re.search(
            rf"^static[^;{{}}]*\b{one.function}\([^;{{}}]*\)\n\{{.*?^\}}", text, re.M | re.S
        )
        if defined is None or one.old not in defined[0]:
            return False
        wrong = text.replace(defined[0], defined[0].replace(one.old, one.new, 1), 1)
    elif one.old in text:
        wrong = text.replace(one.old, one.new, 1)
    else:
        return False
    file.unlink()  # it may be a link to the sound one
    file.write_text(wrong)
    return True


def copied(generated: Path, place: Path) -> Path:
    """Return a copy of the sources of a header package in two halves, by links."""
    sources = generated.with_name(generated.name.removesuffix("amd64") + "common")
    copy = place / sources.name
    link = {"symlinks": True, "copy_function": _link}
    for part in ("include", "arch/x86/include"):
        shutil.copytree(sources / part, copy / part, **link)
    shutil.copy(sources / "Makefile", copy)
    return copy


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def settings_of(copy: Path, generated: Path) -> Iterator[TreeCheck]:
    """Check a tree in each setting that the command line tries, the next if nothing is found."""
    engine = pgtable.kernel_tree(copy, generated=generated, flags="-O1", forms=False)
    yield (first := check_tree(engine))
    if engine.shstk:
        other = pgtable.kernel_tree(
            copy, generated=generated, flags="-O1", forms=False, shstk=False
        )
        yield check_tree(other, first.switches.rules)


def found(copy: Path, generated: Path) -> TreeCheck | None:
    """Return the check of the first setting in which something is found, None for none."""
    return next((each for each in settings_of(copy, generated) if not each.clean), None)


def names(check: TreeCheck) -> set[str]:
    """Return every helper that a check names as wrong."""
    return {
        *(each.helper for each in check.laws),
        *(each.with_ for each in check.laws if each.with_),
        *(each.helper for each in check.differences),
        *check.against.incomparable,
    }


def is_explained(check: TreeCheck) -> bool:
    """Tell whether a law says what is wrong, not only a difference from the reference."""
    return bool(len(check.laws))


def main(arguments: list[str]) -> int:
    """Plant all faults that the tree's text has, print one line each and the counts."""
    generated, words = Path(arguments[0]).resolve(), arguments[1:]
    counts = {"planted": 0, "found": 0, "named": 0, "explained": 0, "falsely reported": 0}
    for name, one in {**FAULTS, **EQUIVALENT}.items():
        if words and not any(word in name for word in words):
            continue
        with tempfile.TemporaryDirectory(dir=generated.parent) as place:
            copy = copied(generated, Path(place))
            if not plant(one, copy):
                print(f"{name}: not in this tree")
                continue
            check = found(copy, generated)
        if name in EQUIVALENT:
            counts["falsely reported"] += check is not None
            print(f"{name}: {'FALSELY REPORTED' if check else 'nothing, rightly'}", flush=True)
            continue
        named = check is not None and any(re.search(one.blamed, each) for each in names(check))
        counts["planted"] += 1
        counts["found"] += check is not None
        counts["named"] += named
        counts["explained"] += check is not None and is_explained(check)
        said = "MISSED" if check is None else "found" + ("" if named else ", NOT NAMED")
        laws = sorted({each.law for each in check.laws}) if check else []
        print(f"{name}: {said} {laws} {sorted(names(check))[:4] if check else ''}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
