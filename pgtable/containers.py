# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of files, known by their magic numbers: what each is, and how to convert it.

This is checked before a file is taken for raw memory or for entries.
Sources: the magic numbers that file(1) and libblkid list, and the headers of the
programs that are named.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

#: How much of a file :func:`recognise` looks at.
HEAD = 4096

COMPRESSED = "compressed"
IMAGE = "image"
OTHER = "other"


class Container(NamedTuple):
    """A kind of file.

    name: a short word for programs; what: what the file is, with its article;
    mend: how to get what pgtable reads, an order that begins with a verb.
    group: "compressed" (one stream of something else), "image" (memory that
        ``open_image`` reads), or "other" (nothing here reads it).
    """

    name: str
    what: str
    mend: str
    group: str = OTHER

    def refusal(self, path: object) -> str:
        """Return the error message for a file."""
        return f"{path}: is {self.what}; {self.mend}"


_WALK = "walk it, or count its entries with census --image"


def _unpack(command: str) -> str:
    return f"decompress it first: {command}"


_CONVERT = "dump the machine as ELF instead: virsh dump --memory-only --format=elf"
_DISK = "it holds a disk, not memory: dump the memory of the running machine"

_GZIP = Container("gzip", "a gzip file", _unpack("gunzip FILE"), COMPRESSED)
_BZIP2 = Container("bzip2", "a bzip2 file", _unpack("bunzip2 FILE"), COMPRESSED)
_XZ = Container("xz", "an xz file", _unpack("unxz FILE"), COMPRESSED)
_LZMA = Container("lzma", "an lzma file", _unpack("unlzma FILE"), COMPRESSED)
_ZSTD = Container("zstd", "a zstd file", _unpack("unzstd FILE"), COMPRESSED)
_LZ4 = Container("lz4", "an lz4 file", _unpack("unlz4 FILE"))
_COMPRESS = Container("compress", "a file of compress(1)", _unpack("uncompress FILE"))
_VMSS = Container(
    "vmware",
    "the state of a VMware machine (.vmss, .vmsn); its memory may lie in the .vmem beside it",
    "convert it: vmss2core -N FILE.vmss FILE.vmem makes an ELF core",
)
_HIBERNATION = Container(
    "hibernation",
    "a Linux hibernation image (swsusp), compressed and in the kernel's own layout",
    "resume the machine and dump its memory (LiME, AVML), or use kdump",
)
_WIN_HIBER = Container(
    "windows-hibernation",
    "a Windows hibernation file (hiberfil.sys)",
    "convert it to raw memory: vol.py -f FILE windows.hibernation.Dump makes one",
)
_VBOX_DISK = Container("vdi", "a VirtualBox disk (VDI)", _DISK)
_PCAP = Container("pcap", "captured network packets (pcap)", "it has no memory in it")
_MACHO = Container("mach-o", "a Mach-O file of macOS", "pgtable reads memory of Linux on x86-64")

