import asyncio
import logging
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from notify.far_side import NOW, alert, resolved

from otel_latency.errors import NotifyError
from otel_latency.notify import alertmanager
from otel_latency.notify.dedup import Policy
from otel_latency.notify.match import matchers
from otel_latency.notify.outbox import Outbox
from otel_latency.notify.pipeline import Pipeline, Route
from otel_latency.testing import FakeClock

DOWN = NotifyError("it is down", is_transient=True)
REFUSED = NotifyError("it answered 400", is_transient=False)
UNDAMPED = Policy(flap_interval=0.0)


class Far:
    """A notifier that keeps what it accepts; `error` is raised while it is set, and waited for while `gate` is shut."""

    def __init__(self, name="oncall"):
        self.name = name
        self.got = []
        self.tries = 0
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Condition()

    async def notify(self, notification):
        self.tries += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.got.append(notification)

    @property
    def told(self):
        """`A+` for an alert told as firing, `A-` as resolved, one text per notification."""
        return [
            " ".join(each.labels["alertname"] + "-+"[each.is_firing] for each in notification.alerts)
            for notification in self.got
        ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notify.db"


@asynccontextmanager
async def running(path, clock, *fars, delay=lambda attempt: float(attempt), **route):
    """A pipeline to *fars*, which damps nothing unless asked to; at the end it is stopped, not drained."""
    route = {"policy": UNDAMPED, **route}
    routes = [Route(far, "webhook", **route) for far in fars]
    pipeline = Pipeline(routes, Outbox(path), clock, delay=delay)
    await pipeline.start()
    task = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        task.cancel()
        await asyncio.wait([task])
        await pipeline.close()


async def pass_time(clock, seconds, until=lambda: True):
    """Let time pass, and the outbox's thread do its work: until the condition holds, and then a little longer."""
    await clock.advance(seconds)
    for _ in range(2000):
        if until():
            break
        await asyncio.sleep(0.001)
    assert until()
    await asyncio.sleep(0.01)


def idle(pipeline):
    return lambda: not any(pipeline.queued().values())


async def test_fires_and_resolves(path, clock):
    """An alert is told when it fires and when it resolves, and its repetitions are not."""
    far, a = Far(), alert("A")
    async with running(path, clock, far) as pipeline:
        for each in (a, a, replace(a, value=3.0), resolved(a), resolved(a)):
            await pipeline.accept([each])
        await pass_time(clock, 0, idle(pipeline))
        assert ["A+", "A-"] == far.told
        assert {
            ("oncall", "delivered"): 2,
            ("oncall", "failed"): 0,
            ("oncall", "retried"): 0,
            ("oncall", "dropped"): 0,
        } == pipeline.totals()


async def test_matched_and_grouped(path, clock):
    """Each notifier is told of its own alerts, together where its labels say so."""
    far = Far()
    conditions = {"matchers": matchers({"severity": "critical"}), "group_by": ["stage"]}
    async with running(path, clock, far, **conditions) as pipeline:
        await pipeline.accept(
            [
                alert("A", stage="llm", severity="critical"),
                alert("B", stage="llm", severity="critical"),
                alert("C", stage="tts", severity="critical"),
                alert("D", stage="llm", severity="warning"),
            ]
        )
        await pass_time(clock, 0, idle(pipeline))
    assert ["A+ B+", "C+"] == far.told


async def test_comes_and_goes_while_the_far_side_is_down(path, clock):
    """What fires and resolves while nobody listens is told all the same, in order, once somebody does."""
    far, a = Far(), alert("A")
    far.error = DOWN
    async with running(path, clock, far) as pipeline:
        for cycle in range(3):
            again = replace(a, starts_at=NOW + cycle)
            await pipeline.accept([again])
            await pipeline.accept([resolved(again)])
        await pass_time(clock, 30)
        assert ([], 6) == (far.told, pipeline.queued()["oncall"])
        far.error = None
        await pass_time(clock, 60, idle(pipeline))
    assert ["A+", "A-"] * 3 == far.told


async def test_restart(path, clock):
    """What was accepted is delivered after a restart, in order; what was delivered is not told again."""
    a, b = alert("A"), alert("B")
    far = Far()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
        far.error = DOWN
        await pipeline.accept([b])
        await pipeline.accept([resolved(a)])
        await pipeline.accept([resolved(b)])
    far.error = None
    async with running(path, clock, far) as pipeline:
        await pass_time(clock, 1, idle(pipeline))
        await pipeline.accept([a])
        await pass_time(clock, 1, idle(pipeline))
    assert ["A+", "B+", "A-", "B-", "A+"] == far.told


async def test_accepted_is_on_disk(path, clock):
    """When `accept` returns a copy of the file already holds the alert."""
    far = Far()
    far.error = DOWN
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        for suffix in ("", "-wal"):
            copy = path.with_name(f"copy.db{suffix}")
            copy.write_bytes(path.with_name(path.name + suffix).read_bytes())
    copied = Outbox(path.with_name("copy.db"))
    contents = copied.open(NOW)
    assert (1, 1) == (len(contents.groups), len(contents.pending))
    copied.close()


async def test_a_dead_one_delays_no_other(path, clock):
    """A notifier that hangs has a worker of its own."""
    dead, alive = Far("dead"), Far("alive")
    dead.gate.clear()
    async with running(path, clock, dead, alive) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 0, lambda: alive.told)
        assert (["A+"], []) == (alive.told, dead.told)
        dead.gate.set()
        await pass_time(clock, 0, idle(pipeline))
    assert ["A+"] == dead.told


