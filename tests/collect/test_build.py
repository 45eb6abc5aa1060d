"""From the configuration's section to running collectors."""

import asyncio

import pytest

from otel_latency.aggregate.samples import SampleTable
from otel_latency.collect.build import build
from otel_latency.config.sections import Check, Collect, Host, UserCollector
from otel_latency.errors import ConfigError

MODULE = """
def queue_depth():
    return 3
"""

SECTIONS = {
    "defaults": (Collect(), ["process", "host", "container", "loop"]),
    "without the host": (Collect(host=Host(enabled=False)), ["process", "loop"]),
    "everything": (
        Collect(gpu="on", collectors=["{module}:queue_depth"], checks=[Check(name="db", tcp="127.0.0.1:1")]),
        ["process", "host", "container", "gpu", "loop", "{module}:queue_depth", "checks"],
    ),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of the user's."""
    name = "operations_of_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize(("section", "expected"), SECTIONS.values(), ids=SECTIONS)
def test_what_is_built(section, expected, module, clock):
    """Each part of the section becomes a collector under its name."""
    targets = [each.format(module=module) for each in section.collectors]
    section = Collect(host=section.host, gpu=section.gpu, collectors=targets, checks=section.checks)
    collectors = build(section, clock, SampleTable().put)
    collectors.close()
    found = [status.name for status in collectors.runner.status() if status.name != "gpu" or section.gpu == "on"]
    assert [each.format(module=module) for each in expected] == found


def test_intervals(module, clock):
    """Settings of a user's collector arrive; a bare name has the defaults."""
    target = f"{module}:queue_depth"
    own = build(Collect(collectors=[UserCollector(target=target, interval=2.0)]), clock, SampleTable().put)
    default = build(Collect(collectors=[target]), clock, SampleTable().put)
    assert [2.0, 10.0] == [each.runner.status()[-1].interval for each in (own, default)]
    own.close()
    default.close()


def test_a_wrong_target(clock):
    """What cannot be loaded is found before anything runs."""
    with pytest.raises(ConfigError, match="there is no module 'no_such_shop'"):
        build(Collect(collectors=["no_such_shop:Depth"]), clock, SampleTable().put)


async def test_run(module, clock):
    """All of it together fills a table, answers for liveness and checks, and stops when cancelled."""
    table, polled = SampleTable(), set()
    complete = asyncio.Event()

    def sink(source, samples, now):
        table.put(source, samples, now)
        polled.add(source)
        if len(polled) == 6:
            complete.set()

    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    check = Check(name="db", tcp=f"127.0.0.1:{port}")
    section = Collect(gpu="off", collectors=[f"{module}:queue_depth"], checks=[check])
    collectors = build(section, clock, sink)
    running = asyncio.create_task(collectors.run())
    await complete.wait()
    while not collectors.checks.results()[0].up:
        await asyncio.sleep(0.001)
    polled.clear()
    complete.clear()
    await clock.advance(10.0)
    await complete.wait()
    assert (3.0, 1.0) == (table.value("queue_depth"), table.value("otel_latency_check_up", check="db"))
    assert table.value("otel_latency_agent_collector_failures_total", collector="host") == 0.0
    assert collectors.lag.alive()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    collectors.close()
    collectors.close()
    server.close()
