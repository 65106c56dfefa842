# SPDX-License-Identifier: GPL-2.0-only
"""Magic numbers: every container is known by name, and nothing else is taken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtable import containers
from pgtable.containers import HEAD, recognise

SWAP = bytes(4086)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ram.raw", bytes(5000))
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("ram.raw"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (gzip.compress(bytes(100)), "gzip"),
        (bz2.compress(bytes(100)), "bzip2"),
        (bz2.compress(b""), "bzip2"),
        (lzma.compress(bytes(100)), "xz"),
        (lzma.compress(bytes(100), format=lzma.FORMAT_ALONE), "lzma"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        (b"\x04\x22\x4d\x18\x64\x40", "lz4"),
        (b"\x89LZO\0\r\n\x1a\n", "lzop"),
        (b"\xff\x06\0\0sNaPpY", "snappy"),
        (b"\x1f\x9d\x90", "compress"),
        (_zip(), "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (_tar(), "tar"),
        (b"\x7fELF\x02\x01\x01", "elf"),
        (b"KDUMP   ", "kdump"),
        (b"makedumpfile\0\0\0\0", "flattened"),
        (b"EMiL\x01\0\0\0", "lime"),
        (b"AVML\x02\0\0\0", "avml"),
        (b"LibvirtQemudSave\x02", "libvirt-save"),
        (b"QEVM\0\0\0\x03", "qemu-migration"),
        (b"\xff" * 8 + b"XENF", "xen-save"),
        (b"\xd2\xbe\xd2\xbe\0\0\0\0", "vmware"),
        (b"HIBR" + bytes(100), "windows-hibernation"),
        (b"wake" + bytes(100), "windows-hibernation"),
        (b"PAGEDU64", "windows-crash"),
        (b"PAGEDUMP", "windows-crash"),
        (b"MDMP\x93\xa7", "minidump"),
        (b"QFI\xfb\0\0\0\x03", "qcow2"),
        (b"KDMV\x01\0\0\0", "vmdk"),
        (b"conectix", "vhd"),
        (b"vhdxfile", "vhdx"),
        (
            b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe",
            "vdi",
        ),
        (b"EVF\x09\x0d\x0a\xff\0\x01", "ewf"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "pcap"),
        (SWAP + b"S1SUSPEND\0", "hibernation"),
        (SWAP + b"S2SUSPEND\0", "hibernation"),
        (SWAP + b"ULSUSPEND\0", "hibernation"),
        (SWAP + b"LINHIB0001", "hibernation"),
        (SWAP + b"SWAPSPACE2", "swap"),
        (bytes(446) + b"\x80\x20\x21\0\x83" + bytes(59) + b"\x55\xaa", "disk"),
        (bytes(446) + b"\0\0\x02\0\xee" + bytes(59) + b"\x55\xaaEFI PART", "disk"),
        (b"\x93NUMPY\x01\0", "npy"),
        (b"BUG: unable to handle page fault\n" * 40, "text"),
        ("BUG: unable to handle page fault\r\n".encode("utf-16") * 4, "text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives have the time in them
)
def test_known_by_name(head: bytes, name: str) -> None:
    found = recognise(head[:HEAD])
    assert found is not None
    assert found.name == name
    message = found.refusal("some/file")
    assert message.startswith(f"some/file: is {found.what}; ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(HEAD),
        np.arange(512, dtype="<u8").tobytes(),
        np.full(512, 0x8000000000000867, "<u8").tobytes(),
        b"\xff" * HEAD,
        b"a" * HEAD,
        b"\x1f\x8b\x08\xff" + bytes(20),
        b"BZh9" + bytes(20),
        b"MZ" + bytes(100),
        bytes(510) + b"\x55\xaa",
        b"\xff" * 510 + b"\x55\xaa" * 2,
    ],
)
def test_what_is_none(content: bytes) -> None:
    assert recognise(content) is None


@given(st.lists(st.integers(0, 0x000F_FFFF_FFFF_FFFF), min_size=1, max_size=64))
def test_entries_are_no_container(frames: list[int]) -> None:
    """Entries as kernels make them: present, with flags in the low byte, zero bits above."""
    entries = [frame & 0x0000_00FF_FFFF_F000 | 0x8000_0000_0000_0867 for frame in frames]
    assert recognise(struct.pack(f"<{len(entries)}Q", *entries)) is None


def test_every_sentence_is_one_line_with_a_mend() -> None:
    for _, container in containers._AT_START:
        assert container.what.split()[0] in {"a", "an", "the", "captured", "evidence"}
        assert container.mend
        assert not container.mend.endswith(".")
        assert container.group in {containers.COMPRESSED, containers.IMAGE, containers.OTHER}


def test_refuse_accepts_what_it_is_told_to() -> None:
    with pytest.raises(ValueError, match="x: is a qcow2 disk image; it holds a disk"):
        containers.refuse(b"QFI\xfb\0\0\0\x03", "x")
    containers.refuse(b"QFI\xfb\0\0\0\x03", "x", accepted=("qcow2",))
    containers.refuse(bytes(4096), "x")
