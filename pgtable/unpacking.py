# SPDX-License-Identifier: GPL-2.0-only
"""Compressed streams, decompressed piece by piece.

Memory stays bounded, even if a small file expands to much data.  A stream that ends too early, is
damaged, or has other data behind it is an error: a part must not pass for the whole.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: How much memory a decompressor may take for its window: xz -9 takes 65 MiB.
MEMORY = 1 << 30
#: Bytes decompressed at a time.
_PIECE = 1 << 18
#: Bytes read at a time.
_READ = 1 << 16
#: zstd has no limit for one step: so many bytes expand to 32 MiB at most.
_ZSTD_FEED = 1 << 10


class _Stepwise:
    """A decompressor of the standard library that says when it needs more input."""

    def __init__(self, decoder: Any):
        self._decoder = decoder

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return some content, and the bytes that were not looked at."""
        content = self._decoder.decompress(data, _PIECE)
        return content, self._decoder.unused_data if self._decoder.eof else b""

    @property
    def needs_input(self) -> bool:
        return self._decoder.needs_input

    @property
    def eof(self) -> bool:
        return self._decoder.eof


class _Gzip:
    """One member of a gzip file."""

    needs_input = True

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return some content, and the bytes that were not looked at."""
        content = self._decoder.decompress(data, _PIECE)
        return content, self._decoder.unconsumed_tail or self._decoder.unused_data

    @property
    def eof(self) -> bool:
        return self._decoder.eof


class _Zstd:
    """One frame of a zstd file."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - an extra

        self._decoder = zstandard.ZstdDecompressor(max_window_size=MEMORY).decompressobj()

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return some content, and the bytes that were not looked at."""
        content = self._decoder.decompress(data[:_ZSTD_FEED])
        return content, self._decoder.unused_data + data[_ZSTD_FEED:]

    @property
    def eof(self) -> bool:
        return self._decoder.eof


def _xz() -> _Stepwise:
    return _Stepwise(lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=MEMORY))


_DECODERS: dict[str, Callable[[], Any]] = {
    "xz": _xz,
    "lzma": _xz,
    "bzip2": lambda: _Stepwise(bz2.BZ2Decompressor()),
    "gzip": _Gzip,
    "zstd": _Zstd,
}
#: What may stand between two streams of a file, or behind the last.
_PADDING = b"\0"


class Unpacked(io.RawIOBase):
    """The content of a compressed file; damage is a ValueError that names the file."""

    def __init__(self, name: str, kind: str, file: io.RawIOBase):
        self._name, self._kind, self._file = name, kind, file
        self._make = _DECODERS[kind]
        self._decoder = self._first()
        self._data = b""
        self._content = memoryview(b"")

    def _first(self) -> Any:
        try:
            return self._make()
        except ImportError:
            raise ValueError(
                f"{self._name}: zstd needs the package zstandard: pip install 'pgtable[zstd]'"
            ) from None

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as one piece of content does; return 0 at the end."""
        view = memoryview(buffer).cast("B")
        while not self._content:
            if not self._next():
                return 0
        n = min(len(view), len(self._content))
        view[:n] = self._content[:n]
        self._content = self._content[n:]
        return n

    def _next(self) -> bool:
        """Decompress a piece; return False at the end of the file."""
        if not self._data and (self._decoder.eof or self._decoder.needs_input):
            self._data = self._file.read(_READ) or b""
            if not self._data and not self._decoder.eof:
                raise ValueError(f"{self._name}: damaged {self._kind} file (it is cut short)")
        if self._decoder.eof:
            self._data = self._data.lstrip(_PADDING)
            if not self._data:
                return bool(self._file_has_more())
            self._decoder = self._make()
        try:
            content, self._data = self._decoder.decode(self._data)
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            raise ValueError(f"{self._name}: damaged {self._kind} file ({error})") from None
        self._content = memoryview(content)
        return True

    def _file_has_more(self) -> bytes:
        self._data = self._file.read(_READ) or b""
        return self._data
