"""Who may come in, and with how much: the bounds that both receivers share.

`Admission` bounds the bytes of requests in flight. A sender is charged for bytes as they arrive: one that announces
much and sends little holds nothing, so slow senders cannot use up the budget. What does not fit is told to come
back in one to two seconds, spread at random so that the refused do not return together.

`Connections` bounds open connections. When they run out, a newcomer takes the place of the one that has gone longest
without completing a request, which is what a slow or idle attacker looks like.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

from otel_latency.errors import Overloaded
from otel_latency.listening import is_loopback

Connection = TypeVar("Connection", bound=Hashable)


class Admission:
    """A budget of bytes for the requests being read or decoded. *jitter* returns numbers in 0..1."""

    __slots__ = ("_jitter", "in_flight", "limit_bytes")

    def __init__(self, limit_bytes: int = 16 << 20, *, jitter: Callable[[], float] = random.random) -> None:
        self.limit_bytes = limit_bytes
        self.in_flight = 0
        self._jitter = jitter

    def share(self) -> Share:
        """What one request holds; use it in a `with` statement."""
        return Share(self)

    def overloaded(self, reason: str) -> Overloaded:
        """The error that tells a sender to come back in one to two seconds."""
        return Overloaded(reason, 1.0 + self._jitter())


class Share:
    """The bytes that one request holds of an `Admission`, until it leaves the `with` block.

    A request that is alone is never refused: its size has a limit of its own, and refusing it would be for ever.
    """

    __slots__ = ("_admission", "held")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held = 0

    def check(self, size: int) -> None:
        """Raise Overloaded when *size* more bytes would not fit now."""
        admission = self._admission
        if admission.in_flight + size > admission.limit_bytes and admission.in_flight > self.held:
            raise admission.overloaded("too many bytes in flight")

    def grow(self, size: int) -> None:
        """Hold *size* more bytes, or raise Overloaded."""
        self.check(size)
        self._admission.in_flight += size
        self.held += size

    def shrink_to(self, size: int) -> None:
        """Hold *size* bytes instead of more."""
        self._admission.in_flight += size - self.held
        self.held = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shrink_to(0)


class Connections(Generic[Connection]):
    """The open connections, the one that has gone longest without completing a request first.

    At most *limit* in all, and *per_peer* of one remote address. Loopback is exempt from the latter: behind its one
    address are all processes of the pod, each with a connection per signal. A connection younger than *patience*
    seconds, counted from its last request, is never replaced, so a flood of newcomers cannot push out those at work.
    """

    def __init__(self, limit: int = 256, per_peer: int = 32, patience: float = 1.0) -> None:
        self._limit = limit
        self._per_peer = per_peer
        self._patience = patience
        self._waiting_since: OrderedDict[Connection, float] = OrderedDict()
        self._peers: dict[Connection, str] = {}
        self._per_peer_count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting_since)

    def add(self, connection: Connection, peer: str, now: float) -> Connection | None:
        """Take *connection* in; the one returned has to be closed for it. Raises Overloaded when there is no room."""
        if self._per_peer_count[peer] >= self._per_peer and not is_loopback(peer):
            raise Overloaded("too many connections from one address")
        replaced = None
        if len(self._waiting_since) >= self._limit:
            replaced, since = next(iter(self._waiting_since.items()))
            if now - since < self._patience:
                raise Overloaded("too many connections")
            self.remove(replaced)
        self._waiting_since[connection] = now
        self._peers[connection] = peer
        self._per_peer_count[peer] += 1
        return replaced

    def completed(self, connection: Connection, now: float) -> None:
        """Note that *connection* has just completed a request."""
        if connection in self._waiting_since:
            self._waiting_since[connection] = now
            self._waiting_since.move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed; one that is not known is fine."""
        if self._waiting_since.pop(connection, None) is not None:
            peer = self._peers.pop(connection)
            self._per_peer_count[peer] -= 1
            if not self._per_peer_count[peer]:
                del self._per_peer_count[peer]
