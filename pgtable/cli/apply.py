# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable apply``: run helpers over a file of entries."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ..engines.interface import Engine, Helper, Operation, StepLike
from ..files import EntryFile, npy_header, open_entries, transform
from ..replacing import STDOUT, Sink, is_stdout, replacing
from ..streams import is_stdin
from .common import (
    add_engine_options,
    add_raw_option,
    engine_of,
    kernel_lines,
    parse_number,
    print_json,
    progress,
    warn,
)
from .ranges import wrapped

HELP = "run helpers over a file of entries and write the result"
EXAMPLES = """\
  pgtable apply pte_wrprotect,pte_mkold parent.bin -o child.bin
  pgtable apply pte_mkclean dump.npy -o clean.npy --where pte_dirty
  pgtable apply pte_set_flags=0x400 dump.bin --in-place --rules saved_dirty
  pgtable apply pmd_modify=0x25 pmds.bin -o out.bin --kernel 6.8.0-45-generic
  xzcat dump.bin.xz | pgtable apply pte_mkold - -o - | pgtable census -

IN holds raw little-endian 64-bit entries, or is a NumPy .npy; either may be
compressed (gzip, bzip2, xz, zstd); - is standard input.  OUT is an .npy if it is
named so.  OUT is replaced only by a complete result: after a crash, a full disk
or Ctrl-C the old one is whole.  Pipes, devices and standard output (-) are
written to directly; where entries go to standard output, messages go to
standard error.
"""

#: Names that promise what is not written.
_PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".zip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "helpers",
        metavar="HELPER[,HELPER...]",
        help="maps, run in this order in one pass; HELPER=ARGUMENT for those with an argument",
    )
    parser.add_argument("input", metavar="IN", help="file of entries; - is standard input")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "-o", "--output", metavar="OUT", help="the file for the result; - is standard output"
    )
    target.add_argument("--in-place", action="store_true", help="replace IN by the result")
    parser.add_argument(
        "--where", metavar="TEST", help="only entries for which this test helper is true"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="computing threads; 0: all processors"
    )
    add_raw_option(parser)
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")
    add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    engine = engine_of(args)
    operation = parse_chain(engine, args.helpers)
    where = parse_test(engine, args.where) if args.where else None
    output = args.input if args.in_place else args.output
    _require_output(args.input, output, args.in_place)
    with open_entries(args.input, raw=args.raw) as source:
        _require_writable(source, output, args.in_place)
        as_npy = source.npy is not None if args.in_place else Path(output).suffix == ".npy"
        with replacing(output) as sink:
            entries = _through(source, sink, partial(_work, operation, where, args.threads), as_npy)
    for note in sink.notes:
        warn(note)
    kernel = getattr(engine, "kernel", None)
    # where the entries went to standard output, no other word may go there
    file = sys.stderr if is_stdout(output) else sys.stdout
    if args.json:
        print_json(
            {
                "entries": entries,
                "helpers": operation.name,
                "engine": engine.name,
                "kernel": None if kernel is None else kernel.as_dict(),
                "out": output,
                "notes": sink.notes,
            },
            file=file,
        )
    else:
        name = STDOUT if output == "-" else output
        print(f"{name}: {entries:,} entries through {operation.name} of {engine.name}", file=file)
        for line in kernel_lines(kernel):
            print(wrapped(line), file=file)
    return 0


def _through(
    source: EntryFile, sink: Sink, work: Callable[[np.ndarray], None], as_npy: bool
) -> int:
    """Write every entry, behind a header where it is an .npy; return how many there were."""
    if as_npy:
        sink.write(_header(source, sink))
    total = None if source.entries is None else source.entries * 8
    with progress(total, "B", "apply") as bar:
        entries = transform(source, sink, work, bar.update)
    if as_npy and source.entries is None:
        sink.seek(0)
        sink.write(npy_header((entries,)))  # as long as that of no entries
    return entries


def _work(operation: Operation, where: Helper | None, threads: int, chunk: np.ndarray) -> None:
    operation(chunk, out=chunk, where=where, threads=threads)


def parse_chain(engine: Engine, text: str) -> Operation:
    """Return the chain that ``HELPER[=ARGUMENT][,...]`` names.

    Raises UnknownHelperError, or ValueError for a test or a missing argument.
    """
    steps = [_parse_step(engine, part.strip()) for part in text.split(",")]
    try:
        return engine.chain(*steps)
    except TypeError as error:
        raise ValueError(f"{error}; write HELPER=ARGUMENT") from None


def _parse_step(engine: Engine, text: str) -> StepLike:
    name, equals, argument = text.partition("=")
    helper = engine.helper(name)
    if helper.kind == "test":
        raise ValueError(f"{name} is a test, which changes nothing; use it with --where")
    if not equals:
        return helper
    return helper, parse_number(argument, f"argument of {name}")


def parse_test(engine: Engine, name: str) -> Helper:
    """Return the test helper of that name; ValueError where it is none of an entry alone."""
    helper = engine.helper(name)
    if helper.kind != "test" or helper.argument:
        raise ValueError(f"--where {name}: is no test of an entry alone")
    return helper


def _require_output(source: str, target: str, in_place: bool) -> None:
    """Raise ValueError for an OUT that no result can be written to as its name promises."""
    if in_place and is_stdin(source):
        raise ValueError(f"--in-place: {source} is standard input, which has no place; use -o")
    if Path(target).suffix in _PACKED and not in_place:
        raise ValueError(
            f"{target}: pgtable writes no compressed files; write"
            f" {Path(target).with_suffix('').name} and compress it"
        )
    if in_place or target == "-" or not os.path.exists(target):
        return
    same = os.path.samestat(os.stat(target), _status(source))
    if same and stat.S_ISREG(os.stat(target).st_mode):
        raise ValueError(f"{target}: is the input; use --in-place to replace it")


def _status(source: str) -> os.stat_result:
    return os.fstat(0) if source == "-" else os.stat(source)


def _require_writable(source: EntryFile, target: str, in_place: bool) -> None:
    if not in_place:
        return
    if not source.stream.regular:
        raise ValueError(f"--in-place: {target} is no regular file, it has no place; use -o")
    if source.packed:
        raise ValueError(
            f"--in-place: {target} is compressed ({source.packed}); write the result with -o"
        )


def _header(source: EntryFile, sink: Sink) -> bytes:
    if source.npy is not None:
        return source.header
    if source.entries is None and not sink.seekable():
        raise ValueError(
            f"{sink.name}: an .npy begins with how many entries it has, and of {source.path}"
            " only the end will tell; write to a regular file"
        )
    return npy_header((source.entries or 0,))
