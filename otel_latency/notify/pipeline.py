"""The way of an alert: matched, grouped, deduplicated, written to the outbox, and delivered by each notifier's worker.

Promised, for every notifier that an alert matches: once `accept` has returned, its firing and its resolving are each
delivered at least once, in this order, over crashes and whatever the far side does; a crash repeats one notification
at most. Of an alert that flaps (see `dedup`) this holds for its first firing and resolving, and for how it ends; what
lies between is told now and then. What may be lost: notifications older than a day, or beyond the bounds of a queue,
and those that are refused for a day. Each is counted.

An alert that is firing and has not been heard of for its `valid_for` is taken for resolved.

Cost: one commit (an fsync) per `accept` that changes something and per delivery, on a thread; nothing for a repetition.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final, TypeVar

from otel_latency.clock import Clock
from otel_latency.notify import dedup, retry
from otel_latency.notify.dedup import Group, Policy
from otel_latency.notify.delivery import MAX_AGE, Delivery, Outcome
from otel_latency.notify.identity import fingerprint, group_key, group_labels, in_order
from otel_latency.notify.leases import Leases
from otel_latency.notify.match import Matcher, matches
from otel_latency.notify.model import Notification, Notifier, Reason, decode, encode
from otel_latency.notify.outbox import Changes, Contents, Outbox
from otel_latency.notify.queue import Pending
from otel_latency.records import Alert

RETRY_TICK: Final = 0.25
GROUP_TICK: Final = 1.0
BREATH: Final = 100
"""After so many groups whatever else is due has its turn."""
DISK_RETRY: Final = 30.0
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to a notifier, and how they are put together."""

    notifier: Notifier
    kind: str
    matchers: tuple[Matcher, ...] = ()
    group_by: Sequence[str] = ("alertname",)
    policy: Policy = field(default_factory=Policy)


class _Lane:
    """One notifier: its route, what it was told, and its worker."""

    def __init__(self, route: Route, delivery: Delivery) -> None:
        self.route = route
        self.delivery = delivery
        self.groups: dict[str, Group] = {}

    @property
    def name(self) -> str:
        return self.route.notifier.name


