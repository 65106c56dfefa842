# SPDX-License-Identifier: GPL-2.0-only
"""The loops that are timed: right in every way, with the feature tested as they say."""

import ctypes
import re
import subprocess

import numpy as np
import pytest

import pgtable
from pgtable.cost.helper_sources import (
    IDENTITY,
    LibraryRequest,
    MeasuredTree,
    OurRules,
    build,
    find_compiler,
)
from pgtable.cost.participants import argument_of
from pgtable.cost.plan import HELPERS, LARGE_HELPERS, TreeSettings
from pgtable.cost.ways import IS_X86, WAYS, way_of
from pgtable.engines.reference import reference
from pgtable.engines.switches import COMBINATIONS

from ..conftest import DATA

NOP, JUMP, RETURN = "0f 1f 44 00 00 ", "e9 ", "c3 "
EVERY = (*HELPERS, *LARGE_HELPERS, "pte_mkcow", "pte_mksaveddirty", "pfn_pte", "pte_set_flags")
GCC = find_compiler("gcc")
ids = [str(combination) for combination in COMBINATIONS]


def library(subject, way, helpers=EVERY):
    return build(LibraryRequest(subject, way_of(way), GCC, helpers))


@pytest.fixture(scope="module")
def mini_tree():
    return MeasuredTree(
        TreeSettings(str(DATA / "mini_tree")), GCC, ("pte_wrprotect", "pte_shstk", "pmd_modify")
    )


def run_loop(lib, loop, helper, entries, argument):
    """Return what a loop makes of the entries; the results of before are overwritten."""
    out = ~entries
    call = getattr(ctypes.CDLL(str(lib.path)), lib.symbol(loop, helper))
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_uint64] * 3]
    call.restype = None
    call(entries.ctypes.data, out.ctypes.data, entries.size, argument, 0)
    return out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("switches", COMBINATIONS, ids=ids)
def test_loops_give_what_the_reference_gives(switches, way, low_bit_entries):
    lib, oracle = library(OurRules(switches), way), reference(*switches)
    # an odd number: what does not fill a vector is right as well
    entries = low_bit_entries[:20_001]
    names = [name for name in EVERY if name in oracle.helpers]
    assert lib.sizes.keys() == set(names)
    assert len(names) >= 14
    for name in names:
        helper = oracle.helper(name)
        argument = argument_of(helper.info)
        expected = helper(entries, *([argument] if helper.argument else []))
        for loop in ("table", "latency"):
            got = run_loop(lib, loop, name, entries, argument)
            assert np.array_equal(got, expected), (name, loop)
    for loop in ("table", "latency"):
        assert np.array_equal(run_loop(lib, loop, IDENTITY, entries, 0), entries)


@pytest.mark.parametrize("way", WAYS)
def test_loops_of_a_tree_give_what_its_engine_gives(way, mini_tree, mini_engine, low_bit_entries):
    lib = library(mini_tree, way, mini_tree.helpers)
    assert lib.sizes.keys() == set(mini_tree.helpers)
    for name in mini_tree.helpers:
        helper = mini_engine.helper(name)
        argument = argument_of(helper.info)
        expected = helper(low_bit_entries, *([argument] if helper.argument else []))
        for loop in ("table", "latency"):
            got = run_loop(lib, loop, name, low_bit_entries, argument)
            assert np.array_equal(got, expected), (name, loop)


def test_each_result_is_waited_for_in_the_latency_loop():
    # with ones in place of zero every result goes into the next entry
    lib = library(OurRules(COMBINATIONS[0]), "kernel")
    call = getattr(ctypes.CDLL(str(lib.path)), lib.symbol("latency", IDENTITY))
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_uint64] * 3]
    entries = np.arange(1, 9, dtype=np.uint64)
    out = np.zeros_like(entries)
    call(entries.ctypes.data, out.ctypes.data, 8, 0, 2**64 - 1)
    assert out.tolist() == np.bitwise_xor.accumulate(entries).tolist()


