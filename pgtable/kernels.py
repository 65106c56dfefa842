# SPDX-License-Identifier: GPL-2.0-only
"""What is true of entries in each version of Linux, as data, with sources.

::

    kernel = find("4.15.0-29-generic")  # any text with a release in it
    kernel.rules                        # "base" or "saved_dirty"
    kernel.inverted                     # frames of non-present entries are kept inverted
    kernel.pmd_modify_drops_dirty       # the fault of 6.6 until September 2026
    kernel.swap.type(entry)             # of the layout of swap entries; ints or arrays
    kernel.swap.offset(entry)
    kernel.types[31]                    # what a swap type stands for: "marker"
    kernel.assumed                      # what had to be assumed: one sentence each
    kernel.has("uffd_wp")               # any change of CHANGES
    of_rules("base")                    # the kernel that a rule set stands for where none is named

:data:`CHANGES` is the only table of dates.  A distribution's kernel has changes of later versions.
If the table does not say, ``assumed`` says what was assumed, and ``find(text, rules=...,
swap_layout=...)`` overrides it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

#: A series: (2, 6, 32), (4, 15).  Tuples of both lengths compare as versions do.
Series = tuple[int, ...]

OLDEST: Series = (2, 6, 32)
#: The newest series whose changes are in :data:`CHANGES`.  Later series are treated like it.
NEWEST: Series = (7, 3)
#: The last series of each major version that has ended.
_LAST = {3: 19, 4: 20, 5: 19, 6: 19}


@dataclass(frozen=True)
class Change:
    """A change in the encoding of entries.

    since: the first series of mainline that has it; until: the first without it again.
    rc: the first release candidate of that series that has it.
    stable: the first release of an older series that has it.
    without: the last release of an older series that is known to be without it, where
        it lies before the one in ``stable`` by more than one.
    fix: stable series and distributions have it too, so the version alone does not decide.
    """

    text: str
    since: Series
    source: str
    until: Series | None = None
    rc: int = 1
    fix: bool = False
    stable: Mapping[Series, int] = field(default_factory=dict)
    without: Mapping[Series, int] = field(default_factory=dict)
    #: what distributions call the first package that has it: pattern of the release, number
    distributions: tuple[tuple[str, tuple[int, ...], str], ...] = ()


CHANGES: dict[str, Change] = {
    "swap_soft_dirty": Change(
        "swap entries have a soft-dirty bit (bit 7)", (3, 11), "commit 179ef71cbc08"
    ),
    "numa_bit": Change(
        "with CONFIG_NUMA_BALANCING the offset of swap entries starts at bit 10",
        (3, 16),
        "commit c46a7c817e66; reverted by 21d9ee3eda77",
        until=(4, 0),
    ),
    "no_file_entries": Change(
        "PRESENT=0 with bit 6 no longer is a page of a nonlinear file mapping",
        (4, 0),
        "commit 0a1913620583",
    ),
    "devmap_58": Change("bit 58 is DEVMAP", (4, 5), "commit 69660fd797c3", until=(6, 6)),
    "pkeys": Change("bits 59 to 62 are the protection key", (4, 6), "commit 5c1d90f51027"),
    "swap_from_bit_9": Change(
        "swap entries: type in bits 9 to 13, offset from bit 14",
        (4, 8),
        "commit 00839ee3b299; backported with the L1TF changes",
        fix=True,
        stable={(4, 4): 148, (3, 16): 58},
    ),
    "swap_soft_dirty_bit_1": Change(
        "the soft-dirty bit of swap entries is bit 1",
        (4, 14),
        "commit eee4818baac0; backported with the L1TF changes",
        fix=True,
        stable={(4, 9): 120, (4, 4): 148, (3, 16): 58},
    ),
    "device_private": Change("two swap types for device memory", (4, 14), "commit 5042db43cc26"),
    "l1tf": Change(
        "frames of non-present entries are inverted; swap entries: type in bits 59 to 63,"
        " offset inverted in bits 9 to 58",
        (4, 19),
        "commits 6b28baca9b1f, bcd11afa7ade, 2f22b4cd45b6",
        fix=True,
        stable={(4, 18): 1, (4, 17): 15, (4, 14): 63, (4, 9): 120, (4, 4): 148, (3, 16): 58},
        distributions=(
            (r"4\.15\.0-(\d{1,3})-(?:generic|lowlatency)$", (32,), "Ubuntu USN-3740-1"),
            (r"4\.4\.0-(\d{1,3})-(?:generic|lowlatency)$", (133,), "Ubuntu USN-3741-1"),
            (r"3\.13\.0-(\d{1,3})-(?:generic|lowlatency)$", (155,), "Ubuntu USN-3742-1"),
            (r"4\.9\.0-(\d+)-(?:rt-)?amd64$", (8,), "Debian DSA-4279-1"),
            (r"3\.10\.0-(\d+)(?:\.(\d+))?(?:\.(\d+))?\.el7", (862, 11, 6), "RHSA-2018:2384"),
            (r"2\.6\.32-(\d+)(?:\.(\d+))?(?:\.(\d+))?\.el6", (754, 3, 5), "RHSA-2018:2390"),
            (r"4\.18\.0-(\d+).*\.el8", (0,), "RHEL 8: later than the change"),
        ),
    ),
    "uffd_wp": Change("bit 10 (bit 2 of swap entries) is UFFD_WP", (5, 7), "commit 5a281062af1d"),
    "device_exclusive": Change("four swap types for devices", (5, 14), "commit b756a3b5e7ea"),
    "swap_exclusive": Change(
        "bit 3 of swap entries is the exclusive mark",
        (5, 19),
        "commit 1493a1913e34 and its series",
    ),
    "migration_exclusive": Change(
        "three swap types for migration: read, read exclusive, write",
        (5, 19),
        "commit 6c287605fd56",
        distributions=((r"5\.14\.0-(\d+).*\.el9", (179,), "RHEL 9, by LTP's tst_max_swapfiles"),),
    ),
    "marker": Change(
        "a swap type for markers (CONFIG_PTE_MARKER; always since 6.2)",
        (5, 19),
        "commit 679d10331910; ca92ea3dc5a2",
        distributions=((r"5\.14\.0-(\d+).*\.el9", (179,), "RHEL 9, by LTP's tst_max_swapfiles"),),
    ),
    "swapin_error": Change(
        "a swap type for pages whose reading failed, above the markers",
        (5, 19),
        "commit 9f186f9e5fa9; replaced by a marker in 15520a3f0469",
        until=(6, 2),
    ),
    "migration_young_dirty": Change(
        "migration entries keep Accessed and Dirty above the frame", (6, 1), "commit 2e3468778dbe"
    ),
    "marker_error": Change(
        "marker bit 1: reading failed, later: poisoned",
        (6, 2),
        "commit 15520a3f0469; af19487f00f3 in 6.6",
    ),
    "saved_dirty": Change(
        "rules saved_dirty: bit 58 is SAVED_DIRTY, DEVMAP moves to bit 57",
        (6, 6),
        "x86/mm: Introduce _PAGE_SAVED_DIRTY and its series, merged for 6.6-rc1",
    ),
    "marker_guard": Change("marker bit 2: guard", (6, 13), "commit 7c53dfbdb024"),
    "device_exclusive_one": Change(
        "three swap types for devices",
        (6, 15),
        "mm: use single SWP_DEVICE_EXCLUSIVE entry type, merged for 6.15-rc1",
    ),
    "no_devmap": Change("DEVMAP is gone", (6, 17), "commit d438d2734170"),
    "pmd_modify_fixed": Change(
        "pmd_modify() keeps Dirty of the old entry",
        (7, 3),
        "commit f7491d7c81db, merged 2026-09-14",
        rc=3,
        fix=True,
        stable={(6, 12): 111, (6, 6): 158},
        without={(6, 12): 107, (6, 6): 0},
    ),
}


# ---- swap entries


@dataclass(frozen=True)
class SwapLayout:
    """The places of type and offset in a swap entry.  All methods take ints or uint64 arrays."""

    name: str
    text: str
    type_shift: int
    offset_shift: int
    offset_bits: int
    inverted: bool = False

    def type(self, entry: Any) -> Any:
        """Return the type (0 to 31)."""
        return (entry >> self._as(entry, self.type_shift)) & self._as(entry, 31)

    def offset(self, entry: Any) -> Any:
        """Return the offset: of a page in its swap area, or a frame number."""
        kept = ~entry if self.inverted else entry
        mask = self._as(entry, (1 << self.offset_bits) - 1)
        return (kept >> self._as(entry, self.offset_shift)) & mask

    @property
    def mask(self) -> int:
        """The bits of type and offset."""
        return 31 << self.type_shift | ((1 << self.offset_bits) - 1) << self.offset_shift

    def entry(self, type: int, offset: int) -> int:  # noqa: A002 - the kernel's word
        """Return the entry of a type and an offset, its other bits 0.

        Raises ValueError where one of the two is too large.
        """
        if not 0 <= type < 32 or not 0 <= offset < 1 << self.offset_bits:
            raise ValueError(
                f"type {type}, offset {offset:#x}: layout {self.name} has types 0 to 31"
                f" and offsets of {self.offset_bits} bits"
            )
        kept = offset ^ ((1 << self.offset_bits) - 1) if self.inverted else offset
        return type << self.type_shift | kept << self.offset_shift

    @staticmethod
    def _as(entry: Any, number: int) -> Any:
        """Return a number of the entry's type: NumPy combines no signed numbers with uint64."""
        return number if isinstance(entry, int) else entry.dtype.type(number)


