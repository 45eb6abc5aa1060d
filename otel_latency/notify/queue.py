"""What one notifier has yet to deliver: in order within a group, and among groups the least tried first.

So a resolve never overtakes its fire, while a notification that the far side keeps refusing holds up its own group
alone. The queue is bounded in number and bytes; beyond that the oldest repeat goes first, and where there is none, the
oldest of all.

Cost: one pass over the groups that wait, for each notification delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_COUNT: Final = 10_000
MAX_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A notification, encoded, that is on its way. Ids grow; `created` is Unix seconds."""

    id: int
    notifier: str
    key: str
    created: float
    is_repeat: bool
    data: bytes


@dataclass(slots=True)
class _Line:
    """One group's notifications; `due` (monotonic) and `attempts` are those of the first."""

    waiting: deque[Pending]
    attempts: int = 0
    due: float = 0.0


class Queue:
    """Times are monotonic seconds."""

    def __init__(self, *, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._lines: dict[str, _Line] = {}
        self._count = 0
        self._bytes = 0
        self._held_until = 0.0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        """Whether something waits for the group *key*."""
        return key in self._lines

    def __iter__(self) -> Iterator[Pending]:
        for line in self._lines.values():
            yield from line.waiting

    def put(self, pending: Pending) -> None:
        """Line it up behind those of its group."""
        self._lines.setdefault(pending.key, _Line(deque())).waiting.append(pending)
        self._count += 1
        self._bytes += len(pending.data)

    def next(self, now: float) -> Pending | None:
        """What to try now; it stays in the queue until `remove`."""
        if now < self._held_until:
            return None
        lines = [line for line in self._lines.values() if line.due <= now]
        chosen = min(lines, key=lambda line: (line.attempts, line.waiting[0].id), default=None)
        return chosen.waiting[0] if chosen else None

    def remove(self, pending: Pending) -> None:
        """It was delivered, or given up; the next of its group may be tried at once."""
        line = self._lines[pending.key]
        is_first = line.waiting[0] is pending
        line.waiting.remove(pending)
        if is_first:
            line.attempts, line.due = 0, 0.0
        if not line.waiting:
            del self._lines[pending.key]
        self._count -= 1
        self._bytes -= len(pending.data)

    def postpone(self, pending: Pending, until: float) -> None:
        """It failed, and is not to be tried again before *until*."""
        line = self._lines[pending.key]
        line.attempts += 1
        line.due = until

    def attempts(self, pending: Pending) -> int:
        """How often the first of its group has failed."""
        return self._lines[pending.key].attempts

    def hold(self, until: float) -> None:
        """Nothing at all is to be tried before *until*: the far side asked for it."""
        self._held_until = max(self._held_until, until)

    def overflow(self, being_sent: Pending | None = None) -> list[Pending]:
        """Take out what does not fit, and return it. *being_sent* stays: it may have arrived already."""
        dropped: list[Pending] = []
        while self._count > self._max_count or self._bytes > self._max_bytes:
            candidates = [pending for pending in self if pending is not being_sent]
            if not candidates:
                break
            oldest = min(candidates, key=lambda pending: (not pending.is_repeat, pending.id))
            self.remove(oldest)
            dropped.append(oldest)
        return dropped
