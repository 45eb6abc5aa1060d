"""HTTP as notifiers need it: one POST, answered or not, and a `NotifyError` that gives nothing away.

A redirect is a failure: what is sent holds keys and must not wander. Each POST has a connection of its own and 10 s in
all; see `outbound` for what it is guarded against.

429, 5xx and every failure to connect or to hear an answer are worth another try; other answers are final.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver

from otel_latency import outbound
from otel_latency.clock import Clock
from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify import retry

TIMEOUT: Final = 10.0


class Reply(NamedTuple):
    """An answer from 200 to 299.

    `body` is its first 64 KiB, or what had come when the far side fell silent; `retry_after` is seconds, if asked for.
    """

    body: bytes
    retry_after: float | None


class Client:
    """Shared by notifiers; *resolver* and *tls* stand in for the system's, *timeout* is seconds."""

    def __init__(
        self,
        clock: Clock,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._clock = clock
        self._resolver = resolver
        self._tls = tls
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: Secret, data: bytes, headers: Mapping[str, Secret] | None = None) -> Reply:
        """Send JSON. Raises NotifyError for anything but a status from 200 to 299."""
        shown = {"Content-Type": "application/json", **{name: each.reveal() for name, each in (headers or {}).items()}}
        try:
            async with self._opened().post(url.reveal(), data=data, headers=shown, allow_redirects=False) as response:
                body = await outbound.start_of(response)
                response.close()
                wait = retry.retry_after(response.headers, body, self._clock.time())
                _judge(response.status, wait)
                return Reply(body, wait)
        except TimeoutError:
            raise NotifyError(f"no answer within {self._timeout:g} s", is_transient=True) from None
        except NotifyError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The cause is left out: its text may hold the URL.
            raise NotifyError(outbound.explain(error), is_transient=outbound.may_pass(error)) from None

    async def close(self) -> None:
        """Closing twice, or before anything was sent, is harmless."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = outbound.session(timeout=self._timeout, resolver=self._resolver, tls=self._tls)
        return self._session


def _judge(status: int, retry_after: float | None) -> None:
    """Raise NotifyError unless *status* is success."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise NotifyError(f"it answered {status}, a redirect, which is not followed", is_transient=False)
    is_transient = status == 429 or status >= 500
    raise NotifyError(f"it answered {status}", is_transient=is_transient, retry_after=retry_after)
