# SPDX-License-Identifier: GPL-2.0-only
"""Sound trees in other configurations, and headers that nobody foresaw."""

import json
import shutil

import pytest

from pgtable.cli import main

from ..conftest import SERIES, sample

_OFF = {
    "defconfig": (
        *("MEM_SOFT_DIRTY", "HAVE_ARCH_SOFT_DIRTY", "HAVE_ARCH_USERFAULTFD_WP"),
        *("PTE_MARKER_UFFD_WP", "X86_USER_SHADOW_STACK", "NUMA_BALANCING"),
    ),
    "no shadow stacks": ("X86_USER_SHADOW_STACK",),
}
_OFF["tinyconfig"] = (
    *_OFF["defconfig"],
    *("HUGETLB_PAGE", "HUGETLBFS", "TRANSPARENT_HUGEPAGE", "MIGRATION", "SWAP", "ZONE_DEVICE"),
    *("ARCH_ENABLE_THP_MIGRATION", "HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD", "ARCH_HAS_PTE_DEVMAP"),
)
_ON = {"page table check": ("PAGE_TABLE_CHECK",)}


def configured(generated, place, off=(), on=()):
    """Return a copy of a package's generated half with these options off and on."""
    tree = place / generated.name
    shutil.copytree(generated, tree, symlinks=True)
    common = generated.name.removesuffix("amd64") + "common"
    (place / common).symlink_to(generated.parent / common)
    header = tree / "include/generated/autoconf.h"
    gone = {f"#define CONFIG_{option} 1" for option in off}
    lines = [line for line in header.read_text().splitlines() if line not in gone]
    header.write_text("\n".join([*lines, *(f"#define CONFIG_{each} 1" for each in on), ""]))
    return tree


_EACH = [(series, name) for series in SERIES for name in (*_OFF, *_ON)]


@pytest.mark.parametrize(
    ("header_tree", "name"),
    sample(_EACH, [("6.12", "tinyconfig"), ("6.1", "page table check")]),
    indirect=["header_tree"],
)
def test_a_sound_tree_is_clean_however_it_is_configured(name, header_tree, tmp_path, capsys):
    tree = configured(header_tree, tmp_path, _OFF.get(name, ()), _ON.get(name, ()))
    code = main(["kernel", "check", str(tree), "--flags=-O1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["laws"]["findings"] == []
    assert found["reference"]["differences"] == []
    assert code == 0
    known = {each["helper"]: each["inputs"] for each in found["reference"]["known_differences"]}
    if name in ("defconfig", "tinyconfig"):
        assert known["pte_mkdirty"] == "SOFT_DIRTY is not set"
        assert known["pte_modify"].startswith("SOFT_DIRTY, UFFD_WP are taken from newprot")
        assert {"pte_soft_dirty", "pte_mkuffd_wp", "pte_protnone"} <= set(found["compiled_out"])
    else:
        assert not {"pte_mkdirty", "pte_modify"} & set(known)


@pytest.mark.parametrize(
    "mask", sample(["0x001ffffffffff000UL", "0x01fffffffffff000UL"], ["0x001ffffffffff000UL"])
)
def test_a_wider_frame_mask_is_a_finding_and_no_traceback(mask, make_mini_tree, capsys):
    tree = make_mini_tree()
    header = tree / "arch/x86/include/asm/pgtable_types.h"
    text = header.read_text()
    assert text.count("0x000ffffffffff000UL") == 1
    header.write_text(text.replace("0x000ffffffffff000UL", mask))
    assert main(["kernel", "check", str(tree), "--flags=-O1"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    # the mask reaches into bits that are no frame: flags lack them, modify keeps them
    shown = out.partition("\npte_flags: ")[2].partition("\n\n")[0]
    assert "entry    0x0010000000000000 " in shown
    assert "A gives  0x0000000000000000\n" in shown
    assert "B gives  0x0010000000000000" in shown
    assert "\npte_modify: " in out


@pytest.mark.long  # test_tree_check has every fault in a small tree
def test_soft_dirty_that_is_lost_by_a_fault_is_no_configuration(header_tree, tmp_path, capsys):
    """mkdirty without SOFT_DIRTY is excused only where the tree is configured so."""
    tree = configured(header_tree, tmp_path)
    common = tmp_path / (header_tree.name.removesuffix("amd64") + "common")
    sources = common.resolve()
    common.unlink()
    shutil.copytree(sources / "arch/x86/include", common / "arch/x86/include", symlinks=True)
    shutil.copytree(sources / "include", common / "include", symlinks=True)
    shutil.copy(sources / "Makefile", common)
    header = common / "arch/x86/include/asm/pgtable.h"
    text = header.read_text()
    wrong = text.replace("_PAGE_DIRTY | _PAGE_SOFT_DIRTY", "_PAGE_DIRTY")
    assert wrong != text
    header.write_text(wrong)
    assert main(["kernel", "check", str(tree), "--flags=-O1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    differing = {each["helper"] for each in found["reference"]["differences"]}
    assert differing == {"pte_mkdirty", "pmd_mkdirty", "pud_mkdirty"}


def test_exit_skip_is_125_where_a_tree_cannot_be_had(make_mini_tree, tmp_path, capsys):
    broken = make_mini_tree()
    (broken / "include/linux/pgtable.h").write_text("#error no\n")
    for tree in (broken, tmp_path / "none"):
        assert main(["kernel", "check", str(tree), "--flags=-O1"]) == 2
        assert main(["kernel", "check", str(tree), "--flags=-O1", "--exit-skip"]) == 125
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 2
        assert errors[1].startswith("pgtable: skipped: ")


def test_what_one_side_lacks_counts_only_when_strict(make_mini_tree, capsys):
    tree = str(make_mini_tree())
    assert main(["kernel", "compare", tree, "saved_dirty", "--flags=-O1"]) == 0
    assert "only in B: " in capsys.readouterr().out
    assert main(["kernel", "compare", tree, "saved_dirty", "--flags=-O1", "--strict"]) == 1


def test_a_fault_of_ours_is_exit_2_in_one_line(make_mini_tree, capsys, monkeypatch):
    def fails(*given, **options):
        raise TypeError("unsupported operand\nNone & int")

    monkeypatch.setattr("pgtable.checks.tree_check.check_laws", fails)
    tree = str(make_mini_tree())
    assert main(["kernel", "check", tree, "--flags=-O1"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "TypeError: unsupported operand None & int" in error
    assert "not a finding" in error
