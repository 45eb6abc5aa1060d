"""The log as the agent uses it: acknowledged is durable, every reader gets everything, and all is accounted for."""

import asyncio
import random
import shutil
import threading

import pytest
from wal.making import NOW, SALT, body, opened

from otel_latency.clock import SystemClock
from otel_latency.errors import Overloaded
from otel_latency.testing import FakeClock
from otel_latency.wal import cursor
from otel_latency.wal.format import parse_name, scan
from otel_latency.wal.log import MAX_WAITING_BYTES, Log


def append(log, number, **options):
    return log.append(number % 4, body(number), items=3, **options)


async def append_all(log, count):
    return await asyncio.gather(*(append(log, number) for number in range(count)))


async def read_all(reader):
    """The positions of all that is there."""
    return [record.position async for record in reader.backlog()]


def segments(folder):
    return sorted(path for path in folder.iterdir() if parse_name(path.name))


async def test_append(tmp_path):
    """What is acknowledged is in a file, and comes to a reader as it was given."""
    async with opened(tmp_path, {"a": 0}) as log:
        assert 1 == await log.append(2, b"a body", items=5, spans=4, flags=9)
        (path,) = segments(tmp_path)
        name = parse_name(path.name)
        assert [1] == [found.after.number for found in scan(path.read_bytes(), name.salt)]
        (record,) = await log.readers["a"].read()
        assert (1, 2, 9, 5, int(NOW * 1e9), b"a body", 4) == record


async def test_groups(tmp_path):
    """Requests that come at the same time share a group, and so an fsync; positions are in the order of asking."""
    async with opened(tmp_path, {}) as log:
        assert list(range(1, 101)) == await append_all(log, 100)
        (path,) = segments(tmp_path)
        found = list(scan(path.read_bytes(), parse_name(path.name).salt))
        assert (100, 1) == (len(found), sum(one.is_first for one in found))


async def test_then(tmp_path):
    """Everything is handed on once, in order and before it is acknowledged, also for those who stopped waiting."""
    told = []
    async with opened(tmp_path, {}) as log:
        tasks = [asyncio.create_task(append(log, number, then=lambda at: told.append(at))) for number in range(10)]
        await asyncio.sleep(0)
        tasks[4].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [1, 2, 3, 4, 6, 7, 8, 9, 10] == [one for one in done if not isinstance(one, BaseException)]
        assert list(range(1, 11)) == told


async def test_a_receiver_that_fails(tmp_path):
    """A fault where records are handed on to costs neither the acknowledgement nor the next record."""
    async with opened(tmp_path, {}) as log:
        assert 1 == await append(log, 0, then=lambda _: 1 / 0)
        assert 2 == await append(log, 1)


async def test_readers_wait(tmp_path):
    """A reader at the end gets the next record when it is there."""
    async with opened(tmp_path, {"a": 0, "b": 0}) as log:
        waiting = [asyncio.create_task(reader.read()) for reader in log.readers.values()]
        await append(log, 0)
        assert [[body(0)]] * 2 == [[record.body for record in await task] for task in waiting]


async def test_restart(tmp_path):
    """After a restart each reader goes on behind what it committed, by its own cursor or by the log's."""
    async with opened(tmp_path, {"own": 0, "ours": None}) as log:
        await append_all(log, 20)
        for reader, done in ((log.readers["own"], 12), (log.readers["ours"], 15)):
            await reader.read()
            reader.commit(done)
    async with opened(tmp_path, {"own": 12, "ours": None}) as log:
        assert {"own": 24, "ours": 15} == {name: reader.queued for name, reader in log.readers.items()}
        for name, first in (("own", 13), ("ours", 16)):
            assert list(range(first, 21)) == await read_all(log.readers[name])


async def test_follow(tmp_path):
    """A reader that takes records as they come reads the backlog first; its commits count all the same."""
    async with opened(tmp_path, {"a": 0}) as log:
        await append_all(log, 5)
    async with opened(tmp_path, {"a": 2}) as log:
        reader = log.readers["a"]
        with pytest.raises(ValueError, match="backlog"):
            reader.follow()
        assert [3, 4, 5] == await read_all(reader)
        reader.follow()
        await append_all(log, 3)
        assert (True, 18) == (reader.is_at_end, reader.queued)
        reader.commit(7)
        assert 3 == reader.queued


