"""Spans of a trace put together to turns while they arrive, in any order, from any service, perhaps twice.

A turn is a span whose profile says so, wherever in its trace it lies: the root, each `turn` of a conversation, each
reply of a session. Its stages are the spans below it, and those whose own parent never came and that fit in time (what
heard the user goes to the reply that follows it). It is shown `settle` seconds after its span came, shown again when
more of it arrives, and final `grace` seconds after it was shown first; what comes later is dropped and counted. Spans
of a trace in which nothing happened for `turn_timeout` seconds, and which have no turn above them, become a turn
without root.

Clocks: a span that begins before the span of another service that called it proves their clocks to differ. It and all
below it are moved into the caller's middle, by up to `MAX_SKEW_NS`; where it only ends too late, that is marked.

Cost: about 1 us a span in `add`, in `close` 3 us a turn and 2 us a span; a turn that keeps growing is put together
less and less often, and what is too much for one `close` waits for the next. Memory: `max_spans` spans and `max_bytes`,
both estimated; above that the trace that has been silent longest is closed and what is left of it counted as
`overflow`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from otel_latency.aggregate.stages import build, hears
from otel_latency.aggregate.turn import LATE, TRUNCATED, Turn
from otel_latency.records import SpanRow

MAX_TRACE_SPANS: Final = 4_096
"""Spans of one trace that are held at a time; an endless trace loses its oldest turns' spans as they become final."""
MAX_FINISHED: Final = 16_384
"""Traces that are at least remembered after they were closed, so that a late span opens none of them again."""
_ROW_BYTES: Final = 700
_TRACE_BYTES: Final = 900
_MEASURE_BYTES: Final = 64
_TEXTS: Final = frozenset({"after", "moments", "sentences"})


class Closed(NamedTuple):
    """What `close` found: turns new or changed since, and those that will not change any more."""

    shown: list[Turn]
    final: list[Turn]


_NO_CHILDREN: Final[dict[bytes, list[bytes]]] = {}
"""Stands for the children of a span alone, as most are: an empty dict of its own would cost as much as the rest."""


class _Open:
    """A turn whose span has come, with the rows that `latest` was put together of."""

    __slots__ = ("latest", "row", "rows", "shown")

    def __init__(self, row: SpanRow, shown: float) -> None:
        self.row = row
        self.shown = shown
        self.latest: Turn | None = None
        self.rows: Sequence[SpanRow] = ()


class _Layout(NamedTuple):
    """The spans of a trace that no turn is above, in order of their ends, and when its turns ended."""

    ends: list[int]
    loose: list[bytes]
    turn_ends: list[int]


