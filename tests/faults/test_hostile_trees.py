# SPDX-License-Identifier: GPL-2.0-only
"""Trees whose code does what no helper should: it is said which helper, on what, and how."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.kernel_trees import HelperEndedError, KernelTreeError

QUICK = "-O1"
SOUND = "return pte_set_flags(pte, _PAGE_ACCESSED);"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def hostile(make_mini_tree):
    """Make a tree whose pte_mkyoung() does this first, on entries for which ``when`` holds."""

    def make(what, when="pte_val(pte) == 0x40", more=""):
        return make_mini_tree(
            edits={SOUND: f"if ({when}) {{ {what} }} {SOUND}", "/* pte */": f"{more}\n/* pte */"}
        )

    return make


def isolated(tree, **options):
    return pgtable.kernel_tree(tree, flags=QUICK, isolated=True, **options)


def command(*words, **options):
    """Run the command line in a process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "pgtable", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def could_not_run(done, said):
    assert done.returncode == 2
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if ": warning: " not in line]
    assert len(errors) == 1
    assert said in errors[0]


SYSCALL = 'asm volatile("syscall" : : "a"({}), "D"({}), "S"({}) : "rcx", "r11", "memory");'
EXIT_0 = SYSCALL.format(231, 0, 0)
ENDS = {
    "division": (
        "volatile unsigned long z = 0; return __pte(pte_val(pte) / z);",
        "divided by zero (SIGFPE)",
    ),
    "ud2": ('asm volatile("ud2");', "ran an illegal instruction (SIGILL)"),
    "null": (
        "*(volatile int *)0 = 1;",
        "ended in a segmentation fault (SIGSEGV)",
    ),
    "int3": ('asm volatile("int3");', "ran a breakpoint (SIGTRAP)"),
    "exit(0)": (EXIT_0, "ended the process with exit(0)"),
    "exit(1)": (SYSCALL.format(231, 1, 0), "ended the process with exit(1)"),
    "recursion": (
        "volatile char big[1 << 24]; big[0] = big[(1 << 24) - 1] = 1;",
        "ended in a segmentation fault (SIGSEGV)",
    ),
}


@pytest.mark.parametrize("way", list(ENDS))
def test_helper_that_ends_its_process(hostile, way):
    what, said = ENDS[way]
    tree = hostile(what)
    engine = isolated(tree)
    entries = np.arange(1 << 20, dtype=np.uint64)[::-1].copy()
    with pytest.raises(HelperEndedError) as caught:
        engine.pte_mkyoung(entries)
    assert str(caught.value) == f"{tree}: pte_mkyoung(0x40) {said}"
    # all others, and all other entries, are as they were
    assert engine.pte_mkyoung(0x41) == 0x61
    assert engine.pte_mkold(0x60) == 0x40
    with pytest.raises(HelperEndedError, match=r"pte_mkyoung\(0x40\)"):
        engine.pte_mkyoung(0x40)
    could_not_run(command("kernel", "check", tree, f"--flags={QUICK}"), f"pte_mkyoung(0x40) {said}")
    done = command("kernel", "apply", "pte_mkyoung", tree, "0x40", f"--flags={QUICK}")
    could_not_run(done, f"pte_mkyoung(0x40) {said}")


def test_endless_loop(hostile):
    tree = hostile('for (;;) asm volatile("");')
    began = time.monotonic()
    done = command("kernel", "check", tree, f"--flags={QUICK}", "--timeout", "2")
    could_not_run(done, f"{tree}: pte_mkyoung(0x40) did not end within 2 s")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_endless_loop_is_interrupted(hostile, number):
    tree = hostile('for (;;) asm volatile("");')
    isolated(tree)  # compiles it
    words = [sys.executable, "-m", "pgtable", "kernel", "apply", "pte_mkyoung", tree, "0x40"]
    process = subprocess.Popen([*words, f"--flags={QUICK}"], stderr=subprocess.PIPE, text=True)
    child = wait_for_child(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert errors == "pgtable: interrupted\n"
    assert process.returncode in (130, 143)
    assert not Path(f"/proc/{child}").exists()


def wait_for_child(pid):
    """Return the process that runs the helpers, once it does."""
    for _ in range(600):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if "child.py" in Path(f"/proc/{child}/cmdline").read_text():
                before = Path(f"/proc/{child}/stat").read_text().split()[13]
                time.sleep(0.3)
                if int(Path(f"/proc/{child}/stat").read_text().split()[13]) - int(before) > 10:
                    return int(child)
        time.sleep(0.1)
    raise AssertionError("no process runs the helper")


def test_nobody_asks_any_more(hostile):
    """A process that was killed leaves none behind that runs for ever."""
    tree = hostile('for (;;) asm volatile("");')
    isolated(tree)
    words = [sys.executable, "-m", "pgtable", "kernel", "apply", "pte_mkyoung", tree, "0x40"]
    process = subprocess.Popen([*words, f"--flags={QUICK}", "--timeout", "3"])
    child = wait_for_child(process.pid)
    process.kill()
    process.wait()
    until = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.2)
    assert time.monotonic() < until


