# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable.cli.main()`` as a function of somebody else's program: the process stays as it was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pgtable.cli import main

NUMBERS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in NUMBERS}


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """The handlers of a program that has some of its own."""
    before = handlers()
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)  # type: ignore[arg-type]


COMMANDS: dict[str, tuple[Callable[[str], list[str]], int]] = {
    "done": (lambda _: ["decode", "0x67"], 0),
    "a file that is not there": (lambda _: ["census", "/nowhere"], 2),
    "a helper that is not there": (lambda path: ["apply", "pte_mkold_", path, "-o", path], 2),
    "a file written": (lambda path: ["apply", "pte_mkold", path, "-o", f"{path}.out"], 0),
}


@pytest.mark.parametrize("case", COMMANDS)
@pytest.mark.parametrize("own", [False, True])
def test_handlers_are_what_they_were(case, own, tmp_path, capsys, request) -> None:
    if own:
        request.getfixturevalue("own_handlers")
    path = tmp_path / "entries.bin"
    np.arange(512, dtype="<u8").tofile(path)
    arguments, code = COMMANDS[case]
    before = handlers()
    assert main(arguments(str(path))) == code
    assert handlers() == before


def test_handlers_are_what_they_were_after_wrong_arguments(capsys) -> None:
    before = handlers()
    with pytest.raises(SystemExit) as ended:
        main(["decode", "--no-such-option"])
    assert ended.value.code == 2
    assert handlers() == before


def test_a_thread_may_call_it(capfd) -> None:
    codes: list[int] = []
    before = handlers()
    thread = threading.Thread(target=lambda: codes.append(main(["decode", "0x67"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert handlers() == before


def test_a_signal_during_a_command_ends_the_command_alone(tmp_path, capsys) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    before = handlers()
    # a pipe without a writer: the command waits until the signal comes
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        assert main(["census", str(path)]) == 128 + signal.SIGTERM
    finally:
        timer.cancel()
    assert "interrupted" in capsys.readouterr().err
    assert handlers() == before
