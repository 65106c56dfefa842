# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable prove``: what kernel trees' helpers compute, proved for every input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..engines.switches import RULES
from ..proofs import prove, require_packages
from .common import print_json, progress, split_switches

HELP = "prove a kernel tree's helpers equal to the reference or another tree, for every input"
EXAMPLES = """\
  pgtable prove ~/linux
  pgtable prove ~/linux --laws
  pgtable prove ~/linux --helper pmd_modify --json
  pgtable prove ~/linux-before ~/linux-after
  pgtable prove ~/linux saved_dirty --certificates proofs

The machine code that the compiler makes of each helper is read, not run.  Shadow
stacks are on and off in one proof; what is assumed of the machine is printed.
CONFIG_NAME=y|n may follow TREE, separated by commas.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("tree", metavar="TREE", help="a kernel tree or header package")
    parser.add_argument(
        "against",
        metavar="AGAINST",
        nargs="?",
        help="another tree, or rules (default: those whose helpers the tree has)",
    )
    parser.add_argument(
        "--helper", metavar="NAME", action="append", default=[], help="prove only this helper"
    )
    parser.add_argument(
        "--laws", action="store_true", help="prove every law of 'pgtable kernel check' as well"
    )
    parser.add_argument(
        "--certificates",
        metavar="DIR",
        help="write each proof to this directory as SMT-LIB 2, for other solvers to check",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        metavar="N",
        help="how long the solver may take for one answer (default: 20)",
    )
    parser.add_argument("--compiler", metavar="CC", default="gcc", help="default: gcc")
    parser.add_argument(
        "--flags", metavar="FLAGS", help="compiler flags, instead of -O2 without vector registers"
    )
    parser.add_argument(
        "--against-compiler", metavar="CC", help="the compiler for AGAINST (default: --compiler)"
    )
    parser.add_argument(
        "--against-flags", metavar="FLAGS", help="flags for AGAINST (default: --flags)"
    )
    parser.add_argument("--generated", metavar="DIR", help="the directory of the generated headers")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if nothing differs, 1 if a helper does, 2 if none was proved."""
    try:
        require_packages()
    except ImportError as error:
        raise ValueError(str(error)) from None
    subject = _subject(args, args.tree, args.compiler, args.flags)
    against = args.against
    if against is not None and not _is_rules(against):
        against = _subject(
            args, against, args.against_compiler or args.compiler, args.against_flags or args.flags
        )
    with progress(0, "helpers", "prove") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = prove(
            subject,
            against,
            helpers=args.helper,
            laws=args.laws,
            certificates=args.certificates,
            seconds=args.seconds,
            progress=show,
        )
    if args.json:
        print_json(found.as_dict())
    else:
        print(found)
    if not found.clean:
        return 1
    return 0 if found.proved else 2


def _is_rules(text: str) -> bool:
    return text in RULES and not Path(text).is_dir()


def _subject(args: argparse.Namespace, text: str, compiler: str, flags: str | None) -> Any:
    from ..proofs.lifted_tree import tree_subject  # noqa: PLC0415

    path, shstk, config = split_switches(text)
    if shstk is not None:
        raise ValueError(f"{text}: a proof is about shadow stacks on and off; leave shstk out")
    return tree_subject(
        path, generated=args.generated, config=config, compiler=compiler, flags=flags
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: more than 0 and no more than 1e6 seconds")
    return value