def patched_places(lib, helper):
    """Say whether a helper's code has the nop, and whether it has the jump."""
    symbol = lib.symbol("alone", helper)
    command = ["objdump", "-d", f"--disassemble={symbol}", lib.path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code = text[text.index(f"<{symbol}>:") :]
    instructions = re.findall(r"^\s+[0-9a-f]+:\t((?:[0-9a-f]{2} )+)", code, re.MULTILINE)
    assert RETURN in instructions
    # what comes later may be nops that align
    ran = instructions[: instructions.index(RETURN)]
    return NOP in ran, any(one.startswith(JUMP) for one in ran)


@pytest.mark.skipif(not IS_X86, reason="patched in instructions of x86-64")
class TestPatched:
    @pytest.mark.parametrize("rules", ["cow", "saved_dirty"])
    def test_a_nop_with_the_feature_and_a_jump_without(self, rules):
        on, off = (
            patched_places(library(OurRules(switches), "kernel"), "pte_write")
            for switches in COMBINATIONS
            if switches.rules == rules and switches.config
        )
        assert on == (True, False)
        assert off == (False, True)

    @pytest.mark.parametrize(
        "switches",
        [one for one in COMBINATIONS if not one.shstk and not one.config],
        ids=str,
    )
    def test_nothing_is_asked_before_the_patch_or_when_compiled_out(self, switches):
        assert patched_places(library(OurRules(switches), "kernel"), "pte_write") == (False, False)

    @pytest.mark.parametrize("way", ["constant", "vector"])
    def test_a_constant_is_not_asked_for(self, way):
        lib = library(OurRules(COMBINATIONS[0]), way)
        assert patched_places(lib, "pte_write") == (False, False)

    @pytest.mark.parametrize("shstk", [True, False])
    def test_trees_are_patched_alike(self, shstk):
        tree = MeasuredTree(TreeSettings(str(DATA / "mini_tree"), shstk=shstk), GCC, ("pte_shstk",))
        lib = library(tree, "kernel", tree.helpers)
        assert patched_places(lib, "pte_shstk") == (shstk, not shstk)
        lib = library(tree, "constant", tree.helpers)
        assert patched_places(lib, "pte_shstk") == (False, False)

    @pytest.mark.parametrize("way", ["kernel", "constant"])
    def test_there_is_no_vector_code_in_a_kernel(self, way):
        lib = library(OurRules(COMBINATIONS[0]), way)
        text = subprocess.run(
            ["objdump", "-d", lib.path], capture_output=True, text=True, check=True
        ).stdout
        assert "%rax" in text
        assert not re.search(r"%[xyz]mm", text)
        vector = library(OurRules(COMBINATIONS[0]), "vector")
        text = subprocess.run(
            ["objdump", "-d", vector.path], capture_output=True, text=True, check=True
        ).stdout
        assert re.search(r"%[xyz]mm", text)


@pytest.mark.parametrize("way", ["kernel", "constant"])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=ids)
def test_helpers_have_code_of_some_bytes(switches, way):
    sizes = library(OurRules(switches), way).sizes
    # without the feature this one does nothing
    nothing = set() if switches.shstk or (way == "kernel" and switches.config) else {"pte_mkcow"}
    assert {name for name, size in sizes.items() if not 0 < size < 400} <= nothing
    # the frame is turned over and the protection merged: much more than one bit cleared
    assert sizes["pte_modify"] > 3 * sizes["pte_mkclean"]


def test_the_feature_takes_code():
    with_it, constant = (library(OurRules(COMBINATIONS[0]), way).sizes for way in WAYS[:2])
    assert with_it["pte_write"] > constant["pte_write"]


def test_a_patched_tree_computes_the_same(mini_engine):
    for shstk in (True, False):
        patched, constant = (
            pgtable.kernel_tree(DATA / "mini_tree", shstk=shstk, flags="-O1", feature=feature)
            for feature in ("patched", "constant")
        )
        assert pgtable.check(patched, constant, random_entries=1000).clean
