"""Real disks that are full, read-only or limited: no exit, nothing acknowledged as durable is lost, and recovery."""

import shutil
import subprocess
import sys

import pytest

MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
COMMON = """
import asyncio, os, random, resource, subprocess, sys
from pathlib import Path
from otel_latency.clock import SystemClock
from otel_latency.wal.log import Log

mount = Path(sys.argv[1])
rng = random.Random(3)

async def opened(**options):
    log = Log(mount / "log", clock=SystemClock(), **options)
    await log.open({"a": 0})
    return log

async def kept(log):
    reader = log.readers["a"]
    return [record.position async for record in reader.backlog()], dict(reader.dropped)
"""
FULL = """
async def main():
    log = await opened()
    (mount / "ballast").write_bytes(bytes(3 << 20))
    positions = [await log.append(1, rng.randbytes(50_000), items=1) for _ in range(60)]
    full, nondurable = log.fault, log.acked_nondurable
    (mount / "ballast").unlink()
    await log.maintain()
    assert not log.fault, log.fault
    positions += [await log.append(1, b"after", items=1)]
    assert nondurable == log.acked_nondurable
    await log.close()
    print(full)
    print(0 < nondurable < 60, positions == list(range(1, 62)))
    print(await kept(await opened()) == (positions, {}))
"""
READ_ONLY = """
async def main():
    log = await opened()
    await log.append(1, b"before", items=1)
    await log.close()
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    log = await opened()
    await log.append(1, b"meanwhile", items=1)
    print(log.fault)
    print(log.acked_nondurable, [one.body for one in await log.readers["a"].read()])
    subprocess.run(["mount", "-o", "remount,rw", str(mount)], check=True)
    await log.maintain()
    await log.append(1, b"after", items=1)
    await log.close()
    print(log.fault == "", await kept(await opened()) == ([1, 2, 3], {}))
"""
LIMITED = """
async def main():
    log = await opened(segment_bytes=1 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    positions = [await log.append(1, rng.randbytes(30_000), items=1) for _ in range(20)]
    await log.append(1, rng.randbytes(200_000), items=1)
    print(log.fault)
    print(log.acked_nondurable, max(path.stat().st_size for path in mount.glob("log/*.wal")) <= 100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await log.maintain()
    await log.close()
    print(log.fault == "", await kept(await opened()) == ([*positions, 21], {}))
"""
RUN = "\nasyncio.run(main())\n"


def run(command):
    finished = subprocess.run(
        command,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
    )
    assert 0 == finished.returncode, finished.stderr
    return finished.stdout.splitlines()


def run_on_tmpfs(folder, script):
    """In a file system of its own, of 4 MiB."""
    mount = f"mount -t tmpfs -o size=4m tmpfs {folder}"
    if not shutil.which("unshare") or subprocess.run([*MOUNT, mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    return run([*MOUNT, f'{mount} && exec "$0" -c "$1" {folder}', sys.executable, COMMON + script + RUN])


def test_full(tmp_path):
    """On a full disk records are kept in memory; with room again all of them are on disk, in order."""
    assert [
        "the log cannot be written (No space left on device): records are kept in memory until it can",
        "True True",
        "True",
    ] == run_on_tmpfs(tmp_path, FULL)


def test_read_only(tmp_path):
    """From a disk that is read-only what was there is read, and it is written as soon as that can be done."""
    assert [
        "the log cannot be written (Read-only file system): records are kept in memory until it can",
        "1 [b'before']",
        "True True",
    ] == run_on_tmpfs(tmp_path, READ_ONLY)


def test_refused_in_the_middle(tmp_path):
    """A group that is refused when a part of it is written goes whole to a new segment, or to memory."""
    assert [
        "the log cannot be written (File too large): records are kept in memory until it can",
        "1 True",
        "True True",
    ] == run([sys.executable, "-c", COMMON + LIMITED + RUN, str(tmp_path)])
