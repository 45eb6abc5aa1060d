"""Names to addresses on threads of its own, with answers that outlive a dead DNS server by an hour.

A known name is answered at once; an answer older than half a minute is looked up again in the background. Only "no
such name" makes us forget. A look-up that hangs holds one of the resolver's threads and nothing else: asyncio's own
executor, which `getaddrinfo` would fill, stays free.

Memory: one entry per name asked for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

from otel_latency.collect.threads import DaemonThreads

_FRESH: Final = 30.0
_KEPT: Final = 3600.0
_THREADS: Final = 4
_NO_SUCH_NAME: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class Address(NamedTuple):
    family: int
    host: str


class _Answer(NamedTuple):
    addresses: list[Address]
    time: float


def look_up(host: str) -> list[Address]:
    """Ask the system, blocking."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [Address(family, str(address[0])) for family, _, _, _, address in found]


class Resolver(AbstractResolver):
    """A resolver for aiohttp and for us; *look_up* raises `socket.gaierror` where there is no answer."""

    def __init__(self, monotonic: Callable[[], float], look_up: Callable[[str], list[Address]] = look_up) -> None:
        self._monotonic = monotonic
        self._look_up = look_up
        self._threads = DaemonThreads("otel-latency-dns", limit=_THREADS)
        self._answers: dict[str, _Answer] = {}
        self._pending: dict[str, asyncio.Future[list[Address]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of *host*; takes as long as the look-up does when the name is new."""
        return [
            ResolveResult(hostname=host, host=each.host, port=port, family=each.family, proto=0, flags=0)
            for each in await self._addresses(host)
            if family in {socket.AF_UNSPEC, each.family}
        ]

    async def close(self) -> None:
        """Let the threads go; one that hangs ends with the process."""
        self._threads.close()

    async def _addresses(self, host: str) -> list[Address]:
        answer = self._answers.get(host)
        age = self._monotonic() - answer.time if answer else _KEPT
        if age >= _FRESH:
            pending = self._pending.get(host) or self._ask(host)
            if answer is None or age >= _KEPT:
                # Shielded: whoever waits gives up at a deadline, the others go on waiting for the same look-up.
                return await asyncio.shield(pending)
        assert answer is not None
        return answer.addresses

    def _ask(self, host: str) -> asyncio.Future[list[Address]]:
        pending = self._pending[host] = self._threads.submit(partial(self._look_up, host))
        pending.add_done_callback(partial(self._learn, host))
        return pending

    def _learn(self, host: str, done: asyncio.Future[list[Address]]) -> None:
        del self._pending[host]
        error = None if done.cancelled() else done.exception()
        if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
            self._answers.pop(host, None)
        elif error is None and not done.cancelled():
            self._answers[host] = _Answer(done.result(), self._monotonic())
