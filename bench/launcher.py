# SPDX-License-Identifier: GPL-2.0-only
"""Starts commands out of a small process, and says what each took.

A process starts out with the peak of the one that it was spawned from, so a
program that holds arrays cannot measure others.  Read from standard input, one
JSON line a command: ``{"argv": [...], "stdout": "path"}``; written likewise:
``{"ns": ..., "peak_rss_bytes": ..., "exit_code": ...}``.
"""

import json
import os
import sys
import time


def main() -> None:
    """Serve until the end of the input."""
    for line in sys.stdin:
        command = json.loads(line)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [(os.POSIX_SPAWN_OPEN, 1, command["stdout"], flags, 0o644)]
        start = time.perf_counter_ns()
        process = os.posix_spawnp(
            command["argv"][0], command["argv"], os.environ, file_actions=actions
        )
        _, status, usage = os.wait4(process, 0)
        took = time.perf_counter_ns() - start
        answer = {
            "ns": took,
            "peak_rss_bytes": usage.ru_maxrss * 1024,
            "exit_code": os.waitstatus_to_exitcode(status),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
