# SPDX-License-Identifier: GPL-2.0-only
"""The engine of a tree in miniature: the tree's own text runs, through the whole interface."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.engines.interface import HelperInfo
from pgtable.engines.native import _instances
from pgtable.kernel_trees import KernelTreeError
from pgtable.kernel_trees import recipe as recipes
from pgtable.kernel_trees.locate import locate

from ..conftest import DATA, replace

QUICK = {"flags": "-O1", "forms": False}
HEADER = "arch/x86/include/asm/pgtable.h"


@pytest.fixture(scope="module")
def entries():
    return np.random.default_rng(4).integers(0, 2**64, 5003, dtype=np.uint64)


@pytest.fixture(scope="module")
def rules():
    return pgtable.native("saved_dirty", True)


@pytest.fixture(scope="module", params=[True, False], ids=["by forms", "by text"])
def mini_engine(request):
    """Return the engine of the tree in miniature, run in each of the ways that there are."""
    return pgtable.kernel_tree(DATA / "mini_tree", flags=QUICK["flags"], forms=request.param)


def test_is_what_its_text_says(mini_engine, rules):
    result = pgtable.check(mini_engine, rules, random_entries=1000)
    assert list(result) == []
    assert result.incomparable == ()
    assert result.helpers == 64


@pytest.mark.parametrize("extra", [-1, 0, 1, 5])
@pytest.mark.parametrize("name", ["pte_young", "pte_write", "pte_present", "pte_none", "pte_same"])
def test_counts_of_many_are_the_sum_of_the_tests(mini_engine, name, extra):
    """Counted in parts of 1 Mi; an int may give any bit, or be a comparison's 0 or 1."""
    helper = mini_engine.helpers[name]
    array = np.resize(
        np.random.default_rng(5).integers(0, 2**64, 997, np.uint64), (2 << 20) + extra
    )
    second = (array.copy(),) if helper.argument else ()
    for other in second:
        other[::3] ^= np.uint64(1)
    assert helper.count(array, *second, threads=1) == np.count_nonzero(helper(array, *second))


@pytest.mark.parametrize(
    "info",
    [
        HelperInfo("pte_young", "pte", "pte", "test", None),
        HelperInfo("pmd_modify", "pmd", "pmd", "pmd", "newprot"),
        HelperInfo("pud_flags", "pud", "pud", "val", None),
        HelperInfo("pte_mkwrite", "pte", "pte", "pte", "vma"),
        HelperInfo("pte_access_permitted", "pte", "pte", "test", "write"),
        HelperInfo("protnone_mask", "prot", "val", "val", None),
        HelperInfo("pte_pgprot", "pte", "pte", "val", None),
        HelperInfo("ptep_set_wrprotect", "pte", "pte", "pte", None),
        HelperInfo("pmd_leaf_size", "pmd", "pmd", "val", None),
    ],
)
def test_signatures_are_discovered(mini_engine, info):
    assert mini_engine.helpers[info.name].info == info


def test_what_cannot_be_had_has_a_reason(mini_engine):
    assert dict(mini_engine.unavailable) == {
        "flip_protnone": "takes 3 values; a helper takes one or two",
        "pgd_write": "can end in BUG(), which would kill the process",
        "pgprot_encrypted": "needs cc_mkenc, which is in no header",
        "pgprot_writecombine": "needs pgprot_writecombine, which is in no header",
        "pte_clear": "does not compile: invalid type argument of unary '*' (have 'pte_t')",
        "pud_pgtable": "gives a pointer (pmd_t *)",
    }
    with pytest.raises(pgtable.UnknownHelperError, match="it needs cc_mkenc"):
        mini_engine.helper("pgprot_encrypted")
    with pytest.raises(pgtable.UnknownHelperError, match="did you mean pte_young"):
        mini_engine.helper("pte_yuong")