SWAP_LAYOUTS = {
    layout.name: layout
    for layout in (
        SwapLayout("bit9", "type in bits 1 to 5, offset from bit 9", 1, 9, 55),
        SwapLayout("bit10", "type in bits 1 to 5, offset from bit 10", 1, 10, 54),
        SwapLayout("bit14", "type in bits 9 to 13, offset from bit 14", 9, 14, 50),
        SwapLayout("inverted", "type in bits 59 to 63, offset inverted in bits 9 to 58",
                   59, 9, 50, True),
    )
}  # fmt: skip

#: Bits of a marker's offset, by the change that introduced them.
MARKERS = {"marker": (0, "uffd_wp"), "marker_error": (1, "poisoned"), "marker_guard": (2, "guard")}


def _types(has: Mapping[str, bool]) -> dict[int, str]:
    """Number the special swap types as include/linux/swap.h does with every option on."""
    names = ["hwpoison"]
    if has["migration_exclusive"]:
        names += ["migration_read", "migration_read_exclusive", "migration_write"]
    else:
        names += ["migration_read", "migration_write"]
    if has["device_private"]:
        names += ["device_write", "device_read"]
    if has["device_exclusive_one"]:
        names += ["device_exclusive"]
    elif has["device_exclusive"]:
        names += ["device_exclusive_write", "device_exclusive_read"]
    names += ["marker"] * has["marker"] + ["swapin_error"] * has["swapin_error"]
    return {32 - len(names) + i: name for i, name in enumerate(names)}


