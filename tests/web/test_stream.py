"""The stream of snapshots: real viewers on a real server, who look, stop taking, come in numbers and leave."""

import asyncio
import json
import re
import socket
from contextlib import suppress

import pytest
from aiohttp import ClientSession, ClientTimeout

from otel_latency.clock import SystemClock
from otel_latency.testing import FakeClock
from otel_latency.web.app import WebServer
from otel_latency.web.stream import HISTORY_EVERY, STALLED, Stream


class Feed:
    """Counts; each snapshot is its number, and as long as it is told to be."""

    def __init__(self, size=0):
        self.made = self.rested = 0
        self.fault = None
        self.padding = "x" * size

    async def snapshot(self):
        self.made += 1
        if self.fault:
            raise self.fault
        return json.dumps({"number": self.made, "padding": self.padding}).encode()

    async def history(self):
        return [json.dumps({"before": self.made, "part": part}).encode() for part in (1, 2)]

    def rest(self):
        self.rested += 1


class Running:
    """A server that streams *feed*, with time that moves when it is told to."""

    def __init__(self, feed, clock, **options):
        self.feed, self.clock = feed, clock
        self.stream = Stream(feed, clock, **options)
        self.server = WebServer("127.0.0.1", 0, routes=[self.stream.route()])

    async def __aenter__(self):
        await self.server.start()
        self.session = ClientSession(self.server.url, timeout=ClientTimeout(total=5))
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        self.stream.close()
        await self.server.stop()

    def look(self, **options):
        return self.session.get("/api/v1/stream", **options)

    async def tick(self):
        await self.clock.advance(0.25)


async def events(response, count):
    """The next *count* events, as (name, id, data)."""
    found = []
    fields = {}
    while len(found) < count:
        line = (await asyncio.wait_for(response.content.readline(), 5)).decode().rstrip("\n")
        assert response.content.at_eof() is False or line
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
            fields = {}
    return found


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_viewer_sees_history_and_then_snapshots():
    """A snapshot comes with each tick, numbered; beside the first one comes what was missed."""
    async with Running(Feed(), FakeClock()) as running, running.look() as response:
        first = await events(response, 3)
        await running.tick()
        second = await events(response, 1)
        assert "text/event-stream" == response.headers["Content-Type"]
        missed = [("history", 1, {"before": 1, "part": part}) for part in (1, 2)]
        assert [("snapshot", 1, {"number": 1, "padding": ""}), *missed] == first
        assert [("snapshot", 2, {"number": 2, "padding": ""})] == second


async def test_snapshots_come_four_times_a_second():
    """By the machine's clock: 250 ms apart."""
    loop = asyncio.get_running_loop()
    async with Running(Feed(), SystemClock()) as running, running.look() as response:
        await events(response, 3)
        began = loop.time()
        await events(response, 4)
        assert 0.5 < loop.time() - began < 3


async def test_one_snapshot_for_all_and_none_for_nobody():
    """Two viewers cost one snapshot a tick; once both have left nothing is made, and the feed is told."""
    feed = Feed()
    async with Running(feed, FakeClock()) as running:
        await running.tick()
        assert 0 == feed.made
        async with running.look() as one, running.look() as other:
            await events(one, 3)
            await running.tick()
            for viewer in (one, other):
                await until_snapshot(viewer, 2)
            assert (2, 2) == (feed.made, running.stream.viewers)
        while running.stream.viewers:
            await running.tick()  # those who left are noticed when something is sent to them
        made = feed.made
        await running.tick()
        assert (made, 1) == (feed.made, feed.rested)


async def test_a_slow_viewer_misses_snapshots():
    """Who takes nothing gets the latest once they do, with the history of what they missed; others do not wait."""
    async with Running(Feed(size=60_000), FakeClock()) as running, running.look() as quick:
        slow = await connect(running)
        await events(quick, 3)
        for _ in range(20):
            await running.tick()
            await until_snapshot(quick, running.feed.made)
        assert running.stream.dropped > 0
        received, missed = b"", running.feed.made
        while received.count(b"event: history") < 2:
            await running.tick()
            received += await all_of(slow)
        numbers = [int(number) for number in re.findall(rb'"number": (\d+)', received)]
        assert sorted(numbers) == numbers
        assert len(numbers) < numbers[-1] - 2
        assert any(number > missed for number in numbers)
        slow.close()