def test_ints_that_are_neither_0_nor_1_become_bools(mini_engine):
    assert mini_engine.pte_young(0x20) is True
    assert mini_engine.pte_young(0xDF) is False
    array = np.array([0x20, 0x40, 0x60], np.uint64)
    assert mini_engine.pte_young(array).tolist() == [True, False, True]
    assert mini_engine.pte_young(array).view(np.uint8).max() == 1
    assert mini_engine.pte_young.count(array) == 2


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
@pytest.mark.parametrize("feature", ["constant", "asm_goto"])
def test_compiled_by_clang(make_mini_tree, mini_engine, rules, feature):
    engine = pgtable.kernel_tree(make_mini_tree(), compiler="clang", **QUICK, feature=feature)
    result = pgtable.check(engine, rules, random_entries=1000)
    assert (list(result), result.incomparable, result.helpers) == ([], (), 64)
    assert list(engine.helpers) == list(mini_engine.helpers)
    assert engine.unavailable.keys() == mini_engine.unavailable.keys()
    reasons = dict(engine.unavailable), dict(mini_engine.unavailable)
    # compilers have their own words for what does not compile
    assert all(each.pop("pte_clear").startswith("does not compile: ") for each in reasons)
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize("timed", [False, True])
def test_loads_of_the_kernel_are_timed_and_else_left_out(make_mini_tree, tmp_path, timed):
    option = "CONFIG_DYNAMIC_PHYSICAL_MASK"
    recipe = recipes.Recipe(
        tree=locate(make_mini_tree()), compiler=Path("gcc"), flags=(), config={}, shstk=None,
        feature="constant", timed=timed,
    )  # fmt: skip
    recipes.write_config(recipe, tmp_path)
    assert (f"#undef {option}" in (tmp_path / "config.h").read_text()) is not timed
    recipes.write_config(recipe._replace(config={option: True}), tmp_path)
    assert (tmp_path / "config.h").read_text().endswith(f"#define {option} 1\n")


def test_runs_through_the_driver(mini_engine, rules, entries):
    steps = ("pte_wrprotect", "pte_mkold", "pte_dirty")
    ours, theirs = (
        engine.chain(*steps)(entries, where=engine.pte_write, threads=2)
        for engine in (mini_engine, rules)
    )
    assert np.array_equal(ours, theirs)
    assert 0 < np.count_nonzero(ours) < entries.size


@pytest.mark.parametrize("offset", [0, 1, 7])
def test_any_alignment_and_in_place(mini_engine, rules, entries, offset):
    raw = np.zeros(entries.nbytes + 8, np.uint8)
    words = raw[offset : offset + entries.nbytes].view(np.uint64)
    words[:] = entries
    expected = rules.pte_modify(entries, entries[::-1].copy())
    result = mini_engine.pte_modify(words, entries[::-1].copy(), out=words)
    assert result is words
    assert np.array_equal(words, expected)


def test_compiled_for_the_instruction_set_that_is_asked_for(make_mini_tree):
    tree = make_mini_tree()
    usable = [name for name, usable in pgtable.isas().items() if usable]
    for number, name in enumerate(usable):
        if name in (usable[0], usable[-1]):
            engine = pgtable.kernel_tree(tree, isa=name)
            word = np.zeros(1, np.uint64)
            buffer = pgtable.engines._native.ffi.from_buffer(word)
            handle = engine.pte_mkold.handle
            # every loop returns what it was really compiled for
            assert handle.map(buffer, buffer, 0, buffer, 1) == number
            assert engine.loops == _instances()[name, pgtable.native().switches, ""].loops
    with pytest.raises(ValueError, match="instruction set 'mmx' is unknown"):
        pgtable.kernel_tree(tree, isa="mmx")


@pytest.mark.parametrize("shstk", [True, False])
def test_the_feature_is_a_constant(make_mini_tree, shstk):
    engine = pgtable.kernel_tree(make_mini_tree(), shstk=shstk, **QUICK)
    assert engine.shstk is shstk
    assert engine.pte_shstk(0x40) is shstk
    # what the processor's data says at run time is not read
    engine._library.pgtable_tree_set_feature(int(not shstk))
    assert engine.pte_shstk(0x40) is shstk


MKYOUNG = "return pte_set_flags(pte, _PAGE_ACCESSED);"


