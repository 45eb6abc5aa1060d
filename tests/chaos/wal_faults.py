"""Each of the first writes and syncs of the log fails once, or from then on for a while: nothing acknowledged is lost.

    python -m tests.chaos.wal_faults [--writes 60] [--syncs 20]

Needs strace. A process appends records with `on_disk_failure: refuse`, so that an acknowledgement means the disk, while
strace lets one system call of it fail with ENOSPC or EIO: the n-th, or five in a row from there. The process must not
end, has to be well again after its next look at the disk, and everything that it acknowledged has to be there.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from wal.oracle import Oracle

RECORDS = 80
PROGRAM = f"""
import asyncio, os, sys
from pathlib import Path
from otel_latency.clock import SystemClock
from otel_latency.errors import Overloaded
from otel_latency.wal.log import Log
from wal.writer import ITEMS, body

async def main():
    log = Log(Path(sys.argv[1]), clock=SystemClock(), segment_bytes=4096, on_disk_failure="refuse", group_commit=0.001)
    await log.open({{"reader": None}})
    for number in range({RECORDS}):
        for attempt in range(20):
            try:
                position = await log.append(1, body(number), items=ITEMS)
                os.write(1, b"%d %d\\n" % (position, number))
                break
            except Overloaded:
                await log.maintain()
        else:
            raise SystemExit("it does not recover: " + log.fault)
    assert not log.fault, log.fault
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
ERRORS = ("ENOSPC", "EIO")


def inject(call: str, error: str, when: str) -> str:
    """What is wrong after such a fault; empty when all is well."""
    with tempfile.TemporaryDirectory() as name:
        folder, oracle = Path(name) / "log", Oracle()
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e"]
        command = [*strace, f"inject={call}:error={error}:when={when}", sys.executable, "-c", PROGRAM, str(folder)]
        finished = subprocess.run(
            command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=False, timeout=60
        )
        lines = finished.stdout.split(b"\n")[:-1]
        oracle.note(lines)
        checked = asyncio.run(oracle.check(folder))
    if len(lines) != RECORDS:
        return f"ended after {len(lines)} records: {finished.stderr.decode()[-200:]}"
    if checked.lost or checked.invented or checked.fault:
        return f"lost {checked.lost}, invented {checked.invented}, {checked.fault}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=60, help="up to which write (%(default)s)")
    parser.add_argument("--syncs", type=int, default=20, help="up to which sync (%(default)s)")
    arguments = parser.parse_args()
    if not shutil.which("strace"):
        print("this needs strace")
        return 2
    calls = {"pwrite64": arguments.writes, "fdatasync": arguments.syncs, "fsync": arguments.syncs}
    cases = [
        (call, error, f"{nth}{times}")
        for call, most in calls.items()
        for nth in range(1, most + 1)
        for error, times in zip(ERRORS * 2, ("", "", f"..{nth + 4}", f"..{nth + 4}"), strict=True)
    ]
    wrong = 0
    for call, error, when in cases:
        if fault := inject(call, error, when):
            wrong += 1
            print(f"{call} {when} {error}: {fault}", flush=True)
    print(f"{len(cases)} faults, {wrong} not survived")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