#: (magic, what it means).  If one is the beginning of another, the longer one comes first.
_AT_START: tuple[tuple[bytes, Container], ...] = (
    (b"\xfd7zXZ\0", _XZ),
    (b"\x28\xb5\x2f\xfd", _ZSTD),
    (b"\x04\x22\x4d\x18", _LZ4),
    (b"\x02\x21\x4c\x18", _LZ4),
    (b"\x89LZO\0\r\n\x1a\n", Container("lzop", "an lzop file", _unpack("lzop -d FILE"))),
    (
        b"\xff\x06\0\0sNaPpY",
        Container("snappy", "a snappy file", _unpack("python -m snappy -d FILE OUT")),
    ),
    (b"LZIP\x01", Container("lzip", "an lzip file", _unpack("lzip -d FILE"))),
    (b"PK\x03\x04", Container("zip", "a zip archive", "unpack it first: unzip FILE")),
    (b"PK\x05\x06", Container("zip", "an empty zip archive", "it has nothing in it")),
    (b"PK\x07\x08", Container("zip", "a split zip archive", "unpack it first: unzip FILE")),
    (b"7z\xbc\xaf\x27\x1c", Container("7z", "a 7z archive", "unpack it first: 7z x FILE")),
    (b"Rar!\x1a\x07", Container("rar", "a RAR archive", "unpack it first: unrar x FILE")),
    (b"!<arch>\n", Container("ar", "an ar archive (.a, .deb)", "unpack it first: ar x FILE")),
    (b"070701", Container("cpio", "a cpio archive", "unpack it first: cpio -i < FILE")),
    (b"070702", Container("cpio", "a cpio archive", "unpack it first: cpio -i < FILE")),
    (b"\xed\xab\xee\xdb", Container("rpm", "an RPM package", "unpack it first: rpm2cpio FILE")),
    # memory in formats that are read
    (b"\x7fELF", Container("elf", "an ELF file", _WALK, IMAGE)),
    (b"KDUMP   ", Container("kdump", "a kdump-compressed file", _WALK, IMAGE)),
    (b"makedumpfile\0", Container("flattened", "a flattened dump of makedumpfile", _WALK, IMAGE)),
    (b"EMiL", Container("lime", "a LiME memory dump", _WALK, IMAGE)),
    (b"AVML", Container("avml", "an AVML memory dump", _WALK, IMAGE)),
    # memory in formats that are not
    (
        b"LibvirtQemudSave",
        Container("libvirt-save", "a saved machine of libvirt (virsh save)", _CONVERT),
    ),
    (
        b"LibvirtQemudPart",
        Container("libvirt-save", "an incomplete saved machine of libvirt", _CONVERT),
    ),
    (b"QEVM", Container("qemu-migration", "a migration stream of QEMU (savevm)", _CONVERT)),
    (
        b"\xff\xff\xff\xff\xff\xff\xff\xffXENF",
        Container("xen-save", "a saved Xen guest (xl save)", "run xl restore, then xl dump-core"),
    ),
    (
        b"LinuxGuestRecord",
        Container("xen-save", "a saved Xen guest (xm save)", "restore it and dump it with kdump"),
    ),
    (
        b"Xen saved domain",
        Container(
            "xen-save", "a saved Xen guest (xl save)", "run xl restore, then dump it with kdump"
        ),
    ),
    (b"\xd0\xbe\xd2\xbe", _VMSS),
    (b"\xd1\xba\xd1\xba", _VMSS),
    (b"\xd2\xbe\xd2\xbe", _VMSS),
    (b"\xd3\xbe\xd3\xbe", _VMSS),
    (
        b"\x7fVirtualBox SavedState",
        Container(
            "virtualbox-save",
            "the saved state of a VirtualBox machine",
            "start the machine and run: VBoxManage debugvm VM dumpvmcore --filename OUT",
        ),
    ),
    (b"HIBR", _WIN_HIBER),
    (b"hibr", _WIN_HIBER),
    (b"WAKE", _WIN_HIBER),
    (b"wake", _WIN_HIBER),
    (b"RSTR", _WIN_HIBER),
    (b"rstr", _WIN_HIBER),
    (
        b"PAGEDU64",
        Container(
            "windows-crash",
            "a crash dump of 64-bit Windows",
            "pgtable reads memory of Linux; convert it to raw: vol.py -f FILE layerwriter",
        ),
    ),
    (
        b"PAGEDUMP",
        Container(
            "windows-crash",
            "a crash dump of 32-bit Windows",
            "its page tables are not those of x86-64: use WinDbg or volatility",
        ),
    ),
    (b"MDMP", Container("minidump", "a minidump of one process", "it has no page tables in it")),
    (b"QFI\xfb", Container("qcow2", "a qcow2 disk image", _DISK)),
    (b"QED\0", Container("qed", "a QED disk image", _DISK)),
    (b"KDMV", Container("vmdk", "a VMware disk (VMDK)", _DISK)),
    (b"COWD", Container("vmdk", "a VMware disk (VMDK)", _DISK)),
    (b"# Disk DescriptorFile", Container("vmdk", "the descriptor of a VMware disk", _DISK)),
    (b"conectix", Container("vhd", "a virtual hard disk (VHD)", _DISK)),
    (b"vhdxfile", Container("vhdx", "a virtual hard disk (VHDX)", _DISK)),
    (b"<<< Oracle", _VBOX_DISK),
    (b"<<< Sun", _VBOX_DISK),
    (b"<<< innotek", _VBOX_DISK),
    (b"<<< QEMU VM Virtual", _VBOX_DISK),
    (
        b"EVF\x09\x0d\x0a\xff\0",
        Container("ewf", "evidence in EWF (.E01)", "export it as raw: ewfexport -f raw FILE"),
    ),
    (
        b"EVF2\x0d\x0a\x81\0",
        Container("ewf", "evidence in EWF 2 (.Ex01)", "export it as raw: ewfexport -f raw FILE"),
    ),
    (b"AFF10\r\n\0", Container("aff", "evidence in AFF", "export it as raw: affcat FILE > OUT")),
    (
        b"DISKDUMP",
        Container("diskdump", "a diskdump of Linux 2.4 or 2.6", "read it with crash"),
    ),
    (
        b"\xed\x23\x8f\x61\x73\x01\x19\xa8",
        Container("lkcd", "an LKCD dump", "read it with crash"),
    ),
    (
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfd",
        Container("s390", "a dump of an s390 machine", "its page tables are not those of x86-64"),
    ),
    (
        b"sadump\0\0",
        Container("sadump", "a dump of Fujitsu's sadump", "convert it: makedumpfile -E FILE OUT"),
    ),
    (b"\xd4\xc3\xb2\xa1", _PCAP),
    (b"\xa1\xb2\xc3\xd4", _PCAP),
    (b"\x4d\x3c\xb2\xa1", _PCAP),
    (b"\x0a\x0d\x0d\x0a", _PCAP),
    (b"\xcf\xfa\xed\xfe", _MACHO),
    (b"\xfe\xed\xfa\xcf", _MACHO),
    (b"\x3a\xff\x26\xed", Container("sparse", "an Android sparse image", "run simg2img FILE OUT")),
    (b"\x89PNG\r\n\x1a\n", Container("png", "a PNG picture", "it has no memory in it")),
    (b"%PDF-", Container("pdf", "a PDF document", "it has no memory in it")),
    (b"SQLite format 3\0", Container("sqlite", "an SQLite database", "it has no memory in it")),
    (b"PAR1", Container("parquet", "a Parquet file", "write its entries as .npy or raw bytes")),
    (b"\x89HDF\r\n\x1a\n", Container("hdf5", "an HDF5 file", "write its entries as .npy")),
)
_BOOT_DISK = Container("disk", "a disk with a partition table", _DISK)
_NPY = Container("npy", "a NumPy file of entries, no memory image", "use census or apply")

