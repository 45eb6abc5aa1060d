"""What an exception of a provider's client means: its category, whether to try again, how long the server said to wait.

Errors are recognised by shape (a status on the error or its response, a gRPC code, the names of its classes), so that
no provider's package is imported and any client works. Nothing of an error's text is read, kept or shown.
"""

from __future__ import annotations

import errno
import math
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from otel_latency.errors import CircuitOpen


@dataclass(frozen=True, slots=True)
class Failure:
    """`category` is network, api, memory or processing; `reason` is a label, `text` the same for people.

    `retry_after` is what the server asked for, in seconds; None when it did not ask.
    """

    category: str
    reason: str
    text: str
    is_transient: bool = False
    retry_after: float | None = None
    status: int | None = None

    @property
    def is_provider_fault(self) -> bool:
        """Does it speak against the provider's health? A refused request does not, nor a bug of the caller's."""
        return self.is_transient or (self.status is not None and self.status >= 500)


_TIMEOUT: Final = Failure("network", "timeout", "request timeout", is_transient=True)
_NETWORK: Final = Failure("network", "network", "network error", is_transient=True)
_RATE_LIMIT: Final = Failure("api", "rate_limit", "rate limit exceeded", is_transient=True)
_UNAVAILABLE: Final = Failure("api", "unavailable", "service temporarily unavailable", is_transient=True)
_GATEWAY: Final = Failure("api", "gateway", "gateway error", is_transient=True)
_QUOTA: Final = Failure("api", "quota", "quota used up")
_AUTH: Final = Failure("api", "auth", "not authorised")
_REQUEST: Final = Failure("api", "request", "request refused")
_SERVER: Final = Failure("api", "server", "server error")
_MEMORY: Final = Failure("memory", "memory", "out of memory")
_CIRCUIT: Final = Failure("api", "circuit_open", "circuit open")
_PROCESSING: Final = Failure("processing", "processing", "processing error")

_BY_STATUS: Final = {
    401: _AUTH,
    403: _AUTH,
    429: _RATE_LIMIT,
    502: _GATEWAY,
    503: _UNAVAILABLE,
    504: _GATEWAY,
    529: _UNAVAILABLE,  # Anthropic's "overloaded"
}
_GRPC_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_BY_CLASS_NAME: Final = {
    **dict.fromkeys(
        ("APITimeoutError", "TimeoutException", "Timeout", "ReadTimeoutError", "ConnectTimeoutError"), _TIMEOUT
    ),
    **dict.fromkeys(
        (
            "APIConnectionError",
            "ClientConnectionError",
            "EndpointConnectionError",
            "NetworkError",
            "RemoteProtocolError",
            "RequestsConnectionError",
            "ServerDisconnectedError",
            "ClientPayloadError",
            "IncompleteRead",
            "ProtocolError",
        ),
        _NETWORK,
    ),
    **dict.fromkeys(("RateLimitError", "TooManyRequests", "ThrottlingException", "ResourceExhausted"), _RATE_LIMIT),
    **dict.fromkeys(("ServiceUnavailable", "ServiceUnavailableError", "OverloadedError"), _UNAVAILABLE),
    **dict.fromkeys(("AuthenticationError", "PermissionDeniedError", "Unauthenticated"), _AUTH),
    "OutOfMemoryError": _MEMORY,
}


def classify(error: BaseException, now: float) -> Failure:
    """What *error* means; *now* is Unix seconds, for a Retry-After that is a date. Never raises."""
    try:
        failure = _classified(error)
        wait = _retry_after(error, now) if failure.is_transient else None
    except Exception:  # an error whose attributes raise is as good as one without attributes
        return _PROCESSING
    if wait is None:
        return failure
    return Failure(failure.category, failure.reason, failure.text, failure.is_transient, wait, failure.status)


def _classified(error: BaseException) -> Failure:
    status = status_of(error)
    if status is not None and status >= 400:
        failure = _by_status(status, error)
        return Failure(failure.category, failure.reason, failure.text, failure.is_transient, None, status)
    return _by_class(error)


def _by_status(status: int, error: BaseException) -> Failure:
    # OpenAI's 429 that no waiting cures. Looked up in the instance: aiohttp warns of whoever asks for its `code`.
    if status == 429 and getattr(error, "__dict__", {}).get("code") == "insufficient_quota":
        return _QUOTA
    return _BY_STATUS.get(status, _SERVER if status >= 500 else _REQUEST)


def _by_class(error: BaseException) -> Failure:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, CircuitOpen):
        return _CIRCUIT
    for kind in type(error).__mro__:
        if (known := _BY_CLASS_NAME.get(kind.__name__)) is not None:
            return known
    if isinstance(error, TimeoutError):
        return _TIMEOUT
    if isinstance(error, ssl.SSLCertVerificationError):
        return _PROCESSING  # the same certificate comes back on the next attempt
    if isinstance(error, ConnectionError | socket.gaierror | ssl.SSLError) or _is_unreachable(error):
        return _NETWORK
    return _PROCESSING


def _is_unreachable(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, wherever its client puts it."""
    return next((status for status in map(_as_status, _candidates(error)) if status is not None), None)


def _candidates(error: BaseException) -> Iterator[object]:
    yield getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        yield response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        yield getattr(response, "status_code", None)
        yield getattr(response, "status", None)
    yield getattr(error, "http_status", None)
    yield getattr(error, "status", None)
    code = getattr(error, "code", None)
    yield code() if callable(code) else code  # grpc.RpcError has a method


def _as_status(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if 100 <= value <= 599 else None
    return _GRPC_STATUS.get(str(getattr(value, "name", "")))


def _retry_after(error: BaseException, now: float) -> float | None:
    for holder in (getattr(error, "response", None), error):
        headers = getattr(holder, "headers", None)
        if isinstance(headers, Mapping) or hasattr(headers, "get"):
            return parse_retry_after(_lower(headers), now)
    return None


def _lower(headers: object) -> dict[str, str]:
    items = headers.items() if hasattr(headers, "items") else ()
    return {str(key).lower(): str(value) for key, value in items}


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the headers (names in lower case): milliseconds, seconds, or a date."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    if (seconds := _number(said)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(said or "").timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
