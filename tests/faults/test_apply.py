# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable apply`` under kills, signals, full disks, changing input and closed descriptors.

Whatever happens, OUT is what it was or complete, and nothing else is left.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pgtable import files, replacing

PROGRAM = [sys.executable, "-m", "pgtable"]
ENTRIES = 1 << 20
OLD = b"what was there before"


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "in.bin"
    np.random.default_rng(1).integers(0, 2**64, ENTRIES, np.uint64).tofile(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "out.bin"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def expected(source: Path) -> bytes:
    return (np.fromfile(source, "<u8") & ~np.uint64(0x20)).tobytes()


def state(out: Path, complete: bytes) -> str:
    assert os.listdir(out.parent) == [out.name], "something else is left"
    content = out.read_bytes()
    assert content in (OLD, complete), f"OUT is {len(content)} bytes of neither"
    return "old" if content == OLD else "complete"


# ---- kills and signals


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_at_any_moment(big, out, number, tries, outcomes, environment):
    complete = expected(big)
    wanted = getattr(signal, number)
    chance = random.Random(number)
    started = time.monotonic()
    subprocess.run([*PROGRAM, "apply", "pte_mkold", big, "-o", out], check=True, env=environment)
    whole = time.monotonic() - started
    for _ in range(tries(3, 100)):
        out.write_bytes(OLD)
        child = subprocess.Popen(
            [*PROGRAM, "apply", "pte_mkold", big, "-o", out, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        time.sleep(chance.uniform(0.2, 1.0) * whole)
        child.send_signal(wanted)
        _, error = child.communicate(timeout=60)
        found = state(out, complete)
        outcomes[f"{found}, exit {child.returncode}"] += 1
        if child.returncode == 0:
            assert found == "complete"
        elif wanted == signal.SIGKILL:
            assert child.returncode == -signal.SIGKILL
        elif child.returncode == 128 + wanted:
            assert error == "pgtable: interrupted\n"
        else:
            # Python itself was not ready yet, or had ended our part: nothing of ours ran
            assert child.returncode in (-wanted, 1)
            assert "pgtable/cli" not in error
            assert found == "old" or (found == "complete" and child.returncode == -wanted)


def test_ctrl_c_while_the_program_starts_is_one_line(tries, outcomes, environment, tmp_path):
    """From the moment in which the package is imported on."""
    script = (
        "import sys; sys.argv = ['pgtable', 'census', '/dev/null'];"
        "print('here', flush=True); from pgtable.cli import main; sys.exit(main())"
    )
    chance = random.Random(2)
    for _ in range(tries(4, 200)):
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0.03, 0.3))
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=60)
        outcomes[f"exit {child.returncode}"] += 1
        assert "Traceback" not in error
        assert (child.returncode, error) in ((130, "pgtable: interrupted\n"), (0, ""))


def test_what_a_killed_process_left_is_removed_and_a_living_one_kept(tmp_path, monkeypatch):
    """Where the file system has no unnamed files: temporary names, with a lock."""
    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY, raising=False)  # refused: EISDIR
    target = tmp_path / "out"
    target.write_bytes(OLD)
    abandoned = tmp_path / ".out.0123456789ab.pgtable-tmp"
    abandoned.write_bytes(b"half")
    other = tmp_path / ".other.0123456789ab.pgtable-tmp"
    other.write_bytes(b"of another file")
    link = tmp_path / ".out.ba9876543210.pgtable-tmp"
    link.symlink_to(target)
    with files.replacing(target) as first:
        first.write(b"first")
        named = {path.name for path in tmp_path.iterdir()}
        assert abandoned.name not in named
        (living,) = named - {"out", other.name, link.name}
        assert living.endswith(".pgtable-tmp")
        with files.replacing(target) as second:
            second.write(b"second")
            assert living in {path.name for path in tmp_path.iterdir()}
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["out", other.name, link.name]
    )


def test_nothing_has_a_name_before_it_is_complete(tmp_path):
    with files.replacing(tmp_path / "out") as sink:
        sink.write(b"half")
        assert os.listdir(tmp_path) == []
    assert (tmp_path / "out").read_bytes() == b"half"


# ---- full disks