#: Where the signature of a swap area ends, by size of its pages.
_SIGNATURE = slice(4086, 4096)
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"TuxOnIce",
               b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")  # fmt: skip
_SWAPS = (b"SWAPSPACE2", b"SWAP-SPACE")


def recognise(head: bytes) -> Container | None:
    """Return what a file is by its first bytes (4096, or all that it has); None if not known."""
    head = bytes(head)
    for magic, container in _AT_START:
        if head.startswith(magic):
            return container
    for tell in _BY_LOOKING:
        if (found := tell(head)) is not None:
            return found
    return None


def refuse(head: bytes, path: object, *, accepted: tuple[str, ...] = ()) -> None:
    """Raise ValueError where the file is a container; ``accepted`` names those that are not."""
    found = recognise(head)
    if found is not None and found.name not in accepted:
        raise ValueError(found.refusal(path))


def _streams(head: bytes) -> Container | None:
    """Recognise streams whose magic number is too short to be sure."""
    if len(head) >= 10 and head.startswith(b"\x1f\x8b\x08"):
        plausible = not head[3] & 0xE0 and (head[9] <= 13 or head[9] == 255)
        return _GZIP if plausible else None
    if head[:3] == b"BZh" and head[3:4] in b"123456789":
        block = head[4:10]
        return _BZIP2 if block in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90") else None
    if len(head) >= 3 and head.startswith(b"\x1f\x9d"):
        bits = head[2]
        return _COMPRESS if not bits & 0x60 and 9 <= bits & 0x1F <= 16 else None
    if len(head) >= 13 and head.startswith(b"\x5d\0\0"):
        dictionary, size = struct.unpack_from("<IQ", head, 1)
        plausible = dictionary.bit_count() <= 2 and (size == (1 << 64) - 1 or size < 1 << 40)
        return _LZMA if plausible and head[13:14] == b"\0" else None
    return None


def _swap(head: bytes) -> Container | None:
    signature = head[_SIGNATURE]
    if signature.startswith(_HIBERNATED):
        return _HIBERNATION
    if signature.startswith(_SWAPS):
        return Container("swap", "a swap area of Linux", "it has no page tables in it")
    return None


def _programs(head: bytes) -> Container | None:
    if head.startswith(b"MZ") and len(head) >= 64:
        (at,) = struct.unpack_from("<I", head, 60)
        if head[at : at + 4] == b"PE\0\0":
            return Container("pe", "a program of Windows or EFI", "it has no memory in it")
    if head[257:262] == b"ustar":
        return Container("tar", "a tar archive", "unpack it first: tar -xf FILE")
    if head.startswith(b"\x93NUMPY"):
        return _NPY
    if head[510:512] == b"\x55\xaa" and _partitions(head):
        return _BOOT_DISK
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return _VBOX_DISK
    return None


def _partitions(head: bytes) -> bool:
    """Tell whether sector 0 has a partition table: each entry empty or in use, one in use."""
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    used = [entry for entry in entries if any(entry)]
    return bool(used) and all(entry[0] in (0, 0x80) and entry[4] for entry in used)


_PRINTABLE = frozenset(range(32, 127)) | {9, 10, 12, 13, 27}


def _text(head: bytes) -> Container | None:
    """Recognise a log: printable characters, in more than one line."""
    start = head[:1024]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start[2:].replace(b"\0", b"")
    elif start.startswith(b"\xef\xbb\xbf"):
        start = start[3:]
    if len(start) < 16 or b"\n" not in start:
        return None
    if sum(byte in _PRINTABLE or byte >= 0xC2 for byte in start) < len(start):
        return None
    if sum(byte in _PRINTABLE for byte in start) < 0.8 * len(start):
        return None
    return Container("text", "text", "decode --from FILE and census --text FILE read logs")


_BY_LOOKING: tuple[Callable[[bytes], Container | None], ...] = (_streams, _swap, _programs, _text)