class _Trace:
    """The spans of one trace that are not final yet, by id, and who is whose parent."""

    __slots__ = (
        "children",
        "final_until",
        "is_shown",
        "is_truncated",
        "layout",
        "rows",
        "seen",
        "size",
        "trace_id",
        "turns",
    )

    def __init__(self, trace_id: bytes) -> None:
        self.trace_id = trace_id
        self.rows: dict[bytes, SpanRow] = {}
        self.children = _NO_CHILDREN
        self.turns: dict[bytes, _Open] = {}
        self.seen = 0.0
        self.size = 0
        self.is_shown = False
        """Whether a turn of it was shown already, so that what comes now changes it."""
        self.is_truncated = False
        self.final_until = 0
        """When the last of its final turns had ended."""
        self.layout: _Layout | None = None
        """None once it does not hold any more."""

    def add(self, row: SpanRow) -> int:
        """Take a span that is not there yet; answers about how many bytes it takes."""
        span_id, parent_id = row[2], row[3]
        rows = self.rows
        rows[span_id] = row
        self.layout = None
        if parent_id:
            if self.children is _NO_CHILDREN:
                self.children = {}
            siblings = self.children.get(parent_id)
            if siblings is None:
                self.children[parent_id] = [span_id]
            else:
                siblings.append(span_id)
        size = size_of(row)
        self.size += size
        return size

    def spans_of(self, turn: SpanRow) -> list[SpanRow]:
        """The turn's span, those below it, and those without a home that it takes in."""
        if len(self.turns) == 1 and not (self.final_until or turn[3]):
            return list(self.rows.values())  # the one turn is the root, and so all there is
        below = self._below(turn[2])
        if len(below) < len(self.rows):
            below += [one for top in self._homeless(turn) for one in self._below(top)]
        return [self.rows[one] for one in below]

    def absorb(self, turn: SpanRow, rows: Iterable[SpanRow]) -> None:
        """A turn within a turn is a stage of it."""
        for row in rows:
            if row is not turn:
                self.turns.pop(row[2], None)

    def sessions(self) -> set[bytes]:
        """Roots that are no turns."""
        return {span_id for span_id, row in self.rows.items() if not (row[3] or row[0].turn)}

    def outlived(self) -> list[bytes]:
        """Spans without a home that ended before a turn which is final: nobody will take them in."""
        layout = self._laid_out()
        tops = layout.loose[: bisect_right(layout.ends, self.final_until)]
        return [one for top in tops for one in self._below(top)]

    def _below(self, span_id: bytes) -> list[bytes]:
        """*span_id* and all below it, each once, whatever the parents say."""
        found = {span_id: None}
        stack = [span_id]
        while stack:
            for one in self.children.get(stack.pop(), ()):
                if one not in found:
                    found[one] = None
                    stack.append(one)
        return list(found)

    def _homeless(self, turn: SpanRow) -> list[bytes]:
        """The spans without a home that *turn* takes in: of those that ended after the turn before and by its end, what
        ran within it, and what heard the user's speech.
        """
        layout = self._laid_out()
        before = layout.turn_ends[bisect_left(layout.turn_ends, turn[5]) - 1]
        between = layout.loose[bisect_right(layout.ends, before) : bisect_right(layout.ends, turn[5])]
        return [one for one in between if self.rows[one][5] > turn[4] or hears(self.rows[one])]

    def _laid_out(self) -> _Layout:
        if self.layout is None:
            ended = sorted((self.rows[one][5], one) for one in self._loose())
            turn_ends = sorted([self.final_until, *(one.row[5] for one in self.turns.values())])
            self.layout = _Layout([end for end, _ in ended], [one for _, one in ended], turn_ends)
        return self.layout

    def _loose(self) -> list[bytes]:
        """The topmost spans that no turn is above: their parent never came, or has turns beside them, as sessions."""
        sessions = self.sessions()
        tops = [
            *sessions,
            *(one for parent, below in self.children.items() if parent not in self.rows for one in below),
        ]
        found, seen = [], set(tops)
        while tops:
            top = tops.pop()
            below = self.children.get(top, ())
            if top in self.turns:
                continue
            if top in sessions or any(one in self.turns for one in below):
                tops += [one for one in below if one not in seen]
                seen.update(below)
            else:
                found.append(top)
        return found

    def forget(self, span_ids: Iterable[bytes]) -> int:
        """Let go of spans, if they are there; answers about how many bytes they took."""
        freed = 0
        self.layout = None
        for span_id in span_ids:
            row = self.rows.pop(span_id, None)
            if row is None:
                continue
            freed += size_of(row)
            self.children.pop(span_id, None)
            siblings = self.children.get(row[3])
            if siblings is not None:
                siblings.remove(span_id)
                if not siblings:
                    del self.children[row[3]]
        self.size -= freed
        return freed


_Appointment = tuple[float, _Trace, bytes]
"""When to look at which turn of a trace. All wait equally long, so a queue of them is in order."""


