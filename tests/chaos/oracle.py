"""What was promised against what arrived: the ledger of producers that send through an agent to a far side.

An obligation begins when the agent acknowledges a request. A request stands for its spans: it arrives as it was sent,
to the byte, but for its content, so its digest says which spans came. `FarSide.verdict` raises AssertionError unless

- conservation: each acknowledged request arrived,
- integrity, no invention: all that arrived is what somebody sent, without the content,
- bounded duplicates: no more copies than there were attempts whose answer was lost, all under the id of the first.

`accounted` asks the agent itself: for each destination, what came in is what became of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import aiohttp
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from payload import Batch, write_call
from running import PROTOBUF, Page, RunningAgent, running_agent, total
from sink import Arrival, Sink, status

AGENT = "otel_latency_agent_"
_IN_FLIGHT = 0.3
"""Seconds for which those that were in flight at a refusal may still come."""
_SHORT = {
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "pipeline.stage",
}
Fill = Callable[[Span, random.Random], None]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT = "The customer says: cancel my order, and send the money to the usual account. " * 4


def with_content(span: Span, rng: random.Random) -> None:
    """For `Batch`: a call that says what was said, which does not go on."""
    write_call(span, rng)
    span.attributes.add(key="gen_ai.input.messages").value.string_value = CONTENT


def short_call(span: Span, rng: random.Random) -> None:
    """For `Batch`: a call of 285 bytes, that being what spans of calls take on average."""
    write_call(span, rng)
    kept = [one for one in span.attributes if one.key in _SHORT]
    del span.attributes[:]
    span.attributes.extend(kept)


class Requests:
    """What one producer sends, and what of it is to arrive: both with the same ids and times."""

    def __init__(self, seed: int, spans: int, sent: Fill = with_content, forwarded: Fill = write_call) -> None:
        self._sent = Batch(seed, spans, sent)
        self._forwarded = Batch(seed, spans, forwarded)
        self.spans = spans

    def next(self) -> tuple[bytes, bytes]:
        """The body to send, and the one that is to arrive."""
        now = time.time_ns()
        return self._sent.fresh(now), self._forwarded.fresh(now)


class Refusal:
    """An answer that asks to come again after so many seconds, and notes who came before."""

    def __init__(self, number: int, seconds: int, *, as_date: bool = False) -> None:
        self.early = 0
        self._number = number
        self._seconds = seconds
        self._as_date = as_date
        self._first = self._last = -math.inf

    async def __call__(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        if now > self._last + 0.9 * self._seconds:
            self._first = now
        elif now > self._first + _IN_FLIGHT:
            self.early += 1
        self._last = now
        asked = formatdate(math.ceil(time.time()) + self._seconds, usegmt=True) if self._as_date else self._seconds
        return await status(self._number, Retry_After=str(asked))(request)


class Ledger:
    """What producers sent, by the digest of what is to arrive."""

    def __init__(self) -> None:
        self.spans: dict[bytes, int] = {}
        self.acknowledged: set[bytes] = set()
        self.attempts: Counter[bytes] = Counter()
        self.seconds: list[float] = []
        """How long each acknowledgement took."""

    def owes(self, expected: bytes, spans: int) -> bytes:
        """Such a request may arrive from now on; its name in this ledger."""
        digest = digest_of(expected)
        self.spans[digest] = spans
        return digest

    def count(self, digests: set[bytes]) -> int:
        """The spans of these requests."""
        return sum(self.spans[digest] for digest in digests)


class FarSide(Sink):
    """A destination that answers as `answer` says, until that is changed; it can be gone, and come back.

    What it refuses with a `Refusal` has not arrived.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.arrived: Counter[bytes] = Counter()
        self.ids: dict[bytes, set[str]] = {}
        self.answer: Answer | None = None
        self.requests = self.in_flight = self.most_in_flight = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def copies(self) -> int:
        """Requests that arrived more often than they were sent."""
        return sum(max(0, count - self.ledger.attempts[digest]) for digest, count in self.arrived.items())

    def verdict(self, most_copies: int) -> str:
        """The figures in a line."""
        ledger = self.ledger
        missing, invented = ledger.acknowledged - set(self.arrived), set(self.arrived) - set(ledger.spans)
        found = (
            f"{ledger.count(ledger.acknowledged):,} spans acknowledged in {len(ledger.acknowledged):,} requests, "
            f"{ledger.count(missing)} lost, {len(invented)} requests invented or changed, {self.copies} arrived again"
        )
        assert (0, 0) == (len(missing), len(invented)), found
        assert self.copies <= most_copies, f"{found}, of at most {most_copies}"
        renamed = sum(len(ids) > ledger.attempts[digest] for digest, ids in self.ids.items())
        assert 0 == renamed, f"{found}; {renamed} copies have another id"
        return found

    async def take(self, arrival: Arrival) -> Answer | None:
        answer = self.answers.pop(0) if self.answers else self.answer
        if arrival.path == "/v1/traces" and not isinstance(answer, Refusal):
            digest = digest_of(arrival.body)
            self.arrived[digest] += 1
            self.ids.setdefault(digest, set()).add(arrival.batch_id)
        return answer

    async def handle_http(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await super().handle_http(request)
        finally:
            self.in_flight -= 1

    def behaves(self, answer: Answer | None) -> None:
        """From here on; None is well."""
        self.answer = answer

    async def come(self, tls: object = None) -> None:
        """Listen, on the port it had."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self.handle_http)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def leave(self) -> None:
        """Connections break, and new ones are refused. Twice is harmless."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@asynccontextmanager
async def far_side(ledger: Ledger, tls: object = None) -> AsyncIterator[FarSide]:
    made = FarSide(ledger)
    await made.come(tls)
    try:
        yield made
    finally:
        await made.leave()


@asynccontextmanager
async def started(
    settings: Mapping[str, str] | None = None,
    *,
    prefix: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> AsyncIterator[RunningAgent]:
    """`running_agent`, while the loop goes on."""
    running = running_agent(settings, prefix=prefix, files=files, directory=directory)
    agent = await asyncio.to_thread(running.__enter__)
    try:
        yield agent
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def produce(
    agent: Callable[[], RunningAgent | None], ledger: Ledger, requests: Requests, pause: float, until: asyncio.Event
) -> None:
    """Send a request each *pause* seconds to the agent there is; one not acknowledged is sent again until it is."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8.0)) as session:
        due = time.monotonic()
        while not until.is_set():
            body, expected = requests.next()
            while not await _is_taken(agent(), session, ledger, body, ledger.owes(expected, requests.spans)):
                await asyncio.sleep(0.02)
            due = max(due + pause, time.monotonic() - 5 * pause)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _is_taken(
    agent: RunningAgent | None, session: aiohttp.ClientSession, ledger: Ledger, body: bytes, digest: bytes
) -> bool:
    if agent is None:
        return False
    begun = time.monotonic()
    ledger.attempts[digest] += 1
    try:
        url = f"http://127.0.0.1:{agent.http_port}/v1/traces"
        async with session.post(url, data=body, headers=PROTOBUF) as answer:
            if answer.status != 200:
                return False
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
    ledger.seconds.append(time.monotonic() - begun)
    ledger.acknowledged.add(digest)
    return True


def figures(page: Page, destination: str) -> dict[str, int]:
    """What became of spans, by `P2`: what came in, and the four things that can have come of it."""

    def of(name: str, **labels: str) -> int:
        return int(total(page, AGENT + name, **labels))

    return {
        "received": of("received_spans_total") + of("forward_recovered_spans_total", destination=destination),
        "forwarded": of("forwarded_spans_total", destination=destination),
        "queued": of("queued_spans", destination=destination),
        "rejected": of("rejected_spans_total"),
        "dropped": of("forward_dropped_spans_total", destination=destination),
    }


def accounted(page: Page, destination: str) -> dict[str, int]:
    """The figures, which have to add up."""
    found = figures(page, destination)
    assert found["received"] == found["forwarded"] + found["queued"] + found["rejected"] + found["dropped"], found
    return found


async def drained(agent: RunningAgent, destination: str, *, within: float) -> float:
    """How long it took until nothing waits for the destination."""
    begun = time.monotonic()
    while queued := figures(await asyncio.to_thread(agent.metrics), destination)["queued"]:
        assert time.monotonic() < begun + within, f"{queued} spans wait after {within} s: {agent.log()[-2000:]}"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


def size_of(folder: Path) -> int:
    """What the log takes on disk; files come and go."""
    found = 0
    for path in folder.glob("otel-latency-data/log/*"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return found


def p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0


def digest_of(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
