# SPDX-License-Identifier: GPL-2.0-only
"""Changes one thing at a time in a module, and tells which changes no test notices.

    python tests/mutation/mutate.py pgtable/files.py --tests tests/test_files.py --sample 40

The tree is copied first; nothing is changed in place.  Each change is one of: another comparison or
operator, a constant that is one more, a condition negated, a call's statement left out.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Return every other node that may stand in the place of one."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield ast.Compare(
            node.left, [_COMPARE[type(node.ops[0])](), *node.ops[1:]], node.comparators
        )
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATOR:
        yield ast.BinOp(node.left, _OPERATOR[type(node.op)](), node.right)
        yield node.left
        yield node.right
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        yield from node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.If | ast.While):
        other = copy.copy(node)
        other.test = ast.UnaryOp(ast.Not(), node.test)
        yield other
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def mutants(text: str) -> Iterator[tuple[int, str, str]]:
    """Return each mutant of a module: line, what was changed, and the module's text."""
    tree = ast.parse(text)
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns"):
                continue
            nodes = value if isinstance(value, list) else [value]
            for at, node in enumerate(nodes):
                if not isinstance(node, ast.AST):
                    continue
                for other in changes(node):
                    new = [*nodes[:at], other, *nodes[at + 1 :]]
                    setattr(parent, field, new if isinstance(value, list) else other)
                    whole = ast.unparse(ast.fix_missing_locations(tree))
                    setattr(parent, field, value)
                    line = getattr(node, "lineno", 0)
                    shown = [ast.unparse(ast.fix_missing_locations(n)) for n in (node, other)]
                    brief = [" ".join(one.split())[:60] for one in shown]
                    yield line, f"{brief[0]} -> {brief[1]}", whole


def survives(copied: Path, tests: list[str], seconds: float) -> bool:
    """Tell whether the tests pass.  Tests that do not end notice the change as well."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copied, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Try a sample of the mutants; the exit code is 1 where one survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--sample", type=int, default=30, help="how many mutants (default: 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300, help="of one run of the tests")
    args = parser.parse_args()
    text = (ROOT / args.module).read_text()
    found = list(mutants(text))
    chosen = random.Random(args.seed).sample(found, min(args.sample, len(found)))
    survived = 0
    with tempfile.TemporaryDirectory(prefix="pgtable-mutation-") as place:
        copied = Path(place, "tree")
        left_out = shutil.ignore_patterns(".git", ".venv*", "build", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, copied, ignore=left_out, symlinks=True)
        if not survives(copied, args.tests, args.seconds):
            print("the tests fail without any change", file=sys.stderr)
            return 2
        for line, what, mutant in chosen:
            (copied / args.module).write_text(mutant)
            if survives(copied, args.tests, args.seconds):
                survived += 1
                print(f"{args.module}:{line}: survived: {what}", flush=True)
    print(f"{args.module}: {len(chosen)} of {len(found)} mutants tried, {survived} survived")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