def test_a_limit_on_the_size_of_files(big, out, tries, outcomes, environment):
    complete = expected(big)
    for number in range(tries(2, 60)):
        limit = number * len(complete) // tries(2, 60)
        done = subprocess.run(
            [*PROGRAM, "apply", "pte_mkold", big, "-o", out],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        assert (done.returncode, state(out, complete)) == (2, "old")
        assert done.stderr == f"pgtable: error: {out}: {os.strerror(errno.EFBIG)}\n"
        outcomes["old, an error"] += 1


@pytest.mark.parametrize("fails", ["write", "fsync", "link", "replace"])
def test_a_disk_that_is_full_at_any_step(big, out, fails, monkeypatch, outcomes):
    def fail(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(replacing.os, fails, fail)
        with pytest.raises(OSError, match="No space left") as error:  # noqa: SIM117
            with files.open_entries(big) as source, files.replacing(out) as sink:
                files.transform(source, sink, lambda chunk: None)
    assert error.value.filename == str(out)
    outcomes[state(out, b"")] += 1


# ---- input that changes


@pytest.mark.parametrize("change", ["shrinks", "grows", "is written to"])
def test_input_that_changes_while_it_is_read(big, out, change, outcomes):
    size = big.stat().st_size

    def work(chunk: np.ndarray) -> None:
        if change == "shrinks":
            os.truncate(big, size // 2)
        elif change == "grows":
            os.truncate(big, size + 8)
        else:
            with big.open("r+b") as file:
                file.write(bytes(8))

    with pytest.raises(ValueError, match=r"in\.bin: was") as error:  # noqa: SIM117
        with files.open_entries(big) as source, files.replacing(out) as sink:
            files.transform(source, sink, work)
    assert error.value.args[0].count("\n") == 0
    outcomes[state(out, b"")] += 1


def test_input_that_is_its_own_output_ends(tmp_path, environment):
    path = tmp_path / "d.bin"
    path.write_bytes(bytes(1 << 20))
    with path.open("ab") as file:
        done = subprocess.run(
            [*PROGRAM, "apply", "pte_mkold", path, "-o", "-"],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
    assert done.returncode == 2
    assert path.stat().st_size <= 2 << 20


# ---- pipes and closed descriptors


def shell(text: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = text.replace("pgtable", f"{sys.executable} -m pgtable")
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


READ_ONCE = [
    "census /dev/stdin < in.bin",
    "cat in.bin | pgtable census -",
    "cat in.bin | pgtable census /dev/stdin",
    "census <(cat in.bin)",
    "census <(gzip -c in.bin)",
    "xz -0c in.bin | pgtable census -",
    "bzip2 -c in.bin | pgtable census -",
    "mkfifo p; (cat in.bin > p &); pgtable census p",
    "cat in.bin | pgtable apply pte_mkold - -o - | pgtable census -",
    "pgtable apply pte_mkold in.bin -o /dev/stdout | pgtable census -",
    "mkfifo p; (pgtable apply pte_mkold in.bin -o p >&2 &); pgtable census p",
]


@pytest.mark.parametrize("command", READ_ONCE)
def test_what_can_be_read_once_is_read_whole(big, command, tmp_path, outcomes, environment):
    os.truncate(big, 35840 * 8)
    command = command if "pgtable" in command else f"pgtable {command}"
    done = shell(command, tmp_path, environment)
    assert "35,840 pte entries" in done.stdout, done.stderr
    outcomes["whole"] += 1


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("pgtable apply pte_mkold in.bin -o out/out.bin --json >&-", 2, "output is closed"),
        ("pgtable apply pte_mkold in.bin -o out/out.bin >&-", 2, "output is closed"),
        ("pgtable apply pte_mkold in.bin -o - >&-", 2, "output is closed"),
        ("pgtable apply pte_mkold - -o out/out.bin <&-", 2, "standard input: is closed"),
        ("pgtable apply pte_mkold in.bin -o - > /dev/full", 2, "standard output: No space left"),
        ("pgtable census in.bin > /dev/full", 2, "standard output: No space left"),
        ("pgtable census no.bin 2>&-", 2, ""),
        ("pgtable apply pte_mkold in.bin -o - | true; exit ${PIPESTATUS[0]}", 2, "reader went"),
        ("pgtable apply pte_mkold - --in-place < in.bin", 2, "is standard input"),
        ("pgtable apply pte_mkold /dev/stdin --in-place < in.bin", 2, "is standard input"),
        ("mkfifo p; (cat in.bin > p &); pgtable apply pte_mkold p --in-place", 2, "no regular"),
        ("gzip in.bin; pgtable apply pte_mkold in.bin.gz --in-place", 2, "is compressed (gzip)"),
        ("pgtable apply pte_mkold in.bin -o out/o.bin.xz", 2, "writes no compressed files"),
        ("cat in.bin | pgtable apply pte_mkold - -o >(cat > x.npy)", 0, ""),
    ],
)  # fmt: skip
def test_descriptors_that_do_not_serve(big, out, command, code, says, outcomes, environment):
    done = shell(command, big.parent, environment)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1
    assert state(out, b"") == "old"
    outcomes[f"exit {code}"] += 1


def test_appended_output_is_not_replaced(big, tmp_path, environment):
    (tmp_path / "log").write_bytes(b"12345678")
    inode = (tmp_path / "log").stat().st_ino
    done = shell("pgtable apply pte_mkold in.bin -o /dev/stdout >> log", tmp_path, environment)
    assert done.returncode == 0
    assert (tmp_path / "log").stat().st_ino == inode
    assert (tmp_path / "log").read_bytes() == b"12345678" + expected(big)


def test_a_pipe_that_does_not_block_is_waited_for(big, tmp_path):
    read, write = os.pipe()
    os.set_blocking(write, False)
    got: list[bytes] = []

    def reader() -> None:
        while piece := os.read(read, 4096):
            got.append(piece)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        with files.open_entries(big) as source, files.replacing(f"/dev/fd/{write}") as sink:
            files.transform(source, sink, lambda chunk: None)
    finally:
        os.close(write)
        thread.join()
        os.close(read)
    assert b"".join(got) == big.read_bytes()


# ---- what a replaced file keeps


def test_owner_mode_and_attributes_are_kept_and_rights_are_not(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(OLD)
    with contextlib.suppress(PermissionError):  # only root may
        os.chown(path, 12345, 54321)
    path.chmod(0o6751)
    os.setxattr(path, "user.origin", b"a machine")
    os.link(path, tmp_path / "second")
    before = path.stat()
    with files.replacing(path) as sink:
        sink.write(b"new")
    after = path.stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_mode & 0o7777 == 0o751
    assert os.getxattr(path, "user.origin") == b"a machine"
    assert (tmp_path / "second").read_bytes() == OLD
    assert any("set-id" in note for note in sink.notes)
    assert any("2 names" in note for note in sink.notes)


def test_rights_of_a_group_are_not_given_to_another(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_bytes(OLD)
    path.chmod(0o664)
    before = path.stat()

    def refuse(*args):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(replacing.os, "fchown", refuse)
    other = os.stat_result((*before[:5], before.st_gid + 1, *before[6:10]))
    with files.replacing(tmp_path / "new") as sink:
        notes = replacing._keep_attributes(sink.fileno(), path, other, "out")
        assert os.fstat(sink.fileno()).st_mode & 0o777 == 0o644
    assert "out: its owner and group cannot be kept by this user" in notes


# ---- files that expand without end


def test_memory_stays_bounded_whatever_a_file_expands_to(tmp_path, environment):
    size = 1 << 30
    path = tmp_path / "zeros.xz"
    with lzma.open(path, "wb", preset=0) as file:
        for _ in range(size >> 24):
            file.write(bytes(1 << 24))
    # not ru_maxrss, which counts the parent before exec too
    script = (
        "import re, sys; from pgtable.cli import main; code = main(sys.argv[1:]);"
        "status = open('/proc/self/status').read();"
        "print(re.search(r'VmHWM:\\s*(\\d+)', status)[1], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "census", path],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert f"{size // 8:,} pte entries" in done.stdout
    assert int(done.stderr) < 300_000, "KiB"


def test_counts_are_shown(outcomes: Counter[str]) -> None:
    outcomes["shown"] += 1
    assert outcomes.total() == 1
