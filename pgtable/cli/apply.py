# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable apply``: run helpers over a file of entries."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import numpy as np

from ..engines.interface import Engine, Helper, Operation, StepLike
from ..files import EntryFile, npy_header, open_entries, replacing, transform
from .common import add_engine_options, engine_of, parse_number, print_json, progress

HELP = "run helpers over a file of entries and write the result"
EXAMPLES = """\
  pgtable apply pte_wrprotect,pte_mkold parent.bin -o child.bin
  pgtable apply pte_mkclean dump.npy -o clean.npy --where pte_dirty
  pgtable apply pte_set_flags=0x400 dump.bin --in-place --rules saved_dirty

IN holds raw little-endian 64-bit entries, or is a NumPy .npy; either may be
compressed with xz.  OUT is an .npy if it is named so.  OUT is replaced only by
a complete result: after a crash, a full disk or Ctrl-C the old one is whole.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "helpers",
        metavar="HELPER[,HELPER...]",
        help="maps, run in this order in one pass; HELPER=ARGUMENT for those with an argument",
    )
    parser.add_argument("input", metavar="IN", help="file of entries")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", metavar="OUT", help="where the result goes")
    target.add_argument("--in-place", action="store_true", help="replace IN by the result")
    parser.add_argument(
        "--where", metavar="TEST", help="only entries for which this test helper is true"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="computing threads; 0: all processors"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    engine = engine_of(args)
    operation = parse_chain(engine, args.helpers)
    where = parse_test(engine, args.where) if args.where else None
    output = args.input if args.in_place else args.output
    if not args.in_place:
        _require_other_file(args.input, output)
    with open_entries(args.input) as source, replacing(output) as sink:
        sink.write(_header(source, output))
        work = partial(_work, operation, where, args.threads)
        total = None if source.entries is None else source.entries * 8
        with progress(total, "B", "apply") as bar:
            entries = transform(source, sink, work, bar.update)
    if args.json:
        print_json(
            {"entries": entries, "helpers": operation.name, "engine": engine.name, "out": output}
        )
    else:
        print(f"{output}: {entries:,} entries through {operation.name} of {engine.name}")
    return 0


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


def _require_other_file(source: str, target: str) -> None:
    if os.path.exists(target) and os.path.samefile(source, target):
        raise ValueError(f"{target}: is the input; use --in-place to replace it")


def _header(source: EntryFile, output: str) -> bytes:
    if Path(output).suffix != ".npy":
        return b""
    if source.header:
        return source.header
    if source.entries is None:
        raise ValueError(f"{output}: an .npy needs the length first; decompress {source.path}")
    return npy_header((source.entries,))
