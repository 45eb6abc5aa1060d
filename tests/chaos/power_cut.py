"""Power cuts: what of the log had reached the disk at a random moment, against what had been acknowledged.

    python -m tests.chaos.power_cut 50 [--seed N] [--without-fsync]

Needs root. A writer works in a file system on a loop image. At a random moment it is stopped, and the image is copied
as it is: what the kernel had not yet written to it is lost, as in a power cut. The log is opened on the copy, and each
record that was acknowledged has to be there, whole. `--without-fsync` is the control, in which records must be lost.

What this does not model: sectors that are torn, and disks that lie about what they have written.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from wal.oracle import Checked, Oracle

IMAGE = "64M"


class NoLoopError(Exception):
    """No file system can be mounted from an image here."""


def make_image(image: Path) -> None:
    """An empty ext4. Raises NoLoopError."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        raise NoLoopError("a power cut needs root and mkfs.ext4")
    subprocess.run(["truncate", "-s", IMAGE, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)


@contextmanager
def mounted(image: Path, mount: Path) -> Iterator[Path]:
    """The file system of *image*. Raises NoLoopError."""
    mount.mkdir(exist_ok=True)
    finished = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise NoLoopError(f"an image cannot be mounted: {finished.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def cut(folder: Path, seconds: float, *options: str) -> Checked:
    """Let a writer work for about *seconds*, cut the power, and look. Raises NoLoopError."""
    image, crashed, oracle = folder / "disk.img", folder / "crashed.img", Oracle()
    make_image(image)
    with mounted(image, folder / "disk") as disk:
        writer = oracle.start(disk / "log", *options)
        time.sleep(seconds)
        writer.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
        subprocess.run(["cp", "--sparse=always", image, crashed], check=True)
        writer.kill()
        assert writer.stdout
        oracle.note(writer.stdout.read().split(b"\n")[:-1])
        writer.wait()
        writer.stdout.close()
    with mounted(crashed, folder / "disk") as disk:
        checked = asyncio.run(oracle.check(disk / "log"))
    image.unlink()
    crashed.unlink()
    return checked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuts", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the moments")
    parser.add_argument("--without-fsync", action="store_true", help="the control")
    arguments = parser.parse_args()
    options = ["--without-fsync"] if arguments.without_fsync else []
    rng = random.Random(arguments.seed)
    print(f"{arguments.cuts} power cuts, seed {arguments.seed}, fsync {'off' if options else 'on'}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        results = [cut(Path(folder), rng.uniform(0.1, 1.0), *options) for _ in range(arguments.cuts)]
    lossy = [result for result in results if result.lost]
    print(
        f"acknowledged {sum(one.acknowledged for one in results)} records of {sum(one.items for one in results)} items;"
        f" lost {sum(len(one.lost) for one in results)} in {len(lossy)} cuts, at most"
        f" {max(len(one.lost) for one in results)}; invented {sum(len(one.invented) for one in results)};"
        f" taken for damage {sum(bool(one.fault) for one in results)}; opened in at most"
        f" {max(one.seconds for one in results):.3f} s"
    )
    is_wrong = not lossy if options else bool(lossy)
    return int(is_wrong or any(one.invented for one in results))


if __name__ == "__main__":
    sys.exit(main())
