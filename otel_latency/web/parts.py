"""Large JSON answers, encoded so that others have their turn in between.

Each element of a list is encoded alone, and after some milliseconds of that the event loop goes on with what else
waits: ticks, probes, receivers. An answer over `MAX_BYTES` is not given at all, since each of many slow readers would
hold one.

Cost: that of encoding, and 0.5 us an element. The loop is held for `TURN`, or for a single element where that takes
longer: 8 ms for ten thousand points of a line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Final

from aiohttp import web

from otel_latency.web.replies import to_json

MAX_BYTES: Final = 8 << 20
TURN: Final = 0.005


class TooLarge(ValueError):
    """The answer is over `MAX_BYTES`."""


async def reply_in_parts(payload: Mapping[str, object]) -> web.Response:
    """A JSON answer. Raises TooLarge."""
    body = bytearray()
    began = time.perf_counter()
    for part in _parts(payload):
        body += part
        if len(body) > MAX_BYTES:
            raise TooLarge(
                f"the answer is over {MAX_BYTES >> 20} MiB: ask for fewer series, a shorter time or a longer step"
            )
        if time.perf_counter() - began > TURN:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return web.Response(body=bytes(body), content_type="application/json", charset="utf-8")


def _parts(payload: Mapping[str, object]) -> Iterator[bytes]:
    """The object in pieces, which make the same JSON as the whole would."""
    opening = b"{"
    for key, value in payload.items():
        yield opening + to_json(key) + b":"
        if isinstance(value, list):
            yield from _elements(value)
        else:
            yield to_json(value)
        opening = b","
    yield b"}" if payload else b"{}"


def _elements(values: list[object]) -> Iterator[bytes]:
    opening = b"["
    for value in values:
        yield opening + to_json(value)
        opening = b","
    yield b"]" if values else b"[]"
