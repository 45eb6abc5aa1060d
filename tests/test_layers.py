"""Who may import whom, and what `import otel_latency` costs a user's process."""

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
