# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable kernel``: the real helpers of kernel trees."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import bits
from ..checks.compare import compare
from ..checks.report import counted, rules_of, wrap
from ..checks.tree_check import TreeCheck, check_tree
from ..engines import buffers
from ..engines.interface import Engine, Helper
from ..engines.reference import reference
from ..engines.switches import RULES
from ..kernel_trees import (
    SECONDS,
    KernelTreeEngine,
    KernelTreeError,
    cache_directory,
    cache_size,
    clear_cache,
)
from .common import parse_number, print_json, progress, split_switches, tree_and_warnings, tree_of

HELP = "list, check and compare the real helpers of Linux header trees"
EXAMPLES = """\
  pgtable kernel list /usr/src/linux-headers-6.12-amd64
  pgtable kernel check ~/linux
  pgtable kernel compare ~/linux-before ~/linux-after
  pgtable kernel compare ~/linux saved_dirty
  git bisect run pgtable kernel check --exit-skip .
  pgtable kernel compare ~/linux ~/linux,shstk=n
  pgtable kernel apply pte_modify=0x25 ~/linux 0x8000000000000867
  pgtable kernel check ~/linux --timeout 10
  pgtable kernel cache --clear

TREE is a configured kernel tree or an unpacked linux-headers package; of a
package in two halves, either.  Switches may follow, separated by commas:
  shstk=y|n          the processor has shadow stacks (default: if the tree knows them)
  CONFIG_NAME=y|n    a build option, instead of what the tree was configured with

A tree is a program: its helpers run in a process of their own, without files,
network and other programs where the system has Landlock and seccomp.  The
compiler may read the tree, its own files and what PGTABLE_COMPILER_PATHS names
(separated by colons).
"""

_LEVELS = ("pte", "pmd", "pud", "p4d", "pgd", "swp", "prot")

#: Build options without which there are no shadow stacks, in the patch and as merged.
SHADOW_STACK_OPTIONS = ("CONFIG_X86_USER_SHADOW_STACK", "CONFIG_X86_SHADOW_STACK")

#: What makes ``git bisect run`` skip a commit.
SKIP = 125


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(metavar="SUBCOMMAND", required=True)
    listing = _add(
        commands, "list", _list, "list a tree's helpers, and those that are not available"
    )
    listing.add_argument("tree", metavar="TREE")
    checking = _add(
        commands,
        "check",
        _check,
        "check a tree's helpers against the laws and the reference of the nearest rules",
    )
    checking.add_argument("tree", metavar="TREE")
    checking.add_argument(
        "--rules", choices=RULES, help="the rules to compare the tree with (default: the nearest)"
    )
    comparing = _add(commands, "compare", _compare, "compare two trees, or a tree and our rules")
    comparing.add_argument("a", metavar="TREE_A")
    comparing.add_argument("b", metavar="TREE_B", help=f"or one of {', '.join(RULES)}")
    comparing.add_argument(
        "--strict", action="store_true", help="exit with 1 for helpers that one side lacks as well"
    )
    checking.add_argument(
        "--known", action="store_true", help="show every known exception in full, like a finding"
    )
    for each in (checking, comparing):
        each.add_argument(
            "--exit-skip",
            action="store_true",
            help="exit with 125 instead of 2 if a tree cannot be built or run: git bisect run"
            " skips that commit",
        )
    applying = _add(commands, "apply", _apply, "run a tree's helper on single entries")
    applying.add_argument("helper", metavar="HELPER[=ARGUMENT]")
    applying.add_argument("tree", metavar="TREE")
    applying.add_argument("entries", metavar="ENTRY", nargs="+")
    caching = commands.add_parser(
        "cache", help="print where compiled trees are kept, or remove them"
    )
    caching.add_argument("--clear", action="store_true", help="remove every compiled tree")
    caching.add_argument("--json", action="store_true", help="print JSON")
    caching.set_defaults(run_kernel=_cache)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; what cannot be built or run is 2, with --exit-skip 125."""
    try:
        return _run_or_explain(args)
    except (KernelTreeError, OSError, ValueError) as error:
        if not getattr(args, "exit_skip", False) or isinstance(error, BrokenPipeError):
            raise
        print(f"pgtable: skipped: {' '.join(str(error).split())}", file=sys.stderr)
        return SKIP


def _run_or_explain(args: argparse.Namespace) -> int:
    """Run the subcommand.  Unexpected headers give an error of one line."""
    try:
        return args.run_kernel(args)
    except (TypeError, AssertionError, LookupError, ArithmeticError, RecursionError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise KernelTreeError(
            f"the helpers could not be judged ({what}); this is a fault of pgtable, not a finding:"
            " please report it with the tree's version and configuration"
        ) from error


def _add(commands: Any, name: str, run_kernel: Any, text: str) -> argparse.ArgumentParser:
    """Add a subcommand that needs a tree."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run_kernel=run_kernel)
    group = parser.add_argument_group("tree")
    group.add_argument("--generated", metavar="DIR", help="the directory of the generated headers")
    group.add_argument("--compiler", metavar="CC", default="gcc", help="C compiler (default: gcc)")
    group.add_argument(
        "--flags", metavar="FLAGS", help="compiler flags, instead of -O2 and vector instructions"
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print what keeps the tree's code from doing harm",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=SECONDS,
        help="how long one run of a helper over a block of entries, or of the compiler, may take"
        f" (default: {SECONDS:g})",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: more than 0 and no more than 1e6 seconds")
    return seconds


def _tree(args: argparse.Namespace, text: str) -> KernelTreeEngine:
    # the checks are about the compiled text, not about proved forms
    engine = tree_of(text, **_options(args))
    assert isinstance(engine, KernelTreeEngine)
    if args.verbose:
        active = ", ".join(engine.active)
        print(f"pgtable: {text}: runs in a process of its own, with {active}", file=sys.stderr)
    return engine


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "generated": args.generated,
        "compiler": args.compiler,
        "flags": args.flags,
        "timeout": args.timeout,
    }


