# SPDX-License-Identifier: GPL-2.0-only
"""Makes a term of the machine code of a small function: its result for every input, on all paths.

pyvex translates machine code to VEX, block by block, and this module runs VEX on terms instead of
numbers.  If a branch depends on the input, both paths are followed.  Nothing is approximated: an
operation, an address or a loop that is not understood raises RefusedError.  So does a result that
depends on more than the input and the known parts of the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyvex
import z3

from . import operations
from .errors import RefusedError
from .linked_library import Library
from .machine import HelperMachine
from .operations import Bits

logging.getLogger("pyvex").setLevel(logging.CRITICAL)  # this module reports what cannot be decoded

ARCH = pyvex.ARCH_AMD64
#: The registers of the first arguments of a function, in order.
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8")
_AT: dict[str, int] = {
    name: ARCH.get_register_offset(name) for name in (*ARGUMENTS, "rax", "rsp", "dflag")
}

#: Addresses of the stack and of the return.  Nothing of a library lies there.
STACK = 0x7FFF_F000_0000
RETURN = 0x7FFE_0000_0000

#: More steps than any helper takes.  Only an endless loop comes this far.
MOST_BLOCKS, MOST_PATHS = 4000, 128

#: An instruction that VEX does not have: rdpkru, which reads the rights of protection keys.
_RDPKRU = b"\x0f\x01\xee"

_BITS = {"Ity_I1": 1, "Ity_I8": 8, "Ity_I16": 16, "Ity_I32": 32, "Ity_I64": 64, "Ity_I128": 128}
_BITS |= {"Ity_V128": 128, "Ity_V256": 256, "Ity_F64": 64, "Ity_F32": 32}


class Path(NamedTuple):
    """One path through a function."""

    condition: z3.BoolRef  #: the conditions of inputs that take this path
    result: Any


class _RegisterState:
    """Registers, memory and conditions on the way to an address."""

    def __init__(
        self,
        at: int,
        registers: dict[int, Bits],
        memory: dict[int, Bits],
        conditions: tuple[z3.BoolRef, ...] = (),
    ):
        self.at = at
        self.registers = registers
        self.memory = memory
        self.conditions = conditions

    def on(self, at: int, *more: z3.BoolRef) -> _RegisterState:
        """Return the state at another address, with more conditions."""
        return _RegisterState(
            at, dict(self.registers), dict(self.memory), (*self.conditions, *more)
        )

    def read(self, place: int, width: int) -> Bits:
        """Return bits of the registers, which VEX has one after the other."""
        first, shift = place & ~7, (place & 7) * 8
        words = [self._word(first + 8 * i) for i in range((shift + width + 63) // 64)]
        whole = words[0] if len(words) == 1 else z3.Concat(*reversed(words))
        return operations.part(whole, shift, width)

    def write(self, place: int, term: Bits) -> None:
        """Set bits of the registers.  Other bits stay the same."""
        width, first, shift = term.size(), place & ~7, (place & 7) * 8
        if shift == 0 and width == 64:
            self.registers[first] = term
            return
        words = (shift + width + 63) // 64
        whole = self.read(first, 64 * words)
        parts = [term]
        if above := 64 * words - shift - width:
            parts.insert(0, z3.Extract(64 * words - 1, 64 * words - above, whole))
        if shift:
            parts.append(z3.Extract(shift - 1, 0, whole))
        whole = z3.simplify(z3.Concat(*parts)) if len(parts) > 1 else term
        for i in range(words):
            self.registers[first + 8 * i] = operations.part(whole, 64 * i, 64)

    def _word(self, place: int) -> Bits:
        if place not in self.registers:
            self.registers[place] = z3.BitVec(f"register_{place}", 64)
        return self.registers[place]


class Lifter:
    """Runs functions of a library on terms."""

    def __init__(self, library: Library, machine: HelperMachine):
        self.library = library
        self.machine = machine
        self._blocks: dict[int, Any] = {}
        # nothing is assumed of the machine here: a path that no input takes does no harm
        self._solver = z3.SimpleSolver()
        self._solver.set("timeout", 10_000)

    def word(self, name: str, arguments: Sequence[Bits]) -> tuple[Bits, int]:
        """Return a function's result in rax, as one term, and the number of its paths.

        Raises RefusedError if it cannot be found out.
        """
        start = self.library.symbols.get(name)
        if start is None:
            raise RefusedError("is not in the library")
        paths = self.paths(start, arguments, lambda state: state.read(_AT["rax"], 64))
        term = merged(paths)
        self._require_inputs(term, arguments)
        return term, len(paths)

    def paths(
        self,
        start: int,
        arguments: Sequence[Bits],
        result: Callable[[_RegisterState], Any],
        memory: dict[int, Bits] | None = None,
    ) -> list[Path]:
        """Return all paths from an address to the return.  Together they take every input."""
        registers: dict[int, Bits] = {
            _AT["rsp"]: z3.BitVecVal(STACK, 64),
            _AT["dflag"]: z3.BitVecVal(1, 64),
        }
        for name, argument in zip(ARGUMENTS, arguments, strict=False):
            registers[_AT[name]] = argument
        stack = {STACK + i: z3.BitVecVal(RETURN >> 8 * i & 0xFF, 8) for i in range(8)}
        todo = [_RegisterState(start, registers, stack | (memory or {}))]
        found: list[Path] = []
        blocks = 0
        while todo:
            state = todo.pop()
            if state.at == RETURN:
                found.append(Path(z3.And(*state.conditions), result(state)))
                continue
            blocks += 1
            if blocks > MOST_BLOCKS or len(found) + len(todo) > MOST_PATHS:
                raise RefusedError("has too many paths, or a loop that does not end")
            todo += self._after_block(state)
        self._require_all_inputs(found)
        return found

    def _require_all_inputs(self, paths: list[Path]) -> None:
        """Raise RefusedError unless every input takes one of the paths."""
        if len(paths) == 1 and z3.is_true(z3.simplify(paths[0].condition)):
            return
        if self._solver.check(z3.Not(z3.Or(*(path.condition for path in paths)))) != z3.unsat:
            raise RefusedError("its paths could not be shown to take every input")

    def _require_inputs(self, term: Bits, arguments: Sequence[Bits]) -> None:
        known = {str(name) for argument in arguments for name in variables(argument)}
        others = {str(name) for name in variables(term)} - known - self.machine.names
        if others:
            raise RefusedError(f"gives what it was not given: {min(others)}")

    # ---- one block

    def _after_block(self, state: _RegisterState) -> list[_RegisterState]:
        """Run the block at a state's address; return the states that may follow."""
        block = self._block(state.at)
        run = _BlockRun(self, state)
        after: list[_RegisterState] = []
        for statement in block.statements:
            if statement.tag != "Ist_Exit":
                run.do(statement)
                continue
            taken = z3.simplify(run.value(statement.guard) == 1)
            if z3.is_false(taken):
                continue
            other = z3.simplify(z3.Not(taken))
            if z3.is_true(taken) or self._possible(state, taken):
                _require_plain(statement.jumpkind)
                after.append(state.on(statement.dst.value, taken))
            if z3.is_true(taken) or not self._possible(state, other):
                return after
            state.conditions = (*state.conditions, other)
        if block.jumpkind == "Ijk_NoDecode":
            return [*after, self._known_instruction(state, run.value(block.next))]
        _require_plain(block.jumpkind)
        to = operations.constant(run.value(block.next))
        if to is None:
            raise RefusedError("jumps to an address that depends on the entry")
        return [*after, state.on(to)]

    def _possible(self, state: _RegisterState, condition: z3.BoolRef) -> bool:
        """Tell whether some input gets here with that condition; "unknown" counts as yes."""
        return self._solver.check(*state.conditions, condition) != z3.unsat

    def _known_instruction(self, state: _RegisterState, place: Bits) -> _RegisterState:
        at = operations.constant(place)
        if at is None or self.library.code(at, 3) != _RDPKRU:
            code = "" if at is None else f" ({self.library.code(at, 4).hex(' ')} ...)"
            raise RefusedError(f"has an instruction that VEX does not know{code}")
        if operations.constant(state.read(_AT["rcx"], 32)) != 0:
            raise RefusedError("does rdpkru with another ecx than 0")
        after = state.on(at + len(_RDPKRU))
        after.write(_AT["rax"], z3.ZeroExt(32, self.machine.pkru()))
        after.write(_AT["rdx"], z3.BitVecVal(0, 64))
        return after

    def _block(self, at: int) -> Any:
        if at not in self._blocks:
            code = self.library.code(at, 400)
            try:
                self._blocks[at] = pyvex.lift(code, at, ARCH, opt_level=1, max_bytes=len(code))
            except (pyvex.errors.PyVEXError, ValueError) as error:
                raise RefusedError(f"cannot be decoded ({error})") from error
        return self._blocks[at]

    def load(self, state: _RegisterState, address: int, width: int) -> Bits:
        """Return what is in memory: what was stored, what the machine holds, or constants."""
        found = [self._byte(state, address + i) for i in range(width // 8)]
        return found[0] if len(found) == 1 else z3.simplify(z3.Concat(*reversed(found)))

    def _byte(self, state: _RegisterState, address: int) -> Bits:
        if address in state.memory:
            return state.memory[address]
        if abs(address - STACK) < 1 << 20:
            return z3.BitVec(f"stack_{address:x}", 8)
        if variable := self.library.variable(address):
            return self.machine.byte(self.library, variable, address - variable.address)
        return z3.BitVecVal(self.library.byte(address), 8)


def merged(paths: list[Path]) -> Bits:
    """Return the result of all paths as one term."""
    term = paths[-1].result
    for path in paths[:-1]:
        term = z3.If(path.condition, path.result, term)
    return z3.simplify(term)


def variables(term: z3.ExprRef) -> set[z3.ExprRef]:
    """Return what a term depends on."""
    found, seen, todo = set(), set(), [term]
    while todo:
        one = todo.pop()
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        if z3.is_const(one) and one.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            found.add(one)
        todo += one.children()
    return found


_PLAIN = frozenset(("Ijk_Boring", "Ijk_Call", "Ijk_Ret"))
_ENDS = {"Ijk_SigILL": "ud2", "Ijk_SigTRAP": "int3", "Ijk_Sys_syscall": "syscall"}


def _require_plain(kind: str) -> None:
    if kind not in _PLAIN:
        raise RefusedError(f"can come to {_ENDS.get(kind, kind)}")


class _BlockRun:
    """The temporaries of one run of a block."""

    def __init__(self, lifter: Lifter, state: _RegisterState):
        self.lifter = lifter
        self.state = state
        self.temporaries: dict[int, Bits] = {}

    def do(self, statement: Any) -> None:
        """Run a statement that is no exit."""
        match statement.tag:
            case "Ist_IMark" | "Ist_AbiHint" | "Ist_NoOp" | "Ist_MBE":
                pass
            case "Ist_WrTmp":
                self.temporaries[statement.tmp] = self.value(statement.data)
            case "Ist_Put":
                self.state.write(statement.offset, self._widened(self.value(statement.data)))
            case "Ist_Store":
                self._store(self._address(statement.addr), self.value(statement.data))
            case "Ist_CAS" if statement.dataHi is None:
                self._compare_and_swap(statement)
            case tag:
                raise RefusedError(f"has {tag} of VEX, which is not known here")

    def _compare_and_swap(self, statement: Any) -> None:
        """Run lock cmpxchg.  There is only one processor, so nothing comes between."""
        address = self._address(statement.addr)
        new, expected = self.value(statement.dataLo), self.value(statement.expdLo)
        old = self.lifter.load(self.state, address, new.size())
        self.temporaries[statement.oldLo] = old
        self._store(address, z3.simplify(z3.If(old == expected, new, old)))

    @staticmethod
    def _widened(term: Bits) -> Bits:
        return z3.ZeroExt(7, term) if term.size() == 1 else term

    def _store(self, address: int, term: Bits) -> None:
        for i in range(term.size() // 8):
            self.state.memory[address + i] = operations.part(term, 8 * i, 8)

    def _address(self, expression: Any) -> int:
        address = operations.constant(self.value(expression))
        if address is None:
            raise RefusedError("uses memory at an address that depends on the entry")
        return address

    def value(self, expression: Any) -> Bits:  # noqa: PLR0911 - one a kind of expression
        """Return the term of an expression; raises RefusedError for what is not known here."""
        match expression.tag:
            case "Iex_RdTmp":
                return self.temporaries[expression.tmp]
            case "Iex_Const":
                return _constant(expression.con)
            case "Iex_Get":
                return self.state.read(expression.offset, _width(expression.ty))
            case "Iex_Unop":
                return operations.unary(expression.op, self.value(expression.args[0]))
            case "Iex_Binop":
                left, right = map(self.value, expression.args)
                return operations.binary(expression.op, left, right)
            case "Iex_ITE":
                condition = self.value(expression.cond) == 1
                yes, no = self.value(expression.iftrue), self.value(expression.iffalse)
                return z3.simplify(z3.If(condition, yes, no))
            case "Iex_Load":
                address = self._address(expression.addr)
                return self.lifter.load(self.state, address, _width(expression.ty))
            case "Iex_CCall":
                return self._called(expression)
            case tag:
                raise RefusedError(f"has {tag} of VEX, which is not known here")

    def _called(self, expression: Any) -> Bits:
        arguments = [self.value(each) for each in expression.args]
        match expression.callee.name:
            case "amd64g_calculate_condition":
                return operations.condition(*arguments)
            case "amd64g_calculate_rflags_c":
                return operations.carry(*arguments)
            case name:
                raise RefusedError(f"needs {name}() of VEX, which is not known here")


def _width(kind: str) -> int:
    return _BITS[kind]


def _constant(con: Any) -> Bits:
    """Return a constant; of a vector VEX has one bit for each of its bytes."""
    if con.type in ("Ity_V128", "Ity_V256"):
        whole = sum(0xFF << 8 * i for i in range(con.size // 8) if con.value >> i & 1)
        return z3.BitVecVal(whole, con.size)
    return z3.BitVecVal(int(con.value), con.size)
