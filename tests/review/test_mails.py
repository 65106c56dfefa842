# SPDX-License-Identifier: GPL-2.0-only
"""Patches are found in whatever reviewers get them in."""

from __future__ import annotations

import base64
import html
import mailbox
import quopri
from email.message import EmailMessage
from pathlib import Path

import pytest

from pgtable.review.errors import PatchError
from pgtable.review.mails import read_patches

DIFF = """\
diff --git a/arch/x86/include/asm/pgtable.h b/arch/x86/include/asm/pgtable.h
index 1234567..89abcde 100644
--- a/arch/x86/include/asm/pgtable.h
+++ b/arch/x86/include/asm/pgtable.h
@@ -1,4 +1,4 @@ static inline int pte_young(pte_t pte)
 one
-two = \u00e4
+two = \u00f6
\x20
 four
@@ -10 +10,2 @@
-ten
+ten = 10
+eleven
"""
OTHER = """\
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -1,2 +1 @@
 one
-two
"""
TEXT = f"Why it is done.\n\nSigned-off-by: A\n---\n 1 file changed\n\n{DIFF}-- \n2.47.0\n"


def mail(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "A <a@example.org>"
    message["Subject"] = subject
    message.set_content(text)
    return message


def raw(subject: str, text: str, encoding: str) -> bytes:
    head = f"From: A <a@example.org>\nSubject: {subject}\nMIME-Version: 1.0\n"
    head += f"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: {encoding}\n\n"
    content = text.encode()
    if encoding == "base64":
        content = base64.encodebytes(content)
    elif encoding == "quoted-printable":
        content = quopri.encodestring(content)
    return head.encode() + content


def shape(content: bytes) -> list[tuple[str, list[tuple[str, int]]]]:
    return [
        (patch.title, [(diff.path, len(diff.hunks)) for diff in patch.files])
        for patch in read_patches(content)
    ]


ONE = [("arch/x86/include/asm/pgtable.h", 2)]


def test_a_bare_diff() -> None:
    assert shape(DIFF.encode()) == [("", ONE)]


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_a_mail(encoding: str) -> None:
    content = raw("[PATCH v2 3/7] x86/mm: Fix it", TEXT, encoding)
    assert shape(content) == [("[PATCH v2 3/7] x86/mm: Fix it", ONE)]
    (patch,) = read_patches(content)
    assert patch.number == 3
    assert patch.files[0].hunks[0].new == ("one", "two = \u00f6", "", "four")


@pytest.mark.parametrize("change", ["\r\n", "utf-16", "bom", "stripped"])
def test_what_mail_programs_do_to_text(change: str) -> None:
    content = {
        "\r\n": TEXT.replace("\n", "\r\n").encode(),
        "utf-16": TEXT.encode("utf-16"),
        "bom": TEXT.encode("utf-8-sig"),
        "stripped": "\n".join(line.rstrip() for line in TEXT.split("\n")).encode(),
    }[change]
    assert shape(content) == [("", ONE)]


def test_a_patch_that_is_attached() -> None:
    message = mail("[PATCH] x", "See below.")
    message.add_attachment(TEXT.encode(), "text", "x-patch", filename="1.patch")
    assert shape(message.as_bytes()) == [("[PATCH] x", ONE)]


def test_a_mailbox_is_read_in_the_order_of_the_series(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box")
    box.add(mail("[PATCH 0/2] Cover letter", "No diff here."))
    box.add(mail("[PATCH 2/2] Second", OTHER))
    box.add(mail("[PATCH 1/2] First", TEXT))
    quoted = "".join(f"> {line}\n" for line in TEXT.splitlines())
    box.add(mail("Re: [PATCH 1/2] First", f"Looks wrong:\n{quoted}\nIs it?"))
    box.flush()
    assert shape((tmp_path / "box").read_bytes()) == [
        ("[PATCH 1/2] First", ONE),
        ("[PATCH 2/2] Second", [("mm/memory.c", 1)]),
    ]


def test_a_page_of_an_archive_as_text() -> None:
    quoted = "".join(f"> {line}\n" for line in TEXT.splitlines())
    page = f"[PATCH 09/35] x86/mm: Introduce it\n\nA posted it 3 years ago\n{TEXT}\n"
    page += f"Re: [PATCH 09/35] x86/mm: Introduce it\nOn 1/30/22 A wrote:\n{quoted}\nWhy?\n"
    assert shape(page.encode()) == [("[PATCH 09/35] x86/mm: Introduce it", ONE)]


def test_a_page_of_an_archive_as_html() -> None:
    lines = [f'<span class="{line[:1]}">{html.escape(line)}</span>' for line in DIFF.split("\n")]
    page = "<!DOCTYPE html><html><head><style>--- a/x\n</style></head><body><pre>"
    page += "[PATCH] x86/mm: Fix &amp; mend\n\n" + "\n".join(lines) + "</pre></body></html>"
    assert shape(page.encode()) == [("[PATCH] x86/mm: Fix & mend", ONE)]


def test_paths_with_and_without_prefixes() -> None:
    for old, new in [
        ("a/mm/memory.c", "b/mm/memory.c"),
        ("mm/memory.c", "mm/memory.c"),
        ("linux-6.1.orig/mm/memory.c\t2022-01-01", "linux-6.1/mm/memory.c\t2022-01-02"),
        ("i/mm/memory.c", "w/mm/memory.c"),
    ]:
        text = OTHER.replace("a/mm/memory.c", old).replace("b/mm/memory.c", new)
        assert shape(text.encode()) == [("", [("mm/memory.c", 1)])]


def test_files_that_come_go_and_move() -> None:
    text = """\
diff --git a/include/linux/old.h b/include/linux/new.h
similarity index 100%
rename from include/linux/old.h
rename to include/linux/new.h
diff --git a/include/linux/come.h b/include/linux/come.h
new file mode 100644
--- /dev/null
+++ b/include/linux/come.h
@@ -0,0 +1 @@
+here
\\ No newline at end of file
diff --git a/include/linux/go.h b/include/linux/go.h
deleted file mode 100644
--- a/include/linux/go.h
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/logo.png b/logo.png
index 1..2 100644
Binary files a/logo.png and b/logo.png differ
"""
    (patch,) = read_patches(text.encode())
    assert [(diff.path, diff.kind, diff.renamed_from, diff.binary) for diff in patch.files] == [
        ("include/linux/new.h", "changed", "include/linux/old.h", False),
        ("include/linux/come.h", "new", None, False),
        ("include/linux/go.h", "deleted", None, False),
        ("logo.png", "changed", None, True),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing to see", "there is no diff in it"),
        ("".join(f"> {line}\n" for line in DIFF.splitlines()), "there is no diff in it"),
        (DIFF[: DIFF.index(" four")], "hunk 1 ends early, at line 9"),
        (DIFF.replace("-two = \u00e4", "-two =\n\u00e4"), "are its lines wrapped"),
        (OTHER.replace("mm/memory.c", "../../etc/passwd"), "only name files of the tree"),
        (OTHER.replace("a/mm/memory.c", "/etc/passwd").replace("b/mm/memory.c", "/etc/passwd"),
         "only name files of the tree"),
    ],
)  # fmt: skip
def test_what_is_no_patch(text: str, said: str) -> None:
    with pytest.raises(PatchError, match=said) as caught:
        read_patches(text.encode())
    assert "\n" not in str(caught.value)
