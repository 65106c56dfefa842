# SPDX-License-Identifier: GPL-2.0-only
"""Finding both halves of a tree, and saying what is missing."""

import re
import shutil

import pytest

from pgtable.kernel_trees.errors import KernelTreeError
from pgtable.kernel_trees.locate import locate

STEM = "linux-headers-6.66.3"
CONFIG = "include/generated/autoconf.h"


@pytest.fixture
def packages(make_mini_tree, tmp_path):
    """Return the two halves of header packages, as Debian splits them."""
    tree = make_mini_tree()
    common, flavour = tmp_path / f"src/{STEM}-common", tmp_path / f"src/{STEM}-amd64"
    flavour.mkdir(parents=True)
    (flavour / "include").mkdir()
    shutil.move(tree / "include/generated", flavour / "include/generated")
    shutil.move(tree / "include/config", flavour / "include/config")
    shutil.move(tree, common)
    (flavour / "Makefile").write_text(f"include /usr/src/{STEM}-common/Makefile\n")
    return common, flavour


def test_configured_tree_is_both_halves(make_mini_tree):
    tree = make_mini_tree()
    assert locate(tree) == (tree, tree, "6.66.3-mini", None)


def test_str_and_symlink(make_mini_tree, tmp_path):
    tree = make_mini_tree()
    (tmp_path / "build").symlink_to(tree)
    assert locate(str(tmp_path / "build")).sources == tree


@pytest.mark.parametrize("half", [0, 1])
def test_either_half_finds_the_other_beside_it(packages, half):
    common, flavour = packages
    assert locate(packages[half])[:2] == (common, flavour)


def test_other_half_where_the_makefile_says(packages, tmp_path):
    common, flavour = packages
    elsewhere = tmp_path / "elsewhere with a space"
    elsewhere.mkdir()
    moved = common.rename(elsewhere / common.name)
    (flavour / "Makefile").write_text(f"include {moved}/Makefile\n")
    assert locate(flavour)[:2] == (moved, flavour)


def test_plain_flavour_is_preferred(packages):
    common, flavour = packages
    shutil.copytree(flavour, flavour.with_name(f"{STEM}-cloud-amd64"))
    assert locate(common).generated == flavour


def test_only_flavour_is_taken(packages):
    common, flavour = packages
    cloud = flavour.rename(flavour.with_name(f"{STEM}-cloud-amd64"))
    assert locate(common).generated == cloud


def test_flavour_of_other_sources_is_not_taken(packages):
    common, flavour = packages
    (flavour / "Makefile").write_text(f"include /usr/src/{STEM}-common-rt/Makefile\n")
    with pytest.raises(KernelTreeError, match=f"install the package {STEM}-amd64"):
        locate(common)


def test_several_flavours_but_no_plain_one(packages):
    common, flavour = packages
    cloud = flavour.rename(flavour.with_name(f"{STEM}-cloud-amd64"))
    shutil.copytree(cloud, cloud.with_name(f"{STEM}-slim-amd64"))
    with pytest.raises(KernelTreeError, match=r"cloud-amd64, .*slim-amd64; give one of these"):
        locate(common)


def test_common_half_alone_names_the_package(packages):
    common, flavour = packages
    shutil.rmtree(flavour)
    with pytest.raises(KernelTreeError, match=f"install the package {STEM}-amd64 or unpack"):
        locate(common)


def test_generated_half_alone_names_the_package(packages):
    common, flavour = packages
    shutil.rmtree(common)
    with pytest.raises(KernelTreeError, match=f"install the package {STEM}-common or unpack"):
        locate(flavour)


def test_build_directory_with_a_link_to_its_sources(packages):
    common, flavour = packages
    (flavour / "Makefile").unlink()
    with pytest.raises(KernelTreeError, match="give the kernel tree itself, with --generated"):
        locate(flavour)
    (flavour / "source").symlink_to(common)
    assert locate(flavour).sources == common


