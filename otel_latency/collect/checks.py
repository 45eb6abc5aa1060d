"""Checks: whether the services that a pipeline depends on answer, each asked on its own interval with its own deadline.

A TCP check is up when a connection opens. An HTTP check is up when any answer below 500 comes back: 401 or 404 from a
service we hold no key for still shows that it answers. Every check opens a fresh connection, so that name, TCP, TLS and
server are all part of it. Redirects are not followed, nothing is decompressed and the body is left unread.

An error text names the failure, never the URL: that may hold credentials. A check blocks neither the loop nor another
check; names are resolved on threads of their own.

Cost: one connection per check and interval (about 1 ms of CPU, 3 ms with TLS).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

import aiohappyeyeballs
import aiohttp

from otel_latency.clock import Clock
from otel_latency.collect.resolver import Resolver
from otel_latency.config.sections import Check
from otel_latency.records import CheckResult, Sample

log = logging.getLogger(__name__)

_HAPPY_EYEBALLS_DELAY: Final = 0.25
_NOT_YET: Final = "not checked yet"


class Checks:
    """Watches the services of *checks*; their names differ."""

    def __init__(self, checks: Sequence[Check], clock: Clock, *, resolver: Resolver | None = None) -> None:
        self._checks = checks
        self._clock = clock
        self._resolver = resolver or Resolver(clock.monotonic)
        self._results: dict[str, CheckResult] = {}

    async def run(self) -> None:
        """Check every service at once and then on its own interval, until cancelled."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._resolver.close)
            session = await stack.enter_async_context(_session(self._resolver))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for check in self._checks:
                tasks.create_task(self._watch(check, session), name=f"check:{check.name}")

    def results(self) -> list[CheckResult]:
        """The last outcome of each check; one that has not ended yet counts as down."""
        return [self._results.get(each.name) or _unknown(each) for each in self._checks]

    def collect(self) -> Iterable[Sample]:
        for result in list(self._results.values()):
            yield from _samples(result)

    def close(self) -> None:
        """`run` closes what it opened."""

    async def _watch(self, check: Check, session: aiohttp.ClientSession) -> None:
        await self._check(check, session)
        async for _ in self._clock.ticks(check.interval):
            await self._check(check, session)

    async def _check(self, check: Check, session: aiohttp.ClientSession) -> None:
        start = self._clock.monotonic()
        error = await self._ask(check, session)
        seconds = self._clock.monotonic() - start
        result = CheckResult(check.name, not error, seconds, self._clock.time(), check.required, error)
        before = self._results.get(check.name)
        self._results[check.name] = result
        if (before is None or before.up) and not result.up:
            log.warning("check %s is down: %s", check.name, error)
        elif before is not None and not before.up and result.up:
            log.warning("check %s is up again", check.name)

    async def _ask(self, check: Check, session: aiohttp.ClientSession) -> str:
        """What is wrong with the service; empty when nothing is."""
        try:
            async with asyncio.timeout(check.timeout):
                if check.http is not None:
                    return await _http(session, check.http)
                assert check.tcp is not None
                return await _tcp(self._resolver, check.tcp)
        except TimeoutError:
            return f"no answer within {check.timeout:g} s"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in asking is the answer
            return explain(error)


def explain(error: Exception) -> str:
    """The failure in words; none of them are taken from the URL."""
    if isinstance(error, (socket.gaierror, aiohttp.ClientConnectorDNSError)):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = error.certificate_error
        detail = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else "not valid"
        return f"its certificate was refused: {detail}"
    if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
        return "the TLS handshake failed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return f"asking failed with {type(error).__name__}"


def _session(resolver: Resolver) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        force_close=True,
        limit=0,
        happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "otel-latency-check"},
        timeout=aiohttp.ClientTimeout(total=None),  # the check's own deadline counts
    )


async def _http(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url, allow_redirects=False) as response:
        return "" if response.status < 500 else f"it answered {response.status}"


async def _tcp(resolver: Resolver, address: str) -> str:
    host, _, port = address.rpartition(":")
    found = [
        (each["family"], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each["host"], each["port"]))
        for each in await resolver.resolve(host.strip("[]"), int(port))
    ]
    (await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY)).close()
    return ""


def _unknown(check: Check) -> CheckResult:
    return CheckResult(check.name, up=False, seconds=0.0, time=0.0, required=check.required, error=_NOT_YET)


def _samples(result: CheckResult) -> Iterator[Sample]:
    labels = {"check": result.name}
    yield Sample("otel_latency_check_up", float(result.up), labels, help="1 while the service answers.")
    yield Sample(
        "otel_latency_check_duration_seconds", result.seconds, labels, help="How long the last check took, up or down."
    )
