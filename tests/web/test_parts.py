import asyncio
import json

import pytest

from otel_latency.web import parts
from otel_latency.web.parts import TooLarge, reply_in_parts
from otel_latency.web.replies import to_json

POINT = {"start": 1.5, "seconds": 60, "count": 3, "sum": 0.1, "min": None, "p50": float("nan"), "p99": 0.25}

PAYLOADS = {
    "nothing": {},
    "no rows": {"turns": []},
    "rows": {"turns": [{"a": 1}, [2, "\ud800"], None], 'od"d': {"x": [1]}, "n": float("inf")},
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_same_as_the_whole(payload):
    """In parts it is the same JSON as in one."""
    response = await reply_in_parts(payload)
    assert json.loads(to_json(payload)) == json.loads(response.body)


async def test_others_get_their_turn(monkeypatch):
    """While a long answer is encoded, what else waits is served between any two of its elements."""
    monkeypatch.setattr(parts, "TURN", 0.0)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await reply_in_parts({"series": [POINT] * 50})
    beside.cancel()
    assert turns >= 50


async def test_the_largest_answer():
    """Nobody gets more than eight MiB, and is told how to ask for less."""
    line = [POINT] * 1000
    with pytest.raises(TooLarge, match="the answer is over 8 MiB: ask for fewer series, a shorter time or a longer"):
        await reply_in_parts({"series": [line] * 200})
