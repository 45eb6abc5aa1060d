"""What every collector of ours keeps to, whatever it measures."""

import re
import shutil
import subprocess
import sys

import pytest

from otel_latency.aggregate.samples import SampleTable
from otel_latency.collect.checks import Checks
from otel_latency.collect.container import ContainerCollector
from otel_latency.collect.gpu import GpuCollector, find_gpus
from otel_latency.collect.host import HostCollector
from otel_latency.collect.lag import LoopLag
from otel_latency.collect.process import ProcessCollector
from otel_latency.collect.runner import MAX_SAMPLES
from otel_latency.collect.validation import validate
from otel_latency.config.sections import Check

COLLECTORS = {
    "host": lambda clock: HostCollector(clock.monotonic),
    "container": lambda clock: ContainerCollector(clock.monotonic),
    "process": lambda clock: ProcessCollector(["python3", "no-such-program"], clock.monotonic),
    "gpu": lambda clock: find_gpus("on"),
    "loop": LoopLag,
    "checks": lambda clock: Checks([Check(name="db", tcp="127.0.0.1:1")], clock),
}

ALWAYS = {
    "host": {
        "otel_latency_host_cpu_utilization_ratio",
        "otel_latency_host_memory_utilization_ratio",
        "otel_latency_host_memory_used_bytes",
        "otel_latency_host_disk_free_ratio",
        "otel_latency_host_load1",
    },
    "process": {
        "otel_latency_process_cpu_utilization_ratio",
        "otel_latency_process_resident_memory_bytes",
        "otel_latency_process_open_fds",
        "otel_latency_process_threads",
    },
    "loop": {"otel_latency_agent_loop_lag_seconds", "otel_latency_agent_loop_blocked_total"},
}
"""Names of the metrics' contract that every machine has."""


@pytest.fixture(params=COLLECTORS)
def name(request):
    return request.param


@pytest.fixture
def collector(name, clock):
    made = COLLECTORS[name](clock)
    yield made
    made.close()


async def poll_twice(collector, clock):
    """The samples of a second poll, a second later: those that need a poll before are there as well."""
    list(collector.collect())
    burn = sum(range(2_000_000))  # lets the CPU counters move
    assert burn
    await clock.advance(1.0)
    return list(collector.collect())


async def test_samples_are_valid(collector, name, clock):
    """Every sample passes the door as it is: finite, legal names, few, with a help text and our prefix."""
    samples = await poll_twice(collector, clock)
    validated, fault = validate(samples, limit=MAX_SAMPLES, is_ours=True)
    assert (samples, "") == (validated, fault)
    assert all(sample.name.startswith("otel_latency_") and sample.help.endswith(".") for sample in samples)
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in samples}) == len(samples)
    assert ALWAYS.get(name, set()) <= {sample.name for sample in samples}


async def test_samples_keep_their_kind(collector, name, clock):
    """A counter's name ends in `_total`, and no other does; a series has the same labels each time."""
    for sample in await poll_twice(collector, clock):
        assert sample.is_counter == sample.name.endswith("_total")


def test_cost_is_stated(collector):
    """The module's promise says what a poll costs."""
    assert re.search(r"^Cost: .+", sys.modules[type(collector).__module__].__doc__, re.MULTILINE)


def test_closing_twice_is_harmless(collector):
    """A collector may be closed before it was polled, and twice."""
    collector.close()
    collector.close()


def test_a_gpu_collector_without_gpus_keeps_the_contract_too(clock):
    """NVML that finds no GPU gives no samples."""
    assert [] == list(GpuCollector(lambda: __import__("no_such_library"), is_wanted=False).collect())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
async def test_promtool_has_nothing_to_say(clock):
    """All our metrics together, as text, pass `promtool check metrics` without a remark."""
    table = SampleTable()
    for name, make in COLLECTORS.items():
        table.put(name, await poll_twice(make(clock), clock), clock.time())
    lines = []
    for family in table.families(clock.time()):
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"]
        for series in family.series:
            labels = ",".join(f'{key}="{value}"' for key, value in series.labels)
            lines.append(f"{family.name}{{{labels}}} {series.value!r}")
    text = "\n".join(lines) + "\n"
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert ("", 0) == (checked.stdout + checked.stderr, checked.returncode)
