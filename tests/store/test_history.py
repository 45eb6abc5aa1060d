import asyncio
import os

import pytest
from store.past import CALL, FAILED, LLM, NAME, NOW, TURN, count, span, turn

from otel_latency.aggregate.turn_view import turn_json, turn_line
from otel_latency.errors import ExpressionError
from otel_latency.records import Alert, Family, ValueSeries
from otel_latency.sketch import Sketch
from otel_latency.store import states
from otel_latency.store.history import MAX_WAITING, MAX_WAITING_TURNS, History
from otel_latency.store.operations import Filter
from otel_latency.store.windows import Range
from otel_latency.testing import FakeClock

EVER = (NOW - 86400, NOW + 86400)
GAUGE = "otel_latency_host_load1"


class Life:
    """Histories of one folder, one after the other, and what a latency and a gauge saw by minute."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = FakeClock(NOW)
        self.minutes = {}
        """What is new in them."""
        self.gauges = {}
        self.opened = []
        self.written = []

    async def start(self):
        for each in self.opened:
            await each.close()
        self.minutes.clear()
        history = History(
            self.folder,
            detail=86400,
            aggregate=30 * 86400,
            max_bytes=64 << 20,
            clock=self.clock,
            changed=self.changed,
            minutes=lambda slot: [(GAUGE, (), self.gauges[slot])] if slot in self.gauges else [],
            written=self.written.append,
        )
        self.opened.append(history)
        return history, await history.start()

    def changed(self):
        told, self.minutes = self.minutes, {}
        return [(NAME, LLM, slot, window) for slot, window in told.items()]

    async def tick(self, seconds=1.0):
        await self.clock.advance(seconds)
        self.opened[-1].tick(self.clock.time())
        await self.opened[-1].written()


@pytest.fixture
async def life(tmp_path):
    made = Life(tmp_path / "data")
    yield made
    for each in made.opened:
        await each.close()


async def ids(history):
    return [int(one["span_id"], 16) for one in (await history.operations(Filter()))["operations"]]


async def test_spans_are_written_within_a_second(life):
    """What was added can be asked for after the next second's tick, and not lost by then."""
    history, _ = await life.start()
    await life.tick()
    history.add([span(number=1), span(TURN, number=2)])
    await life.tick(1.0)
    assert {1, 2} == set(await ids(history))
    history.add([span(number=3)])
    await life.tick(0.25)
    assert (1, 2) == (history.waiting, len(await ids(history)))
    await life.tick(0.75)
    assert (0, 3) == (history.waiting, len(await ids(history)))