@pytest.mark.parametrize("shstk", [True, False])
def test_features_are_constants_however_they_are_asked_for(make_mini_tree, shstk):
    asked = "boot_cpu_has(X86_FEATURE_SHSTK) | boot_cpu_has(X86_FEATURE_FPU) << 1"
    body = f"return __pte(({asked}) | __builtin_constant_p({asked}) << 2);"
    engine = pgtable.kernel_tree(make_mini_tree(edits={MKYOUNG: body}), shstk=shstk, **QUICK)
    assert engine.pte_mkyoung(0) == 4 | shstk
    # a tree that asks in no other way is left with its own
    bare = make_mini_tree("bare", edits={MKYOUNG: body})
    header = bare / "arch/x86/include/asm/cpufeature.h"
    replace(header, "#define boot_cpu_has(bit) cpu_has(&boot_cpu_data, bit)", "")
    replace(header, "#define cpu_has(processor, bit)", "#define boot_cpu_has(bit)")
    replace(header, "(processor)->", "boot_cpu_data.")
    engine = pgtable.kernel_tree(bare, shstk=shstk, **QUICK)
    assert engine.pte_mkyoung(0) == shstk
    assert engine.pte_shstk(0x40) is shstk


def test_the_feature_is_read_at_run_time(make_mini_tree):
    tree = make_mini_tree()
    engines = [
        pgtable.kernel_tree(tree, shstk=shstk, **QUICK, feature="asm_goto")
        for shstk in (True, True, False)
    ]
    assert [engine.pte_shstk(0x40) for engine in engines] == [True, True, False]
    # each has a processor of its own
    engines[0]._library.pgtable_tree_set_feature(0)
    engines[2]._library.pgtable_tree_set_feature(1)
    assert [engine.pte_shstk(0x40) for engine in engines] == [False, True, True]


def test_feature_that_cannot_be_a_constant(make_mini_tree):
    tree = make_mini_tree()
    cpufeature = tree / "arch/x86/include/asm/cpufeature.h"
    text = cpufeature.read_text()
    cpufeature.write_text(text.replace("(bit) static_cpu_has(bit)", "(bit) _static_cpu_has(bit)"))
    with pytest.raises(KernelTreeError, match="use feature='asm_goto'"):
        pgtable.kernel_tree(tree, **QUICK)
    assert pgtable.kernel_tree(tree, **QUICK, feature="asm_goto").pte_shstk(0x40) is True


def test_the_feature_is_a_constant_by_either_name(make_mini_tree):
    tree = make_mini_tree()
    cpufeature = tree / "arch/x86/include/asm/cpufeature.h"
    replace(cpufeature, "bool _static_cpu_has(unsigned", "bool __static_cpu_has(unsigned")
    replace(
        cpufeature,
        "#define static_cpu_has(bit)\t_static_cpu_has(bit)\n"
        "#define cpu_feature_enabled(bit) static_cpu_has(bit)",
        "#define _static_cpu_has(bit)\t__static_cpu_has(bit)\n"
        "#define cpu_feature_enabled(bit) _static_cpu_has(bit)",
    )
    engine = pgtable.kernel_tree(tree, **QUICK)
    engine._library.pgtable_tree_set_feature(0)
    assert engine.pte_shstk(0x40) is True


def test_code_aside_that_helpers_share(make_mini_tree):
    tree = make_mini_tree()
    cpufeature = tree / "arch/x86/include/asm/cpufeature.h"
    # all tests of the feature stand in one section, that of a helper with BUG() too
    replace(
        cpufeature,
        '"testl %[mask], %[word]\\n\\tjz %l[no]"',
        '"jmp 6f\\n\\t.pushsection .altinstr_aux,\\"ax\\"\\n6:\\ttestl %[mask], %[word]\\n"\n'
        '\t\t     "\\tjz %l[no]\\n\\tjmp %l[yes]\\n\\t.popsection"',
    )
    replace(cpufeature, '"cc" : no);\n', '"cc" : yes, no);\nyes:\n')
    replace(
        tree / "include/linux/pgtable.h",
        "\tBUG();\n",
        "\tif (cpu_feature_enabled(X86_FEATURE_SHSTK))\n\t\tBUG();\n",
    )
    engine = pgtable.kernel_tree(tree, **QUICK, feature="asm_goto")
    assert engine.unavailable["pgd_write"] == "can end in BUG(), which would kill the process"
    assert [engine.pte_shstk(entry) for entry in (0x40, 0x42)] == [True, False]
    engine._library.pgtable_tree_set_feature(0)
    assert engine.pte_shstk(0x40) is False