async def test_history_is_made_once_in_a_while():
    """Viewers who come one after the other do not have it made for each of them: they get it together, later."""
    async with Running(Feed(), FakeClock()) as running, running.look() as first:
        await events(first, 3)
        async with running.look() as second, running.look() as third:
            for _ in range(round(HISTORY_EVERY * 4)):
                await running.tick()
            found = [await events(one, round(HISTORY_EVERY * 4) + 2) for one in (second, third)]
            told = [[data["before"] for name, _, data in one if name == "history"] for one in found]
            assert [[13, 13], [13, 13]] == told


async def all_of(connection):
    """What comes until nothing comes any more."""
    received = b""
    with suppress(TimeoutError):
        while data := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 1 << 20), 0.3):
            received += data
    return received


async def until_snapshot(response, number):
    while (await events(response, 1))[0][2].get("number") != number:
        pass


async def test_a_stalled_viewer_is_cut_off():
    """After half a minute without taking anything their connection ends, and they are forgotten."""
    async with Running(Feed(size=400_000), FakeClock()) as running:
        began = running.clock.monotonic()
        stalled = await connect(running)
        async with asyncio.timeout(5):
            while running.stream.viewers:
                await running.tick()
        assert running.clock.monotonic() - began > STALLED
        stalled.close()


async def connect(running):
    """A viewer who has asked, and takes nothing."""
    stalled = socket.create_connection(running.server.address)
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    stalled.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stalled.setblocking(False)
    before = running.stream.viewers
    await until(lambda: running.stream.viewers > before)
    return stalled


async def test_no_more_than_there_is_room_for():
    """One too many is told to come back; a place is free again once somebody left."""
    async with Running(Feed(), FakeClock(), max_viewers=1) as running:
        async with running.look() as response:
            await events(response, 2)
            async with running.look() as refused:
                assert (503, "10") == (refused.status, refused.headers["Retry-After"])
                assert {"error": "1 look already: close a page"} == await refused.json()
        while running.stream.viewers:
            await running.tick()
        async with running.look() as response:
            assert 200 == response.status


async def test_a_failure_is_not_the_end(caplog):
    """A snapshot that cannot be made is logged, and the next one comes."""
    async with Running(Feed(), FakeClock()) as running, running.look() as response:
        await events(response, 3)
        running.feed.fault = RuntimeError("boom")
        await running.tick()
        await until(lambda: "boom" in caplog.text)
        running.feed.fault = None
        await running.tick()
        assert [3] == [data["number"] for _, _, data in await events(response, 1)]


async def test_closing_ends_streams_at_once():
    """Every stream is over, nobody is taken in any more, and closing twice is harmless."""
    async with Running(Feed(), FakeClock()) as running, running.look() as response:
        await events(response, 3)
        running.stream.close()
        running.stream.close()
        assert b"" == await asyncio.wait_for(response.content.read(), 2)
        async with running.look() as refused:
            assert 503 == refused.status


async def test_head_does_not_stream():
    """HEAD answers with the headers alone."""
    async with Running(Feed(), FakeClock()) as running, running.session.head("/api/v1/stream") as response:
        assert (200, 0) == (response.status, running.stream.viewers)


GUARD = {
    "no page": ({}, 200),
    "our own page": ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 200),
    "behind TLS": ({"Host": "localhost", "Origin": "https://LOCALHOST"}, 200),
    "another origin": ({"Host": "localhost:8080", "Origin": "http://attacker.example"}, 403),
    "another port": ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, 403),
    "a local file": ({"Host": "localhost:8080", "Origin": "null"}, 403),
    "no URL": ({"Host": "localhost:8080", "Origin": "http://[::1"}, 403),
    "another scheme": ({"Host": "localhost:8080", "Origin": "ftp://localhost:8080"}, 403),
    "a rebound name": ({"Host": "attacker.example", "Origin": "http://attacker.example"}, 403),
}


@pytest.mark.parametrize(("headers", "status"), GUARD.values(), ids=GUARD)
async def test_only_our_own_page_may_look(headers, status):
    """The Host has to be ours, and the Origin, where there is one, that of the page we served."""
    async with Running(Feed(), FakeClock()) as running, running.look(headers=headers) as response:
        assert status == response.status