async def test_a_refused_group_delays_no_other(path, clock):
    """What the far side keeps failing on waits; what comes after does not."""

    class Picky(Far):
        async def notify(self, notification):
            self.error = DOWN if notification.group_labels == {"alertname": "A"} else None
            await super().notify(notification)

    far = Picky()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 5)
        await pipeline.accept([alert("B")])
        await pass_time(clock, 0, lambda: far.told)
        assert (["B+"], 1) == (far.told, pipeline.queued()["oncall"])


async def test_retry_after(path, clock):
    """While the far side asks for silence it has it, also from other groups."""
    far = Far()
    far.error = NotifyError("it answered 429", is_transient=True, retry_after=30.0)
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 0, lambda: far.tries == 1)
        far.error = None
        await pipeline.accept([alert("B")])
        await pass_time(clock, 29.5)
        assert 1 == far.tries
        await pass_time(clock, 0.5, idle(pipeline))
    assert ["B+", "A+"] == far.told


async def test_retry_after_nothing(path, clock):
    """A far side that asks for no wait at all is not hammered."""
    far = Far()
    far.error = NotifyError("it answered 429", is_transient=True, retry_after=0.0)
    async with running(path, clock, far, delay=lambda _: 5.0) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 4, lambda: far.tries)
        assert 1 == far.tries
        await pass_time(clock, 1, lambda: far.tries == 2)


async def test_alertmanager_is_told_again(path, clock):
    """Alertmanager hears of a firing alert every minute, and of its end for six more; then it is forgotten."""
    far, a = Far(), replace(alert("A"), valid_for=1e6)
    async with running(path, clock, far, policy=alertmanager.policy(0.0)) as pipeline:
        await pipeline.accept([a])
        for _ in range(3):
            await pass_time(clock, 61, idle(pipeline))
        assert ["A+"] * 4 == far.told
        far.got.clear()
        await pipeline.accept([resolved(a, clock.time())])
        for _ in range(12):
            await pass_time(clock, 61, idle(pipeline))
        assert ["A-"] * 7 == far.told


async def test_other_matchers(path, clock):
    """An alert that was told is told as resolved, though the notifier is no longer for it."""
    far, a = Far(), alert("A", severity="critical")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
    async with running(path, clock, far, matchers=matchers({"severity": "page"})) as pipeline:
        await pipeline.accept([a, alert("B", severity="critical")])
        await pipeline.accept([resolved(a)])
        await pass_time(clock, 0, idle(pipeline))
    assert ["A+", "A-"] == far.told


