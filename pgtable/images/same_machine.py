# SPDX-License-Identifier: GPL-2.0-only
"""Finds signs that two images are not of one boot of one machine, or not of one process."""

from __future__ import annotations

from .image import Image
from .walk import Walk

_ADDRESSES = "addresses of the kernel half cannot be compared"


def doubts(before: Walk, after: Walk, images: tuple[Image, Image] | None = None) -> tuple[str, ...]:
    """Return a sentence for each sign that two walks are not comparable, and what follows from it.

    images: where the walks come from: what their kernels noted of themselves.
    If an image does not say something, that is no sign.
    """
    found = [] if images is None else _kernels(*images)
    old, new = before.root, after.root
    if old.levels != new.levels:
        found.append(
            f"another number of levels ({old.levels}, then {new.levels}): another boot or another"
            " machine; entries of the top tables cannot be compared"
        )
    if old.encryption != new.encryption:
        found.append(
            f"another encryption bit ({old.encryption:#x}, then {new.encryption:#x}): another boot"
            " or another machine; every entry differs in it"
        )
    return (*found, *_processes(before, after))


def _kernels(before: Image, after: Image) -> list[str]:
    """Compare what two kernels noted of themselves."""
    old, new = before.kernel, after.kernel
    found = []
    if _differ(old.release, new.release):
        found.append(
            f"another kernel (OSRELEASE {old.release}, then {new.release}): {_ADDRESSES}, and the"
            " two may follow different rules"
        )
    if _differ(old.build_id, new.build_id):
        found.append(
            f"another build of the kernel (BUILD-ID {old.build_id}, then {new.build_id}):"
            f" {_ADDRESSES}"
        )
    if _differ(old.offset, new.offset):
        found.append(
            f"another boot (KERNELOFFSET {old.offset:x}, then {new.offset:x}): {_ADDRESSES}, and"
            " no process of the one is in the other"
        )
    elif _differ(old.phys_base, new.phys_base):
        found.append(
            f"another boot (phys_base {old.phys_base:#x}, then {new.phys_base:#x}): the kernel"
            " lies elsewhere in memory, so frames cannot be compared, and no process of the"
            " one is in the other"
        )
    return found


def _differ(old: object, new: object) -> bool:
    return old is not None and new is not None and old != new


def _processes(before: Walk, after: Walk) -> list[str]:
    """Compare the roots, unless two were asked for."""
    old, new = (walk.root.origin.partition(", ")[0] for walk in (before, after))
    processors = old != new and "CR3 of processor" in old and "CR3 of processor" in new
    asked_for = "argument" in old or "argument" in new or processors
    if before.root.pa == after.root.pa or asked_for:
        return []
    return [
        f"another top table ({before.root.pa:#x}, {old}; then {after.root.pa:#x}, {new}): another"
        " process, or another boot; entries of the user half are of another process"
        " (--root and --root-after name the tables of one)"
    ]
