# SPDX-License-Identifier: GPL-2.0-only
"""Decompressors of single pages of kdump files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .segments import PAGE

#: Flags of a page, and of the file's status: DUMP_DH_COMPRESSED_*.
ZLIB, LZO, SNAPPY, ZSTD = 0x1, 0x2, 0x4, 0x20
_NAMES = {ZLIB: "zlib", LZO: "lzo", SNAPPY: "snappy", ZSTD: "zstd"}
_ALL = ZLIB | LZO | SNAPPY | ZSTD


class PageCodecs:
    """Decompressors of pages, for the compressions that a file uses.

    used: flags of all its pages, or'ed.  Raises ValueError where one of them
    needs a package that is not installed.
    """

    def __init__(self, path: Path, used: int):
        self._path = path
        self._codecs: dict[int, Callable[[bytes], Any]] = {}
        for flag in _NAMES:
            if used & flag:
                self._codec(flag)

    def page(self, pa: int, stored: memoryview, flags: int) -> bytes:
        """Return the content of a page; ValueError if it is damaged."""
        flag = flags & _ALL
        if not flag:
            content = bytes(stored)
        else:
            try:
                content = bytes(self._codec(flag)(bytes(stored)))
            except Exception as error:
                raise ValueError(
                    f"{self._path}: damaged: the page at {pa:#x} cannot be decompressed ({error})"
                ) from None
        if len(content) != PAGE:
            raise ValueError(f"{self._path}: damaged: the page at {pa:#x} has {len(content)} bytes")
        return content

    def _codec(self, flag: int) -> Callable[[bytes], Any]:
        if flag not in _NAMES:
            raise ValueError(f"flags {flag:#x}")
        if flag not in self._codecs:
            try:
                self._codecs[flag] = _MAKERS[flag]()
            except ImportError as error:
                raise ValueError(
                    f"{self._path}: pages compressed with {_NAMES[flag]} need the package"
                    f" {error.name}: pip install 'pgtable[kdump]',"
                    " or compress with zlib: makedumpfile -c"
                ) from None
        return self._codecs[flag]


def _zlib() -> Callable[[bytes], bytes]:
    # one byte more than a page is enough to see that it is too long
    return lambda data: zlib.decompressobj().decompress(data, PAGE + 1)


def _lzo() -> Callable[[bytes], Any]:
    import lzallright  # noqa: PLC0415 - an extra

    return lambda data: lzallright.LZOCompressor.decompress(data, PAGE)


def _snappy() -> Callable[[bytes], Any]:
    import cramjam  # noqa: PLC0415 - an extra

    def decompress(data: bytes) -> Any:
        if cramjam.snappy.decompress_raw_len(data) > PAGE:
            raise ValueError("more than a page")
        return cramjam.snappy.decompress_raw(data)

    return decompress


def _zstd() -> Callable[[bytes], bytes]:
    import zstandard  # noqa: PLC0415 - an extra

    decompressor = zstandard.ZstdDecompressor()
    return lambda data: decompressor.decompress(data, max_output_size=PAGE)


_MAKERS: dict[int, Callable[[], Callable[[bytes], Any]]] = {
    ZLIB: _zlib, LZO: _lzo, SNAPPY: _snappy, ZSTD: _zstd,
}  # fmt: skip
