"""A destination that is down, slow, refuses, resets, never ends its reply or shows a certificate that has expired.

    python -m tests.chaos.upstream [FAULT ...]

Producers go on all the while. After each fault the destination is well again, and everything has to have arrived, as
it was sent but for its content; what the destination refused for good is counted by reason; and spans received are
spans forwarded, queued, rejected and dropped, also over a restart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from aiohttp import web
from chaos.oracle import (
    FarSide,
    Ledger,
    Refusal,
    Requests,
    accounted,
    drained,
    far_side,
    p99,
    produce,
    size_of,
    started,
)
from forward.pems import PEMs
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from running import RunningAgent, ask
from sink import endless, reset, silence, status

LOG_BYTES = 64 << 20
LIMIT = 4
SECURE = "secure"
SMALL_LOG_BYTES = 4 << 20
NOISE = 1024
"""Bytes of a span that cannot be compressed."""
REFUSED = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "without ids"}]}]}]}'
OTHERS = {
    "/v1/metrics": b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "queue", "gauge": {"dataPoints":'
    b' [{"timeUnixNano": "1", "asInt": "7"}, {"timeUnixNano": "2", "asInt": "8"}]}}]}]}]}',
    "/v1/logs": b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hello"}}]}]}]}',
    "/v1/traces": REFUSED,
}
"""Requests that are not spans, or none that can be counted: they are not to get into the sums of spans."""


@dataclass(frozen=True)
class Tier:
    """How long and how hard."""

    spans: int = 64
    spans_per_second: float = 640.0
    producers: int = 1
    fault: float = 1.5
    """Seconds that a fault lasts, after which the destination is well."""
    timeout: str = "500ms"
    retry_after: int = 1
    within: float = 20.0
    """Seconds to deliver what has waited."""
    max_ack: float = math.inf
    """Seconds within which 99 of 100 requests have to be acknowledged."""


LONG = Tier(512, 2_000.0, 2, 30.0, "10s", 5, 120.0, 0.050)


class Rig:
    """The agent, a destination for each fault, and those who send."""

    def __init__(self, tier: Tier, folder: Path, far: Mapping[str, FarSide], secure: FarSide, authority: str) -> None:
        self.tier = tier
        self.folder = folder
        self.far = far
        self.secure = secure
        self.agent: RunningAgent | None = None
        self.log_bytes = 0
        forward = [
            {"name": name, "endpoint": f"http://127.0.0.1:{one.port}", "timeout": tier.timeout}
            for name, one in far.items()
        ]
        trusting = {"name": SECURE, "endpoint": f"https://127.0.0.1:{secure.port}", "tls": {"ca_file": authority}}
        self._files = {"otel-latency.yaml": json.dumps({"forward": [*forward, trusting]})}

    @property
    def ledger(self) -> Ledger:
        return self.secure.ledger

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningAgent]:
        async with started(files=self._files, directory=self.folder) as agent:
            self.agent = agent
            try:
                yield agent
            finally:
                self.agent = None

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[None]:
        """Producers go on beside the block, and what they have begun is acknowledged after it."""
        tier, until = self.tier, asyncio.Event()
        pause = tier.producers * tier.spans / tier.spans_per_second
        async with asyncio.TaskGroup() as tasks:
            for _ in range(tier.producers):
                requests = Requests(time.time_ns(), tier.spans)
                tasks.create_task(produce(lambda: self.agent, self.ledger, requests, pause, until))
            others = tasks.create_task(self._others())
            try:
                yield
            finally:
                until.set()
                others.cancel()

    async def _others(self) -> None:
        while True:
            if self.agent is not None:
                for path, body in OTHERS.items():
                    headers = {"Content-Type": "application/json"}
                    await asyncio.to_thread(ask, "POST", self.agent.http_port, path, body, headers, 8.0)
                self.log_bytes = max(self.log_bytes, size_of(self.folder))
            await asyncio.sleep(0.3)

    async def told(self, name: str) -> dict[str, object]:
        """What /status says of a destination."""
        found = json.loads((await asyncio.to_thread(self.agent.get, "/status"))[1])
        return next(one for one in found["forward"] if one["name"] == name)

    async def until(self, name: str, condition: Callable[[dict[str, object]], bool]) -> None:
        async with asyncio.timeout(self.tier.within):
            while not condition(await self.told(name)):
                await asyncio.sleep(0.05)


# The faults: each is over when the destination is well again. They answer what was seen.

Fault = Callable[[Rig, str], Awaitable[str]]


async def down(rig: Rig, name: str) -> str:
    """Nobody listens."""
    await rig.far[name].leave()
    await asyncio.sleep(rig.tier.fault)
    waits = await rig.told(name)
    await rig.far[name].come()
    assert not waits["is_up"], waits
    return f"{waits['queued']} items waited"


async def slow(rig: Rig, name: str) -> str:
    """It answers nothing within the time for an attempt: four are tried, then one at a time."""
    far = rig.far[name]
    far.behaves(silence)
    await asyncio.sleep(rig.tier.fault)
    far.behaves(None)
    assert 1 <= far.most_in_flight <= LIMIT, far.most_in_flight
    return f"at most {far.most_in_flight} in flight"


def refuses(number: int, *, as_date: bool = False) -> Fault:
    """It says when to come back; nobody comes before."""

    async def fault(rig: Rig, name: str) -> str:
        refusal = Refusal(number, rig.tier.retry_after, as_date=as_date)
        before = rig.far[name].requests
        rig.far[name].behaves(refusal)
        await asyncio.sleep(max(rig.tier.fault, 2.2 * rig.tier.retry_after))
        asked = rig.far[name].requests - before
        rig.far[name].behaves(None)
        assert (True, 0) == (asked > 1, refusal.early), (asked, refusal.early)
        return f"{asked} requests, none before its time"

    return fault


def gives_up(number: int) -> Fault:
    """It refuses three requests for good: they are counted by reason, and the next go on."""

    async def fault(rig: Rig, name: str) -> str:
        rig.far[name].answers += [status(number)] * 3
        await rig.until(name, lambda told: bool(told["dropped"]) and not rig.far[name].answers)
        dropped = (await rig.told(name))["dropped"]
        assert {f"http_{number}"} == set(dropped), dropped
        return f"dropped {dropped}"

    return fault


async def partial(rig: Rig, name: str) -> str:
    """It takes a request but for five spans."""
    rig.far[name].answers.append(status(200, b"\x0a\x02\x08\x05"))
    await rig.until(name, lambda told: bool(told["rejected"]))
    return f"rejected {(await rig.told(name))['rejected']}"


async def resets(rig: Rig, name: str) -> str:
    """It takes requests, and the answer is lost."""
    rig.far[name].answers += [reset] * 3
    await rig.until(name, lambda told: told["maybe_duplicate"] and not rig.far[name].answers)
    return f"{(await rig.told(name))['maybe_duplicate']} items perhaps twice"


async def floods(rig: Rig, name: str) -> str:
    """Its replies never end; they are not read, and not kept."""
    before = rig.agent.memory()
    rig.far[name].answers += [flood] * 3
    await rig.until(name, lambda _: not rig.far[name].answers)
    return f"resident memory {rig.agent.memory() - before:+.1f} MiB"


async def flood(request: web.Request) -> web.StreamResponse:
    """A reply of which the other side reads as much as it likes."""
    with suppress(ConnectionResetError):
        await endless(request)
    return web.Response()


FAULTS: dict[str, Fault] = {
    "down": down,
    "slow": slow,
    "429-seconds": refuses(429),
    "503-date": refuses(503, as_date=True),
    "400": gives_up(400),
    "413": gives_up(413),
    "partial": partial,
    "reset": resets,
    "endless": floods,
}


async def suffer(tier: Tier, folder: Path, faults: Mapping[str, Fault]) -> list[str]:
    """All of them at once, each at a destination of its own. AssertionError where something is not as promised.

    One more destination has a certificate that has expired; without *faults* it gets a good one in the end.
    """
    ledger = Ledger()
    async with AsyncExitStack() as stack:
        far = {name: await stack.enter_async_context(far_side(ledger)) for name in faults}
        pems = PEMs(folder)
        secure = await stack.enter_async_context(far_side(ledger, pems.context(pems.server(is_expired=True))))
        rig = Rig(tier, folder, far, secure, pems.ca_file)
        async with rig.running() as agent:
            async with rig.producing():
                await asyncio.sleep(0.2)
                seen = await asyncio.gather(*(fault(rig, name) for name, fault in faults.items()))
            said = [f"{name}: {found}" for name, found in zip(faults, seen, strict=True)]
            said += [await _settled(rig, agent, name) for name in faults]
            said.append(await expired(rig))
        said.append(await restarted(rig))
        if not faults:
            said.append(await renewed(rig, pems))
    said.append(
        f"{len(ledger.seconds)} requests acknowledged within {1e3 * p99(ledger.seconds):.0f} ms (p99); "
        f"the log took {rig.log_bytes} bytes"
    )
    assert rig.log_bytes <= LOG_BYTES, said
    assert p99(ledger.seconds) <= tier.max_ack, said
    return said


async def _settled(rig: Rig, agent: RunningAgent, name: str) -> str:
    seconds = await drained(agent, name, within=rig.tier.within)
    counts = accounted(await asyncio.to_thread(agent.metrics), name)
    copies = (await rig.told(name))["maybe_duplicate"] // rig.tier.spans
    return f"{name}: {rig.far[name].verdict(copies)}; delivered {seconds:.1f} s after; {counts}"


async def overflow(folder: Path, *, mebibytes: int = 12) -> str:
    """Nobody listens for so long that the log is full: the oldest go, as many as are told, and the rest arrives."""
    ledger = Ledger()
    async with far_side(ledger) as far:
        await far.leave()
        config = {"forward": [{"name": "far", "endpoint": far.url}], "store": {"log_bytes": "4MiB"}}
        async with started(files={"otel-latency.yaml": json.dumps(config)}, directory=folder) as agent:
            until, most = asyncio.Event(), 0
            producing = asyncio.create_task(produce(lambda: agent, ledger, Requests(1, 256, noise, noise), 0.0, until))
            while ledger.count(ledger.acknowledged) * NOISE < mebibytes << 20:
                await asyncio.sleep(0.05)
                most = max(most, size_of(folder))
            until.set()
            await producing
            full = accounted(await asyncio.to_thread(agent.metrics), "far")
            await far.come()
            await drained(agent, "far", within=30.0)
            counts = accounted(await asyncio.to_thread(agent.metrics), "far")
    missing = ledger.count(ledger.acknowledged - set(far.arrived))
    assert full["dropped"] == counts["dropped"] == missing > 0, (full, counts, missing)
    assert most <= SMALL_LOG_BYTES, most
    assert counts["forwarded"] * NOISE >= 0.75 * SMALL_LOG_BYTES, counts
    return f"{missing} spans lost and told, {counts['forwarded']} arrived; the log took {most} bytes at most"


def noise(span: Span, rng: random.Random) -> None:
    """For `Batch`: a span that cannot be compressed."""
    span.name = "noise"
    span.attributes.add(key="noise").value.bytes_value = rng.randbytes(NOISE)


async def expired(rig: Rig) -> str:
    """Nothing goes to the one whose certificate has expired, and /status says why."""
    told = await rig.told(SECURE)
    assert not rig.secure.arrived
    assert (False, True) == (told["is_up"], "expired" in told["last_error"]), told
    return f"{SECURE}: {told['queued']} items wait: {told['last_error']}"


async def restarted(rig: Rig) -> str:
    """What waits when the agent is stopped goes out after it was started again."""
    copies = {name: far.copies for name, far in rig.far.items()}
    for far in rig.far.values():
        await far.leave()
    async with rig.running() as agent:
        async with rig.producing():
            await asyncio.sleep(rig.tier.fault / 2)
        page = await asyncio.to_thread(agent.metrics)
        waits = {name: accounted(page, name)["queued"] for name in (*rig.far, SECURE)}
    for far in rig.far.values():
        await far.come()
    async with rig.running() as agent:
        seconds = [await drained(agent, name, within=rig.tier.within) for name in rig.far]
        page = await asyncio.to_thread(agent.metrics)
        found = {name: accounted(page, name)["received"] for name in waits}
    assert waits == found
    assert 0 < min(waits.values())
    for name, far in rig.far.items():
        far.verdict(copies[name])
    return f"restart: {waits} spans went out {max(seconds, default=0.0):.1f} s after"


async def renewed(rig: Rig, pems: PEMs) -> str:
    """With a good certificate everything goes there, too."""
    await rig.secure.leave()
    await rig.secure.come(pems.context(pems.server()))
    async with rig.running() as agent:
        seconds = await drained(agent, SECURE, within=600.0)
        accounted(await asyncio.to_thread(agent.metrics), SECURE)
    return f"{SECURE}: {rig.secure.verdict(0)}, {seconds:.0f} s after it had a good certificate"


async def _long(names: Sequence[str]) -> None:
    """One after the other."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "overflow":
                said = [f"overflow: {await overflow(Path(folder), mebibytes=64)}"]
            else:
                said = await suffer(LONG, Path(folder), {name: FAULTS[name]} if name in FAULTS else {})
            print(*said, sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*FAULTS, "overflow", "certificate"]
    parser.add_argument("faults", nargs="*", default=names, help=f"all by default: {', '.join(names)}")
    asyncio.run(_long(parser.parse_args().faults))


if __name__ == "__main__":
    main()
