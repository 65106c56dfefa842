# SPDX-License-Identifier: GPL-2.0-only
"""Starts commands from a small process, and says how much time and memory each took.

A new process begins with the peak memory of its parent, so a program that has large arrays cannot
measure others.  This reads from standard input one line of JSON for each command: ``{"argv": [...],
"stdout": "path"}``, and writes for each:
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