class TurnAssembler:
    """Spans in, turns out. *now* is a monotonic clock's, in seconds."""

    def __init__(
        self,
        *,
        turn_timeout: float = 30.0,
        settle: float = 0.5,
        grace: float = 5.0,
        max_spans: int = 28_000,
        max_bytes: int = 24 << 20,
        per_close: int = 1_000,
        is_running: Callable[[bytes], bool] = lambda _trace_id: False,
    ) -> None:
        """*is_running* tells whether something in a trace still runs: silence is no sign of its end then.

        *per_close* spans are enough for a `close` to show, to show again, to finish, and to give up.
        """
        self._turn_timeout = turn_timeout
        self._settle = settle
        self._grace = grace
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._per_close = per_close
        self._is_running = is_running
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()  # the one that was silent longest comes first
        self._finished: set[bytes] = set()
        self._finished_before: set[bytes] = set()
        self._due: deque[_Appointment] = deque()
        self._until: deque[_Appointment] = deque()
        self._grown: dict[bytes, _Trace] = {}  # those that got spans since their turns were looked at
        self._squeezed: list[Turn] = []  # closed before their time
        self._spans = 0
        self._bytes = 0
        self.dropped: Counter[str] = Counter()
        """Spans that are in no turn, by reason: `duplicate`, `late`, `outside_turn`, `overflow`."""

    @property
    def spans(self) -> int:
        """Spans held."""
        return self._spans

    @property
    def size_bytes(self) -> int:
        """An estimate of the memory they take."""
        return self._bytes

    def __contains__(self, trace_id: object) -> bool:
        """Whether it holds spans of that trace."""
        return trace_id in self._traces

    def add(self, rows: Iterable[SpanRow], now: float) -> None:
        """Take finished spans."""
        traces, grown = self._traces, self._grown
        for row in rows:
            trace_id = row[1]
            trace = traces.get(trace_id)
            if trace is None:
                trace = traces[trace_id] = _Trace(trace_id)
                self._bytes += _TRACE_BYTES
            elif row[2] in trace.rows:
                self.dropped["duplicate"] += 1
                continue
            else:
                traces.move_to_end(trace_id)
            trace.seen = now
            self._bytes += trace.add(row)
            self._spans += 1
            if row[0].turn:
                trace.turns[row[2]] = _Open(row, now + self._settle)
                self._due.append((now + self._settle, trace, row[2]))
            if trace.is_shown:
                grown[trace_id] = trace
            if len(trace.rows) > MAX_TRACE_SPANS:
                self._squeeze(trace_id)
        while traces and (self._spans > self._max_spans or self._bytes > self._max_bytes):
            self._squeeze(next(iter(traces)))

    def close(self, now: float) -> Closed:
        """The turns that are due. Called at every tick; what is too much for one is left to the next."""
        early, self._squeezed = self._squeezed, []
        shown = self._show_due(now) + self._show_grown(now)
        grown, final = self._finish_due(now)
        early += self._expire(now)
        return Closed(shown + grown + early, final + early)

    def flush(self) -> Closed:
        """Everything that is there, whatever may still come: at the end."""
        turns, self._squeezed = self._squeezed, []
        for trace in list(self._traces.values()):
            turns += self._close_trace(trace, "outside_turn")
        self._due.clear()
        self._until.clear()
        return Closed(turns, turns)

    # --- showing ----------------------------------------------------------------------------------------------

    def _show_due(self, now: float) -> list[Turn]:
        shown: list[Turn] = []
        due, room = self._due, self._per_close
        while due and due[0][0] <= now and room > 0:
            _, trace, span_id = due.popleft()
            opened = trace.turns.get(span_id)
            if opened is None:
                continue
            shown.append(self._show(trace, opened))
            room -= len(opened.rows)
            trace.is_shown = True
            self._until.append((now + self._grace, trace, span_id))
            if len(trace.turns) == 1:
                self._grown.pop(trace.trace_id, None)
        return shown

    def _show_grown(self, now: float) -> list[Turn]:
        """Turns that got more spans after they had been shown; each revision waits twice as long as the one before."""
        shown: list[Turn] = []
        room = self._per_close
        for trace_id, trace in list(self._grown.items()):
            if room <= 0:
                break
            is_waiting = False
            for opened in list(trace.turns.values()):
                latest = opened.latest
                if latest is None:
                    continue
                if opened.shown + self._settle * (1 << latest.revision) > now:
                    is_waiting = True
                    continue
                turn = self._show(trace, opened)
                room -= len(opened.rows)
                if turn is not latest:
                    opened.shown = now
                    shown.append(turn)
            if not is_waiting:
                del self._grown[trace_id]
        return shown

    def _show(self, trace: _Trace, opened: _Open) -> Turn:
        """The turn as it stands; the same object where nothing changed."""
        rows = trace.spans_of(opened.row)
        if len(trace.turns) > 1:
            trace.absorb(opened.row, rows)
        before = opened.latest
        if before is None:
            marks = [TRUNCATED] if trace.is_truncated else []
            turn = build(opened.row, rows, marks)
        elif _are_same(rows, opened.rows):
            return before
        else:
            marks = [LATE, TRUNCATED] if trace.is_truncated else [LATE]
            turn = build(opened.row, rows, marks, before.revision + 1)
        opened.rows, opened.latest = rows, turn
        return turn

    # --- letting go -------------------------------------------------------------------------------------------

    def _finish_due(self, now: float) -> tuple[list[Turn], list[Turn]]:
        """The turns that are final, those first that grew once more."""
        grown: list[Turn] = []
        final: list[Turn] = []
        touched: dict[bytes, _Trace] = {}
        until, room = self._until, self._per_close
        while until and until[0][0] <= now and room > 0:
            _, trace, span_id = until.popleft()
            opened = trace.turns.get(span_id)
            if opened is None or (before := opened.latest) is None:
                continue
            turn = self._show(trace, opened) if trace.trace_id in self._grown else before
            final.append(turn)
            if turn is not before:
                grown.append(turn)
            room -= len(opened.rows)
            if len(opened.rows) == len(trace.rows):
                self._drop(trace)
                touched.pop(trace.trace_id, None)
                continue
            touched[trace.trace_id] = trace
            del trace.turns[span_id]
            trace.final_until = max(trace.final_until, opened.row[5])
            self._forget(trace, [row[2] for row in opened.rows])
        for trace_id, trace in touched.items():
            self._remember(trace_id)
            homeless = trace.outlived()
            self.dropped["outside_turn"] += len(homeless)
            self._forget(trace, homeless)
        return grown, final

    def _expire(self, now: float) -> list[Turn]:
        """Close the traces that have been silent."""
        turns: list[Turn] = []
        room = self._per_close
        while self._traces and room > 0:
            trace_id, trace = next(iter(self._traces.items()))
            if trace.seen + self._turn_timeout > now:
                break
            room -= len(trace.rows)
            if self._is_running(trace_id):
                trace.seen = now
                self._traces.move_to_end(trace_id)
            else:
                turns += self._close_trace(trace, "outside_turn")
        return turns

    def _squeeze(self, trace_id: bytes) -> None:
        """Close a trace for want of room; without a turn it is not worth the time, either."""
        trace = self._traces[trace_id]
        trace.is_truncated = True
        self._squeezed += self._close_trace(trace, "overflow")
        for appointments in (self._due, self._until):
            while appointments and appointments[0][2] not in appointments[0][1].turns:
                appointments.popleft()

    def _close_trace(self, trace: _Trace, reason: str) -> list[Turn]:
        """What the trace holds as turns: those that came, or else one without a root. The rest is dropped."""
        turns = []
        left = len(trace.rows)
        for opened in list(trace.turns.values()):
            if opened.row[2] in trace.turns:
                turns.append(self._show(trace, opened))
                left -= len(opened.rows)
        if turns or trace.is_truncated or trace.sessions():
            self.dropped[reason] += left
        elif trace.trace_id in self._finished or trace.trace_id in self._finished_before:
            self.dropped["late"] += left
        else:
            turns.append(build(None, list(trace.rows.values())))
        self._drop(trace)
        return turns

    def _forget(self, trace: _Trace, span_ids: Iterable[bytes]) -> None:
        held = len(trace.rows)
        self._bytes -= trace.forget(span_ids)
        self._spans -= held - len(trace.rows)

    def _drop(self, trace: _Trace) -> None:
        del self._traces[trace.trace_id]
        self._grown.pop(trace.trace_id, None)
        self._bytes -= trace.size + _TRACE_BYTES
        self._spans -= len(trace.rows)
        trace.rows.clear()  # appointments may still hold the trace
        trace.turns.clear()
        trace.children = _NO_CHILDREN
        self._remember(trace.trace_id)

    def _remember(self, trace_id: bytes) -> None:
        self._finished.add(trace_id)
        if len(self._finished) >= MAX_FINISHED:
            self._finished_before, self._finished = self._finished, set()


def _are_same(rows: Sequence[SpanRow], others: Sequence[SpanRow]) -> bool:
    return len(rows) == len(others) and {row[2] for row in rows} == {row[2] for row in others}


def size_of(row: SpanRow) -> int:
    """About how many bytes a row takes."""
    measures = row[6]
    if measures is None:
        return _ROW_BYTES
    size = _ROW_BYTES + _MEASURE_BYTES * len(measures)
    if _TEXTS.isdisjoint(measures):
        return size
    for field in _TEXTS:
        text = measures.get(field)
        if isinstance(text, str):
            size += len(text)
    return size
