"""The agent as a child process that never outlives us.

It runs in a process group of its own, so that Ctrl-C reaches us alone and the traffic can end before the agent does.
Should we be killed, the kernel tells it to stop (Linux: PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from otel_latency.errors import AgentEnded

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 6.0
"""The agent takes 5 s at most."""
POLL: Final = 0.02
TAIL_BYTES: Final = 8192
_PR_SET_PDEATHSIG: Final = 1


class AgentProcess:
    """`python -m otel_latency agent`, from its start to its end."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._tail = b""
        self._log = asyncio.create_task(self._read_log(), name="agent's log")

    @classmethod
    async def start(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> AgentProcess:
        """Start it with the command's *arguments*; it has to be the first thing of ours that starts threads."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "otel_latency", "agent", *arguments),
            env=environ,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            process_group=0,
            preexec_fn=_end_with(os.getpid()),
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def listening(self, host: str, port: int) -> None:
        """Return once it takes connections there. Raises AgentEnded when it does not come to that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                while self._process.returncode is None:
                    if await _answers(host, port):
                        return
                    await asyncio.sleep(POLL)
        if self._process.returncode is None:
            raise AgentEnded(f"the agent does not listen after {START_TIMEOUT:g} s: {self._last_words()}")
        await self.ended()

    async def ended(self) -> NoReturn:
        """Wait for its end, then raise AgentEnded with the reason as far as it is known."""
        code = await self._process.wait()
        await self._log
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise AgentEnded(f"the agent {how}; its last words: {self._last_words()}")

    async def stop(self) -> None:
        """Have it stop in its own way, or else kill it. Harmless after its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._log

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(TAIL_BYTES):
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def _last_words(self) -> str:
        return self._tail.decode(errors="replace").rstrip().rpartition("\n")[2] or "none"


def _end_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes the agent: ask for a signal when *parent* ends."""
    prctl = ctypes.CDLL(None).prctl  # looked up here: after a fork little is allowed

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return ask


async def _answers(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
