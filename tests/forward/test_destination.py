"""One destination against a real server that misbehaves, with time that stands still."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
import sink as far_side
from forward.conftest import NOW, credentials, spans
from sink import REQUESTS

from otel_latency.config.values import Secret
from otel_latency.forward import content
from otel_latency.forward.batch import Accepted
from otel_latency.forward.destination import GRACE, LIMIT, MAX_BYTES, REMEMBERED, Destination
from otel_latency.forward.http import HTTPTransport
from otel_latency.forward.packing import Packing
from otel_latency.records import Signal

SECRET = "c4n4ry"


class Rig:
    """A destination, its log, and the server that it sends to."""

    def __init__(self, sink, source, worker, clock, uniform, timeout=5.0):
        self.sink, self.source, self.clock = sink, source, clock
        who = credentials({"X-Key": Secret(SECRET)})
        url = f"http://127.0.0.1:{sink.port}"
        self.transport = HTTPTransport(url, who, worker, clock, timeout=timeout)
        packing = Packing(content.denied(), is_gzip=True, takes_json=True)
        self.destination = Destination(
            "tempo",
            "http://tempo:4318",
            source=source,
            transport=self.transport,
            packing=packing,
            worker=worker,
            clock=clock,
            uniform=uniform,
        )
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.destination.run())

    async def until(self, condition):
        """Let real work go on, without letting time pass."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)  # a loop that never rests keeps the lock from the thread that packs

    async def settled(self, position):
        await self.until(lambda: self.source.committed >= position)

    async def down(self):
        """Return when all attempts have failed and the next has its time."""
        await self.until(lambda: self._is_shut())

    def _is_shut(self):
        status = self.destination.status()
        return status["in_flight"] == 0 and status["retry_at"] is not None

    async def retry(self):
        """Let time pass until that attempt is made."""
        await self.clock.advance(self.destination.status()["retry_at"] - self.clock.time() + 1e-6)

    async def stop(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.destination.close()


@asynccontextmanager
async def rigged(*parts, **options):
    rig = Rig(*parts, **options)
    try:
        yield rig
    finally:
        await rig.stop()


@pytest.fixture
def parts(sink, source, worker, clock, uniform):
    return sink, source, worker, clock, uniform


@pytest.fixture
async def rig(parts):
    async with rigged(*parts) as made:
        made.start()
        yield made


async def test_every_byte(rig):
    """Everything arrives, in its encoding and without content, and is committed and counted."""
    sent = {
        "/v1/traces": spans("chat", "tool", shop__cart="7"),
        "/v1/metrics": REQUESTS[Signal.METRICS]().SerializeToString(),
        "/v1/logs": b'{"resourceLogs": [ ]}',
    }
    rig.source.append(sent["/v1/traces"], items=2)
    rig.source.append(sent["/v1/metrics"], Signal.METRICS, items=5)
    rig.source.append(sent["/v1/logs"], Signal.LOGS, items=3, is_json=True)
    rig.source.append(spans("chat", shop__cart="7", input__value="canary"))
    await rig.settled(4)
    assert {**sent} == {arrival.path: arrival.body for arrival in rig.sink.arrivals[:3]}
    assert spans("chat", shop__cart="7") == rig.sink.bodies[3]
    assert {Signal.TRACES: 3, Signal.METRICS: 5, Signal.LOGS: 3} == rig.destination.forwarded
    assert 0 == rig.destination.queued


async def test_outage(rig):
    """While the destination is down one request is made at a time, the oldest; then all arrive, in order, once."""
    rig.sink.answers += [far_side.status(503)] * 8
    bodies = [spans(f"span {number}") for number in range(10)]
    for body in bodies:
        rig.source.append(body)
    await rig.down()
    for _ in range(len(rig.sink.arrivals), 8):
        before = rig.sink.bodies[:]
        await rig.retry()
        await rig.sink.has(len(before) + 1)
        await rig.down()
        assert [*before, bodies[0]] == rig.sink.bodies
    assert (False, 0) == (rig.destination.is_up, rig.source.committed)
    await rig.retry()
    await rig.settled(10)
    assert bodies == sorted(rig.sink.bodies[8:], key=bodies.index)
    assert (10, 8, True) == (rig.destination.forwarded[Signal.TRACES], rig.destination.retries, rig.destination.is_up)
    ids = {arrival.body: set() for arrival in rig.sink.arrivals}
    for arrival in rig.sink.arrivals:
        ids[arrival.body].add(arrival.batch_id)
    assert [1] * 10 == [len(each) for each in ids.values()]


async def test_retry_after(rig):
    """No request is made before the time that the destination asked for."""
    rig.sink.answers += [
        far_side.status(429, Retry_After="60"),
        far_side.status(503, Retry_After="Tue, 14 Nov 2023 22:15:20 GMT"),
    ]
    rig.source.append(spans("chat"))
    await rig.down()
    assert NOW + 60 == rig.destination.status()["retry_at"]
    await rig.clock.advance(59.9)
    assert 1 == len(rig.sink.arrivals)
    await rig.clock.advance(0.1)
    await rig.sink.has(2)
    await rig.until(lambda: rig.destination.status()["retry_at"] == NOW + 120)
    await rig.clock.advance(60)
    await rig.settled(1)


@pytest.mark.parametrize("number", [301, 400, 401, 403, 404, 413, 500])
async def test_dead_letter(rig, number):
    """What is refused for good is counted and remembered, without what was in it, and the next goes on."""
    rig.sink.answers.append(far_side.status(number, f"no {SECRET}".encode(), "text/plain"))
    rig.source.append(spans("first", shop__cart="7"), items=3)
    await rig.settled(1)
    rig.source.append(spans("second"))
    await rig.settled(2)
    (letter,) = rig.destination.dead_letters
    assert (1, 3, f"http_{number}") == (letter.position, letter.items, letter.reason)
    assert {(Signal.TRACES, f"http_{number}"): 3} == rig.destination.dead_lettered
    assert {f"http_{number}": 3} == rig.destination.status()["dropped"]
    assert (1, True) == (rig.destination.forwarded[Signal.TRACES], rig.destination.is_up)
    assert SECRET not in str(rig.destination.status())


async def test_few_letters_are_remembered(rig):
    """However many are refused, the last ones are remembered, and all are counted."""
    rig.sink.answers += [far_side.status(400)] * 40
    for number in range(40):
        rig.source.append(spans(str(number)))
    await rig.settled(40)
    assert REMEMBERED == len(rig.destination.dead_letters)
    assert 40 == rig.destination.dead_lettered[Signal.TRACES, "http_400"]


async def test_partial_success(rig):
    """What the destination rejects of a request is counted, and not sent again."""
    rejected = b"\x0a\x02\x08\x02"
    rig.sink.answers.append(far_side.status(200, rejected))
    rig.source.append(spans("a", "b", "c"), items=3)
    await rig.settled(1)
    assert (1, 2, 1) == (
        rig.destination.forwarded[Signal.TRACES],
        rig.destination.rejected[Signal.TRACES],
        len(rig.sink.arrivals),
    )


async def test_more_rejected_than_sent(rig):
    """A destination cannot reject more than it was sent."""
    rig.sink.answers.append(far_side.status(200, b"\x0a\x03\x08\xff\x7f"))
    rig.source.append(spans("a"), items=1)
    await rig.settled(1)
    assert (0, 1) == (rig.destination.forwarded[Signal.TRACES], rig.destination.rejected[Signal.TRACES])


async def test_lost_answer(rig):
    """When the answer is lost the batch is sent again, under the same id, and that is counted."""
    rig.sink.answers.append(far_side.reset)
    rig.source.append(spans("chat"), items=4)
    await rig.down()
    await rig.retry()
    await rig.settled(1)
    first, second = rig.sink.arrivals
    assert (first.body, first.batch_id) == (second.body, second.batch_id)
    assert ({Signal.TRACES: 4}, 4) == (rig.destination.maybe_duplicate, rig.destination.forwarded[Signal.TRACES])


async def test_new_connection(rig):
    """A destination that was down is connected to anew, with certificates as they are by then."""
    peers = []

    def note(number):
        async def answer(request):
            peers.append(request.transport.get_extra_info("peername"))
            return far_side.web.Response(status=number)

        return answer

    rig.sink.answers += [note(200), note(503), note(200), note(200)]
    for position in (1, 2, 3):
        rig.source.append(spans(f"span {position}"))
        if position == 2:
            await rig.down()
            await rig.retry()
        await rig.settled(position)
    assert (peers[0], peers[2]) == (peers[1], peers[3])
    assert peers[1] != peers[2]


async def test_commits_in_order(rig):
    """A batch is done with when all before it are, too: a crash loses none that is still under way."""
    answered = asyncio.Event()

    async def late(_request):
        await answered.wait()
        return far_side.web.Response()

    rig.sink.answers.append(late)
    rig.source.append(spans("first"))
    await rig.sink.has(1)
    rig.source.append(spans("second"))
    await rig.until(lambda: rig.destination.forwarded[Signal.TRACES] == 1)
    assert (0, 1, 1) == (rig.source.committed, rig.destination.queued, rig.destination.queued_spans)
    answered.set()
    await rig.settled(2)
    assert (0, 0) == (rig.destination.queued, rig.destination.queued_spans)


async def test_spans(rig):
    """What waits and what is lost is counted in spans as well, whatever else is sent."""
    rig.sink.answers += [far_side.status(400), far_side.status(200, b"\x0a\x02\x08\x02"), far_side.status(400)]
    rig.source.append(spans("a", "b"), items=2)
    await rig.settled(1)
    rig.source.append(spans("a", "b", "c"), items=3)
    await rig.settled(2)
    rig.source.append(REQUESTS[Signal.METRICS]().SerializeToString(), Signal.METRICS, items=7)
    await rig.settled(3)
    rig.source.dropped["overflow"] = 4
    assert {"http_400": 2, "rejected": 2, "overflow": 4} == rig.destination.lost_spans
    assert {"http_400": 9, "overflow": 4} == rig.destination.dropped
    rig.sink.answers.append(far_side.silence)
    rig.source.append(REQUESTS[Signal.LOGS]().SerializeToString(), Signal.LOGS, items=5)
    rig.source.append(spans("a"), items=1)
    await rig.until(lambda: rig.destination.forwarded[Signal.TRACES] == 2)
    assert (5, 0) == (rig.destination.queued, rig.destination.queued_spans)


@pytest.mark.parametrize(("size", "most"), [(100, LIMIT), (MAX_BYTES * 2 // 5, 2), (2 * MAX_BYTES, 1)])
async def test_bounded(rig, worker, size, most):
    """At most four requests are under way, or 2 MiB of them, or one that is larger."""
    held = asyncio.Event()

    async def late(_request):
        await held.wait()
        return far_side.web.Response()

    rig.sink.answers += [late] * 6
    for _ in range(6):
        rig.source.append(spans("x" * size))
    await rig.sink.has(most)
    await worker(lambda: None)  # all that was to be packed by now is
    for _ in range(200):
        await asyncio.sleep(0)
    assert most == len(rig.sink.arrivals)
    held.set()
    await rig.settled(6)


async def test_double_speed(rig):
    """A backlog is sent at twice the speed at which it came, and what comes in then waits for nothing."""
    for number in range(5):
        rig.source.append(spans(str(number)), at=NOW - 100 + number * 0.5)
    for number in range(1, 6):
        await rig.settled(number)
        await rig.clock.advance(0.2)
        assert number == len(rig.sink.arrivals)
        await rig.clock.advance(0.05)
    await rig.clock.advance(1)
    for number in range(6, 9):
        rig.source.append(spans(str(number)), at=rig.clock.time())
        await rig.settled(number)
        await rig.clock.advance(0.1)


async def test_stopping(parts):
    """A destination that is stopped lets those under way end; the rest stays in the log."""
    async with rigged(*parts) as rig:
        rig.start()
        began, go_on = asyncio.Event(), asyncio.Event()

        async def late(_request):
            began.set()
            await go_on.wait()
            return far_side.web.Response()

        rig.sink.answers += [late] * LIMIT
        for number in range(LIMIT + 2):
            rig.source.append(spans(str(number)))
        await rig.sink.has(LIMIT)
        rig.task.cancel()
        go_on.set()
        await asyncio.gather(rig.task, return_exceptions=True)
    assert (LIMIT, LIMIT, 2) == (rig.source.committed, len(rig.sink.arrivals), rig.source.queued)


async def test_stopping_beside_a_destination_that_hangs(parts):
    """A destination that does not answer does not hold us up: what it may have got stays in the log as well."""
    async with rigged(*parts, timeout=60.0) as rig:
        rig.start()
        rig.sink.answers.append(far_side.silence)
        rig.source.append(spans("chat"))
        await rig.sink.has(1)
        rig.task.cancel()
        async with asyncio.timeout(GRACE + 1):
            await asyncio.gather(rig.task, return_exceptions=True)
    assert (0, 1) == (rig.source.committed, rig.source.queued)


async def test_stopping_while_down(parts):
    """Stopping does not wait for a destination that is down, nor try it once more."""
    async with rigged(*parts) as rig:
        rig.start()
        rig.sink.answers += [far_side.status(503)] * 9
        rig.source.append(spans("chat"))
        await rig.down()
        rig.task.cancel()
        await asyncio.gather(rig.task, return_exceptions=True)
        await rig.clock.advance(100)
    assert (1, 0, 1) == (len(rig.sink.arrivals), rig.source.committed, rig.source.queued)


async def test_unreadable(rig):
    """A request that cannot be read is given up without being sent."""
    rig.source.append(b"\x0a\x7f", items=2)
    rig.source.append(spans("next"))
    await rig.settled(2)
    assert ({(Signal.TRACES, "malformed"): 2}, 1) == (rig.destination.dead_lettered, len(rig.sink.arrivals))


async def test_empty(rig):
    """A request of which nothing was taken is not sent."""
    rig.source.append(b"", items=0)
    rig.source.append(spans("next"))
    await rig.settled(2)
    assert 1 == len(rig.sink.arrivals)


async def test_log_fails(rig):
    """A log that cannot be read now is asked again a second later."""
    rig.source.append(spans("first"))
    await rig.settled(1)
    rig.source.fault = OSError(5, "Input/output error")
    rig.source.append(spans("second"))
    await rig.settled(2)
    rig.source.append(spans("third"))
    await rig.until(lambda: rig.source.fault is None)
    await rig.clock.advance(1)
    await rig.settled(3)


async def test_fault_of_ours(rig, caplog):
    """A fault of ours costs an attempt, and its text, which may hold anything, is not told."""

    class Broken:
        """A transport that fails once in a way nobody thought of."""

        is_gzip = takes_json = True
        failed = 0

        async def send(self, parcel):
            self.failed += 1
            if self.failed == 1:
                raise RuntimeError(SECRET)
            return Accepted()

        async def renew(self):
            pass

        close = renew

    rig.destination._transport = Broken()
    rig.source.append(spans("chat"))
    await rig.down()
    await rig.clock.advance(1)
    await rig.settled(1)
    assert ("sending failed with RuntimeError", False) == (rig.destination.last_error, SECRET in caplog.text)


async def test_status(rig):
    """The state shows where it goes and how it is, and no secret."""
    rig.sink.answers.append(far_side.status(503, f"busy, {SECRET}".encode(), "text/plain"))
    rig.source.append(spans("chat"), items=2)
    rig.source.dropped["overflow"] = 7
    await rig.down()
    status = rig.destination.status()
    assert 0 <= status.pop("retry_at") - NOW <= 1
    assert {
        "name": "tempo",
        "url": "http://tempo:4318",
        "is_up": False,
        "last_error": "it answered 503: busy, ***",
        "queued": 2,
        "oldest_seconds": 0.0,
        "in_flight": 0,
        "forwarded": {},
        "rejected": {},
        "dropped": {"overflow": 7},
        "retries": 1,
        "maybe_duplicate": 0,
        "dead_letters": [],
    } == status


async def test_quiet_log(rig, caplog):
    """An outage is a line in the log and another when it is over, not one for each attempt."""
    rig.sink.answers += [far_side.status(503)] * 3
    rig.source.append(spans("chat"))
    for attempt in range(1, 4):
        await rig.sink.has(attempt)
        await rig.down()
        await rig.retry()
    await rig.settled(1)
    assert ["does not take what is sent: it answered 503", "takes what is sent again"] == [
        record.getMessage().split(": ", 1)[-1].removeprefix("destination tempo ") for record in caplog.records
    ]


ANSWERS = [
    far_side.status(200),
    far_side.status(503),
    far_side.status(429, Retry_After="1"),
    far_side.status(400),
    far_side.status(200, b"\x0a\x02\x08\x01"),
    far_side.reset,
]


@pytest.mark.parametrize("seed", range(4))
async def test_conservation(parts, seed):
    """Whatever a destination answers: what came in is forwarded, rejected or dropped, to the item, and none is lost."""
    chance = random.Random(seed)
    async with rigged(*parts) as rig:
        rig.start()
        rig.sink.answers += chance.choices(ANSWERS, k=60)
        bodies = [spans(f"span {number}") for number in range(40)]
        counts = [chance.randrange(1, 9) for _ in bodies]
        for body, items in zip(bodies, counts, strict=True):
            rig.source.append(body, items=items)
        while rig.source.committed < len(bodies):
            await rig.until(lambda: rig.source.committed == len(bodies) or rig._is_shut())
            await rig.clock.advance(1)
        destination = rig.destination
        assert sum(counts) == (
            destination.forwarded.total() + destination.rejected.total() + destination.dead_lettered.total()
        )
        assert (0, set(bodies)) == (destination.queued, set(rig.sink.bodies))