class Pipeline:
    """`start` first, then `run` beside the rest, `close` last.

    *delay* is seconds to wait after attempt 1, 2, ..., looked at every *retry_tick*; *closing* closes what the
    notifiers share.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        outbox: Outbox,
        clock: Clock,
        *,
        delay: Callable[[int], float] = retry.delay,
        retry_tick: float = RETRY_TICK,
        closing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._retry_tick = retry_tick
        self._closing = closing
        self._outbox = outbox
        self._clock = clock
        self._lanes = {
            route.notifier.name: _Lane(route, Delivery(route.notifier, clock, delay=delay, settle=self._settle))
            for route in routes
        }
        self._leases = Leases(clock)
        self._ids = count(1)
        self._writing = asyncio.Lock()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="otel-latency-outbox")
        self._unwritten: float | None = None  # monotonic time since which the disk is behind
        self._disk_fault = ""
        self._is_closed = False

    @property
    def fault(self) -> str:
        """What is wrong with the outbox, as /status shows it; empty when nothing is."""
        return self._disk_fault or self._outbox.fault

    async def start(self) -> None:
        """Take up what the last run left. Raises nothing: without a disk the outbox lives in memory."""
        contents = await self._on_disk(lambda: self._outbox.open(self._clock.time()))
        changes = self._restore(contents)
        if changes:
            await self._save(changes)

    async def accept(self, alerts: Sequence[Alert]) -> None:
        """Take alerts, and return when they are safe on disk. Never raises into the caller's work."""
        try:
            # Cut off in the middle, what is on disk and what the workers see would differ.
            await asyncio.shield(self._take(alerts))
        except Exception:
            log.exception("%d alerts could not be taken", len(alerts))

    async def run(self) -> None:
        """Deliver, repeat and forget until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes.values():
                tasks.create_task(lane.delivery.run(), name=f"notify:{lane.name}")
            tasks.create_task(self._keep_retrying(), name="notify:retry")
            tasks.create_task(self._keep_groups(), name="notify:groups")

    async def close(self) -> None:
        """Close the outbox; what is in it is sent after the next start. Closing twice is harmless."""
        async with self._writing:
            if not self._is_closed:
                await self._on_disk(self._outbox.close)
                self._disk.shutdown(wait=False)
                self._is_closed = True
                if self._closing is not None:
                    await self._closing()

    def status(self) -> list[dict[str, object]]:
        """Each notifier as /status shows it."""
        return [_status(lane) for lane in self._lanes.values()]

    def totals(self) -> dict[tuple[str, str], int]:
        """Notifications since the start by notifier and outcome: delivered, failed, retried, dropped."""
        return {
            (lane.name, outcome.value): number
            for lane in self._lanes.values()
            for outcome, number in lane.delivery.counts.items()
        }

    def queued(self) -> dict[str, int]:
        """Notifications on their way, by notifier."""
        return {lane.name: len(lane.delivery.queue) for lane in self._lanes.values()}

    async def _take(self, alerts: Sequence[Alert]) -> None:
        async with self._writing:
            for news in _one_each(alerts):
                await self._publish(await self._hear(news))

    def _restore(self, contents: Contents) -> Changes:
        """Fill groups and queues; what no notifier of today would group like this is to be removed."""
        changes = Changes()
        for (name, key), group in contents.groups.items():
            lane = self._lanes.get(name)
            if lane is not None and _is_grouped(lane.route, key, group):
                lane.groups[key] = group
                self._leases.renew({each: group.alerts[each] for each in group.firing})
            else:
                changes.groups[name, key] = None
        for pending in contents.pending:
            self._ids = count(pending.id + 1)
            if pending.notifier in self._lanes:
                self._lanes[pending.notifier].delivery.queue.put(pending)
            else:
                changes.removed.append(pending.id)
        return changes

    async def _hear(self, news: Mapping[str, Alert]) -> Changes:
        """Bring *news*, by fingerprint, to all groups they belong to; a storm of them must not hold up the loop."""
        self._leases.renew(news)
        changes, now = Changes(), self._clock.time()
        for lane in self._lanes.values():
            for number, (key, alerts) in enumerate(self._by_group(lane, news).items(), start=1):
                self._tell(lane, key, dedup.hear(lane.groups[key], alerts, lane.route.policy, now), changes)
                if number % BREATH == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        return changes

    def _by_group(self, lane: _Lane, news: Mapping[str, Alert]) -> dict[str, dict[str, Alert]]:
        """*news* for one notifier; groups that are new are opened, but not for what has resolved.

        An alert that was told once, and by the file of today would not be, is still told as resolved.
        """
        found: dict[str, dict[str, Alert]] = {}
        for name, alert in news.items():
            if alert.is_firing and not matches(lane.route.matchers, alert.labels):
                continue
            labels = group_labels(alert.labels, lane.route.group_by)
            key = group_key(labels)
            if alert.is_firing and key not in lane.groups:
                lane.groups[key] = Group(labels, opened_at=self._clock.time())
            if key in lane.groups:
                found.setdefault(key, {})[name] = alert
        return found

    def _tell(self, lane: _Lane, key: str, group: Group, changes: Changes) -> None:
        """Note in *changes* what has come of *group*: a notification, a new state, or neither."""
        now, policy = self._clock.time(), lane.route.policy
        before = lane.groups[key]
        reason = dedup.reason(group, policy, now)
        if reason is Reason.REPEAT and key in lane.delivery.queue:
            reason = None
        if reason is not None:
            changes.added.append(self._pending(lane, key, group, reason))
        after = dedup.after(group, policy, now, is_told=reason is not None)
        if after is None:
            del lane.groups[key]
        else:
            lane.groups[key] = after
        if after is None or _gist(before) != _gist(after):
            changes.groups[lane.name, key] = after

    def _pending(self, lane: _Lane, key: str, group: Group, reason: Reason) -> Pending:
        alerts = in_order(dedup.tellable(group, lane.route.policy, reason))
        notification = Notification(lane.name, group.labels, alerts, reason, self._clock.time())
        is_repeat = reason is Reason.REPEAT
        return Pending(next(self._ids), lane.name, key, notification.time, is_repeat, encode(notification))

    async def _publish(self, changes: Changes) -> None:
        """Write *changes*, and only then let the workers see them."""
        if not changes:
            return
        await self._save(changes)
        for pending in changes.added:
            self._lanes[pending.notifier].delivery.queue.put(pending)
        dropped = [pending.id for lane in self._lanes.values() for pending in self._shed(lane)]
        if dropped:
            await self._save(Changes(removed=dropped))
        for lane in self._lanes.values():
            lane.delivery.wake()

    def _shed(self, lane: _Lane) -> list[Pending]:
        dropped = lane.delivery.queue.overflow(lane.delivery.in_flight)
        if dropped:
            lane.delivery.counts[Outcome.DROPPED] += len(dropped)
            log.error("notifier %s: its queue is full, %d dropped", lane.name, len(dropped))
        return dropped

    async def _settle(self, pending: Pending, outcome: Outcome) -> None:
        """It was delivered, or is given up: forget it, and remember when its group was told, or what it is owed."""
        async with self._writing:
            lane = self._lanes[pending.notifier]
            lane.delivery.counts[outcome] += 1
            lane.delivery.queue.remove(pending)
            changes = Changes(removed=[pending.id])
            after = self._delivered(lane, pending) if outcome is Outcome.DELIVERED else self._refused(lane, pending)
            if after is not None:
                lane.groups[pending.key] = changes.groups[lane.name, pending.key] = after
            await self._save(changes)

    def _delivered(self, lane: _Lane, pending: Pending) -> Group | None:
        group = lane.groups.get(pending.key)
        return None if group is None or group.told_at is None else replace(group, told_at=self._clock.time())

    def _refused(self, lane: _Lane, pending: Pending) -> Group | None:
        now, policy = self._clock.time(), lane.route.policy
        group = lane.groups.get(pending.key)
        if now - pending.created > MAX_AGE or pending.key in lane.delivery.queue:
            # It is too old to be owed, or what waits behind it tells more.
            return group and dedup.refused(group, (), policy, now)
        notification = decode(pending.data)
        group = group or Group(notification.group_labels, opened_at=now, told_at=now)
        return dedup.refused(group, notification.resolved, policy, now)

    async def _keep_retrying(self) -> None:
        async for _ in self._clock.ticks(self._retry_tick):
            for lane in self._lanes.values():
                lane.delivery.wake()

    async def _keep_groups(self) -> None:
        async for _ in self._clock.ticks(GROUP_TICK):
            try:
                async with self._writing:
                    await self._publish(await self._hear(self._leases.expired()))
                    await self._publish(self._due())
                    await self._catch_up()
            except Exception:
                # The next second may be better.
                log.exception("the groups could not be looked through, next try in %g s", GROUP_TICK)

    def _due(self) -> Changes:
        """Groups whose wait is over, or whose repeat is due."""
        changes = Changes()
        for lane in self._lanes.values():
            for key, group in list(lane.groups.items()):
                if not dedup.is_settled(group, lane.route.policy, self._clock.time()):
                    self._tell(lane, key, group, changes)
        return changes

    async def _save(self, changes: Changes) -> None:
        """Write *changes*; while the disk does not take them, they are kept in memory and all is written later."""
        if self._unwritten is not None:
            return
        try:
            await self._on_disk(lambda: self._outbox.commit(changes))
        except (sqlite3.Error, OSError) as error:
            self._fall_behind(error)

    def _fall_behind(self, error: Exception) -> None:
        self._unwritten = self._clock.monotonic()
        self._disk_fault = f"the outbox cannot be written ({error}): notifications do not survive a crash"
        log.error("%s", self._disk_fault)

    async def _catch_up(self) -> None:
        """Try the disk again, with everything."""
        now = self._clock.monotonic()
        if self._unwritten is None or now - self._unwritten < DISK_RETRY:
            return
        contents = self._contents()
        try:
            await self._on_disk(lambda: self._outbox.replace(contents))
        except (sqlite3.Error, OSError):
            self._unwritten = now
        else:
            self._unwritten, self._disk_fault = None, ""
            log.warning("the outbox is written again")

    def _contents(self) -> Contents:
        lanes = self._lanes.values()
        groups = {(lane.name, key): group for lane in lanes for key, group in lane.groups.items()}
        pending = [each for lane in lanes for each in lane.delivery.queue]
        return Contents(groups, sorted(pending, key=lambda each: each.id))

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def _one_each(alerts: Sequence[Alert]) -> Iterator[dict[str, Alert]]:
    """*alerts* by fingerprint, in batches that hold each alert once: if it comes twice, both count."""
    batch: dict[str, Alert] = {}
    for alert in map(_clean, alerts):
        name = fingerprint(alert.labels)
        if name in batch:
            yield batch
            batch = {}
        batch[name] = alert
    yield batch


def _clean(alert: Alert) -> Alert:
    """Without labels that say nothing, and without half characters, which no encoding has."""
    labels = {_whole(name): _whole(value) for name, value in alert.labels.items() if value}
    annotations = {_whole(name): _whole(value) for name, value in alert.annotations.items()}
    return replace(alert, labels=labels, annotations=annotations, generator_url=_whole(alert.generator_url))


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _is_grouped(route: Route, key: str, group: Group) -> bool:
    """Whether the group is one that *route* makes; another `group_by` makes others."""
    return all(group_key(group_labels(alert.labels, route.group_by)) == key for alert in group.alerts.values())


def _gist(group: Group) -> tuple[object, ...]:
    """What of a group is worth a write: not that a firing alert was heard of again."""
    return group.told, group.told_at, group.alerts.keys(), group.firing, group.owed


def _status(lane: _Lane) -> dict[str, object]:
    delivery = lane.delivery
    return {
        "name": lane.name,
        "type": lane.route.kind,
        "queued": len(delivery.queue),
        **{outcome.value: number for outcome, number in delivery.counts.items()},
        "last_error": delivery.last_error,
        "failing_since": delivery.failing_since,
    }
