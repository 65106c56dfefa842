# SPDX-License-Identifier: GPL-2.0-only
"""Functions of several commands: engine options, tables, JSON, progress."""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from tabulate import tabulate
from tqdm import tqdm

from ..engines.interface import Engine
from ..engines.native import native
from ..engines.reference import reference
from ..engines.switches import RULES
from ..kernels import SWAP_LAYOUTS, Kernel, find, of_rules
from ..notation import parse_entry

if TYPE_CHECKING:
    from ..kernel_trees import KernelTreeEngine


def add_engine_options(parser: argparse.ArgumentParser, kernel: bool = True) -> None:
    """Add the options that choose an engine; kernel: with --kernel."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--rules",
        choices=RULES,
        help="the rule set to use (default: those of the kernel that is named, else cow)",
    )
    if kernel:
        group.add_argument(
            "--kernel",
            metavar="RELEASE",
            help="compute as this kernel does, named as uname -r prints it (6.8,"
            " 4.15.0-29-generic): rules, frames of PROT_NONE entries, faults",
        )
    group.add_argument(
        "--shstk",
        action=argparse.BooleanOptionalAction,
        help="the processor has shadow stacks (default: on where the rules know them)",
    )
    group.add_argument(
        "--config",
        action=argparse.BooleanOptionalAction,
        help="built with CONFIG_X86_SHADOW_STACK (default: on where the rules know it)",
    )
    group.add_argument(
        "--engine",
        metavar="{native,reference,TREE}",
        default="native",
        help="the engine that computes (default: native); a TREE is a directory of kernel"
        " headers, with switches as 'pgtable kernel --help' tells",
    )


def add_kernel_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say which kernel made the entries."""
    parser.add_argument(
        "--kernel",
        metavar="RELEASE",
        help="the kernel that made the entries, as uname -r prints it: it decides the rules, the"
        " frames of PROT_NONE entries and the layout of swap entries",
    )
    parser.add_argument(
        "--swap-layout",
        choices=tuple(SWAP_LAYOUTS),
        help="the layout of swap entries, whatever --kernel says",
    )


def kernel_of(args: argparse.Namespace) -> Kernel | None:
    """Return the kernel that the options name; None: they name none.

    Raises ValueError for a release that cannot be read.
    """
    rules, layout = getattr(args, "rules", None), getattr(args, "swap_layout", None)
    if args.kernel is not None:
        return find(args.kernel, rules=rules, swap_layout=layout, origin="--kernel")
    if layout is None:
        return None
    return replace(of_rules(rules or "cow"), swap_layout=layout, origin="--swap-layout")


def kernel_lines(kernel: Kernel | None) -> list[str]:
    """Print which kernel was taken, from where, what is true of it, and what is assumed."""
    if kernel is None:
        return []
    return [f"kernel: {kernel.title}: {kernel.text}", *(f"note: {why}" for why in kernel.assumed)]


def engine_of(args: argparse.Namespace, **options: Any) -> Engine:
    """Return the engine that the command's options name.

    options: of a kernel tree, those of :func:`pgtable.kernel_tree`.
    """
    if args.engine not in ("native", "reference"):
        if args.config is not None:
            raise ValueError(
                f"--config is not for a kernel tree; write {args.engine},CONFIG_NAME=n"
            )
        # decode has its own kernel: that of the entries
        if args.kernel is not None and not hasattr(args, "known"):
            raise ValueError(f"--kernel is for our own rules; {args.engine} is a kernel itself")
        return tree_of(args.engine, shstk=args.shstk, **options)
    make = native if args.engine == "native" else reference
    kernel = None if args.kernel is None else kernel_of(args)
    return make(args.rules, args.shstk, args.config, kernel=kernel)


#: What may follow a tree's path, as ``tree_of`` takes it.
_SWITCH = re.compile(r"(.*),(shstk|CONFIG_\w+)=([yn])")


def tree_of(text: str, shstk: bool | None = None, **options: Any) -> Engine:
    """Return the engine of ``PATH[,shstk=y|n][,CONFIG_NAME=y|n]...``.

    Its code runs in a process of its own.

    options: those of :func:`pgtable.kernel_tree`.  Raises what that raises.
    """
    engine, warned = tree_and_warnings(text, shstk, **options)
    for message in warned:
        warn(message)
    if not engine.kept_from_harm:
        warn(
            "nothing here keeps the tree's code from files and network: that takes Linux 5.13,"
            " and the packages py-landlock and pyseccomp"
        )
    return engine


def tree_and_warnings(
    text: str, shstk: bool | None = None, **options: Any
) -> tuple[KernelTreeEngine, list[str]]:
    """Return the engine of :func:`tree_of`, and its warnings."""
    from ..kernel_trees import kernel_tree  # noqa: PLC0415 - few commands get here

    path, switched, config = split_switches(text)
    shstk = shstk if switched is None else switched
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        engine = kernel_tree(path, shstk=shstk, config=config, isolated=True, **options)
    return engine, [str(warning.message) for warning in warned]


def split_switches(text: str) -> tuple[str, bool | None, dict[str, bool]]:
    """Return path, shstk (None: not said) and build options of ``PATH[,NAME=y|n]...``."""
    path, shstk, config = text, None, {}
    while switch := _SWITCH.fullmatch(path):
        path, name, value = switch.groups()
        if name == "shstk":
            shstk = value == "y"
        else:
            config[name] = value == "y"
    return path, shstk, config


def parse_number(text: str, what: str) -> int:
    """Return the number that a text says, as :func:`pgtable.notation.parse_entry` reads it.

    Raises ValueError, which says what the number was for.
    """
    try:
        return parse_entry(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def print_table(
    rows: Iterable[Sequence[Any]], headers: Sequence[str], align: Sequence[str] | None = None
) -> None:
    """Print a plain table: text to the left, numbers to the right, thousands grouped.

    align: "left" or "right" for each column, whose cells are text as it shall stand.
    """
    more = {} if align is None else {"disable_numparse": True, "colalign": align}
    print(tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", **more))


def print_json(value: Any, file: TextIO | None = None) -> None:
    """Print one JSON document; file: where to, standard output if None."""
    print(json.dumps(value, indent=2), file=file)


def warn(text: str) -> None:
    """Print a note on standard error.  The command goes on."""
    print(f"pgtable: warning: {text}", file=sys.stderr)


def add_raw_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that takes a file for raw entries, whatever it begins with."""
    parser.add_argument(
        "--raw",
        action="store_true",
        help="IN holds raw entries, although it looks like a file of another kind",
    )


def progress(total: int | None, unit: str, what: str) -> tqdm:
    """Return a progress bar on a terminal, and nothing elsewhere."""
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        desc=what,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