async def test_spans(tmp_path):
    """Of what waits it is known how much is spans, also after a restart."""
    async with opened(tmp_path, {"a": None}) as log:
        reader = log.readers["a"]
        for spans in (5, 0, 5):
            await log.append(1, b"body", items=5, spans=spans)
        await reader.read()
        reader.commit(1)
        assert (10, 5, 0) == (reader.queued, reader.queued_spans, reader.recovered_spans)
    async with opened(tmp_path, {"a": None}) as log:
        reader = log.readers["a"]
        await log.append(1, b"body", items=5, spans=3)
        assert (15, 8, 5) == (reader.queued, reader.queued_spans, reader.recovered_spans)


async def test_in_memory():
    """What is acknowledged from memory is counted, and how much of it is spans."""
    log = Log(None, clock=FakeClock(NOW))
    await log.open({"a": 0})
    await log.append(1, b"body", items=5, spans=4)
    await log.append(1, b"body", items=3)
    assert (8, 4) == (log.acked_nondurable, log.acked_nondurable_spans)
    await log.close()


async def test_killed(tmp_path):
    """What was committed just before the end of the process does not come again."""
    async with opened(tmp_path, {"a": None}) as log:
        await append_all(log, 5)
        reader = log.readers["a"]
        await reader.read()
        reader.commit(3)
        async with asyncio.timeout(5):
            while {"a": reader.cursor.done} != cursor.load(tmp_path):
                await asyncio.sleep(0)
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path, copy)  # as it is without `close`
    async with opened(copy, {"a": None}) as log:
        assert [4, 5] == await read_all(log.readers["a"])


async def test_a_cursor_that_its_reader_has_lost(tmp_path):
    """The log remembers the cursors of those, too, who keep them by themselves."""
    async with opened(tmp_path, {"a": 0}) as log:
        for number in range(5):
            await append(log, number)
        await read_all(log.readers["a"])
        log.readers["a"].commit(3)
    async with opened(tmp_path, {"a": None}) as log:
        assert [4, 5] == await read_all(log.readers["a"])
    async with opened(tmp_path, {"a": 2}) as log:
        assert [3, 4, 5] == await read_all(log.readers["a"])


async def test_lost_before_a_restart(tmp_path, caplog):
    """What had to go for want of room, before its reader came to it, is told as that after a restart, too."""
    rng = random.Random(1)
    async with opened(tmp_path, {"a": None}, max_bytes=64 << 10, segment_bytes=8 << 10) as log:
        for number in range(99):
            await log.append(1, rng.randbytes(1000), items=3)
            if number == 4:
                await log.readers["a"].read(2000)
    async with opened(tmp_path, {"a": None, "b": 7}, max_bytes=64 << 10) as log:
        reader = log.readers["a"]
        assert ({"overflow"}, 3 * 99) == (set(reader.dropped), reader.dropped["overflow"] + reader.queued)
        assert reader.queued == 3 * len(await read_all(reader))
    assert f"{99 - 7 - reader.queued // 3} requests had to go before b had done with them" in caplog.text


async def test_nothing_lost_by_a_torn_end(tmp_path, caplog):
    """Numbers that a torn group may have had are passed over, and nobody who had read all is told of a loss."""
    async with opened(tmp_path, {"a": 0}) as log:
        for number in range(5):
            await append(log, number)
    with segments(tmp_path)[0].open("ab") as file:
        file.write(bytes(500))
    async with opened(tmp_path, {"a": 5}) as log:
        assert ({}, True) == (log.readers["a"].dropped, log.end.number > 5)
    assert "had to go" not in caplog.text


async def test_latest(tmp_path):
    """What came last can be asked for again, though everybody has done with it, and no further than is wanted."""
    async with opened(tmp_path, {"a": 0}) as log:
        for number in range(9):
            await append(log, number)
        await read_all(log.readers["a"])
        log.readers["a"].commit(9)
        await log.maintain()
        assert [1, 2, 3, 4, 5] == [record.position async for record in log.latest(5)]
    async with opened(tmp_path, {"a": 9}) as log:
        assert [body(number) for number in range(9)] == [record.body async for record in log.latest(99)]


