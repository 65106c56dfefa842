# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable review``: what a patch does to the helpers, for every entry."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..proofs import require_packages
from .common import print_json, progress

HELP = "review a patch: which helpers change, for which entries, and which laws break"
EXAMPLES = """\
  pgtable review fix.patch --tree /usr/src/linux-headers-6.12.107-amd64
  b4 am -o - MSGID | pgtable review - --tree ~/linux
  pgtable review v6.11..v6.12-rc1 --repo ~/linux --tree ~/linux-built
  pgtable review 09.mail --with 08.patch --config CONFIG_X86_SHADOW_STACK=y --tree H
  git config b4.review-perpatch-check-cmd 'pgtable review - --b4 --tree /usr/src/H'

PATCH is a mail, a mailbox, a page of an archive or a diff; - is standard input.  A
header package is enough as TREE.  It is not changed, and none of its code is run.
exit codes: 0 no law breaks, 1 a law breaks (--strict: or a helper changes), 2 the
patch does not apply or the tree does not compile
"""

#: Bytes; no patch of a kernel comes near.
_LARGEST = 64 << 20
_NO_DIFF = "no diff in this mail: nothing to review"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("patch", metavar="PATCH", help="a file, - or, with --repo, a range A..B")
    parser.add_argument(
        "--tree",
        metavar="TREE",
        help="a kernel tree or header package (default: the running kernel's headers)",
    )
    parser.add_argument("--generated", metavar="DIR", help="the directory of the generated headers")
    parser.add_argument("--repo", metavar="DIR", help="a git repository of Linux, for a range")
    parser.add_argument(
        "--with",
        dest="before",
        metavar="PATCH",
        action="append",
        default=[],
        help="apply this to the tree first; may be repeated",
    )
    parser.add_argument(
        "--config",
        type=_option,
        metavar="CONFIG_NAME=y|n",
        action="append",
        default=[],
        help="set a build option; may be repeated",
    )
    parser.add_argument(
        "--define",
        type=_definition,
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="define what another patch defines, e.g. 'X86_FEATURE_NEW=(11*32+20)'",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if any helper changes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--b4", action="store_true", help="print what b4 wants of its review check commands"
    )
    parser.add_argument("--compiler", metavar="CC", default="gcc", help="default: gcc")
    parser.add_argument(
        "--flags", metavar="FLAGS", help="compiler flags, instead of -O2 without vector registers"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if no law breaks, 1 if one does."""
    from ..review.mails import read_patches  # noqa: PLC0415 - only this command needs them
    from ..review.not_concerned import all_not_concerned  # noqa: PLC0415

    if args.repo is None and args.patch != "-" and ".." in args.patch and not _exists(args.patch):
        raise ValueError(f"{args.patch} is no file; a range of commits needs --repo DIR")
    content = _range(args.repo, args.patch) if args.repo is not None else _read(args.patch)
    try:
        patches = read_patches(content)
    except ValueError as error:
        if args.b4 and "there is no diff" in str(error):
            print_json([_b4("pass", _NO_DIFF)])
            return 0
        raise ValueError(f"{_shown(args.patch)}: {error}") from None
    if (review := all_not_concerned(patches)) is None:
        try:
            review = _reviewed(args, patches)
        except ValueError as error:
            if not args.b4:
                raise
            print_json([_b4("fail", str(error))])
            return 2
    return _print(args, review)


def _reviewed(args: argparse.Namespace, patches: list[Any]) -> Any:
    try:
        require_packages()
    except ImportError as error:
        raise ValueError(str(error)) from None
    from ..review.mails import read_patches  # noqa: PLC0415
    from ..review.reviewing import Options, review_patches  # noqa: PLC0415 - needs an extra

    tree = args.tree or _running_kernel()
    before = [patch for name in args.before for patch in read_patches(_read(name))]
    options = Options(
        generated=args.generated,
        before=before,
        config=dict(args.config),
        defined=args.define,
        compiler=args.compiler,
        flags=args.flags,
    )
    with progress(None, "", "review") as bar:

        def show(what: str) -> None:
            bar.set_description(f"review: {what}")

        return review_patches(patches, tree, options, show)


def _print(args: argparse.Namespace, review: Any) -> int:
    from ..review.review_report import as_b4, as_dict, as_text  # noqa: PLC0415

    if args.b4:
        print_json(as_b4(review))
    elif args.json:
        print_json(as_dict(review))
    else:
        print(as_text(review))
    if any(each.breaks for each in review.all):
        return 1
    return int(args.strict and any(each.changes for each in review.all))


def _b4(status: str, summary: str) -> dict[str, str]:
    return {"tool": "pgtable", "status": status, "summary": summary, "url": "", "details": ""}


def _exists(name: str) -> bool:
    return Path(name).exists()


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name


def _read(name: str) -> bytes:
    if name == "-":
        content = sys.stdin.buffer.read(_LARGEST + 1)
    else:
        with open(name, "rb") as file:
            content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{_shown(name)}: more than {_LARGEST >> 20} MiB: this is no patch")
    return content


def _range(repository: str, commits: str) -> bytes:
    """Return the commits of a range as mails."""
    if commits.startswith("-"):
        raise ValueError(f"{commits}: give a range of commits, as v6.11..v6.12")
    command = ["git", "-C", repository, "format-patch", "--stdout", "--no-renames", commits, "--"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise ValueError("git was not found; install it, or give the patch as a file") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise ValueError(f"git format-patch {commits}: {said}")
    if not done.stdout:
        raise ValueError(f"{commits}: there is no commit in this range of {repository}")
    return done.stdout


def _running_kernel() -> str:
    place = f"/lib/modules/{os.uname().release}/build"
    if not Path(place).exists():
        raise ValueError(
            f"the running kernel's headers are not at {place}; name a kernel tree or an unpacked"
            " header package with --tree"
        )
    return place


def _option(text: str) -> tuple[str, bool]:
    if not (found := re.fullmatch(r"(CONFIG_[A-Za-z0-9_]+)=([yn])", text)):
        raise argparse.ArgumentTypeError(f"{text}: write CONFIG_NAME=y or CONFIG_NAME=n")
    return found[1], found[2] == "y"


def _definition(text: str) -> str:
    name, _, value = text.partition("=")
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or re.search(r"[\n\r]", value):
        raise argparse.ArgumentTypeError(f"{text}: write NAME or NAME=VALUE")
    return f"#define {name} {value}".rstrip()
