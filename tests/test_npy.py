# SPDX-License-Identifier: GPL-2.0-only
"""Headers of .npy files that somebody else made."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtable.cli import main
from pgtable.npy import read_npy_header


def npy(header: str | bytes, version: tuple[int, int] = (1, 0), data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def said(descr: str = "'<u8'", order: str = "False", shape: str = "(4,)", more: str = "") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}{more}}}"


REFUSED = {
    "unfinished": "{'descr': (",
    "deep": "[" * 5000,
    "deeper": "-" * 9000 + "1",
    "a call": "__import__('os').system('true')",
    "a name": "x",
    "nothing": "",
    "zeros": b"\0" * 64,
    "not text": b"\xff\xfe" * 40,
    "a list": "[1, 2]",
    "a key missing": "{'descr': '<u8', 'shape': (4,)}",
    "a key too many": said(more=", 'x': 1"),
    "unhashable": "{[]: 1}",
    "negative": said(shape="(-1, -1)"),
    "a shape of floats": said(shape="(4.0,)"),
    "a shape of bools": said(shape="(True,)"),
    "a shape of a string": said(shape="'4'"),
    "a number as shape": said(shape="4"),
    "hundred dimensions": said(shape=f"({'1,' * 100})"),
    "larger than memory": said(shape="(4611686018427387904, 4)"),
    "larger but for a zero": said(shape="(0, 4611686018427387904, 4)"),
    "order": said(order="'no'"),
    "big-endian": said("'>u8'"),
    "floats": said("'<f8'"),
    "objects": said("'|O'"),
    "records": said("[('va', '<u8'), ('entry', '<u8')]"),
    "no type": said("None"),
    "a type of lists": said("[[[]]]"),
    "small": said("'<u4'"),
    "dates": said("'<M8[s]'"),
}


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress])
def test_what_is_no_header_of_entries_is_one_line(header, pack, tmp_path, capsys):
    path = tmp_path / "x.npy"
    path.write_bytes(pack(npy(header, data=bytes(32))))
    (tmp_path / "out").write_bytes(b"old")
    for args in (["census", path], ["apply", "pte_mkold", path, "-o", tmp_path / "out"]):
        assert main([str(arg) for arg in args]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"pgtable: error: {path}: ")
        assert ".npy" in error
        assert error.count("\n") == 1
        assert len(error) < 300
    assert (tmp_path / "out").read_bytes() == b"old"


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (4, 0), (9, 0), (255, 255)])
def test_versions_that_nobody_knows_are_refused(version, tmp_path, capsys):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(said(), version, bytes(32)))
    assert main(["census", str(path)]) == 2
    assert f"version {version[0]}.{version[1]}" in capsys.readouterr().err


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    ("header", "entries"),
    [
        (said(), 4),
        (said("'<i8'"), 4),
        (said(order="True", shape="(2, 2)"), 4),
        (said(shape="()"), 1),
        (said(shape="(0, 7)"), 0),
        (said(shape="(4L,)"), 4),
        (said(shape=f"({'1,' * 31} 3)"), 3),
    ],
)
def test_what_numpy_reads_is_read(version, header, entries, tmp_path, capsys):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header, version, bytes(8 * entries)))
    assert main(["census", str(path)]) == 0
    assert f"{entries} pte entries" in capsys.readouterr().out


@pytest.mark.parametrize("pack", [bytes, lzma.compress, gzip.compress])
@pytest.mark.parametrize("change", [-8, 8, -32, 4096])
def test_a_header_that_disagrees_with_the_length(pack, change, tmp_path, capsys):
    path, out = tmp_path / "x.npy", tmp_path / "out.npy"
    path.write_bytes(pack(npy(said(), data=bytes(32 + change))))
    out.write_bytes(b"old")
    assert main(["apply", "pte_mkold", str(path), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert "its header says 32; the file is damaged" in error
    assert out.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.npy", "x.npy"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_value_error(content: bytes) -> None:
    for start in (b"", b"\x93NUMPY\x01\0", b"\x93NUMPY\x03\0", npy(said())[:40]):
        file = io.FileIO(_in_memory(start + content), closefd=True)
        try:
            assert read_npy_header(file, "x").entries >= 0
        except ValueError as error:
            assert str(error).startswith("x: ")  # noqa: PT017
        finally:
            file.close()


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("npy")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def test_it_is_what_numpy_writes(tmp_path: Path) -> None:
    for array in (
        np.zeros((3, 5), "<u8"),
        np.asfortranarray(np.zeros((3, 5), "<u8")),
        np.uint64(1),
    ):
        np.save(tmp_path / "x.npy", array)
        with (tmp_path / "x.npy").open("rb", buffering=0) as file:
            header = read_npy_header(file, "x")
        assert header.shape == array.shape
        assert header.entries == array.size


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (said(shape="(-2, -2)"), "its shape is no tuple of sizes"),
        (said(shape=f"({1 << 60},)"), "larger than any file"),
        (said(shape=f"({(1 << 60) - 1},)"), "its header says"),
        (said("'|O'"), "never unpickled"),
        (said("'<f8'"), "is an .npy of <f8"),
        (said(shape=f"({'1,' * 65})"), "65 dimensions"),
    ],
)
def test_the_reason_is_the_right_one(header, says, tmp_path, capsys):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header, data=bytes(32)))
    assert main(["apply", "pte_mkold", str(path), "-o", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err


class _InPieces(io.RawIOBase):
    """A file of which a read gives no more than so many bytes: a pipe."""

    def __init__(self, content: bytes, most: int):
        self._file, self._most = io.BytesIO(content), most

    def read(self, n: int = -1) -> bytes:
        return self._file.read(min(n, self._most))


@pytest.mark.parametrize("most", [1, 3, 7, 64])
def test_a_header_that_comes_in_pieces(most):
    file = _InPieces(npy(said(), data=b"entry 1."), most)
    assert read_npy_header(file, "x") == ((4,), False)
    assert file.read(most) == b"entry 1."[:most]  # and not a byte more was taken