async def test_release(tmp_path):
    """Segments go once every reader has committed them, within a second."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, {"a": 0, "b": None}, clock=clock, segment_bytes=200) as log:
        running = asyncio.create_task(log.run())
        for number in range(20):
            await append(log, number)
        many = len(segments(tmp_path))
        await read_all(log.readers["a"])
        log.readers["a"].commit(20)
        await log.maintain()
        assert many == len(segments(tmp_path)) > 5
        await read_all(log.readers["b"])
        log.readers["b"].commit(20)
        await log.maintain()
        assert 1 == len(segments(tmp_path))
        running.cancel()


async def test_overflow(tmp_path, caplog):
    """At the cap each reader loses what it has not read, to the item, and goes on with what is left; told once."""
    rng = random.Random(1)
    async with opened(tmp_path, {"quick": 0, "slow": 0}, max_bytes=128 << 10, segment_bytes=16 << 10) as log:
        quick, slow = log.readers.values()
        quick.follow()
        for _ in range(300):
            await log.append(1, rng.randbytes(1000), items=3)
            quick.commit(log.end.number)
        assert log.size_bytes <= 128 << 10
        lost = slow.dropped["overflow"]
        assert ({}, 0, {"overflow": lost}, 900 - lost) == (quick.dropped, quick.queued, slow.dropped, slow.queued)
        kept = await read_all(slow)
        assert (list(range(lost // 3 + 1, 301)), {"overflow": lost}) == (kept, slow.dropped)
        assert 1 == caplog.text.count("the log is full") == caplog.text.count("are lost to slow")
        slow.commit(300)
        assert 0 == slow.queued


async def test_damage(tmp_path):
    """Records that the disk does not give back are lost to the item, before or after a restart."""
    async with opened(tmp_path, {"a": None}, segment_bytes=300) as log:
        for number in range(20):
            await append(log, number)
    data = bytearray(segments(tmp_path)[1].read_bytes())
    for found in scan(bytes(data), parse_name(segments(tmp_path)[1].name).salt):
        data[found.end_offset - 1] ^= 1
    segments(tmp_path)[1].write_bytes(data)
    hit = parse_name(segments(tmp_path)[2].name).number - parse_name(segments(tmp_path)[1].name).number
    async with opened(tmp_path, {"a": None}) as log:
        reader = log.readers["a"]
        kept = await read_all(reader)
        assert (20 - hit, {"corrupt": 3 * hit}, 3 * (20 - hit)) == (len(kept), reader.dropped, reader.queued)
        reader.commit(20)
        assert 0 == reader.queued


async def test_oldest(tmp_path):
    """How long the oldest record waits is known, read or not, and after a restart."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, {"a": None}, clock=clock) as log:
        reader = log.readers["a"]
        assert 0.0 == reader.oldest_seconds
        for number in range(3):
            await append(log, number)
            await clock.advance(10)
        await log.maintain()
        assert 30.0 == reader.oldest_seconds
        await reader.read()
        reader.commit(1)
        assert 20.0 == reader.oldest_seconds
    async with opened(tmp_path, {"a": None}, clock=clock) as log:
        await log.maintain()
        assert 20.0 == log.readers["a"].oldest_seconds


async def test_clock_steps(tmp_path):
    """A clock that is set back makes no age negative, and stops nothing."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, {"a": 0}, clock=clock) as log:
        await append(log, 0)
        clock.step(-86_400)
        await append(log, 1)
        await log.maintain()
        assert (0.0, [1, 2]) == (
            log.readers["a"].oldest_seconds,
            [record.position for record in await log.readers["a"].read()],
        )


async def test_a_disk_that_comes_back(tmp_path):
    """While the disk fails records are acknowledged from memory and counted; then they go to disk, in order."""
    (tmp_path / "log").write_text("in the way")
    clock = FakeClock(NOW)
    log = Log(tmp_path / "log", clock=clock)
    await log.open({"a": 0})
    await append_all(log, 5)
    reader = log.readers["a"]
    assert (15, True, [1, 2, 3, 4, 5]) == (
        log.acked_nondurable,
        log.fault.startswith("the log cannot be written (File exists)"),
        [record.position for record in await reader.read()],
    )
    (tmp_path / "log").unlink()
    await log.maintain()
    assert ("", 6, 15) == (log.fault, await append(log, 5), log.acked_nondurable)
    await log.close()
    async with opened(tmp_path / "log", {"a": 0}) as log:
        assert [(number + 1, body(number)) for number in range(6)] == [
            (record.position, record.body) async for record in log.readers["a"].backlog()
        ]


async def test_refuse(tmp_path):
    """With `refuse` nothing is acknowledged that is not durable."""
    (tmp_path / "log").write_text("in the way")
    async with opened(tmp_path / "log", {"a": 0}, on_disk_failure="refuse") as log:
        with pytest.raises(Overloaded, match="File exists"):
            await append(log, 0)
        assert (0, 0) == (log.readers["a"].queued, log.acked_nondurable)
        (tmp_path / "log").unlink()
        await log.maintain()
        assert 1 == await append(log, 1)


async def test_memory_only():
    """Without a folder there is the same interface, bounded, and no fault."""
    rng = random.Random(1)
    async with opened(None, {"a": None, "b": 0}) as log:
        for _ in range(12):
            await log.append(1, rng.randbytes(1 << 20), items=2)
        reader = log.readers["a"]
        assert ({"overflow": 10}, 14, "") == (reader.dropped, reader.queued, log.fault)
        for one in log.readers.values():
            assert list(range(6, 13)) == await read_all(one)
            one.commit(12)
        await log.maintain()
        assert 0 == log.size_bytes


async def test_too_much_at_once(tmp_path):
    """More than the disk keeps up with is refused, and what was taken is kept."""
    async with opened(tmp_path, {}) as log:
        half = random.Random(1).randbytes(MAX_WAITING_BYTES // 2)  # cannot be compressed
        first = [asyncio.create_task(log.append(1, half, items=1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="keep up"):
            await log.append(1, b"more", items=1)
        assert [1, 2] == await asyncio.gather(*first)
        assert 3 == await log.append(1, b"more", items=1)


async def test_a_disk_that_hangs(tmp_path):
    """Nobody waits for ever; what was refused for that is kept and handed on once the disk goes on."""
    goes_on, told = threading.Event(), []
    async with opened(tmp_path, {"a": 0}, patience=0.01) as log:
        log._thread.submit(goes_on.wait)
        with pytest.raises(Overloaded, match="hangs"):
            await append(log, 0, then=told.append)
        goes_on.set()
        assert [body(0)] == [record.body for record in await log.readers["a"].read()]
        assert [1] == told


@pytest.mark.parametrize("numbers", [{"kind": 256}, {"kind": -1}, {"flags": 256}, {"items": 1 << 32}])
async def test_numbers_that_do_not_fit(tmp_path, numbers):
    """A caller's mistake is its own, and not that of those whose requests are in the same group."""
    async with opened(tmp_path, {}) as log:
        good = asyncio.create_task(append(log, 0))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="bytes"):
            await log.append(**{"kind": 1, "body": b"", "items": 1} | numbers)
        assert 1 == await good


