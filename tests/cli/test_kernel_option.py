# SPDX-License-Identifier: GPL-2.0-only
"""--kernel: one answer in every command, where it came from, and what it assumes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pgtable.cli import main

NEW, OLD = (f"tests/data/{name}.vmcore.xz" for name in ("k612-128", "k61-256"))
RECORDS = "tests/data/k612-128.ptpages.bin.xz"
NEW_RELEASE, OLD_RELEASE = "6.12.117+deb12-cloud-amd64", "6.1.0-56-cloud-amd64"


def said(capsys, *args):
    code = main(list(args))
    out = capsys.readouterr()
    return code, " ".join(out.out.split()), out.err


def as_json(capsys, *args):
    main([*args, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def pmds(tmp_path):
    path = tmp_path / "pmds.bin"
    np.array([0x80000003518008E7], "<u8").tofile(path)
    return str(path)


@pytest.mark.parametrize("command", ["walk", "audit", "diff", "census"])
@pytest.mark.parametrize(("image", "release"), [(NEW, NEW_RELEASE), (OLD, OLD_RELEASE)])
def test_an_image_names_its_kernel(capsys, command, image, release):
    images = [image, image] if command == "diff" else [image]
    _, out, _ = said(capsys, command, *images)
    assert f"kernel: Linux {release} (OSRELEASE of VMCOREINFO): rules" in out
    found = as_json(capsys, command, *images)
    found = found.get("before") or found.get("walk") or found
    assert found["kernel"]["release"] == release
    assert found["kernel"]["origin"] == "OSRELEASE of VMCOREINFO"


@pytest.mark.parametrize("command", ["walk", "audit", "diff", "census"])
def test_an_argument_overrides_it(capsys, command):
    images = [OLD, OLD] if command == "diff" else [OLD]
    _, out, _ = said(capsys, command, *images, "--kernel", "5.14.0-427.el9.x86_64")
    assert "kernel: Linux 5.14.0-427.el9.x86_64 (--kernel): rules base" in out
    assert "note: assumed: rules base in 5.14.0-427.el9.x86_64; Red Hat's" in out
    assert "OSRELEASE" not in out


@pytest.mark.parametrize("command", ["walk", "audit", "diff"])
def test_where_no_kernel_is_known_it_is_said(capsys, command):
    images = [RECORDS, RECORDS] if command == "diff" else [RECORDS]
    _, out, _ = said(capsys, command, *images, "--root", "0x544e000")
    assert "kernel not known: what is not present is named as in Linux 5.19 and later;" in out
    assert "--kernel RELEASE says which it is" in out


def test_walk_census_and_decode_have_the_same_names(capsys):
    counts = as_json(capsys, "walk", NEW)["counts"]["user level 1"]
    (region,) = [
        r for r in as_json(capsys, "census", NEW)["regions"]
        if (r["half"], r["level"]) == ("user", "pte")
    ]  # fmt: skip
    kinds = region["kinds"]
    assert counts["swap"] == kinds["swap"] == 80
    assert counts["marker"] == kinds["marker"] == 36
    (entry,) = as_json(capsys, "decode", "fffffffffffffc00", "--kernel", NEW_RELEASE)
    assert (entry["kind"], entry["special"]) == ("marker", "uffd_wp")


def test_the_kernel_half_has_no_swap(capsys):
    _, out, _ = said(capsys, "walk", NEW)
    assert "note: 8 entries of the kernel half are not present: it has no swap" in out
    for args in ([NEW], [RECORDS, "--root", "0x544e000"]):
        for region in as_json(capsys, "census", *args)["regions"]:
            if region["half"] == "kernel":
                assert "swap" not in region["kinds"]


@pytest.mark.parametrize(
    ("release", "result"),
    [
        ("6.8.0-45-generic", 0x80000003518008A5),
        ("6.12.107", 0x80000003518008A5),
        ("6.12.111", 0x84000003518008A5),
        ("6.1", 0x80000003518008E5),
    ],
)
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_apply_computes_as_that_kernel(capsys, pmds, tmp_path, release, result, engine):
    out = str(tmp_path / "out.bin")
    args = ["apply", "pmd_modify=0x8000000000000025", pmds, "-o", out, "--engine", engine]
    code, text, _ = said(capsys, *args, "--kernel", release)
    assert code == 0
    assert np.fromfile(out, "<u8").tolist() == [result]
    assert f"kernel: Linux {release} (--kernel): rules" in text
    assert ("drops Dirty" in text) == (result == 0x80000003518008A5)


def test_check_of_a_kernel(capsys):
    code, out, _ = said(capsys, "check", "--kernel", "4.15.0-29-generic", "--random", "100")
    assert code == 0
    assert "reference(rules='base', shstk=False, config=False, kernel='4.15.0-29-generic')" in out
    assert "frames of PROT_NONE entries not inverted" in out
    assert "distributions take changes of later versions" in out


def test_census_of_a_file_takes_rules_and_types(capsys, tmp_path):
    path = tmp_path / "entries.bin"
    np.array([0x867, 0xF << 60 | 0x200, 0x18 << 59 | 0x200] * 20, "<u8").tofile(path)
    found = as_json(capsys, "census", str(path), "--raw", "--kernel", "5.14")
    assert (found["rules"], found["kernel"]["release"]) == ("base", "5.14")
    # 24 is a swap area in 5.14, and a page with broken memory in 6.15
    assert (found["kinds"]["swap"], found["kinds"]["migration"]) == (20, 20)
    found = as_json(capsys, "census", str(path), "--raw", "--kernel", "6.15")
    assert (found["kinds"]["swap"], found["kinds"]["migration"]) == (0, 40)


def test_audit_rules_follow_the_version(capsys):
    found = as_json(capsys, "audit", OLD, "--kernel", "5.4")
    why = {each["rule"]: each["why"] for each in found["not_applied"]}
    for rule in ("uffd-wp-writable", "uffd-wp-migration"):
        assert why[rule].startswith("Linux 5.4 is without: bit 10")
    found = as_json(capsys, "audit", OLD)
    assert "uffd-wp-writable" not in {each["rule"] for each in found["not_applied"]}


def test_a_version_that_the_entries_contradict_is_said(capsys):
    _, out, _ = said(capsys, "audit", NEW, "--kernel", "6.1")
    assert (
        "rules base, those of Linux 6.1 (--kernel); the entries look like rules saved_dirty" in out
    )
    found = as_json(capsys, "audit", NEW, "--kernel", "6.1")
    assert found["rules_doubt"]
    assert as_json(capsys, "audit", NEW)["rules_doubt"] == ""


def test_diff_explains_with_the_helpers_of_that_kernel(capsys):
    found = as_json(capsys, "diff", NEW, NEW, "--cpu-after", "1")
    assert f"kernel='{NEW_RELEASE}'" in found["engine"]
    found = as_json(capsys, "diff", NEW, NEW, "--cpu-after", "1", "--kernel", "6.8")
    assert "kernel='6.8'" in found["engine"]


def test_later_than_known_is_said(capsys):
    _, out, _ = said(capsys, "decode", "0x867", "--kernel", "9.1")
    assert "assumed: 9.1 is like Linux 7.3, the newest that is known here" in out


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("soon", "--kernel: no kernel release in 'soon'; write one as uname -r prints it: 6.8"),
        ("", "--kernel: no kernel release in ''"),
        ("2.4.20", "--kernel: 2.4.20: kernels before 2.6.32"),
        ("6.40", "--kernel: 6.40: there is no such Linux; 6.19 was the last of 6.x"),
    ],
)
@pytest.mark.parametrize("command", ["decode", "walk", "audit", "diff", "census", "apply", "check"])
def test_what_cannot_be_read_is_one_line(capsys, command, release, says, pmds):
    args = {
        "decode": ["0x867"], "walk": [NEW], "audit": [NEW], "diff": [NEW, NEW], "check": [],
        "census": [pmds, "--raw"], "apply": ["pte_mkold", pmds, "-o", "/dev/null"],
    }[command]  # fmt: skip
    code, out, err = said(capsys, command, *args, "--kernel", release)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_rules_that_the_kernel_cannot_have(capsys, pmds):
    args = ["apply", "pte_mkold", pmds, "-o", "/dev/null", "--kernel", "4.15", "--rules", "cow"]
    code, _, err = said(capsys, *args)
    assert code == 2
    assert "rules cow are not those of Linux 4.15" in err
