"""The queue between spans and their exporter."""

from __future__ import annotations

import logging
import os
import threading
from types import SimpleNamespace

import pytest

from otel_latency.instrument import outbox as module
from otel_latency.instrument.guard import guard
from otel_latency.instrument.outbox import Outbox, close_all

SUCCESS, FAILURE = SimpleNamespace(name="SUCCESS"), SimpleNamespace(name="FAILURE")
LONG = 3600.0


class Exporter:
    """Keeps batches; `gate` holds them up, `answer` is what it says, or raises."""

    def __init__(self, answer=SUCCESS):
        self.batches = []
        self.answer = answer
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.shutdowns = 0

    def export(self, batch):
        self.arrived.set()
        self.gate.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.batches.append(list(batch))
        return self.answer

    def shutdown(self):
        self.shutdowns += 1
        self.gate.set()


@pytest.fixture
def make():
    made = []

    def make(exporter, **options):
        made.append(Outbox(lambda: exporter, "spans", options.pop("delay", LONG), **options))
        return made[-1]

    yield make
    close_all(made, 5)
    guard.faults.clear()


def test_in_order_and_in_batches(make):
    """What is put in comes out in order, in batches of a limited size."""
    exporter = Exporter()
    outbox = make(exporter, limit=100, batch=10)
    for item in range(25):
        outbox.put(item)
    assert outbox.flush(10)
    assert list(range(25)) == [item for batch in exporter.batches for item in batch]
    assert 10 >= max(len(batch) for batch in exporter.batches)


def test_a_full_batch_does_not_wait(make):
    """A batch that is full leaves before its delay has passed."""
    exporter = Exporter()
    outbox = make(exporter, limit=100, batch=10)
    for item in range(10):
        outbox.put(item)
    assert exporter.arrived.wait(10)


def test_full_queue_drops_the_newest(make):
    """While nobody takes anything the queue stays bounded, and what is dropped is counted."""
    exporter = Exporter()
    exporter.gate.clear()
    outbox = make(exporter, limit=5, batch=5, delay=0.01)
    outbox.put("first")
    assert exporter.arrived.wait(10)
    for item in range(8):
        outbox.put(item)
    exporter.gate.set()
    assert outbox.flush(10)
    assert [["first"], [0, 1, 2, 3, 4]] == exporter.batches
    assert 3 == outbox.dropped


@pytest.mark.parametrize("answer", [FAILURE, OSError("refused"), ValueError("encoding")])
def test_what_is_refused_is_counted(make, answer, caplog):
    """An exporter that fails, politely or not, costs its batch; the next one is tried."""
    exporter = Exporter(answer)
    outbox = make(exporter)
    guard.faults.clear()
    outbox.put(1)
    outbox.flush(10)
    exporter.answer = SUCCESS
    outbox.put(2)
    outbox.flush(10)
    assert 1 == outbox.dropped
    assert [2] == exporter.batches[-1]
    assert guard.faults["export"] >= 1


def test_close_does_not_wait_for_the_absent(make):
    """Closing gives up what nobody takes, at once when the last batch was refused, and twice is harmless."""
    exporter = Exporter(FAILURE)
    outbox = make(exporter)
    outbox.put(1)
    outbox.flush(10)
    outbox.put(2)
    outbox.close(LONG)
    outbox.close(LONG)
    outbox.put(3)
    assert 1 == exporter.shutdowns
    assert [[1]] == exporter.batches


def test_close_while_it_sends(make):
    """Closed in the midst of a sending, it waits for that one and no longer."""
    exporter = Exporter()
    exporter.gate.clear()
    outbox = make(exporter)
    outbox.put("item")
    outbox.hurry()
    assert exporter.arrived.wait(10)
    closing = threading.Thread(target=outbox.close, args=(LONG,), daemon=True)
    closing.start()
    while not outbox._is_closed:
        threading.Event().wait(0.001)
    exporter.gate.set()
    closing.join(10)
    assert ([["item"]], False) == (exporter.batches, closing.is_alive())


def test_nothing_put_in_starts_no_thread(make):
    """An application without spans has no thread of ours, and closes at once."""
    before = threading.active_count()
    outbox = make(Exporter())
    assert outbox.flush(LONG)
    assert before == threading.active_count()


def test_put_within_put(make):
    """A destructor that runs while something is put in may put something in as well."""
    exporter = Exporter()
    outbox = make(exporter, limit=100, batch=2)

    class Dropped:
        def __del__(self):
            outbox.put("from a destructor")

    for _ in range(20):
        outbox.put(Dropped() and 1)
    assert outbox.flush(10)
    assert 40 == sum(len(batch) for batch in exporter.batches)


def test_only_our_threads_are_kept_off_the_log(make, caplog):
    """What an exporter's library logs while it works for us is not heard; the application's own exporter is."""
    theirs = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")

    class Noisy(Exporter):
        def export(self, batch):
            theirs.error("ours failed")
            return super().export(batch)

    outbox = make(Noisy())
    outbox.put(1)
    assert outbox.flush(10)
    theirs.error("theirs failed")
    assert ["theirs failed"] == [record.message for record in caplog.records if record.name == theirs.name]


def test_no_context_of_the_first_one(make):
    """The thread does not keep the context of whoever put the first item in."""
    from opentelemetry import trace

    seen = []

    class Looking(Exporter):
        def export(self, batch):
            seen.append(trace.get_current_span())
            return super().export(batch)

    outbox = make(Looking())
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))):
        outbox.put(1)
    assert outbox.flush(10)
    assert [trace.INVALID_SPAN] == seen


def test_a_forked_child_starts_afresh():
    """A child sends nothing of its parent's, through an exporter of its own, and forks under load do not hang."""
    made = []

    def make_exporter():
        made.append(Exporter())
        return made[-1]

    outbox = Outbox(make_exporter, "spans", 0.001, limit=10_000)
    stop = threading.Event()

    def load():
        while not stop.wait(0.0001):
            outbox.put("parent")

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            outbox.put("child")
            is_sent = outbox.flush(10)
            os._exit(0 if is_sent and len(made) == 2 and made[1].batches == [["child"]] else 1)
        statuses.append(os.waitpid(child, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    outbox.close(5)
    assert [0] * 20 == statuses
    assert {"parent"} == {item for batch in made[0].batches for item in batch}


@pytest.mark.parametrize(("pause", "expected"), [(0.0001, 7), (0.02, 3)], ids=["others run in turn", "nobody lets go"])
def test_unhurried(monkeypatch, pause, expected):
    """A batch gives its items as a list does, and pauses between groups of them as long as its patience lasts."""
    now, pauses = [0.0], []

    def sleep(seconds):
        pauses.append(seconds)
        now[0] += pause

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    items = list(range(100))
    assert (items, [module.PAUSE] * expected) == (list(iter(module.Unhurried(items))), pauses)


def test_items_are_prepared_by_who_puts_them_in(make):
    """The exporter gets what was made of an item, by the thread that had it; what nothing can be made of is dropped."""
    exporter, threads = Exporter(), set()

    def prepare(item):
        threads.add(threading.get_ident())
        return 12 // item

    outbox = make(exporter, prepare=prepare)
    for item in (1, 0, 3):
        outbox.put(item)
    assert outbox.flush(10)
    assert ([[12, 4]], 1, {threading.get_ident()}) == (exporter.batches, outbox.dropped, threads)
    assert 1 == guard.faults["export"]