CONSTRUCTOR = "static void __attribute__((constructor, used)) at_load(void) {{ {} }}"


def test_constructor_runs_in_the_child_alone(hostile, tmp_path):
    """It can neither write a file nor end the process that asks."""
    path = tmp_path / "written"
    create = SYSCALL.format(85, f'"{path}"', 0o600)
    tree = hostile(create, when="0", more=CONSTRUCTOR.format(create))
    engine = isolated(tree)
    assert engine.pte_mkyoung(0) == 0x20
    assert command("kernel", "list", tree, f"--flags={QUICK}").returncode == 0
    if any(one.startswith("Landlock") for one in engine.active):
        assert not path.exists()
    # in the process itself, it does
    pgtable.kernel_tree(tree, flags=QUICK, forms=False)
    assert path.exists()


@pytest.mark.parametrize("way", ["ud2", "exit(0)"])
def test_constructor_that_ends_its_process(hostile, way):
    what, said = ENDS[way]
    tree = hostile("", when="0", more=CONSTRUCTOR.format(what))
    done = command("kernel", "check", tree, f"--flags={QUICK}")
    could_not_run(done, f"{tree}: code that runs when its helpers are loaded {said}")


CALLS = {
    "socket": (41, 2, 1),
    "fork": (57, 0, 0),
    "open": (2, '"/etc/passwd"', 0),
    "mkdir": (83, '"/tmp/pgtable-hostile"', 0o700),
    "kill": (62, 1, 0),
    "tkill": (200, 1, 0),
    "chmod": (90, '"/tmp"', 0o1777),
    "fchmodat": (268, -100, '"/tmp"'),
    "chown": (92, '"/tmp"', 0),
    "utime": (132, '"/tmp"', 0),
    "setxattr": (188, '"/tmp"', '"user.x"'),
    "unlink": (87, '"/tmp/pgtable-hostile"', 0),
    "truncate": (76, '"/tmp/pgtable-hostile"', 0),
    "open to write": (2, '"/tmp/pgtable-hostile"', 0o101),
    "prlimit of another": (302, 1, 0),
    "setpriority": (141, 0, 1),
    "sched_setaffinity": (203, 1, 8),
    "settimeofday": (164, 0, 0),
    "sethostname": (170, '"x"', 1),
    "reboot": (169, 0, 0),
    "init_module": (175, 0, 0),
    "shmget": (29, 0x1234, 8),
    "memfd_create": (319, '"x"', 0),
    "pidfd_open": (434, 1, 0),
    "ioctl": (16, 0, 0x5412),
    "personality": (135, 0, 0),
    "setuid": (105, 0, 0),
    "name_to_handle_at": (303, -100, '"/etc"'),
    "userfaultfd": (323, 0, 0),
    "perf_event_open": (298, 0, 0),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_what_a_helper_may_not_do(hostile, name):
    """A system call of a helper's is refused, and the helper is told so."""
    number, first, second = CALLS[name]
    call = (
        'long r; asm volatile("syscall" : "=a"(r) :'
        f' "a"({number}), "D"((unsigned long)({first})), "S"((unsigned long)({second}))'
        ' : "rcx", "r11", "memory"); return __pte(-r);'
    )
    engine = isolated(hostile(call))
    needed = "Landlock" if name == "open" else "seccomp"
    assert any(one.startswith(needed) for one in engine.active), "declared in pyproject.toml"
    assert engine.pte_mkyoung(0x40) in (1, 13)  # EPERM, EACCES


def test_calls_of_32_bits_end_the_process(hostile):
    """The numbers of other calls have other meanings: none is let through."""
    call = 'long r; asm volatile("int $0x80" : "=a"(r) : "a"(15), "b"(0), "c"(0777) : "memory");'
    with pytest.raises(HelperEndedError, match=r"pte_mkyoung\(0x40\) (made a system call|ended)"):
        isolated(hostile(call)).pte_mkyoung(0x40)


def test_forged_answers(hostile):
    """What is written to the descriptors of the process is not taken for a result."""
    write = (
        'for (int fd = 3; fd < 500; fd++) { long r = 1; asm volatile("syscall" : "+a"(r) :'
        ' "D"((long)fd), "S"("0123456789abcdef"), "d"(16L) : "rcx", "r11", "memory"); }'
    )
    with pytest.raises(HelperEndedError, match=r"pte_mkyoung\(0x40\) wrote to descriptors"):
        isolated(hostile(write)).pte_mkyoung(0x40)


def test_isolated_gives_what_the_process_itself_gives(mini_engine, make_mini_tree):
    engine = isolated(make_mini_tree())
    assert engine.helpers.keys() == mini_engine.helpers.keys()
    assert (engine.name, engine.shstk) == (mini_engine.name, mini_engine.shstk)
    entries = np.random.default_rng(1).integers(0, 2**64, (3, 250_000), np.uint64)
    odd = entries & np.uint64(1) == 1
    words = entries[::-1].copy()
    for name, helper in engine.helpers.items():
        theirs = mini_engine.helpers[name]
        assert helper.info == theirs.info
        for given in ((0x8000000000000025,), (words,)) if helper.argument else ((),):
            np.testing.assert_array_equal(helper(entries, *given), theirs(entries, *given))
            np.testing.assert_array_equal(
                helper(entries, *given, where=odd), theirs(entries, *given, where=odd)
            )
            if helper.kind == "test":
                assert helper.count(entries, *given) == theirs.count(entries, *given)
                assert helper.count(entries, *given, where=odd) == theirs.count(
                    entries, *given, where=odd
                )
    chains = [
        one.chain("pte_wrprotect", (one.pte_modify, 0x25), "pte_mkold")
        for one in (engine, mini_engine)
    ]
    np.testing.assert_array_equal(
        chains[0](entries, where=engine.pte_dirty), chains[1](entries, where=mini_engine.pte_dirty)
    )
    own = entries.copy()
    engine.pte_mkold(own.T, out=own.T, where=engine.pte_dirty)
    np.testing.assert_array_equal(own, mini_engine.pte_mkold(entries, where=mini_engine.pte_dirty))
    assert engine.pte_mkold(np.empty(0, np.uint64)).size == 0


def test_chain_names_the_step(hostile):
    tree = hostile(ENDS["ud2"][0])
    engine = isolated(tree)
    chain = engine.chain("pte_mkold", "pte_mkyoung", "pte_mkdirty")
    with pytest.raises(HelperEndedError, match=r"pte_mkyoung\(0x40\) ran an illegal"):
        chain(np.arange(0x20, 0x100, dtype=np.uint64) | np.uint64(0x20))


def test_threads_and_a_fork_share_an_engine(make_mini_tree):
    engine = isolated(make_mini_tree())
    entries = np.arange(100_000, dtype=np.uint64)
    expected = engine.pte_mkyoung(entries)
    wrong = []

    def use():
        for _ in range(20):
            if not np.array_equal(engine.pte_mkyoung(entries), expected):
                wrong.append(1)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    child = os.fork()
    if child == 0:
        os._exit(0 if engine.pte_mkyoung(0) == 0x20 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.pte_mkyoung(0) == 0x20


def test_engine_that_is_gone_leaves_no_process(make_mini_tree):
    engine = isolated(make_mini_tree())
    assert engine.pte_mkyoung(0) == 0x20
    process = engine._worker._process
    engine.close()
    assert process.poll() is not None
    assert engine.pte_mkyoung(0) == 0x20
    process = engine._worker._process
    del engine
    import gc  # noqa: PLC0415

    gc.collect()
    assert process.poll() is not None


def test_error_is_one_of_trees():
    assert issubclass(HelperEndedError, KernelTreeError)