# ---- a kernel


@dataclass(frozen=True)
class Kernel:
    """A kernel, and what is true of its entries.

    release: as it was found in the text; "" where rules stand for a kernel.
    series, stable: (4, 15) and 0 of 4.15.0; stable is None where it is not said.
    rc: number of a release candidate, or None.
    suffix: what a distribution added.
    rules: "base" or "saved_dirty" (also "cow", where an argument said so).
    assumed: what was assumed, a sentence each.
    origin: where the release was found: "--kernel", "OSRELEASE of VMCOREINFO".
    """

    release: str
    series: Series
    stable: int | None = None
    rc: int | None = None
    suffix: str = ""
    rules: str = ""
    swap_layout: str = ""
    assumed: tuple[str, ...] = ()
    origin: str = ""

    def has(self, name: str) -> bool:
        """Tell whether it has a change of :data:`CHANGES`."""
        return self._answer(name)[0]

    def _answer(self, name: str) -> tuple[bool, str]:
        """Return whether it has a change, and what was assumed for the answer ("" if nothing)."""
        change = CHANGES[name]
        for pattern, first, _ in change.distributions:
            if match := re.match(pattern, self.release):
                numbers = tuple(int(n) for n in match.groups() if n is not None)
                return numbers >= first, ""
        if change.until is not None and self.series >= change.until:
            return False, ""
        if self.series >= change.since:
            early = self.series == change.since and self.rc is not None and self.rc < change.rc
            return not early, ""
        if name in _WITH_L1TF and self.has("l1tf"):
            return True, ""
        return self._backported(name, change)

    def _backported(self, name: str, change: Change) -> tuple[bool, str]:
        """Answer for a series older than the change."""
        first = change.stable.get(self.series)
        has = first is not None and self.stable is not None and self.stable >= first
        if has or not change.fix or self.rc is not None or not self._concerned(name):
            return has, ""
        lack = f'assumed: {self.release} is without "{change.text}"'
        series = ".".join(map(str, self.series))
        if self.stable is None and first is not None:
            return False, f"{lack} ({series}.{first} has it: name the whole release)"
        if self.suffix and self._vendor:
            return False, f"{lack}; distributions have taken it into older versions"
        known = change.without.get(self.series)
        if first is not None and known is not None and (self.stable or 0) > known:
            return False, f"{lack} ({series}.{first} has it)"
        maintained = name == "pmd_modify_fixed" and self.series >= (6, 18)
        if first is None and maintained and self.stable:
            return False, f"{lack}; it was merged on 2026-09-14, for stable series as well"
        return False, ""

    def _concerned(self, name: str) -> bool:
        """Tell whether a fix makes a difference for this kernel."""
        return name != "pmd_modify_fixed" or self.series >= CHANGES["saved_dirty"].since

    @property
    def _vendor(self) -> bool:
        """Whether its number is a distribution's: the last part says no stable release."""
        return not self.stable or bool(re.search(r"\.el\d|\.amzn|default|uek|lp1", self.suffix))

    @property
    def inverted(self) -> bool:
        """Whether non-present entries keep their frame inverted."""
        return self.has("l1tf")

    @property
    def pmd_modify_drops_dirty(self) -> bool:
        """Whether pmd_modify() loses Dirty of an entry."""
        return self.rules == "saved_dirty" and not self.has("pmd_modify_fixed")

    @property
    def variant(self) -> str:
        """How its helpers differ from the newest kernel of its rules (engines/switches.py)."""
        if self.pmd_modify_drops_dirty:
            return "drops_dirty"
        if self.inverted:
            return ""
        return "plain_frames" if self.has("swap_soft_dirty_bit_1") else "plain_frames_swp7"

    def with_rules(self, rules: str) -> Kernel:
        """Return the same kernel with the rules that an argument names."""
        return _settled(replace(self, assumed=()), rules, self.swap_layout or None)

    @property
    def swap(self) -> SwapLayout:
        """How swap entries are laid out."""
        return SWAP_LAYOUTS[self.swap_layout]

    @cached_property
    def types(self) -> dict[int, str]:
        """The meanings of the special swap types.  Lower types are numbers of swap areas.

        It holds with all of CONFIG_MIGRATION, MEMORY_FAILURE, DEVICE_PRIVATE and PTE_MARKER.
        """
        return _types({name: self.has(name) for name in CHANGES})

    @cached_property
    def markers(self) -> dict[int, str]:
        """Bit of a marker's offset -> what it marks."""
        return dict(what for name, what in MARKERS.items() if self.has(name))

    @cached_property
    def swap_bits(self) -> dict[int, str]:
        """Bit of a swap entry, outside type and offset -> its name."""
        bits = {}
        if self.has("swap_soft_dirty"):
            bits[1 if self.has("swap_soft_dirty_bit_1") else 7] = "SWP_SOFT_DIRTY"
        if self.has("uffd_wp"):
            bits[2] = "SWP_UFFD_WP"
        if self.has("swap_exclusive"):
            bits[3] = "SWP_EXCLUSIVE"
        return bits

    @property
    def devmap(self) -> int | None:
        """The bit that is DEVMAP; None where there is none."""
        if self.has("no_devmap"):
            return None
        if self.has("saved_dirty"):
            return 57
        return 58 if self.has("devmap_58") else None

    @property
    def text(self) -> str:
        """Say in a line what is true of it."""
        frames = "inverted" if self.inverted else "not inverted"
        said = [f"rules {self.rules}", f"frames of PROT_NONE entries {frames}",
                f"swap: {self.swap.text}"]  # fmt: skip
        if self.pmd_modify_drops_dirty:
            said.append("pmd_modify() drops Dirty")
        return "; ".join(said)

    @property
    def title(self) -> str:
        """Return its name, and where the name was found, in a line."""
        name = f"Linux {self.release}" if self.release else f"the newest kernel of {self.rules}"
        return f"{name} ({self.origin})" if self.origin else name

    def as_dict(self) -> dict[str, Any]:
        """Return what is true of it as plain values, for JSON."""
        return {
            "release": self.release,
            "origin": self.origin,
            "rules": self.rules,
            "frames_inverted": self.inverted,
            "pmd_modify_drops_dirty": self.pmd_modify_drops_dirty,
            "swap_layout": self.swap_layout,
            "swap_types": {str(number): name for number, name in self.types.items()},
            "assumed": list(self.assumed),
        }