async def test_other_groups(path, clock):
    """After `group_by` has changed alerts are told anew, in their new groups, and the old ones are forgotten."""
    far, a = Far(), alert("A", stage="llm")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
    async with running(path, clock, far, group_by=["stage"]) as pipeline:
        await pipeline.accept([a])
        await pipeline.accept([resolved(a)])
        await pass_time(clock, 0, idle(pipeline))
    assert ["A+", "A+", "A-"] == far.told


async def test_full_queue(path, clock):
    """Beyond its bounds a queue drops the oldest, on disk too, and counts them."""
    far, a = Far(), alert("A")
    far.error = DOWN
    async with running(path, clock, far) as pipeline:
        pipeline._lanes["oncall"].delivery.queue._max_count = 4
        for cycle in range(4):
            again = replace(a, starts_at=NOW + cycle)
            await pipeline.accept([again])
            await pipeline.accept([resolved(again)])
        await pass_time(clock, 1)
        assert (4, 4) == (pipeline.queued()["oncall"], pipeline.totals()["oncall", "dropped"])
    far.error = None
    async with running(path, clock, far) as pipeline:
        await pass_time(clock, 1, idle(pipeline))
    assert 4 == len(far.told)
    assert ["A+", "A-"] == far.told[-2:]


async def test_final_refusal(path, clock):
    """A refusal is not tried again at once; after five minutes the group is, if it still fires."""
    far, a = Far(), alert("A")
    far.error = REFUSED
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([replace(a, valid_for=1000.0)])
        await pass_time(clock, 0, idle(pipeline))
        await pass_time(clock, 298)
        assert (1, 1) == (far.tries, pipeline.totals()["oncall", "failed"])
        far.error = None
        await pass_time(clock, 3, lambda: far.told)
    assert ["A+"] == far.told


async def test_too_old(path, clock):
    """After a day a notification is given up, and counted; the group is told again five minutes later."""
    far = Far()
    far.error = DOWN
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([replace(alert("A"), valid_for=1e6)])
        await pass_time(clock, 5)
        assert 0 == pipeline.totals()["oncall", "failed"]
        clock.step(86_400)
        await pass_time(clock, 20, idle(pipeline))
        assert 1 == pipeline.totals()["oncall", "failed"]
        far.error = None
        await pass_time(clock, 300, lambda: far.told)
    assert ["A+"] == far.told


async def test_group_wait(path, clock):
    """The first notification waits for more alerts; the wait survives a restart."""
    far, policy = Far(), Policy(group_wait=30)
    async with running(path, clock, far, policy=policy, group_by=["stage"]) as pipeline:
        await pipeline.accept([alert("A", stage="llm")])
        await pass_time(clock, 20)
    async with running(path, clock, far, policy=policy, group_by=["stage"]) as pipeline:
        await pipeline.accept([alert("B", stage="llm")])
        await pass_time(clock, 9)
        assert [] == far.told
        await pass_time(clock, 2, lambda: far.told)
    assert ["A+ B+"] == far.told


async def test_repeats(path, clock):
    """A firing alert is repeated on its interval; while one is on its way no other is lined up."""
    far, a = Far(), replace(alert("A"), valid_for=1e6)
    async with running(path, clock, far, policy=Policy(repeat_interval=100)) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 99, idle(pipeline))
        assert ["A+"] == far.told
        far.error = DOWN
        for _ in range(5):
            await pass_time(clock, 100)
        assert 1 == pipeline.queued()["oncall"]
        far.error = None
        await pass_time(clock, 60, idle(pipeline))
    assert ["A+", "A+"] == far.told


async def test_silence_of_the_rules(path, clock):
    """An alert that is not heard of while it is valid is told as resolved; one that is, is not."""
    far, a, b = Far(), alert("A"), alert("B")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a, b])
        await pass_time(clock, 200)
        await pipeline.accept([b])
        await pass_time(clock, 42, lambda: len(far.told) == 3)
        assert ["A+", "B+", "A-"] == far.told
        assert NOW + 241 == far.got[-1].alerts[0].ends_at


