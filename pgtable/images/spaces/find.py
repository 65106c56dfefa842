# SPDX-License-Identifier: GPL-2.0-only
"""Find every address space of an image, say what each is, and what each maps."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .. import content
from ..image import Image
from ..start import check_c_bit, find_reader
from ..steps import Progress
from ..walk import Root, Walk
from ..walking import run_walk
from .candidates import MOST, find_tops
from .model import KINDS, Space, Spaces
from .struct_page import KernelLeaves, PageArray, find_array
from .summary import SpacesBudget, count_kernel, count_user, share

_FRAME = 0x000F_FFFF_FFFF_F000
_HALF = 256
_COPY = 0x1000
_USER, _NX = np.uint64(4), np.uint64(1 << 63)
_LOW_MEMORY = 1 << 20
#: Tables with one kernel half that are another kernel's, and how many such are said.
_TOGETHER, _SAID = 3, 4
#: Kernel halves that are tried, and entries of one walk of a kernel half.
_TRIED = 16
_MOST_ENTRIES = 1 << 25


def find_spaces(
    image: Image,
    c_bit: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Spaces:
    """Return every address space of a machine; see ``Image.spaces``."""
    check_c_bit(c_bit)
    encryption = None if c_bit is None else 1 << c_bit
    pas, tables, more = find_tops(image, encryption or 0, threads, progress)
    notes = [f"more than {MOST} pages look like top tables: only those were asked"] if more else []
    if not len(pas):
        raise ValueError(
            f"{image.path}: holds no page that can be a top table of 64-bit Linux: another system,"
            " another kind of file, or an image without the memory of page tables"
        )
    found = _Finder(image, pas, tables, notes, encryption)
    return found.spaces()


class _Finder:
    def __init__(
        self,
        image: Image,
        pas: np.ndarray,
        tables: np.ndarray,
        notes: list[str],
        encryption: int | None,
    ):
        self.image = image
        self.pas = pas
        self.tables = tables
        self.notes = notes
        self.encryption = self._encryption() if encryption is None else encryption
        self.read = find_reader(image, self.encryption)
        self.by_pa = {int(pa): table for pa, table in zip(pas, tables, strict=True)}
        self.users = self._user_copies()
        self.walks: list[tuple[Space, Walk]] = []

    def _encryption(self) -> int:
        """Return the high bit that all kernel entries of nearly all tables have, or 0."""
        if self.image.kernel.sme_mask is not None:
            return self.image.kernel.sme_mask & _FRAME
        last = self.tables[:, -1]
        bits = [1 << bit for bit in range(43, 52)]
        common = [bit for bit in bits if 2 * np.count_nonzero(last & np.uint64(bit)) > len(last)]
        if len(common) != 1:
            return 0
        bit = common[0].bit_length() - 1
        self.notes.append(f"bit {bit} is taken for the encryption bit: entries of all tops have it")
        return common[0]

    def _user_copies(self) -> dict[int, int]:
        """Return the user's copy of each top table that page-table isolation keeps two of."""
        found = {}
        for pa, table in self.by_pa.items():
            user = self.by_pa.get(pa | _COPY)
            if pa & _COPY or user is None:
                continue
            lower, isolated = user[:_HALF], table[:_HALF]
            used = np.count_nonzero(user[_HALF:]), np.count_nonzero(table[_HALF:])
            same = isolated == np.where(lower != 0, lower | _NX, lower)
            if same.all() and 0 < used[0] < used[1]:
                found[pa] = pa | _COPY
        return found

    def spaces(self) -> Spaces:
        root, array, mapping = self._reference()
        half = self.by_pa[root.pa][_HALF:]
        spaces, stale = [], []
        others: list[int] = []
        isolated = set(self.users.values())
        for pa in self.pas.tolist():
            if pa in isolated:
                continue
            space = self._judge(pa, root.levels, half, array, mapping)
            if space is not None:
                spaces.append(space)
            elif self._like(pa, half):
                stale.append(pa)
            else:
                others.append(pa)
        self._note_others(others)
        if array is None:
            spaces = _distinct(spaces, self.by_pa, stale)
        self._count(spaces, root)
        spaces.sort(key=lambda space: (KINDS.index(space.kind), space.root))
        half = half.tobytes()
        for space in spaces:
            if space.kind == "kernel" and self.by_pa[space.root][_HALF:].tobytes() == half:
                root = root._replace(pa=space.root)
        cpus = [cpu for cpu in self.image.cpus if cpu.paging]
        nxe = not cpus or cpus[0].nxe is not False
        return Spaces(spaces, stale, self.notes, root._replace(nxe=nxe), self.encryption, nxe)

    def _note_others(self, others: list[int]) -> None:
        """Say where tables share a kernel half that is not that of the spaces."""
        halves = Counter(self.by_pa[pa][_HALF:].tobytes() for pa in others)
        for half, number in halves.most_common(_SAID):
            if number < _TOGETHER:
                break
            first = next(pa for pa in others if self.by_pa[pa][_HALF:].tobytes() == half)
            self.notes.append(
                f"{number} tables have another kernel half in common, the first at {first:#x}:"
                f" another kernel (that of kdump, or of a boot before); --root {first:#x} walks it"
            )

    def _reference(self) -> tuple[Root, PageArray | None, KernelLeaves]:
        """Return the kernel half that most tables have, and the array that it maps."""
        halves = Counter(table[_HALF:].tobytes() for table in self.tables)
        ordered = sorted(halves, key=lambda half: (-halves[half], half.count(b"\0")))
        first: tuple[Root, PageArray | None, KernelLeaves] | None = None
        for half in ordered[:_TRIED]:
            row = next(i for i, t in enumerate(self.tables) if t[_HALF:].tobytes() == half)
            root, mapping = self._mapping(int(self.pas[row]))
            array = find_array(self.image, mapping, self.pas)
            first = first or (root, None, mapping)
            if array is not None:
                self.notes.append(
                    f"the direct map is at {array.direct:#x}, the array of struct page at"
                    f" {array.start:#x}: the kernel half shows them"
                )
                return root, array, mapping
        assert first is not None
        self.notes.append(
            "no array of struct page confirms a table: spaces are listed as their content shows,"
            " and one that was let go cannot be told from one in use"
        )
        return first

    def _mapping(self, pa: int) -> tuple[Root, KernelLeaves]:
        told = content.levels_of(self.read, pa)
        levels = self.image.kernel.levels or (told.levels if told else 4)
        if self.image.cpus and self.image.cpus[0].paging:
            levels = self.image.cpus[0].levels
        root = Root(
            pa, levels, True, encryption=self.encryption, half="kernel", origin="the kernel half"
        )
        return root, KernelLeaves.of(run_walk(self.image.tables(root), root, _MOST_ENTRIES))

    def _like(self, pa: int, half: np.ndarray) -> bool:
        """Tell whether the kernel half is that of the others, as far as it is filled."""
        own = self.by_pa[pa][_HALF:]
        both = (own != 0) & (half != 0)
        enough = 2 * np.count_nonzero(both) > np.count_nonzero(half)
        return bool(enough and (((own ^ half)[both] & ~np.uint64(0x60)) == 0).mean() > 0.9) or (
            bool(np.array_equal(own, half))
        )

    def _judge(
        self, pa: int, levels: int, half: np.ndarray, array: PageArray | None, mapping: KernelLeaves
    ) -> Space | None:
        """Return the space of a table; None for one that no space uses."""
        mm = None if array is None else array.mm_of(pa)
        if mm is not None and array is not None and not array.alive(pa):
            return None
        said: tuple[str, str] | None
        if mm is not None:
            said = ("process", f"its struct page points to the mm at {mm:#x}, which holds it")
        else:
            said = self._unnamed(pa, half, mapping)
        if said is None and array is None and self._like(pa, half) and self.by_pa[pa][:_HALF].any():
            kind, why = "unconfirmed", "its kernel half is that of most tables"
            return Space(pa, levels, kind, False, why, self.users.get(pa))
        if said is None:
            return None
        return Space(pa, levels, said[0], True, said[1], self.users.get(pa), mm)

    def _unnamed(self, pa: int, half: np.ndarray, mapping: KernelLeaves) -> tuple[str, str] | None:
        """Return kind and evidence of a table that no mm holds and the kernel uses."""
        user = self.by_pa[pa][:_HALF]
        if pa == self.image.kernel.root:
            return "kernel", "VMCOREINFO names it"
        if not self._like(pa, half):
            return None
        if not user.any() and mapping.holds_text(pa):
            return "kernel", "it lies in the kernel's image, with nothing in the user half"
        if pa < _LOW_MEMORY and np.flatnonzero(user).tolist() == [0] and not user[0] & _USER:
            return "trampoline", "it lies below 1 MiB and maps low memory for the kernel alone"
        return None

    def _count(self, spaces: list[Space], reference: Root) -> None:
        """Count what each maps; the kernel half, which all share, once."""
        kernel = count_kernel(self.image, reference)
        frames = []
        budget = SpacesBudget(self.image)
        # if not all can be counted, then those that are certain
        spaces.sort(key=lambda space: (not space.certain, KINDS.index(space.kind), space.root))
        for space in spaces:
            top = space.root if space.user_root is None else space.user_root
            root = Root(top, space.levels, True, encryption=self.encryption, half="user")
            frames.append(count_user(self.image, root, space, self.notes, budget))
            space.kernel_leaves = kernel
            roots = {space.root, space.user_root}
            running = [i for i, cpu in enumerate(self.image.cpus) if self._runs(cpu.root, roots)]
            space.cpus = running
            if space.kind == "process" and space.counted and not space.user_leaves:
                space.kind = "poking" if self.by_pa[space.root][:_HALF].any() else "empty"
        share(spaces, frames)
        left = sum(not space.counted for space in spaces)
        if left:
            self.notes.append(
                f"{left} spaces were not counted: all together have many times more tables than the"
                " image has pages (--space looks at one)"
            )

    def _runs(self, root: int, roots: set[int | None]) -> bool:
        return root & ~self.encryption in roots


def _distinct(spaces: list[Space], by_pa: dict[int, np.ndarray], stale: list[int]) -> list[Space]:
    """Leave one of tables with the same content: copies cannot be told from the original."""
    seen: set[bytes] = set()
    kept = []
    for space in spaces:
        key = by_pa[space.root].tobytes()
        if key in seen:
            stale.append(space.root)
        else:
            seen.add(key)
            kept.append(space)
    return kept
