"""Who may import whom, what `import otel_latency` costs a user's process, and what an agent does without."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
before = set(sys.modules)
import otel_latency
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in sys.modules if name.startswith("opentelemetry.")))
"""
HEAVY = {"aiohttp", "asyncio", "google", "grpc", "msgspec", "psutil", "requests", "rich", "sqlite3", "yaml"}

AGENT = """
import asyncio, sys
from otel_latency.agent import Agent
from otel_latency.config.load import load

async def main(settings):
    agent = Agent(load(None, dict(one.split("=") for one in settings)))
    running = asyncio.create_task(agent.run())
    await agent.started.wait()
    agent.stop()
    await running

asyncio.run(main(sys.argv[1:]))
print(*sys.modules)
"""
BARE = (
    "OTEL_LATENCY_OTLP__HTTP__PORT=0",
    "OTEL_LATENCY_OTLP__GRPC__ENABLED=false",
    "OTEL_LATENCY_WEB__PORT=0",
)
ON_DEMAND = ("otel_latency.notify", "otel_latency.rules", "difflib", "genai_prices", "grpc", "re2", "smtplib", "yaml")


def test_layers():
    """Data flows one way: no package imports a later step, or its neighbour."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, True) == (finished.returncode, "1 kept, 0 broken" in finished.stdout), finished.stdout


def test_import_is_light():
    """A user's process gets opentelemetry-api and the light part of the standard library, and nothing else."""
    ours, telemetry = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True, cwd=ROOT).split("\n")[:2]
    loaded = set(ours.split())
    assert set() == loaded & HEAVY
    assert set() == loaded - set(sys.stdlib_module_names) - {"otel_latency", "opentelemetry", "typing_extensions"}
    assert [] == [
        name for name in telemetry.split() if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))
    ]


def test_agent_is_light(tmp_path):
    """An agent without file, rules, notifiers and gRPC runs without what they need."""
    loaded = subprocess.check_output([sys.executable, "-c", AGENT, *BARE], text=True, cwd=tmp_path).split()
    assert ("otel_latency.agent" in loaded, []) == (True, [name for name in loaded if name.startswith(ON_DEMAND)])
