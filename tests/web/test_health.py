"""The probes answer in exactly the shapes of their contract."""

import pytest

from otel_latency.records import CheckResult
from otel_latency.testing import FakeClock
from otel_latency.web.health import Health, Phase

NOW = 1_704_067_200.9  # just after 2024-01-01T00:00:00Z
TIMESTAMP = "2024-01-01T00:00:00Z"


def check(name, up):
    return CheckResult(name, up=up, seconds=0.1, time=NOW, required=False, error="" if up else "timeout")


def health(phase=Phase.RUNNING, clock=None, **options):
    made = Health(clock=clock or FakeClock(NOW), **options)
    made.phase = phase
    return made


async def get(client, path):
    async with client.get(path) as response:
        return response.status, await response.json()


async def test_all_is_well(serve):
    """Exactly the keys that callers know, no more."""
    clock = FakeClock(NOW)
    made = health(clock=clock, checks=lambda: [check("livekit", up=True), check("openai", up=True)])
    client = await serve(*made.routes())
    await clock.advance(3600)
    clock.step(-3600)
    assert await get(client, "/health") == (200, {"healthy": True, "timestamp": TIMESTAMP})
    assert await get(client, "/health/ready") == (
        200,
        {"ready": True, "services": ["livekit", "openai"], "timestamp": TIMESTAMP},
    )
    assert await get(client, "/health/live") == (
        200,
        {"alive": True, "uptime_seconds": 3600.0, "timestamp": TIMESTAMP},
    )


CASES = {
    "starting": (health(Phase.STARTING), 503, 503, 200, "starting"),
    "stopping": (health(Phase.STOPPING), 503, 503, 200, "stopping"),
    "an optional check is down": (health(checks=lambda: [check("x", up=False)]), 200, 200, 200, ""),
    "a required check is down": (
        health(checks=lambda: [check("x", up=False), check("y", up=True)], required=["x", "y"]),
        200,
        503,
        200,
        "required checks are not up: x",
    ),
    "a required check has not answered yet": (
        health(required=["x", "y"]),
        200,
        503,
        200,
        "required checks are not up: x, y",
    ),
    "a part has failed": (
        health(faults=lambda: ["the collector gpu fails", "the disk is full"]),
        503,
        200,
        200,
        "the collector gpu fails; the disk is full",
    ),
    "the loop stands still": (health(alive=lambda: False), 503, 200, 503, "the event loop stands still"),
}


@pytest.mark.parametrize(("made", "healthy", "ready", "live", "reason"), CASES.values(), ids=CASES)
async def test_answers(serve, made, healthy, ready, live, reason):
    """Each probe says no for its own reasons only, and says which."""
    client = await serve(*made.routes())
    answers = [await get(client, path) for path in ("/health", "/health/ready", "/health/live")]
    assert [status for status, _ in answers] == [healthy, ready, live]
    assert {body["reason"] for _, body in answers if "reason" in body} == ({reason} if reason else set())
    for (status, body), key in zip(answers, ("healthy", "ready", "alive"), strict=True):
        assert body[key] is (status == 200)
        assert ("reason" in body) is (status == 503)


async def test_only_what_is_up_is_a_service(serve):
    """`services` lists the external services that answer, required or not."""
    made = health(checks=lambda: [check("a", up=True), check("b", up=False)])
    client = await serve(*made.routes())
    assert (await get(client, "/health/ready"))[1]["services"] == ["a"]


async def test_probes_come_by_any_name(serve):
    """The kubelet sends the pod's address as Host, a load balancer whatever it likes."""
    client = await serve(*health().routes())
    for path in ("/health", "/health/ready", "/health/live"):
        async with client.get(path, headers={"Host": "agent.monitoring.svc:8080"}) as response:
            assert response.status == 200


def test_summary():
    """For /status the three answers are one object, each reason told once."""
    assert health(Phase.STOPPING).summary() == {
        "healthy": False,
        "ready": False,
        "alive": True,
        "reasons": ["stopping"],
    }
