"""What an operator sees first."""

from otel_latency.config.values import Secret
from otel_latency.testing import FakeClock
from otel_latency.web.health import Health, Phase
from otel_latency.web.status import Status


def make(**sections):
    health = Health(clock=FakeClock(1_704_067_200.0))
    health.phase = Phase.RUNNING
    return Status(
        version="1.2.3", health=health, request_count=lambda: 7, metrics=lambda: {"series": 3}, sections=sections
    )


async def get(serve, status):
    client = await serve(status.route())
    async with client.get("/status") as response:
        return response.status, await response.json()


async def test_shape(serve):
    """The keys of the contract, and a section for each step of the agent."""
    status, body = await get(serve, make(receivers=lambda: {"otlp/http": "127.0.0.1:4318"}))
    assert status == 200
    assert body == {
        "health": {"healthy": True, "ready": True, "alive": True, "reasons": []},
        "timestamp": "2024-01-01T00:00:00Z",
        "version": "1.2.3",
        "uptime_seconds": 0.0,
        "request_count": 7,
        "metrics": {"series": 3},
        "receivers": {"otlp/http": "127.0.0.1:4318"},
    }


async def test_a_section_that_fails(serve, caplog):
    """One broken section says so, without the reason, and the others are there."""

    def broken():
        raise RuntimeError("token=hunter2")

    status, body = await get(serve, make(checks=broken, windows=lambda: [1]))
    assert (status, body["checks"], body["windows"]) == (200, {"error": "not available; see the agent's log"}, [1])
    assert "the section checks failed" in caplog.text


async def test_no_secret(serve):
    """A secret that got into a section does not get out of it."""
    _, body = await get(serve, make(forward=lambda: {"token": Secret("hunter2"), "p99": float("nan")}))
    assert body["forward"] == {"token": "***", "p99": None}


async def test_not_for_web_pages(serve):
    """The status is refused to a Host that is not ours."""
    client = await serve(make().route())
    async with client.get("/status", headers={"Host": "attacker.example"}) as response:
        assert response.status == 403
