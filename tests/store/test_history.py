import asyncio

import pytest
from store.past import CALL, FAILED, LLM, NAME, NOW, TURN, span

from otel_latency.errors import ExpressionError
from otel_latency.records import Alert, Family, ValueSeries
from otel_latency.sketch import Sketch
from otel_latency.store.history import MAX_WAITING, History
from otel_latency.store.operations import Filter
from otel_latency.testing import FakeClock

EVER = (NOW - 86400, NOW + 86400)


class Life:
    """Histories of one folder, one after the other, and what series saw by minute."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = FakeClock(NOW)
        self.minutes = {}
        self.opened = []

    async def start(self):
        for each in self.opened:
            await each.close()
        self.minutes.clear()
        history = History(
            self.folder, detail=86400, aggregate=30 * 86400, max_bytes=64 << 20, clock=self.clock, minutes=self.seen
        )
        self.opened.append(history)
        return history, await history.start()

    def seen(self, slot):
        return [(NAME, LLM, self.minutes[slot])] if slot in self.minutes else []

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
    assert {} == before
    for value in (1.0, 4.0, 4.0):
        history.count([Family("turns_total", "counter", "", [ValueSeries(labels, value)])])
    assert 2 == len(history._batch.counters)
    assert {("turns_total", (("service", "a"), ("status", "ok"))): 4.0} == (await life.start())[1]


async def test_maintenance(life):
    """Minutes become quarters, and what is old goes."""
    history, _ = await life.start()
    history.add([span(end=NOW - 2 * 86400, number=1), span(end=NOW, number=2)])
    for _ in range(22):
        life.minutes[int(life.clock.time()) // 60] = Sketch([1.0])
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
    assert ["s"] == [one["session"] for one in (await history.sessions(Filter()))["sessions"]]
    assert [{"alertname": "Slow"}] == [one["labels"] for one in (await history.alerts(*EVER))["alerts"]]
    assert {("openai",): [1.0], ("groq",): []} == {
        key: list(values) for key, values in (await history.durations(Filter(kind="llm"), by=("provider",))).items()
    }
    assert {"series": []} == await history.history(NAME, *EVER, 86400)


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
