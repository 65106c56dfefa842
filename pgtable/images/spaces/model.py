# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the address spaces of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ..walk import Root

#: What a space can be, in the order in which they are listed.
KINDS = ("process", "empty", "poking", "kernel", "trampoline", "unconfirmed")


@dataclass
class Space:
    """One address space.

    root: physical address of the top table; user_root: with page-table isolation, of the
        user's copy; levels: 4 or 5; mm: physical address of the mm that holds it, where known.
    kind: "process"; "empty" (no user tables: it begins or ends); "poking" (user tables that
        map nothing, as the kernel makes for text poking); "kernel" (the kernel's own table);
        "trampoline" (with which processors start); "unconfirmed" (well formed, but the
        array of struct page was not found, so it may be a copy).
    certain: whether the array of struct page, the kernel's image or VMCOREINFO says so;
        evidence: what says it.
    cpus: numbers of the processors that run it.
    counted: whether the numbers below were counted: not all are in an image that is made to
        have tables without end.
    user_leaves, kernel_leaves: present leaves of each half; resident, writable, executable:
        bytes that the user half maps, maps writable, maps executable.
    shared: bytes of frames that other spaces map too, by the root of the other; and
        shared_bytes: of frames that any other maps.
    """

    root: int
    levels: int
    kind: str
    certain: bool
    evidence: str
    user_root: int | None = None
    mm: int | None = None
    cpus: list[int] = field(default_factory=list)
    user_leaves: int = 0
    kernel_leaves: int = 0
    resident: int = 0
    writable: int = 0
    executable: int = 0
    counted: bool = True
    shared: dict[int, int] = field(default_factory=dict)
    shared_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON; addresses as hexadecimal text."""
        user_root = None if self.user_root is None else f"{self.user_root:#x}"
        shared = {f"{root:#x}": size for root, size in self.shared.items()}
        mm = None if self.mm is None else f"{self.mm:#x}"
        named = {"root": f"{self.root:#x}", "user_root": user_root, "mm": mm, "shared": shared}
        return asdict(self) | named


def roots_text(spaces: Iterable[Space]) -> list[str]:
    """Return the roots of some spaces as hexadecimal text, which names them."""
    return [f"{space.root:#x}" for space in spaces]


@dataclass
class Spaces:
    """All address spaces of an image, ``stale`` tops that no space uses, and ``notes``."""

    spaces: list[Space]
    stale: list[int]  #: physical addresses of copies and of tables that were let go
    notes: list[str]  #: what was found out, or could not be
    kernel_root: Root | None = None  #: where the kernel half that they share is walked from
    encryption: int = 0  #: the bit of entries that says "encrypted"
    nxe: bool = True  #: whether bit 63 means NX

    def __iter__(self) -> Iterator[Space]:
        return iter(self.spaces)

    def __len__(self) -> int:
        return len(self.spaces)

    def __getitem__(self, index: int) -> Space:
        return self.spaces[index]

    def find(self, name: str) -> Space:
        """Return the space of this name: its number in the list, its root, or "kernel".

        Raises ValueError where there is none of that name.
        """
        if name == "kernel":
            own = [space for space in self.spaces if space.kind == "kernel"]
            if not own:
                raise ValueError("no table of the kernel's own was found; name another space")
            return own[0]
        try:
            number = int(name, 0)
        except ValueError:
            raise ValueError(
                f"{name!r} is no space: write its number, its root (0x24d2000) or kernel"
            ) from None
        if 0 <= number < len(self.spaces):
            return self.spaces[number]
        for space in self.spaces:
            if number in (space.root, space.user_root):
                return space
        raise ValueError(
            f"there is no space {name}: they have the numbers 0 to {len(self.spaces) - 1}, and"
            " the roots that 'pgtable spaces' lists"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "spaces": [space.as_dict() for space in self.spaces],
            "stale": [f"{pa:#x}" for pa in self.stale],
            "notes": self.notes,
        }
