"""HTTP as notifiers need it: one POST, answered or not, and a `NotifyError` that gives nothing away.

A redirect is a failure: what is sent holds keys and must not wander. A reply is read up to 64 KiB and not unpacked. No
proxy, cookie or password file of the environment is used, certificates are verified, and link-local addresses (where
clouds keep their keys) are refused, whatever name leads there. Each POST has a connection of its own and 10 s in all.

429, 5xx and every failure to connect or to hear an answer are worth another try; other answers are final.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock
from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify import retry

MAX_REPLY: Final = 64 << 10
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
                body = await _start_of(response)
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
            raise NotifyError(_explain(error), is_transient=_may_pass(error)) from None

    async def close(self) -> None:
        """Closing twice, or before anything was sent, is harmless."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                ssl=self._tls or True,
                use_dns_cache=False,
                force_close=True,
                limit=0,
                socket_factory=_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "otel-latency"},
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                trust_env=False,
            )
        return self._session


def _judge(status: int, retry_after: float | None) -> None:
    """Raise NotifyError unless *status* is success."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise NotifyError(f"it answered {status}, a redirect, which is not followed", is_transient=False)
    is_transient = status == 429 or status >= 500
    raise NotifyError(f"it answered {status}", is_transient=is_transient, retry_after=retry_after)


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """What can be had of the body: by now the status has said what counts."""
    body = bytearray()
    try:
        while len(body) < MAX_REPLY and (chunk := await response.content.read(MAX_REPLY - len(body))):
            body += chunk
    except (aiohttp.ClientError, TimeoutError):
        pass
    return bytes(body)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for the address that a name has led to, unless nobody has business there."""
    family, kind, protocol, _, (host, *_) = address
    found = ipaddress.ip_address(host.partition("%")[0])
    if (getattr(found, "ipv4_mapped", None) or found).is_link_local:
        raise _Forbidden
    return socket.socket(family, kind, protocol)


class _Forbidden(OSError):
    """A link-local address."""


def _may_pass(error: Exception) -> bool:
    """Whether it may go better next time; a URL that is none stays one."""
    return isinstance(error, (aiohttp.ClientError, OSError)) and not isinstance(error, aiohttp.InvalidURL)


def _explain(error: Exception) -> str:
    """The failure in words; none of them are taken from the URL."""
    if isinstance(error, (socket.gaierror, aiohttp.ClientConnectorDNSError)):
        return "its name cannot be resolved"
    if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
        return "its certificate was refused, or the TLS handshake failed"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Forbidden):
        return "its address is link-local, which is not allowed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return f"asking failed with {type(error).__name__}"
