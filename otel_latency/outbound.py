"""HTTP to the outside, for what goes out with keys: guarded against the far side, and silent about addresses.

No proxy, cookie or password file of the environment is used, certificates are verified, and link-local addresses (where
clouds keep their keys) are refused, whatever name leads there. A reply is read up to 64 KiB and not unpacked. Not to
follow redirects is left to the caller: aiohttp asks for that with each request.
"""

from __future__ import annotations

import ipaddress
import math
import os
import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver

MAX_REPLY: Final = 64 << 10
MAX_RETRY_AFTER: Final = 300.0
"""Longer is not waited, lest a broken server silences us."""

_CERTIFICATE_FAULTS: Final = {
    9: "is not valid yet",
    10: "has expired",
    62: "is for another host",
    64: "is for another address",
}
"""By OpenSSL's number (X509_V_ERR_*); all others mean that nobody whom we trust vouches for it."""


def session(
    *,
    timeout: float,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
    keep_alive: float = 0.0,
    limit: int = 0,
) -> aiohttp.ClientSession:
    """A session for one far side or many; *resolver* and *tls* stand in for the system's.

    A connection is used again within *keep_alive* seconds, and *limit* of them are open at once (0: any number).
    """
    connector = aiohttp.TCPConnector(
        resolver=resolver,
        ssl=tls or True,
        use_dns_cache=False,
        limit=limit,
        socket_factory=_socket,
        **({"keepalive_timeout": keep_alive} if keep_alive else {"force_close": True}),
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "otel-latency", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=timeout),
        trust_env=False,
    )


async def start_of(response: aiohttp.ClientResponse) -> bytes:
    """What can be had of the body: by now the status has said what counts."""
    body = bytearray()
    try:
        while len(body) < MAX_REPLY and (chunk := await response.content.read(MAX_REPLY - len(body))):
            body += chunk
    except (aiohttp.ClientError, TimeoutError):
        pass
    return bytes(body)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from *now* (Unix time) that `Retry-After` asks for; None where it asks for none that makes sense."""
    text = headers.get("Retry-After", "")
    try:
        asked = float(text)
    except ValueError:
        try:
            asked = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(asked, 0.0), MAX_RETRY_AFTER) if math.isfinite(asked) else None


def may_pass(error: Exception) -> bool:
    """Whether it may go better next time; a URL that is none stays one."""
    return isinstance(error, (aiohttp.ClientError, OSError)) and not isinstance(error, aiohttp.InvalidURL)


def explain(error: Exception) -> str:
    """The failure in words; none of them are taken from the URL."""
    if isinstance(error, (socket.gaierror, aiohttp.ClientConnectorDNSError)):
        return "its name cannot be resolved"
    if is_about_tls(error):
        return _explain_tls(error)
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Forbidden):
        return "its address is link-local, which is not allowed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return f"asking failed with {type(error).__name__}"


def _explain_tls(error: Exception) -> str:
    refusal = getattr(error, "certificate_error", error)
    if not isinstance(refusal, ssl.SSLCertVerificationError):
        return "the TLS handshake failed"
    return f"its certificate was refused: it {_CERTIFICATE_FAULTS.get(refusal.verify_code, 'is not trusted')}"


def is_about_tls(error: Exception) -> bool:
    """Whether the two sides could not agree on who they are."""
    return isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError))


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for the address that a name has led to, unless nobody has business there."""
    family, kind, protocol, _, (host, *_) = address
    found = ipaddress.ip_address(host.partition("%")[0])
    if (getattr(found, "ipv4_mapped", None) or found).is_link_local:
        raise _Forbidden
    return socket.socket(family, kind, protocol)


class _Forbidden(OSError):
    """A link-local address."""
