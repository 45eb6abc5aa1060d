"""An agent's web server with the real routes of `/api/v1`, on a thread of its own, before an insight in memory."""

import asyncio
import threading
from contextlib import contextmanager

from otel_latency.aggregate.turn_view import turn_json, turn_line
from otel_latency.testing import FakeClock
from otel_latency.web.api import API
from otel_latency.web.app import WebServer


class MemoryInsight:
    """What it was given: turns as they are put together, and the answers of the other questions as they stand."""

    def __init__(self, turns=(), **answers):
        self._turns = turns
        self._answers = answers
        self.asked = []

    async def turns(self, which, limit, *, slower_than):
        newest = sorted(self._turns, key=lambda turn: -turn.end_ns)[:limit]
        return {"turns": [turn_line(turn) for turn in newest]}

    async def turn(self, identity, span_id):
        found = (one for one in self._turns if identity in (one.trace_id.hex(), one.request_id))
        turn = next((one for one in found if span_id in ("", one.span_id.hex())), None)
        return None if turn is None else turn_json(turn)

    def __getattr__(self, name):
        async def answer(*arguments, **named):
            self.asked.append((name, arguments, named))
            found = self._answers[name]
            return found(*arguments, **named) if callable(found) else found

        return answer


@contextmanager
def insight_agent(insight, now=1_700_000_000.0):
    """The URL of the server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    run = lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(10)
    server = WebServer("127.0.0.1", 0, routes=API(insight, FakeClock(now)).routes())
    try:
        run(server.start())
        yield server.url
    finally:
        run(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
