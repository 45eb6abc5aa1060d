import os

import pytest

from otel_latency.demo.process import AgentProcess
from otel_latency.errors import AgentEnded


async def test_bad_start():
    """An agent that cannot start is reported with its exit code and its last words, and stopping it is harmless."""
    agent = await AgentProcess.start([], {**os.environ, "OTEL_LATENCY_WEB__PORT": "http"})
    with pytest.raises(AgentEnded) as raised:
        await agent.listening("127.0.0.1", 1)
    assert (
        "the agent ended with exit code 2; its last words: "
        "OTEL_LATENCY_WEB__PORT: web.port: this value is not a port: write 0 to 65535"
    ) == str(raised.value)
    await agent.stop()
    await agent.stop()