async def test_rule_that_is_gone_after_a_restart(path, clock):
    """A firing alert of the last run is resolved when no rule speaks for it for four minutes."""
    far = Far()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 0, idle(pipeline))
    later = FakeClock(NOW + 86_400)
    async with running(path, later, far) as pipeline:
        await pass_time(later, 239)
        assert "A-" not in far.told
        await pass_time(later, 3, lambda: "A-" in far.told)


async def test_clock_that_steps(path, clock):
    """A wall clock that jumps ahead by a day resolves nothing."""
    far = Far()
    async with running(path, clock, far, policy=Policy(repeat_interval=10**6)) as pipeline:
        await pipeline.accept([alert("A")])
        clock.step(86_400)
        await pass_time(clock, 200, idle(pipeline))
    assert ["A+"] == far.told


async def test_clock_that_steps_between_resends(path, clock):
    """The rules go on by their own clock when the wall clock is ten minutes ahead: nothing is told but the repeats."""
    far, a = Far(), alert("A")
    async with running(path, clock, far, policy=Policy()) as pipeline:
        for minute in range(8):
            await pipeline.accept([replace(a, ends_at=NOW + 60 * minute + 240)])
            if minute == 2:
                clock.step(600)
            await pass_time(clock, 60, idle(pipeline))
    assert ["A+"] == far.told


async def test_flapping(path, clock):
    """What flaps is told once in a while, with the number of its changes; a restart neither forgets nor repeats it."""
    far, a = Far(), alert("A")

    async def toggle(pipeline, seconds):
        for second in range(seconds):
            await pipeline.accept([a if second % 2 == 0 else resolved(a)])
            await pass_time(clock, 1, idle(pipeline))

    async with running(path, clock, far, policy=Policy()) as pipeline:
        await toggle(pipeline, 30)
    async with running(path, clock, far, policy=Policy()) as pipeline:
        await toggle(pipeline, 40)
        assert ["A+", "A-", "A+"] == far.told
        await pass_time(clock, 61, lambda: len(far.told) == 4)
        assert ["A+", "A-", "A+", "A-"] == far.told
        assert not pipeline._lanes["oncall"].groups
    changes = [one.alerts[0].annotations.get("flapping", "") for one in far.got]
    assert ["", "", "59 changes since it was last told", "9 changes since it was last told"] == changes


async def test_refused_resolve(path, clock):
    """A resolve that was refused is sent again after five minutes, also over a restart, until it is accepted."""
    far, a = Far(), alert("A")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
        far.error = REFUSED
        await pipeline.accept([resolved(a)])
        await pass_time(clock, 299, idle(pipeline))
        assert 2 == far.tries
        await pass_time(clock, 2, lambda: far.tries == 3)
    far.error = None
    async with running(path, clock, far) as pipeline:
        await pass_time(clock, 302, lambda: len(far.told) == 2)
        await pass_time(clock, 1000, idle(pipeline))
        assert ["A+", "A-"] == far.told
        assert not pipeline._lanes["oncall"].groups


async def test_refused_for_a_day(path, clock):
    """After a day of refusals a resolve is given up."""
    far, a = Far(), alert("A")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
        far.error = REFUSED
        await pipeline.accept([resolved(a)])
        await pass_time(clock, 1, idle(pipeline))
        clock.step(86_500)
        await pass_time(clock, 1, lambda: far.tries == 3)
        await pass_time(clock, 1000, idle(pipeline))
        assert (3, {}) == (far.tries, pipeline._lanes["oncall"].groups)


async def test_refused_resolve_that_is_out_of_date(path, clock):
    """When a resolve is refused and the alert fires again, only the firing is told."""
    far, a = Far(), alert("A")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a])
        await pass_time(clock, 0, idle(pipeline))
        far.error = REFUSED
        await pipeline.accept([resolved(a)])
        await pass_time(clock, 1, idle(pipeline))
        far.error = None
        await pipeline.accept([replace(a, starts_at=NOW + 60, valid_for=1000.0)])
        await pass_time(clock, 400, idle(pipeline))
    assert ["A+", "A+"] == far.told


