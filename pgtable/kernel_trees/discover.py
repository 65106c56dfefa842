# SPDX-License-Identifier: GPL-2.0-only
"""Finds the value helpers of a tree in its preprocessed headers.

A value helper takes and gives values: page-table entries, protections, numbers.
This module knows no versions: only the signature of a function decides.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import itemgetter
from typing import NamedTuple

#: Type of a parameter -> C that makes it from a word, and the engine's name for the type.
_ENTRIES = {
    "pte_t": ("pte", "__pte({})"),
    "pmd_t": ("pmd", "__pmd({})"),
    "pud_t": ("pud", "__pud({})"),
    "p4d_t": ("p4d", "__p4d({})"),
    "pgd_t": ("pgd", "__pgd({})"),
    "swp_entry_t": ("swp", "((swp_entry_t){{ {} }})"),
}
_WORDS = {
    "pgprot_t": "__pgprot({})",
    "bool": "({} != 0)",
    "_Bool": "({} != 0)",
}
_NUMBERS = frozenset(
    [
        "char",
        "int",
        "long",
        "u8",
        "u16",
        "u32",
        "u64",
        "s64",
        "phys_addr_t",
        "pteval_t",
        "pmdval_t",
        "pudval_t",
        "p4dval_t",
        "pgdval_t",
        "pgprotval_t",
        "uint64_t",
        "pgoff_t",
        "size_t",
        "pte_marker",
    ]
)
_VMA = "struct vm_area_struct *"
_LEVEL = re.compile(r"^_*(pte|pmd|pud|p4d|pgd)(?=_|p_|$)")
_MACRO = re.compile(r"^_*(?:pte|pmd|pud|p4d|pgd|pgprot)_\w+$")
#: Protections that have a name.  They become helpers that ignore the entry.
_CONSTANT = re.compile(
    r"^(?:PAGE_(?:NONE|SHARED|COPY|READONLY)(?:_EXEC|_NOEXEC)?"
    r"|PAGE_KERNEL(?:_RO|_ROX|_VVAR|(?:_LARGE)?(?:_EXEC)?(?:_NOENC)?)"
    r"|_(?:KERNPG|PAGE)_TABLE(?:_NOENC)?)$"
)
_NUMERIC_NAME = re.compile(r"(?:pte|pmd|pud|prot|dirty)")
_QUALIFIERS = re.compile(
    r"\b(?:static|inline|__inline|__inline__|extern|const|volatile|register|__signed__|signed)\b"
)
_FUNCTION = re.compile(r"\b([A-Za-z_]\w*)\s*\(([^(){};]*)\)\s*([{;])")
#: Every helper has one of these in its name or signature.
_ABOUT = re.compile(r"pte|pmd|pud|p4d|pgd|prot|dirty|swp")
#: How many characters return type and attributes have at most.
_LONGEST_TYPE = 600
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")

#: Helpers that take a pointer to an entry and only change the entry.
_IN_MEMORY = re.compile(r"^(pte|pmd|pud)p_set_wrprotect$")


class Candidate(NamedTuple):
    """A function that may be a helper: compiling it will show."""

    name: str
    level: str
    takes: str
    argument: str | None
    call: str  #: C, of ``word`` and ``arg``
    declared: bool  #: the headers have only a prototype, so the body must come from a source file
    is_macro: bool  #: its parameters are guessed from its name


class Discovery(NamedTuple):
    """What was found in the headers."""

    candidates: dict[str, Candidate]
    unavailable: dict[str, str]  #: value helpers that cannot be called, and why
    macros: frozenset[str]
    has: frozenset[str]  #: of "SWP_ENTRY" and "VMA", what is defined


class _Parameter(NamedTuple):
    type: str
    name: str


class _Function(NamedTuple):
    name: str
    gives: str
    parameters: list[_Parameter]
    header: str
    has_body: bool
    at: int


def discover(text: str) -> Discovery:
    """Find the value helpers in the output of ``cc -E -dD`` for the headers."""
    macros, code, places = _split(text)
    functions = _functions(code, places)
    found: list[tuple[int, Candidate]] = []
    unavailable: dict[str, str] = {}
    for function in functions.values():
        _add_function(function, function.name, function.at, found, unavailable)
    for name, (parameters, body, at) in macros.items():
        if parameters is None and _CONSTANT.match(name):
            found.append(
                (at, Candidate(name, "prot", "val", None, f"((void)word, {name})", False, True))
            )
        if name in functions or not _MACRO.match(name):
            continue
        if parameters is None and body in functions:
            _add_function(functions[body], name, at, found, unavailable)
        elif parameters is not None:
            _add_macro(name, parameters, at, found)
    found.sort(key=itemgetter(0))
    candidates = {candidate.name: candidate for _, candidate in found}
    return Discovery(candidates, unavailable, frozenset(macros), _has(code))


def _has(code: str) -> frozenset[str]:
    """Return which types are defined that only some trees have."""
    has = set()
    if re.search(r"\}\s*swp_entry_t\s*;", code):
        has.add("SWP_ENTRY")
    if re.search(r"\bstruct vm_area_struct\s*\{", code) and re.search(
        r"\bstruct mm_struct\s*\{", code
    ):
        has.add("VMA")
    return frozenset(has)


class _Macro(NamedTuple):
    parameters: list[str] | None
    body: str
    at: int


def _split(text: str) -> tuple[dict[str, _Macro], str, list[tuple[int, str]]]:
    """Return the macros, the code without directives, and in which header each part of it is."""
    macros: dict[str, _Macro] = {}
    code: list[str] = []
    places: list[tuple[int, str]] = [(0, "")]
    at = 0
    for line in text.splitlines():
        if not line.startswith("#"):
            code.append(line)
            at += len(line) + 1
            continue
        if defined := _DEFINE.match(line):
            name, parameters, body = defined.groups()
            names = None if parameters is None else [one.strip() for one in parameters.split(",")]
            macros[name] = _Macro(names, body, at)
        elif line.startswith("#undef "):
            macros.pop(line[7:].strip(), None)
        elif marker := _MARKER.match(line):
            places.append((at, marker[1]))
    return macros, "\n".join(code), places


_DEFINE = re.compile(r"#define (\w+)(?:\(([^)]*)\))?(?: (.*))?$")
_MARKER = re.compile(r'# \d+ "((?:[^"\\]|\\.)*)"')


def _functions(code: str, places: list[tuple[int, str]]) -> dict[str, _Function]:
    """Return every function that is defined or declared."""
    starts = [at for at, _ in places]
    defined: dict[str, _Function] = {}
    declared: dict[str, _Function] = {}
    for match in _FUNCTION.finditer(code):
        name, parameters, after = match.groups()
        before = max(0, match.start() - _LONGEST_TYPE)
        start = max(code.rfind(end, before, match.start()) for end in ";}{") + 1 or before
        if not _ABOUT.search(code, start, match.end()):
            continue
        gives = _type(code[start : match.start()])
        parsed = _parameters(parameters) if gives else None
        if parsed is not None:
            header = places[bisect_right(starts, match.start()) - 1][1]
            kind = defined if after == "{" else declared
            kind[name] = _Function(name, gives, parsed, header, after == "{", match.start())
    return declared | defined


def _type(text: str) -> str:
    """Return a type in one spelling; "" if the text is no type."""
    text = _QUALIFIERS.sub(" ", _ATTRIBUTE.sub(" ", text)).replace("*", " * ")
    words = text.split()
    if not words or not all(word == "*" or word.isidentifier() for word in words):
        return ""
    return " ".join(words).replace("struct pgprot", "pgprot_t")


def _parameters(text: str) -> list[_Parameter] | None:
    """Return the parameters of a function; None if the text is no list of parameters."""
    found = []
    for one in text.split(","):
        words = _type(one).split(" ")
        if words in (["void"], [""]):
            return [] if text.strip() == "void" else None
        named = len(words) > 1 and words[-1] != "*" and words[-1] not in _NUMBERS
        name = words.pop() if named else ""
        found.append(_Parameter(" ".join(words), name))
    return found


def _takes(type_: str) -> tuple[str, str] | None:
    """Return the engine's name for a parameter's type, and C that makes one from a word."""
    if type_ in _ENTRIES:
        return _ENTRIES[type_]
    if type_ in _WORDS:
        return "val", _WORDS[type_]
    if _is_number(type_):
        return "val", f"({type_}){{}}"
    return None


def _is_number(type_: str) -> bool:
    return all(word in _NUMBERS or word == "unsigned" for word in type_.split(" "))


def _is_value(type_: str) -> bool:
    return _takes(type_) is not None


def _add_function(
    function: _Function,
    name: str,
    at: int,
    found: list[tuple[int, Candidate]],
    unavailable: dict[str, str],
) -> None:
    """Add a function, or an alias of one, if it is a value helper."""
    types = [parameter.type for parameter in function.parameters]
    if in_memory := _as_in_memory(function, name, types):
        found.append((at, in_memory))
        return
    if not _is_about_entries(function):
        return
    with_vma = len(types) == 2 and types[0] in _ENTRIES and types[1] == _VMA
    if with_vma and function.gives != types[0]:
        return
    if not with_vma and not all(map(_is_value, types)):
        return
    if len(types) > 2:
        unavailable[name] = f"takes {len(types)} values; a helper takes one or two"
    elif function.gives.endswith("*"):
        unavailable[name] = f"gives a pointer ({function.gives})"
    else:
        found.append((at, _candidate(function, name, with_vma)))


def _is_about_entries(function: _Function) -> bool:
    types = {function.gives, *(parameter.type for parameter in function.parameters)}
    if not function.parameters or function.gives == "void":
        return False
    # a number may be an entry or a protection, a pointer may not
    if any(_is_address(parameter.name) for parameter in function.parameters):
        return False
    if types & {*_ENTRIES, "pgprot_t"}:
        return True
    return (
        function.header.rpartition("/")[2].startswith("pgtable")
        and _NUMERIC_NAME.search(function.name) is not None
        and all(map(_is_number, types - {"bool", "_Bool"}))
    )


def _is_address(name: str) -> bool:
    return name.startswith(("addr", "vaddr", "start", "end"))


def _candidate(function: _Function, name: str, with_vma: bool) -> Candidate:
    first = function.parameters[0]
    takes, as_first = _takes(first.type) or ("", "")
    arguments = [as_first.format("word")]
    argument = None
    if len(function.parameters) == 2:
        second = function.parameters[1]
        argument = _argument_name(first, second)
        _, as_second = ("", "TREE_VMA({})") if with_vma else (_takes(second.type) or ("", ""))
        arguments.append(as_second.format("arg"))
    level = _level(name, [*(parameter.type for parameter in function.parameters), function.gives])
    call = f"{name}({', '.join(arguments)})"
    return Candidate(name, level, takes, argument, call, not function.has_body, False)


def _argument_name(first: _Parameter, second: _Parameter) -> str:
    """Return our own engines' name for the second argument, whatever the tree calls it."""
    if second.type == first.type and first.type in _ENTRIES:
        return "other"
    if second.type.endswith("val_t"):
        return "mask"
    if second.type == "pgprot_t":
        return "newprot" if "new" in second.name else "prot"
    return "vma" if second.type == _VMA else second.name or "argument"