#: Changes that stable series took together with the one for L1TF.
_WITH_L1TF = ("swap_from_bit_9", "swap_soft_dirty_bit_1")

_RELEASE = re.compile(
    r"(?<![\w.])v?(?P<release>(?P<version>\d+\.\d+(?:\.\d+){0,2})"
    r"(?:-rc(?P<rc>\d+))?(?P<suffix>[\w.+~-]*))"
)
_LABELS = (r"Linux version\s+", r"OSRELEASE[=:]\s*", r"RELEASE:\s*", r"^Linux\s+\S+\s+", r"^linux-")


def find(
    text: str, *, rules: str | None = None, swap_layout: str | None = None, origin: str = ""
) -> Kernel:
    """Return the kernel that a text names.

    text: a release ("4.15.0-29-generic", "6.8", "v6.6-rc3"), or a line with one in it:
        ``Linux version ...``, ``OSRELEASE=...``, ``uname -a``.
    rules, swap_layout: override what the version says.
    origin: where the text was found.

    Raises ValueError for a text without a release, for kernels before 2.6.32, for series
    that there never were, and for rules or layouts that do not exist.
    """
    match = None
    for label in (*_LABELS, r"^\s*"):
        if match := re.search(f"{label}(?:{_RELEASE.pattern})", text):
            break
    if match is None:
        raise ValueError(
            f"{origin or 'kernel'}: no kernel release in {text!r}; write one as uname -r prints it:"
            " 6.8, 4.15.0-29-generic"
        )
    numbers = tuple(map(int, match["version"].split(".")))
    length = 3 if numbers[0] == 2 else 2
    series, rest = numbers[:length], numbers[length:]
    if series < OLDEST:
        raise ValueError(
            f"{origin or 'kernel'}: {match['release']}: kernels before 2.6.32 laid entries out"
            " differently; those from 2.6.32 on are known"
        )
    last = _LAST.get(numbers[0])
    if last is not None and numbers[1] > last:
        raise ValueError(
            f"{origin or 'kernel'}: {match['release']}: there is no such Linux; {numbers[0]}.{last}"
            f" was the last of {numbers[0]}.x"
        )
    kernel = Kernel(
        release=match["release"],
        series=series,
        stable=rest[0] if rest else None,
        rc=int(match["rc"]) if match["rc"] else None,
        suffix=match["suffix"],
        origin=origin,
    )
    return _settled(kernel, rules, swap_layout)