def test_tree_that_knows_no_shadow_stacks(make_mini_tree):
    edits = {"cpu_feature_enabled(X86_FEATURE_SHSTK)": "0"}
    tree = make_mini_tree()
    header = tree / HEADER
    for old, new in edits.items():
        header.write_text(header.read_text().replace(old, new))
    features = tree / "arch/x86/include/asm/cpufeatures.h"
    features.write_text(features.read_text().replace("X86_FEATURE_SHSTK", "X86_FEATURE_OTHER"))
    assert pgtable.kernel_tree(tree, **QUICK).shstk is False
    with pytest.raises(KernelTreeError, match="knows no shadow stacks"):
        pgtable.kernel_tree(tree, **QUICK, shstk=True)


def test_build_options_are_overridden(make_mini_tree):
    tree = make_mini_tree(
        edits={
            "return pte_set_flags(pte, _PAGE_RW);": (
                "#ifdef CONFIG_X86_USER_SHADOW_STACK\n\treturn pte_set_flags(pte, _PAGE_RW);\n"
                "#elif defined(CONFIG_BUG)\n\treturn __pte(1);\n#else\n\treturn __pte(3);\n#endif"
            )
        }
    )
    option = "CONFIG_X86_USER_SHADOW_STACK"
    results = [
        pgtable.kernel_tree(tree, **QUICK, config=config).pte_mkwrite_novma(0)
        for config in (None, {option: False}, {option: False, "CONFIG_BUG": True})
    ]
    # CONFIG_BUG is off by itself: a warning in a helper must not kill the process
    assert results == [2, 3, 1]
    engine = pgtable.kernel_tree(tree, **QUICK, config={option: False})
    assert engine.name == f"kernel_tree('6.66.3-mini', shstk=True, {option}=False)"


def test_build_option_that_nothing_asks_for(make_mini_tree):
    tree = make_mini_tree()
    for _ in range(2):  # when built, and out of the cache
        with pytest.warns(UserWarning, match="CONFIG_NOBODY: no header of .* asks for it"):
            pgtable.kernel_tree(tree, **QUICK, config={"CONFIG_NOBODY": True})


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"config": {"SHADOW": True}}, ValueError, "'SHADOW' is no build option"),
        ({"config": {"CONFIG_A b": True}}, ValueError, "is no build option"),
        ({"config": {"CONFIG_A": 1}}, TypeError, "CONFIG_A is 1; it must be True or False"),
        ({"shstk": 1}, TypeError, "shstk is 1"),
        ({"feature": "maybe"}, ValueError, "feature is 'maybe'"),
    ],
)
def test_wrong_options(make_mini_tree, options, error, said):
    with pytest.raises(error, match=said):
        pgtable.kernel_tree(make_mini_tree(), **options)


def test_without_the_source_file_its_helpers_are_reported(make_mini_tree):
    tree = make_mini_tree()
    (tree / "arch/x86/mm/pgtable.c").unlink()
    engine = pgtable.kernel_tree(tree, **QUICK)
    assert "pte_mkwrite" not in engine.helpers
    assert "arch/x86/mm/pgtable.c is not in the tree" in engine.unavailable["pte_mkwrite"]
    assert "arch/x86/mm/pgtable.c is not in the tree" in engine.unavailable["pgprot_writecombine"]


def test_source_file_that_does_not_compile_costs_its_helpers_only(make_mini_tree):
    tree = make_mini_tree()
    source = tree / "arch/x86/mm/pgtable.c"
    source.write_text(source.read_text() + "#include <linux/nowhere.h>\n")
    engine = pgtable.kernel_tree(tree, **QUICK)
    assert "nowhere.h: No such file" in engine.unavailable["pmd_mkwrite"]
    assert engine.pte_wrprotect(0x42) == 1 << 58


def test_mkwrite_of_a_shadow_stack_mapping(mini_engine):
    assert mini_engine.pte_mkwrite(0, 0) == 2
    assert mini_engine.pte_mkwrite(0, 1 << 37) == 0x40


def test_smallest_headers(make_mini_tree):
    tree = make_mini_tree()
    (tree / "include/linux/mm.h").unlink()
    (tree / "arch/x86/mm/pgtable.c").unlink()
    engine = pgtable.kernel_tree(tree, **QUICK)
    assert engine.pmd_modify(0x42, 0) == 1 << 58
