# SPDX-License-Identifier: GPL-2.0-only
"""Files of entries: read whole, replaced whole, or left alone."""

from __future__ import annotations

import errno
import lzma
import mmap
import os
import stat

import numpy as np
import pytest

from pgtable import files


def read_all(path) -> np.ndarray:
    with files.open_entries(path) as source:
        return np.concatenate([chunk.copy() for chunk in source.chunks()] or [np.empty(0, "<u8")])


@pytest.fixture(params=[0, 1, 511, 512, 5 * 512 + 3])
def entries(request, monkeypatch) -> np.ndarray:
    monkeypatch.setattr(files, "CHUNK", 4096)
    return np.random.default_rng(request.param).integers(0, 2**64, request.param, np.uint64)


def test_raw_npy_and_xz_read_the_same(entries, tmp_path):
    (tmp_path / "raw").write_bytes(entries.tobytes())
    np.save(tmp_path / "e.npy", entries)
    (tmp_path / "raw.xz").write_bytes(lzma.compress(entries.tobytes()))
    (tmp_path / "e.npy.xz").write_bytes(lzma.compress((tmp_path / "e.npy").read_bytes()))
    for name in ("raw", "e.npy", "raw.xz", "e.npy.xz"):
        assert np.array_equal(read_all(tmp_path / name), entries), name


def test_transform_is_the_work_on_every_entry_in_order(entries, tmp_path):
    (tmp_path / "in").write_bytes(entries.tobytes())
    told = []
    with files.open_entries(tmp_path / "in") as source, files.replacing(tmp_path / "out") as sink:
        n = files.transform(source, sink, lambda chunk: np.invert(chunk, out=chunk), told.append)
    assert n == entries.size
    assert sum(told) == entries.nbytes
    assert (tmp_path / "out").read_bytes() == (~entries).tobytes()


def test_npy_of_any_shape_and_order(tmp_path):
    array = np.asfortranarray(np.arange(24, dtype="<u8").reshape(2, 3, 4))
    np.save(tmp_path / "f.npy", array)
    with files.open_entries(tmp_path / "f.npy") as source:
        assert source.entries == 24
        header = source.header
    (tmp_path / "again.npy").write_bytes(header + array.tobytes("A"))
    again = np.load(tmp_path / "again.npy")
    assert np.array_equal(again, array)
    assert again.flags.f_contiguous


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234567", "is 7 bytes long"),
        (b"\x93NUMPY\x01\x00", r"damaged \.npy header"),
        (lzma.compress(b"12345678" * 4)[:-20], "damaged xz"),
        (lzma.compress(b"123456789"), "ends 1 bytes into an entry"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_all(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("dtype", ["<f8", ">u8", "<u4", "bool"])
def test_npy_of_something_else_is_refused(tmp_path, dtype):
    np.save(tmp_path / "e.npy", np.zeros(4, dtype))
    with pytest.raises(ValueError, match="entries are '<u8'"):
        read_all(tmp_path / "e.npy")


def test_npy_that_was_cut_short_is_refused(tmp_path):
    np.save(tmp_path / "e.npy", np.zeros(4, "<u8"))
    whole = (tmp_path / "e.npy").read_bytes()
    for cut in (whole[:-8], whole + bytes(8)):
        (tmp_path / "e.npy").write_bytes(cut)
        with pytest.raises(ValueError, match="the file is damaged"):
            read_all(tmp_path / "e.npy")


def test_a_pipe_is_read_to_its_end(tmp_path):
    read, write = os.pipe()
    os.write(write, bytes(8) + b"\xff" * 8)
    os.close(write)
    assert read_all(f"/dev/fd/{read}").tolist() == [0, 2**64 - 1]
    os.close(read)


def test_replacing_keeps_the_mode_and_follows_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with files.replacing(link) as sink:
        sink.write(b"new")
        assert target.read_bytes() == b"old"
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        with files.replacing(tmp_path / "new"):
            pass
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_after_any_error_the_target_is_what_it_was(tmp_path, error):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(error), files.replacing(target) as sink:  # noqa: PT012
        sink.write(b"half of the n")
        raise error
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_names_the_target_and_leaves_it_whole(tmp_path, monkeypatch, failing):
    (tmp_path / "in").write_bytes(bytes(64))
    target = tmp_path / "target"
    target.write_bytes(b"old")

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "write":
        monkeypatch.setattr(files, "_write_all", fail)
    else:
        monkeypatch.setattr(files.os, failing, fail)
    with (
        pytest.raises(OSError, match="No space left") as error,
        files.open_entries(tmp_path / "in") as source,
        files.replacing(target) as sink,
    ):
        files.transform(source, sink, lambda chunk: None)
    assert error.value.filename == str(target)
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["in", "target"]


def test_a_device_is_written_to_directly():
    with pytest.raises(OSError, match="No space left") as error:  # noqa: SIM117
        with files.replacing("/dev/full") as sink:
            sink.write(bytes(8))
    assert error.value.filename == "/dev/full"


def test_work_that_fails_stops_the_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 4096)
    (tmp_path / "in").write_bytes(bytes(1 << 16))
    seen = []

    def work(chunk):
        seen.append(chunk.size)
        if len(seen) == 3:
            raise ValueError("third")

    with (
        pytest.raises(ValueError, match="third"),
        files.open_entries(tmp_path / "in") as source,
        files.replacing(tmp_path / "out") as sink,
    ):
        files.transform(source, sink, work)
    assert len(seen) == 3
    assert os.listdir(tmp_path) == ["in"]


def test_pieces_start_at_a_page(tmp_path):
    """Elsewhere the system copies them at a fifth of the speed."""
    path = tmp_path / "entries.bin"
    path.write_bytes(bytes(3 * files.CHUNK + 8))
    with files.open_entries(path) as source:
        places = [(piece.ctypes.data % mmap.PAGESIZE, piece.size) for piece in source.chunks()]
    assert places == [(0, files.CHUNK // 8)] * 3 + [(0, 1)]
