"""What a destination's answer means, by the rules of OTLP: taken, taken in part, come again, or never.

HTTP: 429, 502, 503 and 504 are worth another try. gRPC: CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE,
UNAVAILABLE and DATA_LOSS are, and RESOURCE_EXHAUSTED where the answer says when. Everything else is final. What an
answer rejects of a request (`partial_success`) is final as well.

Of an answer's own words 200 characters are kept, printable ones, without our secrets; none where *secrets* is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from otel_latency import outbound
from otel_latency.errors import ForwardError
from otel_latency.forward.batch import Accepted
from otel_latency.forward.protobuf import integer, submessages

MAX_WORDS: Final = 200
_RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
_RETRIED_CODES: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
_HEARD_NOTHING: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"})
"""Codes by which gRPC also tells that there was no answer."""
_NOT_CONNECTED: Final = ("failed to connect", "errors resolving")
_CAUSE: Final = "last error: "
_CERTIFICATE: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([\w -]{1,80})|Hostname Verification Check failed")
"""How grpcio tells that it does not trust the far side."""
_REJECTED: Final = ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords")
_RETRY_INFO: Final = "google.rpc.RetryInfo"


def of_http(
    status: int, headers: Mapping[str, str], body: bytes, *, is_json: bool, now: float, secrets: Iterable[str] | None
) -> Accepted:
    """*now* is Unix seconds. Raises ForwardError."""
    if 200 <= status < 300:
        return partial_success(body, is_json=is_json, secrets=secrets)
    if 300 <= status < 400:
        raise ForwardError(f"it answered {status}, a redirect, which is not followed", reason=f"http_{status}")
    said = words(_status_message(headers.get("Content-Type", ""), body), secrets)
    raise ForwardError(
        f"it answered {status}" + (f": {said}" if said else ""),
        reason=f"http_{status}",
        is_transient=status in _RETRIED_STATUSES,
        retry_after=outbound.retry_after(headers, now),
    )


def of_grpc_error(
    code: str, details: str, trailers: Mapping[str, bytes], *, secrets: Iterable[str] | None
) -> ForwardError:
    """*code* is the name of the status; *trailers* those that hold bytes."""
    wait = _retry_info(trailers)
    is_unconnected = details.startswith(_NOT_CONNECTED)
    refusal = _CERTIFICATE.search(details) if is_unconnected else None
    said = words(details.partition(_CAUSE)[2] or details, secrets or ()) if is_unconnected else words(details, secrets)
    if refusal:
        fact = f"its certificate was refused: {refusal[1] or 'it is for another host'}"
    elif is_unconnected:
        fact = f"no connection: {said}"
    else:
        fact = f"it answered {code}" + (f": {said}" if said else "")
    return ForwardError(
        fact,
        reason=f"grpc_{code.lower()}",
        is_transient=code in _RETRIED_CODES or (code == "RESOURCE_EXHAUSTED" and wait is not None),
        retry_after=wait,
        may_have_arrived=code in _HEARD_NOTHING and not is_unconnected,
        is_about_tls=refusal is not None or (is_unconnected and "handshake" in details),
    )


def partial_success(body: bytes, *, is_json: bool, secrets: Iterable[str] | None) -> Accepted:
    """What an Export*ServiceResponse says; one that cannot be read says nothing, and the request was taken."""
    try:
        rejected, message = _json_partial(body) if is_json else _protobuf_partial(body)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return Accepted()
    return Accepted(max(rejected, 0), words(message, secrets))


def words(text: str, secrets: Iterable[str] | None) -> str:
    """The beginning of what a far side said, fit to be shown."""
    if secrets is None:
        return ""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:MAX_WORDS]


def _protobuf_partial(body: bytes) -> tuple[int, str]:
    rejected, message = 0, ""
    for partial in submessages(body, 1):
        rejected = integer(partial, 1)
        message = b"".join([*submessages(partial, 2)][-1:]).decode(errors="replace")
    return rejected, message


def _json_partial(body: bytes) -> tuple[int, str]:
    partial = (json.loads(body) if body else {}).get("partialSuccess") or {}
    rejected = next((int(partial[key]) for key in _REJECTED if partial.get(key)), 0)
    return rejected, str(partial.get("errorMessage") or "")


def _status_message(content_type: str, body: bytes) -> str:
    """The message of a google.rpc.Status, or else the body as it stands, where that is text."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-protobuf":
            return b"".join([*submessages(body, 2)][-1:]).decode(errors="replace")
        if kind == "application/json":
            return str(json.loads(body)["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return body[: 4 * MAX_WORDS].decode(errors="replace") if kind.startswith("text/plain") else ""


def _retry_info(trailers: Mapping[str, bytes]) -> float | None:
    """Seconds that a RetryInfo asks for: in the details of the status, or in a trailer of its own."""
    try:
        for detail in submessages(trailers.get("grpc-status-details-bin", b""), 3):
            if any(kind.endswith(_RETRY_INFO.encode()) for kind in submessages(detail, 1)):
                return _delay(b"".join(submessages(detail, 2)))
        if "google.rpc.retryinfo-bin" in trailers:
            return _delay(trailers["google.rpc.retryinfo-bin"])
    except ValueError:
        pass
    return None


def _delay(retry_info: bytes) -> float:
    duration = b"".join(submessages(retry_info, 1))
    return min(max(integer(duration, 1) + integer(duration, 2) * 1e-9, 0.0), outbound.MAX_RETRY_AFTER)