def _list(args: argparse.Namespace) -> int:
    engine = _tree(args, args.tree)
    if args.json:
        print_json(
            {
                "engine": engine.name,
                "release": engine.release,
                "shstk": engine.shstk,
                "helpers": [helper.info._asdict() for helper in engine.helpers.values()],
                "unavailable": dict(engine.unavailable),
                "isolation": list(engine.active),
            }
        )
        return 0
    print("\n".join(_listing(engine)))
    return 0


def _listing(engine: KernelTreeEngine) -> Iterator[str]:
    yield wrap(engine.name, hang="  ")
    for level in _LEVELS:
        helpers = [helper for helper in engine.helpers.values() if helper.level == level]
        for kind, what in (("map", "maps"), ("test", "tests")):
            names = [_signature(helper) for helper in helpers if helper.kind == kind]
            if names:
                yield "\n" + wrap(f"{len(names)} {what} of {level}: {', '.join(names)}", hang="  ")
    if engine.unavailable:
        yield f"\n{len(engine.unavailable)} cannot be had:"
        for name, reason in engine.unavailable.items():
            yield wrap(f"{name}: {reason}", "  ", "    ")
    yield "\n" + counted(len(engine.helpers), "helper")


def _signature(helper: Helper) -> str:
    return helper.name + (f"({helper.argument})" if helper.argument else "")


def _check(args: argparse.Namespace) -> int:
    tree = _tree(args, args.tree)
    first = _checked(args, tree, "")
    checks = [first]
    for switch in _other_settings(args.tree, first.engine):
        engine, warned = tree_and_warnings(f"{args.tree},{switch}", **_options(args))
        if not warned:  # an option that no header asks for changes nothing
            checks.append(_checked(args, engine, switch, first.switches.rules))
    clean = all(check.clean for check in checks)
    if args.json:
        value = {**first.as_dict(), "clean": clean, "settings": [c.as_dict() for c in checks]}
        print_json({**value, "isolation": list(tree.active)})
    else:
        for line in _in_order(checks, args.known):
            print(line)
    return 0 if clean else 1


def _checked(
    args: argparse.Namespace, engine: Engine, label: str, rules: str | None = None
) -> TreeCheck:
    """Check a tree in one setting, with a bar that says how far it is."""
    with progress(0, "helpers", label or "check") as bar:
        return check_tree(
            engine,
            args.rules or rules,
            label,
            lambda what, done, total: _show(bar)(done, total),
        )


def _other_settings(text: str, engine: Engine) -> list[str]:
    """Return the other setting of the feature, and the option off, where nobody chose."""
    assert isinstance(engine, KernelTreeEngine)
    _, shstk, config = split_switches(text)
    if shstk is not None or config:
        return []
    options = [name for name in SHADOW_STACK_OPTIONS if engine.configured(name)]
    return (["shstk=n"] if engine.shstk else []) + [f"{name}=n" for name in options[:1]]


def _in_order(checks: list[TreeCheck], known: bool) -> Iterator[str]:
    """Give the report of the first setting, what the others add, and what is known at the end."""
    first, *others = checks
    yield from first.lines()
    for other in others:
        yield from other.new_lines(first)
    yield from first.laws.known_lines(known)


def _compare(args: argparse.Namespace) -> int:
    a, b = _operand(args, args.a), _operand(args, args.b)
    with progress(0, "helpers", "compare") as bar:
        found = compare(a, b, progress=_show(bar))
    if args.json:
        print_json(found.as_dict())
    else:
        print(found)
    return 0 if found.clean and (found.complete or not args.strict) else 1


def _operand(args: argparse.Namespace, text: str) -> Engine:
    if text in RULES and not Path(text).is_dir():
        return reference(text)
    return _tree(args, text)


def _apply(args: argparse.Namespace) -> int:
    engine = _tree(args, args.tree)
    name, equals, argument = args.helper.partition("=")
    helper = engine.helper(name)
    if bool(equals) != (helper.argument is not None):
        wants = f"needs an argument: {name}={helper.argument}" if helper.argument else "takes none"
        raise ValueError(f"{name} {wants}")
    arguments = [parse_number(argument, f"argument of {name}")] if equals else []
    entries = [buffers.as_int(parse_number(text, "entry"), "entry") for text in args.entries]
    results = [helper(entry, *arguments) for entry in entries]
    if args.json:
        print_json(
            [
                {"entry": f"{entry:#018x}", "result": _plain(result)}
                for entry, result in zip(entries, results, strict=True)
            ]
        )
        return 0
    rules = rules_of(engine)
    for entry, result in zip(entries, results, strict=True):
        takes, gives = helper.info.takes, helper.info.gives
        print(f"{_shown(entry, takes, rules)} -> {_shown(result, gives, rules)}")
    return 0


def _plain(result: int | bool) -> str | bool:
    return result if isinstance(result, bool) else f"{result:#018x}"


def _shown(value: int | bool, kind: str, rules: str) -> str:
    if kind == "test":
        return str(value)
    return f"{value:#018x}" + (f" {bits.state(value, rules)}" if kind in bits.LEVELS else "")


def _cache(args: argparse.Namespace) -> int:
    freed = clear_cache() if args.clear else 0
    place = cache_directory()
    kept = cache_size()
    if args.json:
        print_json({"directory": str(place), "bytes": kept, "freed": freed})
    elif args.clear:
        print(f"{place}: {freed:,} bytes removed")
    else:
        print(f"{place}: {kept:,} bytes")
    return 0


def _show(bar: Any) -> Any:
    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show
