# SPDX-License-Identifier: GPL-2.0-only
"""Text on a tree for reports: the place of a helper, options, and calls in C."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .. import bits
from ..engines.interface import Engine, Helper
from ..kernel_trees import KernelTreeError, read_text
from . import definitions
from .report import Value, wrap

#: Where value helpers are defined, in the order in which they are looked for.
_HEADERS = (
    *(
        f"arch/x86/include/asm/{name}.h"
        for name in ("pgtable", "pgtable_64", "pgtable_types", "pgtable-invert", "hugetlb")
    ),
    *(
        f"include/linux/{name}.h"
        for name in ("pgtable", "swapops", "leafops", "huge_mm", "hugetlb", "mm", "pgtable_key")
    ),
    *(f"include/asm-generic/{name}.h" for name in ("pgtable_uffd", "hugetlb")),
    "arch/x86/mm/pgtable.c",
)

#: Options that change what helpers do.
_OPTIONS = (
    *("X86_SHADOW_STACK", "X86_USER_SHADOW_STACK", "MEM_SOFT_DIRTY", "HAVE_ARCH_USERFAULTFD_WP"),
    *("NUMA_BALANCING", "TRANSPARENT_HUGEPAGE", "HUGETLB_PAGE", "MIGRATION", "PAGE_TABLE_CHECK"),
    "X86_INTEL_MEMORY_PROTECTION_KEYS",
)


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except (OSError, KernelTreeError):
        return ""


def defined_at(engine: Engine, name: str) -> str:
    """Return "file:line" of a helper's definition in a tree; "" if it is not found."""
    tree = getattr(engine, "tree", None)
    if tree is None:
        return ""
    word = re.escape(name)
    defined = re.compile(
        rf"^(?:#[ \t]*define[ \t]+{word}\b|(?:[\w *]+[ \t*])?{word}[ \t]*\([^;{{}}#]*\)\s*\{{)",
        re.M,
    )
    for header in _HEADERS:
        text = _text(tree.sources / header)
        if found := defined.search(text):
            return f"{header}:{text.count(chr(10), 0, found.start(0)) + 1}"
    return ""


def bit58(engine: Engine) -> str:
    """Return the tree's name for bit 58; "" if it has none."""
    tree = getattr(engine, "tree", None)
    if tree is None:
        return ""
    text = _text(tree.sources / "arch/x86/include/asm/pgtable_types.h")
    names = re.findall(r"^#define[ \t]+(_PAGE_BIT_\w+)[ \t]+(?:_PAGE_BIT_SOFTW5|58)\b", text, re.M)
    return next((name for name in names if "SOFTW" not in name), "").replace("_BIT", "")


def heading(engine: Engine) -> list[str]:
    """Return lines that say which tree, version and configuration this is about."""
    tree, configured = getattr(engine, "tree", None), getattr(engine, "configured", None)
    lines = []
    if tree is not None:
        lines.append(wrap(f"tree: {tree.generated.name}, Linux {tree.release}", hang="  "))
    if configured is not None:
        words = (f"{name}={'y' if configured(f'CONFIG_{name}') else 'n'}" for name in _OPTIONS)
        lines.append(wrap(f"configuration: {', '.join(words)}", hang="  "))
    if name := bit58(engine):
        lines.append(wrap(f"bit 58 is {name} in this tree, and is shown as Cow", hang="  "))
    return lines


def in_c(helper: Helper, entry: int, argument: int | None) -> str:
    """Return the C expression that calls a helper with these words."""
    info = helper.info
    if helper.name in definitions.CONSTANTS or helper.name == "PAGE_NONE":
        return helper.name if "TABLE" in helper.name else f"pgprot_val({helper.name})"
    words = [_as_c(info.takes, info.level, entry)]
    if info.argument is not None:
        words.append(_argument(info.argument, info.level, argument or 0))
    call = f"{helper.name}({', '.join(words)})"
    if info.gives in bits.LEVELS:
        return f"{info.gives}_val({call})"
    return f"{call}.val" if info.gives == "swp" else call


def _as_c(kind: str, level: str, word: int) -> str:
    if kind in bits.LEVELS:
        return f"__{kind}({word:#x})"
    if kind == "swp":
        return f"(swp_entry_t){{ {word:#x} }}"
    return f"__pgprot({word:#x})" if level == "prot" else f"{word:#x}UL"


def _argument(name: str, level: str, word: int) -> str:
    if name in ("newprot", "prot"):
        return f"__pgprot({word:#x})"
    if name == "other":
        return _as_c(level, level, word)
    if name == "vma":
        return f"&(struct vm_area_struct){{ .vm_flags = {word:#x} }}"
    return f"{word:#x}UL"


def placed(engine: Engine, name: str, rows: Sequence[tuple[str, Value]]) -> list[str]:
    """Return lines that say where a helper is, and C that gives the same results as the rows."""
    helper = engine.helpers.get(name)
    if helper is None:
        return []
    given = dict(rows)
    argument = given.get(helper.info.argument or "")
    code = in_c(
        helper, int(given["entry"].value), None if argument is None else int(argument.value)
    )
    lines = [wrap(f"in C: {code}", "    ", "      ")]
    if place := defined_at(engine, name):
        lines.append(f"    at {place}")
    return lines