async def test_closing_writes_the_rest(life):
    """What waited, and the running minute, are there after the next start."""
    history, _ = await life.start()
    history.add([span(number=1)])
    life.minutes[int(NOW) // 60] = Sketch([1.0, 2.0])
    history, _ = await life.start()
    assert [1] == await ids(history)
    (line,) = (await history.history(NAME, NOW, NOW + 60))["series"]
    assert [2] == [point["count"] for point in line["points"]]


async def test_a_minute_over_a_restart(life):
    """What two runs saw of one minute is added up, late spans included."""
    for value in (1.0, 5.0):
        await life.start()
        life.minutes[int(NOW) // 60] = Sketch([value])
    history, _ = await life.start()
    (line,) = (await history.history(f'{NAME}{{stage="llm"}}', NOW, NOW + 60))["series"]
    assert [(2, 1.0, 5.0)] == [(point["count"], point["min"], point["max"]) for point in line["points"]]


async def test_counters_go_on(life):
    """Values that were kept last are those of the next start; only what changed is written."""
    labels = (("status", "ok"), ("service", "a"))
    history, before = await life.start()
    assert ({}, None) == before
    for value in (1.0, 4.0, 4.0):
        history.count([Family("turns_total", "counter", "", [ValueSeries(labels, value)])])
    assert 2 == len(history._batch.counters)
    assert {("turns_total", (("service", "a"), ("status", "ok"))): 4.0} == (await life.start())[1].counters


async def test_maintenance(life):
    """Minutes become quarters, and what is old goes."""
    history, _ = await life.start()
    history.add([span(end=NOW - 2 * 86400, number=1), span(end=NOW, number=2)])
    for _ in range(22):
        life.minutes[int(life.clock.time()) // 60] = Sketch([1.0])
        history.reach(1)
        await life.tick(60)
    await history.maintain()
    assert [2] == await ids(history)
    assert [15] == await history.ask(
        lambda connection: [
            Sketch.from_bytes(data).count for (data,) in connection.execute("SELECT data FROM quarters")
        ]
    )


async def test_questions(life):
    """Every question has an answer of plain values."""
    history, _ = await life.start()
    history.add([span(CALL, session="s"), span(FAILED), span(TURN, session="s")])
    history.tell([Alert({"alertname": "Slow"}, {}, NOW, NOW, True, 1.0)])
    await life.tick()
    summary = (await history.summary(Filter(kind="llm"), by=("provider",)))["summary"]
    assert [("groq", 1), ("openai", 1)] == sorted((one["provider"], one["count"]) for one in summary)
    assert [{"alertname": "Slow"}] == [one["labels"] for one in (await history.alerts(*EVER))["alerts"]]
    found = await history.durations(Filter(kind="llm"), by=("provider",))
    assert {("openai",): [1.0], ("groq",): []} == {key: list(values) for key, values in found.groups.items()}
    assert found.complete_from == life.clock.time() - 86400
    assert {"series": []} == await history.history(NAME, *EVER, 86400)


def line(one):
    """Of a turn whose clock can be believed."""
    return {**turn_line(one), "end": one.end_ns / 1e9}


async def test_sessions(life):
    """A turn is in its session at once, before it is written."""
    history, _ = await life.start()
    history.add_turns([turn(NOW - 5, number=1, session="s1"), turn(NOW, number=2, session="s2")])
    await life.tick()
    history.add_turns([turn(NOW, number=3, session="s1")])
    found = (await history.sessions(service="bot", until=NOW + 1))["sessions"]
    assert {"s1": 2, "s2": 1} == {one["session"]: one["turns"] for one in found}


async def test_turns(life):
    """Turns are there after the next second's tick, and the next start, as lines and as documents."""
    history, _ = await life.start()
    one, two = turn(NOW - 5, number=1, session="s1"), turn(NOW, seconds=9.0, number=2, request_id="checkout 7")
    history.add_turns([one, two])
    await life.tick()
    for _ in range(2):
        assert {"turns": [line(two), line(one)]} == await history.turns()
        assert {"turns": [line(one)]} == await history.turns(5, session="s1", until=NOW, service="bot")
        assert {"turns": [line(two)]} == await history.turns(slower_than=5.0)
        assert turn_json(one) == await history.turn(one.trace_id.hex())
        assert turn_json(two) == await history.turn("checkout 7") == await history.turn(f"{2:032x}", f"{8:016x}")
        assert await history.turn("0" * 32) is None
        history, _ = await life.start()


async def test_turns_are_shown_as_told(life):
    """Whoever wires the history may show turns otherwise."""
    history = History(
        life.folder,
        detail=86400,
        aggregate=86400,
        max_bytes=64 << 20,
        clock=life.clock,
        document=lambda one: {"document": one.duration},
        line=lambda one: {"line": one.duration},
    )
    life.opened.append(history)
    await history.start()
    history.add_turns([turn(seconds=3.0)])
    await life.tick()
    assert {"turns": [{"line": 3.0, "end": NOW}]} == await history.turns()
    assert {"document": 3.0} == await history.turn(f"{1:032x}")


async def test_states(life):
    """The last state of each name is kept over restarts, and known before it is written."""
    history, _ = await life.start()
    assert await history.kept("predictor") is None
    for state in (b"1", b"2"):
        history.keep("predictor", state)
        assert state == await history.kept("predictor")
    await life.tick()
    history.keep("other", b"3")
    history, _ = await life.start()
    assert (b"2", b"3") == (await history.kept("predictor"), await history.kept("other"))
    with pytest.raises(ValueError, match="'predictor' has 8388609 bytes"):
        history.keep("predictor", bytes(states.MAX_BYTES + 1))


async def test_a_state_too_large_for_the_room(life):
    """is not kept, and counted; what else there is is written."""
    history, _ = await life.start()
    history._database._room_on_disk = 1 << 20
    history.keep("predictor", os.urandom(1 << 20))
    history.keep("other", b"3")
    history.add([span()])
    await life.tick()
    assert (None, b"3", {"states": 1}) == (
        await history.kept("predictor"),
        await history.kept("other"),
        history.dropped,
    )
    assert 1 == len(await ids(history))


async def test_a_damaged_file_with_turns_and_states(life):
    """What can be read of it is in the new one."""
    history, _ = await life.start()
    history.add_turns([turn(NOW - number, number=number) for number in range(MAX_WAITING_TURNS)])
    history.keep("predictor", b"state")
    await life.tick()
    await history.close()
    with (life.folder / "history.db").open("r+b") as file:
        file.seek(-40_960, os.SEEK_END)
        file.write(os.urandom(4096))
    history, _ = await life.start()
    assert "the history was damaged" in history.fault
    assert MAX_WAITING_TURNS - 200 < await history.ask(lambda connection: count(connection, "turns"))
    assert b"state" == await history.kept("predictor")


async def test_the_disk_comes_back(tmp_path):
    """A history in memory goes to the disk with the next maintenance that finds one, with all that it holds."""
    life = Life(tmp_path / "file" / "data")
    (tmp_path / "file").touch()
    history, _ = await life.start()
    history.add([span(number=1, session="s1")])
    history.add_turns([turn(number=1)])
    history.keep("predictor", b"state")
    await life.tick()
    await history.maintain()
    assert history.status()["is_in_memory"]
    (tmp_path / "file").unlink()
    await history.maintain()
    assert (False, "") == (history.status()["is_in_memory"], history.fault)
    history.add([span(number=2)])
    await life.tick()
    history, _ = await life.start()
    assert ([1, 2], b"state") == (sorted(await ids(history)), await history.kept("predictor"))
    assert turn_json(turn(number=1)) == await history.turn(f"{1:032x}")
    await history.close()


async def test_the_disk_comes_back_with_what_was_there(tmp_path):
    """Counters go on from what was shown last, minutes seen on both sides are added up, and none twice."""
    life = Life(tmp_path / "data")
    history, _ = await life.start()
    life.minutes[int(NOW) // 60] = Sketch([1.0])
    history.count([Family("c_total", "counter", "", [ValueSeries((), 100.0)])])
    await history.close()
    (tmp_path / "data").rename(tmp_path / "away")
    (tmp_path / "data").touch()
    history, _ = await life.start()
    life.minutes[int(NOW) // 60] = Sketch([2.0])
    history.count([Family("c_total", "counter", "", [ValueSeries((), 7.0)])])
    await life.tick(60)
    (tmp_path / "data").unlink()
    (tmp_path / "away").rename(tmp_path / "data")
    await history.maintain()
    life.minutes[int(NOW) // 60] = Sketch([3.0])
    await life.tick(60)
    assert "" == history.fault
    (line,) = (await history.history(NAME, NOW, NOW + 60))["series"]
    assert [(3, 1.0, 3.0)] == [(point["count"], point["min"], point["max"]) for point in line["points"]]
    assert {("c_total", ()): 7.0} == (await life.start())[1].counters
    await life.opened[-1].close()


async def test_a_disk_that_comes_back_damaged(tmp_path):
    """The damaged file is put aside, and what was in memory is in the new one."""
    life = Life(tmp_path / "data")
    (tmp_path / "data").touch()
    history, _ = await life.start()
    history.add([span(number=1)])
    await life.tick()
    (tmp_path / "data").unlink()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "history.db").write_bytes(b"hello " * 1000)
    await history.maintain()
    assert ("the history was damaged" in history.fault, [1]) == (True, await ids(history))
    assert not history.status()["is_in_memory"]
    await history.close()


async def test_bad_questions(life):
    """A selector or a time that is wrong is told; a question before the start as well."""
    history = History(life.folder, detail=1, aggregate=1, max_bytes=64 << 20, clock=life.clock)
    with pytest.raises(ValueError, match="not open yet"):
        await history.operations(Filter())
    await history.close()
    history, _ = await life.start()
    with pytest.raises(ExpressionError):
        await history.history("{}", *EVER)
    with pytest.raises(ValueError, match="from before to"):
        await history.history(NAME, NOW, NOW - 1)


async def test_the_queue_is_bounded(life):
    """Spans that find no place are dropped and counted; nothing else waits without end either."""
    history, _ = await life.start()
    history.add([span()] * (MAX_WAITING - 1))
    history.add([span()] * 3)
    history.tell([Alert({}, {}, NOW, NOW, True, 1.0)] * (MAX_WAITING + 5))
    assert (MAX_WAITING, {"queue": 7}) == (history.waiting, history.dropped)
    history.add_turns([turn()] * (MAX_WAITING_TURNS + 3))
    assert {"queue": 10} == history.dropped


async def test_a_batch_that_cannot_be_written(life):
    """is counted and told, and the next one is written."""
    history, _ = await life.start()
    await life.tick()
    history.add([span(input_tokens=2**70), span(number=2)])
    await life.tick()
    assert ({"disk": 2}, []) == (history.dropped, await ids(history))
    assert "the history cannot be written" in history.fault
    history.add([span(number=3)])
    await life.tick()
    assert ("", [3]) == (history.fault, await ids(history))
    assert {"disk": 2} == history.status()["dropped"]


async def test_a_folder_that_cannot_be_made(tmp_path):
    """The history goes on in memory, and says so."""
    (tmp_path / "file").touch()
    life = Life(tmp_path / "file" / "data")
    history, _ = await life.start()
    assert history.status()["is_in_memory"]
    assert "does not survive a restart" in history.fault
    history.add([span(number=9)])
    await life.tick()
    assert [9] == await ids(history)
    await history.close()


async def test_closing(life):
    """Closing twice, or before starting, is harmless; so is a tick before the start."""
    history = History(life.folder, detail=1, aggregate=1, max_bytes=64 << 20, clock=life.clock)
    history.add([span()])
    history.tick(NOW)
    await history.maintain()
    await history.close()
    await history.close()


async def test_questions_do_not_wait_for_maintenance(life):
    """A question asked while much is deleted is answered between two steps."""
    history, _ = await life.start()
    old = [span(end=NOW - 2 * 86400, number=number) for number in range(8000)]
    history.add([*old, span(number=9999)])
    await life.tick()
    done = []
    maintenance = asyncio.create_task(history.maintain())
    maintenance.add_done_callback(lambda _: done.append("maintenance"))
    await asyncio.sleep(0)
    await history.operations(Filter(), limit=1)
    done.append("question")
    await maintenance
    assert ["question", "maintenance"] == done
    assert [9999] == await ids(history)


async def test_a_line_reaches_up_to_now(life):
    """The running minute is told as far as it has come, again when it has grown, and not twice."""
    history, _ = await life.start()
    running = int(life.clock.time()) // 60
    seen = []
    for new in ([1.0], [2.0], []):
        seen += new
        life.minutes[running], life.gauges[running] = Sketch(new), Range.of(seen)
        for name in (NAME, GAUGE):
            (line,) = (await history.history(name, *EVER, 60))["series"]
            assert [(point["start"], point["sum"]) for point in line["points"]] == [(running * 60, sum(seen))]
    assert {"series": []} == await history.history("another_name", *EVER, 60)
    await life.tick(120)
    for name in (NAME, GAUGE):
        (line,) = (await history.history(name, *EVER, 60))["series"]
        assert [(point["count"], point["max"]) for point in line["points"]] == [(2, 2.0)]


async def test_what_waits_for_a_disk_is_added_up(life):
    """While it refuses, minutes take no more room than they would there; afterwards they have everything."""
    history, _ = await life.start()
    await history.ask(lambda connection: connection.execute("PRAGMA query_only = ON"))
    for _ in range(20):
        life.minutes[int(NOW) // 60] = Sketch([1.0])
        history.reach(1)
        await life.tick(2.0)
    assert 1 == len(history._batch.minutes)
    await history.ask(lambda connection: connection.execute("PRAGMA query_only = OFF"))
    await life.tick(2.0)
    (line,) = (await history.history(NAME, NOW, NOW + 60))["series"]
    assert [20] == [point["count"] for point in line["points"]]


async def test_a_disk_that_refuses_for_a_while(life):
    """What could not be written comes again, before what is newer, and only then is it told to be written."""
    history, _ = await life.start()
    await history.ask(lambda connection: connection.execute("PRAGMA query_only = ON"))
    for number in (1, 2):
        history.add([span(number=number)])
        life.minutes[int(life.clock.time()) // 60] = Sketch([float(number)])
        history.reach(number)
        await life.tick(60)
    assert ([], {}, 2) == (life.written, history.dropped, history.waiting)
    assert "it is tried again" in history.fault
    await history.ask(lambda connection: connection.execute("PRAGMA query_only = OFF"))
    await life.tick()
    assert ([2], "", {1, 2}) == (life.written, history.fault, set(await ids(history)))
    (line,) = (await history.history(NAME, NOW, NOW + 180))["series"]
    assert [1, 1] == [point["count"] for point in line["points"]]


async def test_in_memory_nothing_is_written(tmp_path):
    """Whoever has it on disk has to keep it, until the history is there, which it tries with every write."""
    life = Life(tmp_path / "file" / "data")
    (tmp_path / "file").touch()
    history, _ = await life.start()
    history.reach(7)
    await life.tick()
    await life.tick()
    assert ([], True) == (life.written, history.status()["is_in_memory"])
    (tmp_path / "file").unlink()
    await life.tick()
    assert ([7], False) == (life.written, history.status()["is_in_memory"])
    assert 7 == (await life.start())[1].position
    await life.opened[-1].close()


async def test_hurry(life):
    """It rests after a write, unless somebody needs the room of what waits."""
    history, _ = await life.start()
    history.reach(1)
    await life.tick()
    history.reach(2)
    await life.tick(0.25)
    assert [1] == life.written
    history.hurry()
    await life.tick(0.25)
    assert [1, 2] == life.written
