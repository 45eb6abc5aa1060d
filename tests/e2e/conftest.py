"""Real programs from Debian's packages: found, or installed when root, else the test is skipped and says why.

Each program runs in a directory of the test's own, listens on loopback, and is ended by its process id.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

Require = Callable[..., str]
Launch = Callable[..., Awaitable[Path]]
Poll = Callable[..., Awaitable[object]]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require("promtool", package="prometheus")` answers the path of a program."""

    def find(program: str, *, package: str) -> str:
        found = shutil.which(program)
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            # RUNLEVEL 1 keeps the package from starting its service.
            subprocess.run(
                ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
                check=False,
                capture_output=True,
                timeout=300,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
            )
            found = shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not there: apt-get install {package}, or run as root")
        return found

    return find


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Starts a program and answers the file that its output goes to; ends it after the test."""
    async with AsyncExitStack() as stack:

        async def start(*command: str) -> Path:
            log = tmp_path / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
            await stack.enter_async_context(_running(command, log))
            return log

        yield start


@asynccontextmanager
async def _running(command: tuple[str, ...], log: Path) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=asyncio.subprocess.STDOUT, cwd=log.parent
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.fixture
def poll() -> Poll:
    """Asks until there is an answer: `await poll(ask, within=20)` answers the first that is true."""

    async def until(ask: Callable[[], Awaitable[T] | T], *, within: float = 20.0, every: float = 0.1) -> T:
        deadline = time.monotonic() + within
        while True:
            answer = ask()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer within {within} s, the last was {answer!r}")
            await asyncio.sleep(every)

    return until
