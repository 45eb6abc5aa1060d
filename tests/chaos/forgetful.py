"""An agent whose history has only what its windows hold: a control of `clock`.

    python tests/chaos/forgetful.py python -m otel_latency agent

It stands before an agent's command and runs that in its own process, with one guard off: what has not been taken goes
with the windows that begin anew when the clock is set back, and what is too old for every window is not told at all.
"""

from __future__ import annotations

import runpy
import sys

from otel_latency.aggregate.windows import AGGREGATE, Windows

start_over, wait = Windows._start_over, Windows._wait


def forget_and_start_over(windows: Windows) -> None:
    windows._untaken = {}
    start_over(windows)


def wait_for_what_is_young(windows, minutes) -> None:
    oldest = windows._quantum // AGGREGATE.quanta - AGGREGATE.length
    wait(windows, {minute: delta for minute, delta in minutes.items() if minute > oldest})


if __name__ == "__main__":
    Windows._start_over, Windows._wait = forget_and_start_over, wait_for_what_is_young
    _, module, *sys.argv[1:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