async def test_fires_and_resolves_in_one_batch(path, clock):
    """If both come at once, both are told."""
    far, a = Far(), alert("A")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([a, resolved(a)])
        await pass_time(clock, 0, idle(pipeline))
    assert ["A+", "A-"] == far.told


async def test_notifier_that_is_gone(path, clock):
    """What waited for a notifier that the file no longer has is forgotten."""
    gone = Far("gone")
    gone.error = DOWN
    async with running(path, clock, gone) as pipeline:
        await pipeline.accept([alert("A")])
    async with running(path, clock, Far()):
        pass
    outbox = Outbox(path)
    contents = outbox.open(NOW)
    assert ({}, []) == (contents.groups, contents.pending)
    outbox.close()


async def test_hostile_text(path, clock):
    """Half characters are replaced, and labels without a value dropped, before anything is made of them."""
    far = Far()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A", stage="\ud800x", empty="")])
        await pass_time(clock, 0, idle(pipeline))
    assert {"alertname": "A", "stage": "?x"} == far.got[0].alerts[0].labels


async def test_fault_of_a_notifier(path, clock, caplog):
    """A notifier that raises what it should not is tried again, and its words, which may be secret, are not shown."""
    far = Far()
    far.error = RuntimeError("c4n4ry")
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 20, lambda: far.tries >= 3)
        status = pipeline.status()[0]
        assert ("sending failed with RuntimeError", NOW) == (status["last_error"], status["failing_since"])
        far.error = None
        await pass_time(clock, 60, idle(pipeline))
        assert None is pipeline.status()[0]["failing_since"]
    assert "c4n4ry" not in caplog.text
    assert ["notifier oncall does not deliver: sending failed with RuntimeError", "notifier oncall delivers again"] == [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]


async def test_accept_never_raises(path, clock, caplog):
    """Alerts that are none cost a line in the log, and the next ones are taken."""
    far = Far()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([replace(alert("A"), labels={"alertname": None, "a": 1})])
        await pipeline.accept([alert("B")])
        await pass_time(clock, 0, idle(pipeline))
    assert ["B+"] == far.told
    assert "1 alerts could not be taken" in caplog.text


async def test_full_disk(path, clock):
    """While the disk takes nothing alerts are delivered from memory, and /status is told; later all is written."""
    far = Far()
    far.error = DOWN

    class Full(Outbox):
        is_full = True

        def commit(self, changes):
            self.check()
            super().commit(changes)

        def replace(self, contents):
            self.check()
            super().replace(contents)

        def check(self):
            if self.is_full:
                raise sqlite3.OperationalError("database or disk is full")

    outbox = Full(path)
    pipeline = Pipeline([Route(far, "webhook")], outbox, clock, delay=lambda _: 1.0)
    await pipeline.start()
    task = asyncio.create_task(pipeline.run())
    await pipeline.accept([alert("A")])
    await pass_time(clock, 40)
    assert pipeline.fault.startswith("the outbox cannot be written (database or disk is full)")
    outbox.is_full = False
    await pass_time(clock, 40, lambda: not pipeline.fault)
    task.cancel()
    await asyncio.wait([task])
    await pipeline.close()
    reopened = Outbox(path)
    contents = reopened.open(NOW)
    assert (1, 1) == (len(contents.groups), len(contents.pending))
    reopened.close()


async def test_stopping_waits_for_the_one_in_flight(path, clock):
    """What is being sent when the agent stops is sent, noted, and not sent again."""
    far = Far()
    far.gate.clear()
    async with running(path, clock, far) as pipeline:
        await pipeline.accept([alert("A")])
        await pass_time(clock, 0, lambda: far.tries == 1)
        asyncio.get_running_loop().call_later(0.05, far.gate.set)
    async with running(path, clock, far) as pipeline:
        await pass_time(clock, 5)
        assert (["A+"], 1) == (far.told, far.tries)


async def test_closing(path, clock):
    """Closing twice, or before starting, is harmless."""
    pipeline = Pipeline([], Outbox(path), clock)
    await pipeline.close()
    await pipeline.close()
