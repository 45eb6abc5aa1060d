"""Kill -9 of the whole agent while it forwards: what was acknowledged against what arrived.

    python -m tests.chaos.forward_kill 200 [--seed N] [--spans-per-second N] [--memory]

Producers send as exporters do: a request that was not acknowledged is sent again until it is. The destination is slow,
refuses or loses answers now and then. At random moments the agent is killed, and started again on what it left. At the
end every acknowledged span has arrived, and nothing arrived that nobody sent. What arrived twice was in flight when the
agent was killed, or its answer was lost: at most `LIMIT` requests for each of these.

`--memory` is the control: with `store.durability: memory` it must be seen that spans are lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from aiohttp import web
from chaos.oracle import Ledger, Requests, accounted, drained, far_side, produce, started
from running import RunningAgent
from sink import reset, status

LIMIT = 4
"""Requests in flight."""
PRODUCERS = 3
SPANS = 64
LIFE = (0.2, 1.5)
"""Seconds between two kills."""
SLOW = 0.05
MAX_DRAIN = 600.0
"""A backlog goes out at twice the rate at which it came."""


async def slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(SLOW)
    return web.Response(content_type="application/x-protobuf")


class Moods:
    """Nineteen answers of twenty are slow, one is a reset or a refusal that passes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.lost = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self._rng.random() < 0.95:
            return await slow(request)
        self.lost += 1
        return await self._rng.choice([reset, status(503)])(request)


async def kill(
    folder: Path, kills: int, *, seed: int = 1, spans_per_second: float = 4_000.0, durability: str = "disk"
) -> str:
    """The verdict in a line. AssertionError where something was lost, changed or sent too often."""
    rng, ledger, slowest = random.Random(seed), Ledger(), 0.0
    agents: list[RunningAgent | None] = [None]
    until = asyncio.Event()
    async with far_side(ledger) as far:
        moods = Moods(rng)
        far.answer = moods
        section = {"forward": [{"name": "far", "endpoint": far.url}], "store": {"durability": durability}}
        config = {"otel-latency.yaml": json.dumps(section)}
        async with asyncio.TaskGroup() as tasks:
            for number in range(PRODUCERS):
                requests, pause = Requests(seed + number, SPANS), PRODUCERS * SPANS / spans_per_second
                tasks.create_task(produce(lambda: agents[0], ledger, requests, pause, until))
            for _ in range(kills):
                async with started(files=config, directory=folder) as agent:
                    agents[0], slowest = agent, max(slowest, agent.started_in)
                    await asyncio.sleep(rng.uniform(*LIFE))
                    agents[0] = None
                    agent.process.kill()
            far.behaves(None)
            async with started(files=config, directory=folder) as agent:
                agents[0] = agent
                await asyncio.sleep(0.1)
                until.set()
                took = await drained(agent, "far", within=MAX_DRAIN)
                counts = accounted(await asyncio.to_thread(agent.metrics), "far")
    verdict = far.verdict(LIMIT * kills + moods.lost)
    return (
        f"{kills} kills: {verdict} ({moods.lost} answers lost); ready after at most {slowest:.2f} s, "
        f"drained in {took:.1f} s; {counts}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spans-per-second", type=float, default=4_000.0)
    parser.add_argument("--memory", action="store_true", help="the control: it has to fail")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            asyncio.run(
                kill(
                    Path(folder),
                    arguments.kills,
                    seed=arguments.seed,
                    spans_per_second=arguments.spans_per_second,
                    durability="memory" if arguments.memory else "disk",
                )
            )
        )


if __name__ == "__main__":
    main()