def test_configured_tree_that_was_not_prepared_names_the_command(make_mini_tree, tmp_path):
    tree = make_mini_tree()
    shutil.rmtree(tree / "include/generated")
    (tree / ".config").write_text("CONFIG_X86_64=y\n")
    said = "it is configured but not prepared: run 'make prepare' in it, .* --generated DIR"
    with pytest.raises(KernelTreeError, match=said):
        locate(tree)
    build = tmp_path / "build"
    build.mkdir()
    (build / ".config").write_text("CONFIG_X86_64=y\n")
    for given in ((build,), (tree, build)):
        with pytest.raises(KernelTreeError, match=f"not prepared; run 'make O={build} prepare'"):
            locate(*given)


def test_unconfigured_tree_names_the_command(make_mini_tree):
    tree = make_mini_tree()
    shutil.rmtree(tree / "include/generated")
    with pytest.raises(KernelTreeError, match="run 'make defconfig && make prepare' in it"):
        locate(tree)


def test_generated_is_named(packages, tmp_path):
    common, flavour = packages
    generated = flavour.rename(tmp_path / "out")
    assert locate(common, generated)[:2] == (common, generated)
    with pytest.raises(KernelTreeError, match="has no include/generated/autoconf"):
        locate(common, common)


def test_not_a_kernel_tree(tmp_path):
    with pytest.raises(KernelTreeError, match=f"{re.escape(str(tmp_path))} is no kernel tree"):
        locate(tmp_path)


def test_only_headers_of_another_architecture(make_mini_tree):
    tree = make_mini_tree()
    (tree / "arch/x86").rename(tree / "arch/riscv")
    shutil.rmtree(tree / "include/generated")
    with pytest.raises(KernelTreeError, match="has headers of riscv only"):
        locate(tree)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("CONFIG_ARM64", "arm64"),
        ("CONFIG_X86_32", r"x86_32 \(CONFIG_X86_64=n\)"),
        ("CONFIG_Z", "another architecture"),
    ],
)
def test_configured_for_another_architecture(make_mini_tree, option, said):
    tree = make_mini_tree()
    (tree / CONFIG).write_text(f"#define {option} 1\n")
    with pytest.raises(KernelTreeError, match=f"is configured for {said}; x86-64 is needed"):
        locate(tree)


def test_halves_of_different_versions(packages):
    common, _ = packages
    makefile = common / "Makefile"
    makefile.write_text(makefile.read_text().replace("SUBLEVEL = 3", "SUBLEVEL = 4"))
    with pytest.raises(KernelTreeError, match=r"is Linux 6\.66\.4, but .* by 6\.66\.3"):
        locate(common)


def test_sublevels_above_255_are_what_the_version_code_holds(packages):
    common, flavour = packages
    makefile = common / "Makefile"
    makefile.write_text(makefile.read_text().replace("SUBLEVEL = 3", "SUBLEVEL = 302"))
    version = flavour / "include/generated/uapi/linux/version.h"
    version.write_text(f"#define LINUX_VERSION_CODE {6 << 16 | 66 << 8 | 255}\n")
    assert locate(common).sources == common


@pytest.mark.parametrize(
    ("name", "error"), [("none", FileNotFoundError), ("f", NotADirectoryError)]
)
def test_unreadable_path(tmp_path, name, error):
    (tmp_path / "f").write_text("")
    with pytest.raises(error) as caught:
        locate(tmp_path / name)
    assert str(caught.value.filename) == str(tmp_path / name)


@pytest.mark.parametrize("given", ["sources", "build"])
def test_build_directory_below_its_sources(packages, given):
    common, flavour = packages
    build = flavour.rename(common / "build dir")
    (build / "Makefile").write_text("include ../Makefile\n")
    assert locate(common if given == "sources" else build)[:2] == (common, build)


def test_linked_sources_win_over_a_neighbour_of_that_name(packages, tmp_path):
    common, flavour = packages
    sources = tmp_path / "elsewhere" / common.name
    shutil.copytree(common, sources)
    assert locate(flavour).sources == common
    (flavour / "source").symlink_to(sources)
    assert locate(flavour).sources == sources