def _level(name: str, types: list[str]) -> str:
    if named := _LEVEL.match(name):
        return named[1]
    return next((_ENTRIES[type_][0] for type_ in types if type_ in _ENTRIES), "prot")


def _as_in_memory(function: _Function, name: str, types: list[str]) -> Candidate | None:
    level = _IN_MEMORY.match(name)
    if not level or types != ["struct mm_struct *", "unsigned long", f"{level[1]}_t *"]:
        return None
    call = f"TREE_IN_MEMORY({level[1]}_t, __{level[1]}, {name})"
    return Candidate(name, level[1], level[1], None, call, not function.has_body, False)


def _add_macro(
    name: str, parameters: list[str], at: int, found: list[tuple[int, Candidate]]
) -> None:
    """Add a macro whose name and number of parameters are those of a value helper."""
    if not parameters[0] or len(parameters) > 2 or any(map(_is_address, parameters)):
        return
    level = _level(name, [])
    takes, as_first = _takes("pgprot_t" if level == "prot" else f"{level}_t") or ("", "")
    arguments = [as_first.format("word"), *(["(unsigned long)arg"] * (len(parameters) - 1))]
    argument = parameters[1] if len(parameters) == 2 else None
    call = f"{name}({', '.join(arguments)})"
    found.append((at, Candidate(name, level, takes, argument, call, False, True)))