def _settled(kernel: Kernel, rules: str | None, swap_layout: str | None) -> Kernel:
    """Fill in rules, layout and what was assumed."""
    assumed = []
    if kernel.series > NEWEST:
        newest = ".".join(map(str, NEWEST))
        assumed.append(
            f"assumed: {kernel.release} is like Linux {newest}, the newest that is known here"
        )
    if rules is not None and rules not in _OF_RULES:
        raise ValueError(f"no such rules: {rules!r}; these exist: {', '.join(_OF_RULES)}")
    if rules is None:
        rules = "saved_dirty" if kernel.has("saved_dirty") else "base"
        if re.search(r"\.el(?:9|10)", kernel.suffix):
            assumed.append(
                f"assumed: rules {rules} in {kernel.release}; Red Hat's kernels have features of"
                " later versions"
            )
    if swap_layout is None:
        swap_layout, why = _layout(kernel)
        assumed += [why] if why else []
    elif swap_layout not in SWAP_LAYOUTS:
        raise ValueError(
            f"no such swap layout: {swap_layout!r}; these exist: {', '.join(SWAP_LAYOUTS)}"
        )
    for name in ("l1tf", "pmd_modify_fixed"):
        if why := kernel._answer(name)[1]:
            assumed.append(why)
    if kernel.suffix and kernel._vendor and not assumed:
        series = ".".join(map(str, kernel.series))
        assumed.append(
            f"assumed: {kernel.release} is like Linux {series}; distributions take changes of later"
            " versions, an argument (rules, swap layout) says otherwise"
        )
    return replace(kernel, rules=rules, swap_layout=swap_layout, assumed=tuple(assumed))


