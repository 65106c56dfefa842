# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed files give what the ELF core of the same machine gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import pgtable


def test_walk_equals_the_elf_cores(dump: str, kdump: Path) -> None:
    pytest.importorskip("drgn")
    with pgtable.open_image(kdump) as image, pgtable.open_image(f"{dump}.vmcore.xz") as core:
        assert image.format == "kdump"
        assert image.cpus == core.cpus
        assert image.vmcoreinfo == core.vmcoreinfo
        assert np.array_equal(image.ranges, core.ranges)
        for cpu in (0, 1):
            walk, expected = image.walk(cpu=cpu), core.walk(cpu=cpu)
            for name, column in expected.columns.items():
                assert np.array_equal(getattr(walk, name), column), name
            assert walk.reports == expected.reports
            assert {k: v.as_dict() for k, v in image.census(cpu=cpu).items()} == {
                k: v.as_dict() for k, v in core.census(cpu=cpu).items()
            }
        first = int(core.ranges[0, 0])
        assert np.array_equal(image.pages([first]), core.pages([first]))
        with pytest.raises(ValueError, match="is not in the image"):
            image.read(int(core.ranges[0, 1]), 8)
        with pytest.raises(ValueError, match="not in the image"):
            image.walk(root=int(core.ranges[0, 1]))
    with pytest.raises(ValueError, match="was closed"):
        image.read(first, 8)


def test_without_drgn_the_extra_is_named(kdump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(ValueError, match=r"pip install 'pgtable\[kdump\]'"):
        pgtable.open_image(kdump)


@pytest.mark.parametrize("size", [16, 4096, 8192, 12288])
def test_cut_short(kdump: Path, size: int) -> None:
    pytest.importorskip("drgn")
    kdump.write_bytes(kdump.read_bytes()[:size])
    with pytest.raises(ValueError, match="cut short"):
        pgtable.open_image(kdump)


def test_flattened_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    path.write_bytes(b"makedumpfile\0".ljust(4096, b"\0"))
    with pytest.raises(ValueError, match="makedumpfile -R"):
        pgtable.open_image(path)