async def test_close(tmp_path):
    """What waits is written first; after, nothing is taken. Closing twice, or before opening, is harmless."""
    log = Log(tmp_path, clock=SystemClock())
    with pytest.raises(Overloaded, match="not open"):
        await append(log, 0)
    await log.close()
    log = Log(tmp_path, clock=SystemClock())
    await log.open({"a": 0})
    waiting = [asyncio.create_task(append(log, number)) for number in range(9)]
    await asyncio.sleep(0)
    await log.close()
    await log.close()
    assert list(range(1, 10)) == await asyncio.gather(*waiting)
    with pytest.raises(Overloaded, match="not open"):
        await append(log, 0)


async def test_status(tmp_path):
    """/status tells of the log and of each reader."""
    async with opened(tmp_path, {"a": None}, salt=lambda: SALT) as log:
        await append_all(log, 2)
        assert {
            "position": 2,
            "size_bytes": 4096,
            "waiting_bytes": 0,
            "acked_nondurable": 0,
            "torn_bytes": 0,
            "fault": "",
            "readers": {"a": {"committed": 0, "queued": 6, "oldest_seconds": 0.0, "dropped": {}}},
        } == log.status()


@pytest.mark.parametrize("seed", range(8))
async def test_conservation(tmp_path, seed):
    """Of what is there at the start and comes after, a reader has each item done, queued or dropped, at any time.

    Records are read and committed in parts, the cap is small, and a byte of the log is damaged before each start.
    """
    rng = random.Random(seed)
    for _ in range(4):
        async with opened(tmp_path, {"a": None}, max_bytes=96 << 10, segment_bytes=8 << 10) as log:
            reader, pending, done = log.readers["a"], [], 0
            before = log.end.items - reader.queued
            for _ in range(30):
                bodies = [rng.randbytes(rng.randrange(2000)) for _ in range(rng.randrange(1, 6))]
                await asyncio.gather(*(log.append(1, body, items=rng.randrange(10)) for body in bodies))
                if rng.random() < 0.4 and not reader.is_at_end:
                    pending += await reader.read(rng.choice((1, 5000, 50_000)))
                if rng.random() < 0.4 and pending:
                    number = rng.randrange(len(pending))
                    reader.commit(pending[number].position)
                    done += sum(record.items for record in pending[: number + 1])
                    del pending[: number + 1]
                assert log.end.items - before == done + reader.queued + sum(reader.dropped.values())
        damaged = rng.choice(segments(tmp_path))
        data = bytearray(damaged.read_bytes())
        data[rng.randrange(len(data))] ^= 0x55
        damaged.write_bytes(data)