def _layout(kernel: Kernel) -> tuple[str, str]:
    """Return the swap layout, and what was assumed for it."""
    if kernel.has("l1tf"):
        return "inverted", ""
    if kernel.has("swap_from_bit_9"):
        return "bit14", ""
    if kernel.has("numa_bit"):
        return "bit10", (
            f"assumed: {kernel.release} is built with CONFIG_NUMA_BALANCING, so offsets of swap"
            " entries start at bit 10; without it the swap layout is bit9"
        )
    return "bit9", ""


#: The kernel that a rule set stands for if none is named: the newest with these rules.
_OF_RULES: dict[str, Series] = {"base": (6, 5), "saved_dirty": (7, 3), "cow": (7, 3)}


def of_rules(rules: str) -> Kernel:
    """Return the kernel that a rule set stands for if no version is known.

    Raises ValueError for rules that do not exist.
    """
    if rules not in _OF_RULES:
        raise ValueError(f"no such rules: {rules!r}; these exist: {', '.join(_OF_RULES)}")
    kernel = Kernel(release="", series=_OF_RULES[rules], stable=0)
    return replace(kernel, rules=rules, swap_layout="inverted")


#: The newest series with a swap layout.
_OF_LAYOUTS: dict[str, Series] = {"bit9": (4, 7), "bit10": (3, 19), "bit14": (4, 18)}


def of_layout(name: str) -> Kernel:
    """Return the kernel that a swap layout stands for if no version is known.

    Raises ValueError for a layout that does not exist.
    """
    if name not in SWAP_LAYOUTS:
        raise ValueError(f"no such swap layout: {name!r}; these exist: {', '.join(SWAP_LAYOUTS)}")
    if name == "inverted":
        return of_rules("saved_dirty")
    return Kernel(release="", series=_OF_LAYOUTS[name], rules="base", swap_layout=name)
